/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file version.h
 * Version of the library. The wire protocol has its own, docs/wire.md.
 */
#ifndef RAMFERRY_VERSION_H
#define RAMFERRY_VERSION_H

#ifdef __cplusplus
extern "C" {
#endif

#define RF_VERSION_MAJOR 0
#define RF_VERSION_MINOR 1
#define RF_VERSION_PATCH 0

/** "0.1.0", of the library that is linked. Any thread. */
const char *rf_version(void);

#ifdef __cplusplus
}
#endif
#endif
