/* SPDX-License-Identifier: BSD-3-Clause */
/* Lanes and links coming and going. */
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/contract/contract.h"
#include "tests/leaks.h"

static const uint8_t wrong_token[RF_TOKEN_SIZE] = {1, 2, 3};

/* ---- ends of lanes ---- */

void ct_peer_closes_busy_lane(void **state)
{
	const uint32_t piece = 65536;
	struct rf_remote_key key;
	struct ct_area from, to;
	struct rf_mr *from_mr, *to_mr;
	struct ct_lane l;
	struct ct_link k;
	unsigned posted = 0;
	int rc = 1;

	if (ct_is(*state, "ofi:shm"))
		skip_case("peer_closes_busy_lane",
			  "libfabric's shm writes to freed memory of a closed "
			  "peer of the same process");
	ct_link_open(*state, &k);
	ct_area_new(&from, piece);
	ct_area_new(&to, piece);
	assert_int_equal(rf_mr_register(k.src, from.mem, piece, RF_ACCESS_LOCAL_READ, &from_mr),
			 RF_OK);
	assert_int_equal(rf_mr_register(k.dst, to.mem, piece, RF_ACCESS_REMOTE_WRITE, &to_mr),
			 RF_OK);
	rf_mr_key(to_mr, &key);
	ct_lane_open(&k, RF_LANE_BULK, 0, &l);
	const struct rf_write w = {from.mem, from_mr, &key, 0, piece};

	while (posted < 1000 && rc == 1) {
		rc = ct_write(&l, &w);
		posted++;
		if (posted == 100)
			rf_lane_close(&l.dst);
	}
	assert_true(rc < 0);
	assert_true(ct_until(&l, ct_src_dead, 0));
	assert_true(l.at_src.err == RF_ERR_LANE_CLOSED || l.at_src.err == RF_ERR_LANE_TIMEOUT);
	assert_true(rf_lane_error(l.src)[0] != '\0');
	ct_lane_close(&l);
	rf_mr_deregister(&from_mr);
	rf_mr_deregister(&to_mr);
	ct_link_close(&k);
	ct_area_free(&from);
	ct_area_free(&to);
}

struct sleeper {
	struct rf_lane *lane;
	struct ct_seen seen;
};

static void *sleep_till_death(void *arg)
{
	struct sleeper *s = arg;
	uint64_t end = rf_now_ns(&rf_clock_monotonic) + CT_TIMEOUT * RF_NS_PER_MS;

	while (!s->seen.err && rf_now_ns(&rf_clock_monotonic) < end) {
		if (!ct_poll(s->lane, &s->seen) && !s->seen.err)
			ct_sleep(s->lane, CT_TIMEOUT);
	}
	return NULL;
}

/* An owner that sleeps is woken by the end of its lane; both ends, both kinds. */
void ct_peer_closes_idle_lane(void **state)
{
	struct ct_link k;

	ct_link_open(*state, &k);
	for (unsigned i = 0; i < 4; i++) {
		struct sleeper s = {0};
		struct rf_lane **other;
		struct ct_lane l;
		pthread_t thread;

		ct_lane_open(&k, i / 2 ? RF_LANE_URGENT : RF_LANE_BULK, (uint16_t)i, &l);
		s.lane = i % 2 ? l.src : l.dst;
		other = i % 2 ? &l.dst : &l.src;
		assert_int_equal(pthread_create(&thread, NULL, sleep_till_death, &s), 0);
		usleep(2000); /* most likely it sleeps now; right either way */
		rf_lane_close(other);
		pthread_join(thread, NULL);
		assert_int_equal(s.seen.err, RF_ERR_LANE_CLOSED);
		ct_lane_close(&l);
	}
	ct_link_close(&k);
}

void ct_dead_lane_stays_dead(void **state)
{
	struct rf_completion c[4];
	struct rf_mr *mr;
	struct ct_area a;
	struct ct_lane l;
	struct ct_link k;

	ct_link_open(*state, &k);
	ct_lane_open(&k, RF_LANE_URGENT, 0, &l);
	ct_area_new(&a, 4096);
	assert_int_equal(rf_mr_register(k.src, a.mem, 4096, RF_ACCESS_LOCAL_READ, &mr), RF_OK);
	rf_lane_close(&l.dst);
	assert_true(ct_until(&l, ct_src_dead, 0));
	const struct rf_remote_key key = {0};
	const struct rf_write w = {a.mem, mr, &key, 0, 8};

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rf_lane_write(l.src, &w, 1), l.at_src.err);
		assert_int_equal(rf_lane_write_imm(l.src, &w, 1), l.at_src.err);
		assert_int_equal(rf_lane_send(l.src, "x", 1), l.at_src.err);
		assert_int_equal(rf_lane_fence(l.src, 1), l.at_src.err);
		assert_int_equal(rf_lane_poll(l.src, c, 4), l.at_src.err);
		assert_int_equal(rf_lane_arm(l.src), RF_AGAIN);
	}
	rf_mr_deregister(&mr);
	ct_lane_close(&l);
	ct_link_close(&k);
	ct_area_free(&a);
}

/* ---- leaks ---- */

static void open_and_close(struct ct_env *env, unsigned lanes)
{
	struct ct_lane l[4];
	struct ct_link k;

	ct_link_open(env, &k);
	for (unsigned i = 0; i < lanes; i++)
		ct_lane_open(&k, i % 2 ? RF_LANE_URGENT : RF_LANE_BULK, (uint16_t)i, &l[i]);
	for (unsigned i = 0; i < lanes; i++)
		ct_lane_close(&l[i]);
	ct_link_close(&k);
}

void ct_storm_leaks_nothing(void **state)
{
	unsigned fds, tasks;

	/* what a provider opens once for the process stays */
	open_and_close(*state, 4);
	fds = count_fds();
	tasks = count_threads();
	for (unsigned i = 0; i < 25; i++)
		open_and_close(*state, i % 5);
	assert_true(fds_settle_at(fds));
	assert_true(threads_settle_at(tasks));
}

/* ---- strangers ---- */

void ct_wrong_token(void **state)
{
	struct rf_lane *lane = NULL;
	struct ct_accept a;
	struct ct_link k;

	ct_link_open(*state, &k);
	ct_accept_start(&a, &k, CT_TIMEOUT, -1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ct_connect(&k, wrong_token, RF_LANE_BULK, 0, CT_TIMEOUT, -1,
					    &lane),
				 RF_ERR_REFUSED);
	assert_null(lane);
	/* the wait went on, and the right one gets in */
	assert_int_equal(ct_connect(&k, k.token, RF_LANE_BULK, 5, CT_TIMEOUT, -1, &lane), RF_OK);
	assert_int_equal(ct_accept_join(&a), RF_OK);
	assert_int_equal(rf_lane_index(a.lane), 5);
	rf_lane_close(&lane);
	rf_lane_close(&a.lane);
	ct_link_close(&k);
}

/* TCP connections that say nothing, or nonsense, at the lane's port. */
void ct_strangers(void **state)
{
	struct ct_env *env = *state;
	struct sockaddr_storage ss;
	struct rf_lane *lane = NULL;
	char noise[512];
	struct ct_accept a;
	struct ct_link k;
	int fd[3];

	ct_link_open(env, &k);
	memcpy(&ss, k.addr + 4, k.addr_len - 4);
	memset(noise, 'x', sizeof(noise));
	for (unsigned i = 0; i < COUNT_OF(fd); i++) {
		fd[i] = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fd[i], (struct sockaddr *)&ss, k.addr_len - 4), 0);
	}
	assert_true(write(fd[1], noise, sizeof(noise)) > 0);
	close(fd[2]);
	ct_accept_start(&a, &k, CT_TIMEOUT, -1);
	assert_int_equal(ct_connect(&k, k.token, RF_LANE_BULK, 0, CT_TIMEOUT, -1, &lane), RF_OK);
	assert_int_equal(ct_accept_join(&a), RF_OK);
	close(fd[0]);
	close(fd[1]);
	rf_lane_close(&lane);
	rf_lane_close(&a.lane);
	ct_link_close(&k);
}

/* ---- several at once ---- */

void ct_two_links(void **state)
{
	struct ct_lane l[2];
	struct ct_link k[2];

	for (unsigned i = 0; i < 2; i++) {
		ct_link_open(*state, &k[i]);
		ct_lane_open(&k[i], RF_LANE_URGENT, 0, &l[i]);
	}
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rf_lane_send(l[i].src, "hello", 5), RF_OK);
	assert_true(ct_until(&l[0], ct_dst_received, 1));
	/* the end of one link is not the end of the other */
	ct_lane_close(&l[0]);
	ct_link_close(&k[0]);
	assert_true(ct_until(&l[1], ct_dst_received, 1));
	assert_int_equal(rf_lane_send(l[1].dst, "world", 5), RF_OK);
	assert_true(ct_until(&l[1], ct_src_received, 1));
	assert_int_equal(l[1].at_src.err, RF_OK);
	ct_lane_close(&l[1]);
	ct_link_close(&k[1]);
}

struct worker {
	struct ct_lane *l;
	struct ct_area *from;
	struct rf_mr *from_mr;
	const struct rf_remote_key *key;
	uint64_t off;
	bool ok;
};

#define SHARE (1u << 20)

static void *work_lane(void *arg)
{
	struct worker *w = arg;
	bool ok = true;

	for (unsigned i = 0; i < 256 && ok; i++) {
		const uint64_t off = w->off + i * 4096ull;
		const struct rf_write wr = {w->from->mem + off, w->from_mr, w->key, off, 4096};

		ok = ct_write(w->l, &wr) == 1;
	}
	ok = ok && ct_fence(w->l, w->off) == RF_OK;
	ok = ok && ct_until(w->l, ct_dst_fenced, 1) && w->l->at_dst.err == RF_OK;
	w->ok = ok && w->l->at_dst.fence == w->off;
	return NULL;
}

/* Lanes of one transport, each with a thread of its own. */
void ct_lanes_in_threads(void **state)
{
	enum { N = 4 };
	struct rf_mr *from_mr, *to_mr;
	struct rf_remote_key key;
	struct ct_area from, to;
	struct worker w[N];
	struct ct_lane l[N];
	struct ct_link k;

	ct_link_open(*state, &k);
	ct_area_new(&from, N * SHARE);
	ct_area_new(&to, N * SHARE);
	ct_area_fill(&from, 77);
	assert_int_equal(rf_mr_register(k.src, from.mem, from.len, RF_ACCESS_LOCAL_READ, &from_mr),
			 RF_OK);
	assert_int_equal(rf_mr_register(k.dst, to.mem, to.len, RF_ACCESS_REMOTE_WRITE, &to_mr),
			 RF_OK);
	rf_mr_key(to_mr, &key);
	for (unsigned i = 0; i < N; i++) {
		ct_lane_open(&k, i ? RF_LANE_BULK : RF_LANE_URGENT, (uint16_t)i, &l[i]);
		w[i] = (struct worker){&l[i], &from, from_mr, &key, i * (uint64_t)SHARE, false};
	}
	run_threads(N, work_lane, w, sizeof(w[0]));
	for (unsigned i = 0; i < N; i++) {
		assert_true(w[i].ok);
		ct_lane_close(&l[i]);
	}
	assert_int_equal(ct_sum(from.mem, from.len), ct_sum(to.mem, to.len));
	assert_true(ct_area_guards_intact(&to));
	rf_mr_deregister(&from_mr);
	rf_mr_deregister(&to_mr);
	ct_link_close(&k);
	ct_area_free(&from);
	ct_area_free(&to);
}
