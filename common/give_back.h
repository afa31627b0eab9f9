/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory given back to the host: what it held is gone, it reads as zero.
 */
#ifndef RF_COMMON_GIVE_BACK_H
#define RF_COMMON_GIVE_BACK_H

#include <stdint.h>

/*
 * Gives back [addr, addr + len), whole host pages; fd is the file behind it, with offset, or -1.
 * Of a file a hole is made (fallocate), so that all its mappings lose the pages; of anonymous
 * memory the pages are dropped (madvise). Memory that a device holds on to is not free before
 * that lets go. *bytes: how many were in memory, or swapped.
 * RF_ERR_UNSUPPORTED if that cannot be done with such memory, RF_ERR_PERMISSION (a sealed file),
 * RF_ERR_SYSTEM; errno says more. Then all is as it was.
 */
int rf_give_back(void *addr, uint64_t len, int fd, uint64_t offset, uint64_t *bytes);

#endif
