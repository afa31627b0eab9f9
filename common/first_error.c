/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/first_error.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <ramferry/err.h>

void rf_first_error_init(struct rf_first_error *e, pthread_mutex_t *lock)
{
	*e = (struct rf_first_error){.lock = lock};
}

int rf_first_error_set(struct rf_first_error *e, enum rf_log_level level, const char *who, int err,
		       const char *fmt, va_list ap)
{
	char text[sizeof(e->desc)];
	bool first;
	int kept;

	vsnprintf(text, sizeof(text), fmt, ap);
	rf_log_make_printable(text); /* words of a peer may be in it */
	pthread_mutex_lock(e->lock);
	first = e->err == RF_OK;
	if (first) {
		e->err = err;
		memcpy(e->desc, text, sizeof(text));
	}
	kept = e->err;
	pthread_mutex_unlock(e->lock);
	if (first)
		rf_log(err == RF_ERR_CANCELLED ? RF_LOG_INFO : level, who, "%s", text);
	else
		rf_debug(who, "after the first error: %s", text);
	return kept;
}

int rf_first_error_amount_to(struct rf_first_error *e, int err)
{
	pthread_mutex_lock(e->lock);
	e->err = err;
	pthread_mutex_unlock(e->lock);
	return err;
}

void rf_first_error_forget(struct rf_first_error *e)
{
	pthread_mutex_lock(e->lock);
	e->err = RF_OK;
	e->desc[0] = 0;
	pthread_mutex_unlock(e->lock);
}
