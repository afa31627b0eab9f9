/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file ramferry.h
 * All public headers at once.
 */
#ifndef RAMFERRY_RAMFERRY_H
#define RAMFERRY_RAMFERRY_H

#include <ramferry/dest.h>
#include <ramferry/err.h>
#include <ramferry/guest.h>
#include <ramferry/limiter.h>
#include <ramferry/log.h>
#include <ramferry/region.h>
#include <ramferry/snapshot.h>
#include <ramferry/source.h>
#include <ramferry/stats.h>
#include <ramferry/tracker.h>
#include <ramferry/version.h>

#endif
