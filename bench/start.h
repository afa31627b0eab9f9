/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef RF_BENCH_START_H
#define RF_BENCH_START_H

#include "bench/session.h"

/* main of a bench: options, then client, server, or both. Returns the exit code. */
int bench_main(const struct bench_kind *kind, int argc, char **argv);

#endif
