/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names to addresses. Numeric addresses are translated at once; for names getaddrinfo() runs
 * on a detached thread, because it may take as long as the resolver's own timeouts.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <poll.h>

#include <ramferry/err.h>

#include "transport/ctrl_impl.h"

/* Shared by the thread and the one who waits; the last one frees it. */
struct lookup {
	/* fixed */
	char *host;
	char port[8];
	struct addrinfo hints;
	int done_fd;
	/* the thread's until done, then the waiter's */
	struct addrinfo *res;
	int gai;

	_Atomic bool done; /* set before done_fd is written */
	_Atomic int refs;
};

static void put_lookup(struct lookup *l)
{
	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	if (l->res)
		freeaddrinfo(l->res);
	if (l->done_fd >= 0)
		close(l->done_fd);
	free(l->host);
	free(l);
}

static void *run_lookup(void *arg)
{
	struct lookup *l = arg;

	l->gai = getaddrinfo(l->host, l->port, &l->hints, &l->res);
	if (l->gai)
		l->res = NULL;
	atomic_store(&l->done, true);
	eventfd_write(l->done_fd, 1);
	put_lookup(l);
	return NULL;
}

static int start_lookup(struct lookup *l)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	atomic_fetch_add(&l->refs, 1);
	int r = pthread_create(&thread, &attr, run_lookup, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (!r)
		return RF_OK;
	atomic_fetch_sub(&l->refs, 1);
	rf_err_log("resolver", "cannot start a thread: %s", strerror(r));
	return RF_ERR_SYSTEM;
}

static struct lookup *new_lookup(const char *host, const char *port, const struct addrinfo *hints)
{
	struct lookup *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->refs = 1;
	l->hints = *hints;
	l->host = strdup(host);
	snprintf(l->port, sizeof(l->port), "%s", port);
	l->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!l->host || l->done_fd < 0) {
		put_lookup(l);
		return NULL;
	}
	return l;
}

int rf_ctrl_resolve(const char *host, uint16_t port, int flags, uint64_t deadline_ns, int cancel_fd,
		    struct addrinfo **out, const char **why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = flags | AI_NUMERICSERV | AI_NUMERICHOST};
	char service[8];

	snprintf(service, sizeof(service), "%u", port);
	*why = "";
	if (getaddrinfo(host, service, &hints, out) == 0)
		return RF_OK;

	hints.ai_flags = flags | AI_NUMERICSERV;
	struct lookup *l = new_lookup(host, service, &hints);

	if (!l)
		return RF_ERR_NO_MEMORY;
	int r = start_lookup(l);

	if (!r)
		r = rf_ctrl_wait(l->done_fd, POLLIN, deadline_ns, cancel_fd);
	if (r || !atomic_load(&l->done)) {
		put_lookup(l);
		return r ? r : RF_ERR_SYSTEM;
	}
	if (l->gai) {
		*why = gai_strerror(l->gai);
		r = RF_ERR_UNREACHABLE;
	} else {
		*out = l->res;
		l->res = NULL;
	}
	put_lookup(l);
	return r;
}
