/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer in another process that is killed or stopped in the middle of a stream. The peer is this
 * program started anew, as RDMA libraries do not like fork():
 *
 *   test_rdma_peer            cases; the peer's stdin and stdout are pipes to it
 *   test_rdma_peer target     listens, takes one lane, polls it
 *   test_rdma_peer writer     connects one lane, writes without end
 *
 * The memory that is written to is a memfd of the cases, so that they see it whoever dies.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/rdma/rdma_link.h"

#define LEN	     (8u << 20)
#define PIECE	     (64u << 10)
#define LINK_TIMEOUT 1000
#define MEMORY_FD    3 /* the memfd in the peer */

/* What writer and target must know of each other. */
struct meeting {
	uint8_t addr[RF_WIRE_ADDR_SIZE];
	uint32_t addr_len;
	struct rf_remote_key key;
};

static struct rdma_env env;
static const uint8_t token[RF_TOKEN_SIZE] = "a token of peers";

/* ---- the peer's program ---- */

static void *map_memory(int fd)
{
	void *mem = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (mem == MAP_FAILED)
		return NULL;
	return mem;
}

static int open_end(const char *local, struct rf_transport **t)
{
	struct rf_transport_cfg cfg = {.local_host = local, .link_timeout = LINK_TIMEOUT};

	return rf_transport_open("verbs", &cfg, t);
}

static int be_target(void)
{
	void *mem = map_memory(MEMORY_FD);
	struct ct_seen seen = {0};
	struct rf_transport *t;
	struct rf_lane *lane;
	struct rf_mr *mr;
	struct meeting m;

	if (!mem || open_end(env.peer, &t) || rf_transport_listen(t, m.addr, &m.addr_len) ||
	    rf_mr_register(t, mem, LEN, RF_ACCESS_REMOTE_WRITE, &mr))
		return 1;
	rf_mr_key(mr, &m.key);
	if (write(STDOUT_FILENO, &m, sizeof(m)) != sizeof(m) ||
	    rf_transport_accept(t, token, CT_TIMEOUT, -1, &lane))
		return 1;
	while (!seen.err) {
		if (!ct_poll(lane, &seen))
			ct_sleep(lane, 100);
	}
	return 0;
}

static int be_writer(void)
{
	struct rf_wire_lane id = {.kind = RF_LANE_BULK};
	struct ct_seen seen = {0};
	struct rf_transport *t;
	struct rf_lane *lane;
	struct rf_mr *mr;
	struct meeting m;
	struct ct_area a;

	memcpy(id.token, token, sizeof(token));
	ct_area_new(&a, LEN);
	if (read(STDIN_FILENO, &m, sizeof(m)) != sizeof(m) || open_end(env.local, &t) ||
	    rf_mr_register(t, a.mem, LEN, RF_ACCESS_LOCAL_READ, &mr) ||
	    rf_transport_connect(t, m.addr, m.addr_len, &id, CT_TIMEOUT, -1, &lane))
		return 1;
	for (uint64_t n = 0; !seen.err; n++) {
		const uint64_t off = n * PIECE % LEN;
		const struct rf_write w = {a.mem + off, mr, &m.key, off, PIECE};

		/* never twice the same bytes */
		memset(a.mem + off, (int)(n * PIECE / LEN + 1), PIECE);
		while (rf_lane_write(lane, &w, 1) == RF_NO_RESOURCE && !seen.err) {
			if (!ct_poll(lane, &seen))
				ct_sleep(lane, 100);
		}
		ct_poll(lane, &seen);
	}
	return 0;
}

/* ---- cases ---- */

struct peer {
	pid_t pid;
	int to, from; /* pipes */
	int fd;	      /* the memory */
	uint8_t *mem;
};

static void run_peer(const struct peer *p, const char *role, int in, int out)
{
	char *argv[] = {"test_rdma_peer", (char *)role, NULL};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* the memory last: its number may be that of a pipe */
	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
	    (p->fd != MEMORY_FD && dup2(p->fd, MEMORY_FD) < 0))
		_exit(9);
	execv("/proc/self/exe", argv);
	_exit(9);
}

static void start_peer(struct peer *p, const char *role)
{
	int to[2], from[2];

	p->fd = memfd_create("peer", 0);
	assert_true(p->fd >= 0);
	assert_int_equal(ftruncate(p->fd, LEN), 0);
	p->mem = map_memory(p->fd);
	assert_non_null(p->mem);
	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	p->pid = fork();
	assert_true(p->pid >= 0);
	if (!p->pid)
		run_peer(p, role, to[0], from[1]);
	close(to[0]);
	close(from[1]);
	p->to = to[1];
	p->from = from[0];
}

static void end_peer(struct peer *p)
{
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	close(p->to);
	close(p->from);
	munmap(p->mem, LEN);
	close(p->fd);
}

/* We write, the peer is the target. */
struct writing {
	struct peer peer;
	struct rdma_link r;
};

static void start_writing(struct writing *w)
{
	struct rf_wire_lane id = {.kind = RF_LANE_BULK};
	struct meeting m;

	memset(w, 0, sizeof(*w));
	start_peer(&w->peer, "target");
	assert_int_equal(read(w->peer.from, &m, sizeof(m)), sizeof(m));
	assert_int_equal(open_end(env.local, &w->r.k.src), RF_OK);
	memcpy(id.token, token, sizeof(token));
	assert_int_equal(rf_transport_connect(w->r.k.src, m.addr, m.addr_len, &id, CT_TIMEOUT, -1,
					      &w->r.l.src),
			 RF_OK);
	w->r.key = m.key;
	ct_area_new(&w->r.from, LEN);
	ct_area_fill(&w->r.from, 5);
	assert_int_equal(rf_mr_register(w->r.k.src, w->r.from.mem, LEN, RF_ACCESS_LOCAL_READ,
					&w->r.from_mr),
			 RF_OK);
	rdma_link_stream(&w->r, PIECE, 200);
	assert_int_equal(w->r.l.at_src.err, RF_OK);
	assert_true(w->r.l.at_src.writes > 0);
}

static void end_writing(struct writing *w)
{
	rf_lane_close(&w->r.l.src);
	rf_mr_deregister(&w->r.from_mr);
	rf_transport_close(&w->r.k.src);
	ct_area_free(&w->r.from);
	end_peer(&w->peer);
}

static bool at_rest(const void *mem)
{
	uint64_t sum = ct_sum(mem, LEN);

	usleep(300000);
	return ct_sum(mem, LEN) == sum;
}

static void target_killed(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct writing w;
		uint64_t sum;
		uint32_t ms;

		start_writing(&w);
		sum = ct_sum(w.r.from.mem, LEN);
		kill(w.peer.pid, SIGKILL);
		ms = rdma_link_stream_to_death(&w.r, PIECE, CT_TIMEOUT);
		printf("killed target noticed after %u ms: %s\n", ms, rf_lane_error(w.r.l.src));
		assert_true(w.r.l.at_src.err == RF_ERR_LANE_CLOSED ||
			    w.r.l.at_src.err == RF_ERR_LANE_TIMEOUT);
		assert_true(ms < 2 * LINK_TIMEOUT);
		/* nobody writes to the dead process's memory any more, nor has to ours */
		assert_true(at_rest(w.peer.mem));
		assert_int_equal(ct_sum(w.r.from.mem, LEN), sum);
		end_writing(&w);
	}
}

/* Its device goes on taking writes, its program no fences: after a while nobody answers. */
static void target_stopped(void **state)
{
	struct writing w;
	uint64_t start;
	int rc = RF_OK;

	start_writing(&w);
	kill(w.peer.pid, SIGSTOP);
	start = rdma_now_ms();
	while (!w.r.l.at_src.err && rdma_now_ms() - start < CT_TIMEOUT) {
		rc = rf_lane_fence(w.r.l.src, 1);
		if (!ct_poll(w.r.l.src, &w.r.l.at_src) && rc == RF_NO_RESOURCE)
			ct_sleep(w.r.l.src, CT_TIMEOUT);
	}
	printf("stopped target noticed after %lu ms: %s\n", rdma_now_ms() - start,
	       rf_lane_error(w.r.l.src));
	assert_int_equal(w.r.l.at_src.err, RF_ERR_LANE_TIMEOUT);
	assert_non_null(strstr(rf_lane_error(w.r.l.src), "posts no receives"));
	end_writing(&w);
}

/* The other way round: what a killed writer had posted comes to rest, within its range. */
static void writer_killed(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct ct_seen seen = {0};
		struct rf_transport *t;
		struct rf_lane *lane;
		struct meeting m = {0};
		struct rf_mr *mr;
		struct peer p;
		uint64_t start;

		start_peer(&p, "writer");
		assert_int_equal(open_end(env.peer, &t), RF_OK);
		assert_int_equal(rf_transport_listen(t, m.addr, &m.addr_len), RF_OK);
		assert_int_equal(rf_mr_register(t, p.mem + PIECE, LEN - 2 * PIECE,
						RF_ACCESS_REMOTE_WRITE, &mr),
				 RF_OK);
		rf_mr_key(mr, &m.key);
		assert_int_equal(write(p.to, &m, sizeof(m)), sizeof(m));
		assert_int_equal(rf_transport_accept(t, token, CT_TIMEOUT, -1, &lane), RF_OK);
		/* killed before its writes reach the end of the range, where one is refused */
		start = rdma_now_ms();
		while (!p.mem[4 * PIECE] && rdma_now_ms() - start < CT_TIMEOUT)
			usleep(1000);
		kill(p.pid, SIGKILL);
		start = rdma_now_ms();
		while (!seen.err && rdma_now_ms() - start < CT_TIMEOUT) {
			if (!ct_poll(lane, &seen))
				ct_sleep(lane, CT_TIMEOUT);
		}
		printf("killed writer noticed after %lu ms: %s\n", rdma_now_ms() - start,
		       rf_lane_error(lane));
		assert_int_not_equal(seen.err, RF_OK);
		rf_mr_deregister(&mr);
		assert_true(at_rest(p.mem));
		for (uint32_t k = 0; k < PIECE; k++) {
			assert_int_equal(p.mem[k], 0);
			assert_int_equal(p.mem[LEN - PIECE + k], 0);
		}
		rf_lane_close(&lane);
		rf_transport_close(&t);
		end_peer(&p);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(target_killed),
		cmocka_unit_test(target_stopped),
		cmocka_unit_test(writer_killed),
	};

	rdma_link_require("test_rdma_peer", &env);
	rf_log_set_level(RF_LOG_NONE);
	if (argc > 1)
		return strcmp(argv[1], "target") ? be_writer() : be_target();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
