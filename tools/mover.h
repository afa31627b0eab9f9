/* SPDX-License-Identifier: BSD-3-Clause */
/* One guest and its source: what `send` does for each address it is given. */
#ifndef RF_TOOLS_MOVER_H
#define RF_TOOLS_MOVER_H

#include <pthread.h>

#include "tools/common.h"
#include "tools/shares.h"

#define MOVERS_MAX 64

struct control;

struct mover {
	/* fixed after open */
	unsigned index;
	char host[256];
	uint16_t port;
	uint64_t run_before; /* ms */
	struct rf_source *src;
	struct control *control;	   /* NULL: none */
	const volatile sig_atomic_t *stop; /* a signal came */
	pthread_t thread;
	/* who runs it, until it is over */
	struct watched_vm w;
	struct progress progress;
	struct share_track track;
	int rc;	    /* EXIT_SUCCESS: it arrived */
	bool sound; /* the guest that is here */
};

/* Makes the guest and the source. cfg is complete but for address, guest, tracker and progress. */
bool mover_open(struct mover *m, const struct guest_opts *guest, const struct rf_source_cfg *cfg);
void mover_close(struct mover *m);

/* Lets the guest run, moves it, checks it. */
void mover_run(struct mover *m);

/* Its report; the caller puts it. */
struct json_object *mover_report(struct mover *m);

#endif
