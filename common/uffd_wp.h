/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Synchronous write protection: a write to a protected page waits until the protection is taken
 * off. Faults are read by rf_uffd_read_faults(); rf_uffd_wp_watch(), rf_uffd_wp_protect() and
 * rf_uffd_unregister() are those of uffd.h.
 */
#ifndef RF_COMMON_UFFD_WP_H
#define RF_COMMON_UFFD_WP_H

#include <stdbool.h>
#include <stdint.h>

/* Opens a full-mode userfaultfd for it, non-blocking. Pages that hold nothing can be protected,
 * too: those of files from Linux 5.19 on; *anonymous: also of anonymous memory, from 6.4 on.
 * RF_ERR_PERMISSION, RF_ERR_UNSUPPORTED; logged. */
int rf_uffd_open_wp(int *fd, bool *anonymous);

/* Takes the protection off and wakes who waits there. */
int rf_uffd_wp_release(int fd, void *addr, uint64_t len);

#endif
