/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device state of a built-in guest as bytes: a header that names the machine, and sections.
 * Little endian. What is read comes from the peer: nothing is used before it was checked.
 *
 *   header  magic:u32 version:u32 kind:u32 vcpus:u32 memory:u64 body:u64 digest:u64
 *   section tag:u16 vcpu:u16 len:u32 data[len]     … until the body ends
 */
#ifndef RF_VMM_STATE_BLOB_H
#define RF_VMM_STATE_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RF_BLOB_HEADER	     40
#define RF_BLOB_SECTION_HEAD 8

struct rf_blob_machine {
	uint32_t kind;
	uint32_t vcpus;
	uint64_t memory;
};

struct rf_blob_writer {
	unsigned char *data; /* malloc */
	size_t len, cap;
	bool failed; /* no memory */
};

struct rf_blob_section {
	uint16_t tag;
	uint16_t vcpu;
	uint32_t len;
	const unsigned char *data; /* not aligned */
};

void rf_blob_begin(struct rf_blob_writer *w);
void rf_blob_put(struct rf_blob_writer *w, uint16_t tag, uint16_t vcpu, const void *data,
		 uint32_t len);
/* Puts the header in front. On RF_OK *buf is the caller's; otherwise nothing is left. */
int rf_blob_finish(struct rf_blob_writer *w, const struct rf_blob_machine *m, void **buf,
		   size_t *len);
void rf_blob_drop(struct rf_blob_writer *w);

/* Checks length, magic, version and digest: RF_ERR_PROTOCOL, said in words. *got: whose it is. */
int rf_blob_machine(const void *buf, size_t len, struct rf_blob_machine *got);

/*
 * As rf_blob_machine(), and that the machine is `want`; RF_ERR_PROTOCOL or
 * RF_ERR_MISMATCH, said in words. Then *body is where the sections begin.
 */
int rf_blob_open(const void *buf, size_t len, const struct rf_blob_machine *want,
		 const unsigned char **body, size_t *body_len);

/* Takes the next section off [*p, *p + *left). RF_AGAIN: no more. RF_ERR_PROTOCOL: cut off. */
int rf_blob_next(const unsigned char **p, size_t *left, struct rf_blob_section *s);

#endif
