/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --device, --ib-port and --gid-index in terms of ramferry, which knows transports, providers and
 * local addresses: rdma_cm finds device and GID by the address.
 */
#ifndef RF_BENCH_DEVICE_H
#define RF_BENCH_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/options.h"

/* Sets transport, provider and local. 0, or -1 after a line on stderr. */
int device_resolve(struct bench_opts *o);

/* Addresses of the first and the last RDMA device that has one, which may be the same. */
bool device_ends(char first[BENCH_ADDR_SIZE], char last[BENCH_ADDR_SIZE]);

#endif
