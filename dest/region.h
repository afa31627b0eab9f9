/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A region on the destination: one memfd, two mappings.
 *
 *   transport ──writes──► landing view ┐
 *                                      ├─ pages of the memfd
 *   guest ◄──runs on──── guest view   ─┘
 *
 * With RF_PLACEMENT_COPY the guest view is private memory of its own, into which pages of the
 * landing view are copied.
 *
 * Chunks are registered on the landing view when the source asks for them. The file is sparse:
 * what is never written is never there. It is never hole-punched, because a registered page
 * would be left behind.
 */
#ifndef RF_DEST_REGION_H
#define RF_DEST_REGION_H

#include <stdbool.h>
#include <stdint.h>

#include <ramferry/dest.h>

#include "common/bitmap.h"
#include "transport/transport.h"

struct rf_dst_region {
	/* fixed after init */
	char id[RF_REGION_ID_SIZE];
	uint64_t len;
	uint32_t page_size;
	bool copied; /* the guest view is memory of its own: pages are copied into it */
	int memfd;   /* -1 once released */
	uint8_t *landing;
	uint8_t *guest_view; /* NULL once released */
	/* session thread */
	bool matched; /* the source has it too */
	struct rf_mr **chunks;
	uint64_t nchunks, chunk_size;
	/* written by the session thread before the guest runs, then only read */
	struct rf_bitmap free; /* pages the guest does not need; no bits: it never said so */
};

/* Checks spec and makes the memory. RF_ERR_INVALID, RF_ERR_NO_MEMORY, RF_ERR_SYSTEM (logged). */
int rf_dst_region_init(struct rf_dst_region *r, const struct rf_dest_region *spec);
void rf_dst_region_fini(struct rf_dst_region *r);
/* Frees what belongs to it but for the memory and its file, which stay for whoever is in there. */
void rf_dst_region_abandon(struct rf_dst_region *r);

int rf_dst_region_make_chunks(struct rf_dst_region *r, uint64_t chunk_size);
/* Registers a chunk for remote writing unless it is; its key. */
int rf_dst_region_key(struct rf_dst_region *r, struct rf_transport *t, uint64_t chunk,
		      struct rf_remote_key *key);
void rf_dst_region_deregister(struct rf_dst_region *r);

/* Bytes of its memory that are there; 0 once it is released. Any thread. */
uint64_t rf_dst_region_resident(const struct rf_dst_region *r);

/* With a guest view of its own: copies all that is there into it, and leaves holes out. */
int rf_dst_region_copy_all(struct rf_dst_region *r);
/* The same: the landing view is not needed any more. Deregistered before. */
void rf_dst_region_drop_landing(struct rf_dst_region *r);

/* Pages [first, first + count), which must be inside, are free. RF_ERR_NO_MEMORY. */
int rf_dst_region_note_free(struct rf_dst_region *r, uint64_t first, uint64_t count);
/* All of them are. */
bool rf_dst_region_is_free(const struct rf_dst_region *r, uint64_t first, uint64_t count);

/* Clears pages [first, first + count), which must be inside, without filling holes. */
int rf_dst_region_clear(struct rf_dst_region *r, uint64_t first, uint64_t count);

#endif
