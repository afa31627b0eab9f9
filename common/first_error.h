/* SPDX-License-Identifier: BSD-3-Clause */
/* The one error that ends something: the first stays, with its words, and is logged; what follows
 * from it is told at debug only. */
#ifndef RF_COMMON_FIRST_ERROR_H
#define RF_COMMON_FIRST_ERROR_H

#include <pthread.h>
#include <stdarg.h>

#include "common/log.h"

struct rf_first_error {
	pthread_mutex_t *lock; /* of the object it is part of; guards the rest */
	int err;	       /* RF_OK until there is one */
	char desc[256];	       /* in words; "" likewise */
};

void rf_first_error_init(struct rf_first_error *e, pthread_mutex_t *lock);

/* Logs it at this level (info if it is RF_ERR_CANCELLED) unless there is one already. Returns the
 * one that stays. Not under the lock; any thread. */
int rf_first_error_set(struct rf_first_error *e, enum rf_log_level level, const char *who, int err,
		       const char *fmt, va_list ap) __attribute__((format(printf, 5, 0)));

/* What it amounts to: another code, the same words. Returns the code. */
int rf_first_error_amount_to(struct rf_first_error *e, int err);

void rf_first_error_forget(struct rf_first_error *e);

#endif
