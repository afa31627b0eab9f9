/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which parts of a mapping hold data, found without touching it: SEEK_DATA/SEEK_HOLE on the
 * file behind it, /proc/self/pagemap for anonymous memory. What is not reported reads as zero.
 * Memory that is written meanwhile may or may not be reported: begin to track writes first.
 */
#ifndef RF_COMMON_EXTENT_H
#define RF_COMMON_EXTENT_H

#include <stdint.h>

/* offset and len in bytes relative to the range's begin; non-zero ends the walk. */
typedef int (*rf_extent_fn)(void *arg, uint64_t offset, uint64_t len);

/*
 * Walks the data extents of [file_offset, file_offset + len) of fd in ascending order. Changes
 * the file's position. hugetlbfs calls the whole file data.
 * RF_ERR_UNSUPPORTED if the file cannot tell (then treat all as data), RF_ERR_SYSTEM, or what
 * fn returned.
 */
int rf_extent_walk_file(int fd, uint64_t file_offset, uint64_t len, rf_extent_fn fn, void *arg);

/* Bytes of the hole that begins at `offset` of fd, at most len; 0: there is data, or the file
 * cannot tell. Changes the file's position. */
uint64_t rf_extent_hole_at(int fd, uint64_t offset, uint64_t len);

/* As rf_extent_walk_file() for anonymous memory at addr (page-aligned): present or swapped pages.
 * Without CAP_SYS_ADMIN, pages that were never touched but are write-protected by userfaultfd
 * cannot be told from swapped ones, and are reported. */
int rf_extent_walk_anon(const void *addr, uint64_t len, rf_extent_fn fn, void *arg);

#endif
