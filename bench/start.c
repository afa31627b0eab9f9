/* SPDX-License-Identifier: BSD-3-Clause */
/* Which sides this process is: one of them, or both (--self: two processes; mem: two threads). */
#include "bench/start.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/device.h"
#include "bench/say.h"
#include "transport/mem/mem.h"

static struct session new_session(const struct bench_kind *kind, const struct bench_opts *o,
				  bool server, bool quiet)
{
	struct session s = {
		.kind = kind,
		.opts = *o,
		.server = server,
		.peer.fd = -1,
	};

	report_init(&s.report, kind, o->json, quiet);
	return s;
}

static int connect_client(struct session *s, const char *host, uint16_t port)
{
	if (peer_connect(host, port, s->kind->name, &s->peer))
		return -1;
	return session_client(s);
}

static int accept_server(struct session *s, int listen_fd)
{
	if (peer_accept(listen_fd, s->kind->name, &s->peer))
		return -1;
	return session_server(s);
}

static int serve(const struct bench_kind *kind, const struct bench_opts *o)
{
	struct session s = new_session(kind, o, true, false);
	uint16_t port = (uint16_t)o->port;
	int fd, rc;

	if (peer_listen(NULL, &port, &fd))
		return -1;
	if (!o->json) {
		printf("************************************\n"
		       "* Waiting for client to connect... *\n"
		       "************************************\n");
		fflush(stdout);
	}
	rc = accept_server(&s, fd);
	close(fd);
	return rc;
}

/* What the server is told when it is started here: all comes from the client. */
static struct bench_opts server_opts(const struct bench_opts *o)
{
	struct bench_opts mine = *o;

	mine.device = mine.gid_index = mine.provider = mine.local = NULL;
	mine.transport = "auto";
	return mine;
}

/* Both ends' addresses of --self: HOST, or something that will do. */
static const char *self_host(struct bench_opts *o, char server[BENCH_ADDR_SIZE])
{
	char client[BENCH_ADDR_SIZE];

	if (o->host)
		return o->host;
	if (strcmp(o->transport, "verbs"))
		return "127.0.0.1";
	/* RDMA has no loopback address; two devices are better than one */
	if (!device_ends(client, server)) {
		say_error("--self with --transport verbs: there is no RDMA device with an address");
		return NULL;
	}
	if (!o->local) {
		memcpy(o->address, client, sizeof(client));
		o->local = o->address;
	}
	return server;
}

static int run_forked(const struct bench_kind *kind, struct bench_opts *o, const char *host, int fd,
		      uint16_t port)
{
	struct session s = new_session(kind, o, false, false);
	struct bench_opts theirs = server_opts(o);
	pid_t parent = getpid(), child = fork();
	int rc, status = 0;

	if (child < 0)
		return say_error("fork failed");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(EXIT_FAILURE);
		say_as("server");
		s = new_session(kind, &theirs, true, true);
		_exit(accept_server(&s, fd) ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	close(fd);
	rc = connect_client(&s, host, port);
	if (rc)
		kill(child, SIGTERM);
	waitpid(child, &status, 0);
	if (!rc && status)
		return say_error("the server ended with %s %d",
				 WIFSIGNALED(status) ? "signal" : "exit code",
				 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return rc;
}

static int run_self(const struct bench_kind *kind, struct bench_opts *o)
{
	char address[BENCH_ADDR_SIZE];
	uint16_t port = 0;
	const char *host;
	int fd;

	if (device_resolve(o))
		return -1;
	o->device = NULL;
	host = self_host(o, address);
	if (!host || peer_listen(host, &port, &fd))
		return -1;
	return run_forked(kind, o, host, fd, port);
}

struct server_thread {
	struct session s;
	int fd, rc;
};

static void *serve_in_thread(void *arg)
{
	struct server_thread *t = arg;

	say_as("server");
	t->rc = accept_server(&t->s, t->fd);
	return NULL;
}

static int run_mem(const struct bench_kind *kind, const struct bench_opts *o)
{
	const struct rf_mem_hub_cfg cfg = {.max_write = BENCH_MAX_SIZE};
	struct session s = new_session(kind, o, false, false);
	const struct bench_opts theirs = server_opts(o);
	struct server_thread t = {.s = new_session(kind, &theirs, true, true)};
	uint16_t port = 0;
	pthread_t thread;
	int rc = rf_mem_hub_new(&cfg, &s.hub);

	if (rc)
		return say_code(rc, "transport mem");
	t.s.hub = s.hub;
	rc = peer_listen("127.0.0.1", &port, &t.fd);
	if (!rc && pthread_create(&thread, NULL, serve_in_thread, &t)) {
		rc = say_error("cannot start a thread");
	} else if (!rc) {
		rc = connect_client(&s, "127.0.0.1", port);
		pthread_join(thread, NULL);
		rc |= t.rc;
	}
	rf_mem_hub_delete(&s.hub);
	return rc;
}

int bench_main(const struct bench_kind *kind, int argc, char **argv)
{
	struct bench_opts o = {0};
	int rc = options_parse(kind->table, kind->name, kind->purpose, argc, argv, &o);
	const char *refusal;

	/* As in the commands: sockets sleep at once. */
	setenv("FI_SOCKETS_PE_WAITTIME", "0", 0);
	if (rc >= 0)
		return rc;
	refusal = kind->refuses ? kind->refuses(&o) : NULL;
	if (refusal) {
		fprintf(stderr, "%s: %s\n", kind->name, refusal);
		return EXIT_USAGE;
	}
	if (!o.raw_completion)
		o.raw_completion = "delivery";
	/* what this program has no option for */
	if (!o.want.lanes)
		o.want.lanes = 1;
	if (!o.want.depth)
		o.want.depth = 1;
	signal(SIGPIPE, SIG_IGN);
	say_as(kind->name);
	say_catch_log();
	if (o.self || !strcmp(o.transport, "mem"))
		say_both_here();
	if (!strcmp(o.transport, "mem")) {
		rc = run_mem(kind, &o);
	} else if (o.self) {
		rc = run_self(kind, &o);
	} else if (o.host) {
		struct session s = new_session(kind, &o, false, false);

		rc = connect_client(&s, o.host, (uint16_t)o.port);
	} else {
		rc = serve(kind, &o);
	}
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
