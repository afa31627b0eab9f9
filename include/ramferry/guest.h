/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file guest.h
 * What ramferry asks of a VMM. The VMM fills a table of functions; ramferry calls them.
 */
#ifndef RAMFERRY_GUEST_H
#define RAMFERRY_GUEST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Functions of a VMM. All are called from the thread that runs rf_source_run() or
 * rf_dest_run(), one at a time, except throttle, which may come from another thread.
 * Each returns RF_OK or RF_ERR_GUEST (or another error, which is passed on) after it has
 * logged what went wrong.
 */
struct rf_guest_ops {
	size_t size; /**< sizeof(struct rf_guest_ops) */

	/**
	 * Source: stops all vCPUs and devices. When it returns no guest write to RAM is under
	 * way. Called once, and again after a resume. Never called twice in a row.
	 */
	int (*pause)(void *arg);

	/**
	 * Source: lets the paused guest go on (the migration failed or was cancelled).
	 * Destination: starts the guest for the first time, after load_state.
	 */
	int (*resume)(void *arg);

	/**
	 * Source: everything of the paused guest that is not RAM.
	 * @param buf  on success memory from malloc(), which ramferry frees.
	 * @param len  its bytes; at most 256 MiB.
	 */
	int (*save_state)(void *arg, void **buf, size_t *len);

	/**
	 * Destination: takes over what save_state gave. Called when the whole of it has been
	 * received and all precopied RAM is there. The bytes come from the peer: check them.
	 */
	int (*load_state)(void *arg, const void *buf, size_t len);

	/** Source, optional (NULL: 0): a guess of save_state's size in bytes, cheap to ask. */
	uint64_t (*state_size)(void *arg);

	/**
	 * Source, optional (NULL: the guest cannot be throttled).
	 * @param percent 0 (full speed) to 99: the share of time the vCPUs are to stand still.
	 */
	int (*throttle)(void *arg, unsigned percent);

	/**
	 * Source, optional: hints of free pages are taken from now on (rf_source_hint_free()), the
	 * first ones with this epoch. Returns at once. Only with free_hints.
	 */
	void (*free_hint_start)(void *arg, uint64_t epoch);

	/**
	 * Optional: it is over, the guest may use again what it has set aside as free. Called once
	 * where the guest goes on: on the destination when all its memory is there, in postcopy
	 * with the last page; on the source when it stays there. Only if hints were taken.
	 */
	void (*free_hint_done)(void *arg);
};

#ifdef __cplusplus
}
#endif
#endif
