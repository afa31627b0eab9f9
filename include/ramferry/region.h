/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file region.h
 * A region is one block of guest RAM (QEMU: RAMBlock).
 */
#ifndef RAMFERRY_REGION_H
#define RAMFERRY_REGION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes of a region's id including the closing NUL (as QEMU's RAMBlock idstr). */
#define RF_REGION_ID_SIZE 256

/** Bytes of a target page, the unit of dirtying. */
#define RF_PAGE_SIZE 4096u

/** Most regions one migration may have. */
#define RF_MAX_REGIONS 4096u

/**
 * Describes a region on the source. Copied by rf_source_add_region(); the memory and the file
 * descriptor stay the caller's and must outlive the migration.
 */
struct rf_region {
	size_t size;		    /**< sizeof(struct rf_region), set by the caller */
	char id[RF_REGION_ID_SIZE]; /**< unique name, the same on both sides */
	void *addr;		    /**< where the guest's memory is mapped in this process */
	uint64_t len;		    /**< bytes; a multiple of page_size */
	uint32_t page_size;	    /**< host page: 4096, 2 MiB or 1 GiB (hugetlb) */
	int memfd;		    /**< file behind addr, or -1 for anonymous memory */
	uint64_t memfd_offset;	    /**< where in memfd addr begins, bytes */
};

#ifdef __cplusplus
}
#endif
#endif
