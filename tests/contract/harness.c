/* SPDX-License-Identifier: BSD-3-Clause */
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/contract/contract.h"

#define GUARD 4096

/* ---- links and lanes ---- */

void ct_link_open(const struct ct_env *env, struct ct_link *k)
{
	struct rf_transport_cfg cfg = {.link_timeout =
					       env->link_timeout ? env->link_timeout : CT_TIMEOUT,
				       .max_lanes = 8};

	memset(k, 0, sizeof(*k));
	if (!strcmp(env->rung, "mem"))
		assert_int_equal(rf_mem_hub_new(NULL, &k->hub), RF_OK);
	cfg.hub = k->hub;
	cfg.local_host = env->peer;
	assert_int_equal(rf_transport_open(env->rung, &cfg, &k->dst), RF_OK);
	cfg.local_host = env->local;
	cfg.peer_host = env->peer;
	assert_int_equal(rf_transport_open(env->rung, &cfg, &k->src), RF_OK);
	for (unsigned i = 0; i < RF_TOKEN_SIZE; i++)
		k->token[i] = (uint8_t)(i * 37 + 5);
	assert_int_equal(rf_transport_listen(k->dst, k->addr, &k->addr_len), RF_OK);
	assert_in_range(k->addr_len, 1, RF_WIRE_ADDR_SIZE);
}

void ct_link_close(struct ct_link *k)
{
	rf_transport_close(&k->src);
	rf_transport_close(&k->dst);
	rf_mem_hub_delete(&k->hub);
	assert_null(k->src);
}

bool ct_is(const struct ct_env *env, const char *rung)
{
	return !strcmp(env->rung, rung);
}

static void *accept_thread(void *arg)
{
	struct ct_accept *a = arg;
	const uint64_t one = 1;

	a->err = rf_transport_accept(a->link->dst, a->token, a->timeout, a->cancel_fd, &a->lane);
	if (a->err && a->cancel_fd >= 0)
		(void)!write(a->cancel_fd, &one, sizeof(one));
	return NULL;
}

void ct_accept_start(struct ct_accept *a, struct ct_link *k, uint32_t timeout, int cancel_fd)
{
	memset(a, 0, sizeof(*a));
	a->link = k;
	a->timeout = timeout;
	a->cancel_fd = cancel_fd;
	memcpy(a->token, k->token, RF_TOKEN_SIZE);
	assert_int_equal(pthread_create(&a->thread, NULL, accept_thread, a), 0);
}

int ct_accept_join(struct ct_accept *a)
{
	pthread_join(a->thread, NULL);
	return a->err;
}

int ct_connect(struct ct_link *k, const uint8_t *token, enum rf_lane_kind kind, uint16_t index,
	       uint32_t timeout, int cancel_fd, struct rf_lane **out)
{
	struct rf_wire_lane id = {.kind = (uint8_t)kind, .index = index};

	memcpy(id.token, token, RF_TOKEN_SIZE);
	return rf_transport_connect(k->src, k->addr, k->addr_len, &id, timeout, cancel_fd, out);
}

void ct_lane_open(struct ct_link *k, enum rf_lane_kind kind, uint16_t index, struct ct_lane *l)
{
	struct ct_accept a;

	memset(l, 0, sizeof(*l));
	ct_accept_start(&a, k, CT_TIMEOUT, -1);
	assert_int_equal(ct_connect(k, k->token, kind, index, CT_TIMEOUT, -1, &l->src), RF_OK);
	assert_int_equal(ct_accept_join(&a), RF_OK);
	l->dst = a.lane;
	assert_int_equal(rf_lane_kind(l->dst), kind);
	assert_int_equal(rf_lane_index(l->dst), index);
	assert_string_equal(rf_lane_name(l->dst), rf_lane_name(l->src));
}

void ct_lane_close(struct ct_lane *l)
{
	rf_lane_close(&l->src);
	rf_lane_close(&l->dst);
	assert_null(l->src);
}

/* ---- memory ---- */

static uint8_t guard_byte(size_t i)
{
	return (uint8_t)(0xa5 ^ i);
}

void ct_area_new(struct ct_area *a, size_t len)
{
	int fd = memfd_create("contract", MFD_CLOEXEC);

	a->len = len;
	a->map_len = (len + GUARD - 1) / GUARD * GUARD + 2 * GUARD;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)a->map_len), 0);
	a->map = mmap(NULL, a->map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(a->map != MAP_FAILED);
	close(fd);
	a->mem = a->map + GUARD;
	for (size_t i = 0; i < GUARD; i++)
		a->map[i] = guard_byte(i);
	for (size_t i = GUARD + len; i < a->map_len; i++)
		a->map[i] = guard_byte(i);
}

void ct_area_fill(struct ct_area *a, uint64_t seed)
{
	size_t i;

	for (i = 0; i + 8 <= a->len; i += 8) {
		uint64_t r = next_random(&seed);

		memcpy(a->mem + i, &r, 8);
	}
	for (; i < a->len; i++)
		a->mem[i] = (uint8_t)i;
}

bool ct_area_guards_intact(const struct ct_area *a)
{
	for (size_t i = 0; i < GUARD; i++) {
		if (a->map[i] != guard_byte(i))
			return false;
	}
	for (size_t i = GUARD + a->len; i < a->map_len; i++) {
		if (a->map[i] != guard_byte(i))
			return false;
	}
	return true;
}

void ct_area_free(struct ct_area *a)
{
	munmap(a->map, a->map_len);
}

uint64_t ct_sum(const void *p, size_t len)
{
	const uint8_t *b = p;
	uint64_t sum = 1469598103934665603ull, v;

	for (; len >= 8; len -= 8, b += 8) {
		memcpy(&v, b, 8);
		sum = (sum ^ v) * 1099511628211ull;
	}
	while (len--)
		sum = (sum ^ *b++) * 1099511628211ull;
	return sum;
}

/* ---- polling ---- */

static void note(struct ct_seen *s, const struct rf_completion *c)
{
	switch (c->op) {
	case RF_OP_WRITE:
		s->writes += c->count;
		s->bytes += c->bytes;
		break;
	case RF_OP_SEND:
		s->sends += c->count;
		break;
	case RF_OP_RECV:
		s->recvs += c->count;
		if (s->on_recv)
			s->on_recv(s->arg, c->data, c->len);
		break;
	case RF_OP_FENCE_SEEN:
		s->fences += c->count;
		s->fence = c->value;
		if (s->on_fence)
			s->on_fence(s->arg, c->value);
		break;
	case RF_OP_IMM:
		s->imms += c->count;
		s->imm = c->value;
		if (s->on_imm)
			s->on_imm(s->arg, c->value);
		break;
	}
}

int ct_poll(struct rf_lane *l, struct ct_seen *seen)
{
	struct rf_completion c[8];
	int n = rf_lane_poll(l, c, COUNT_OF(c));

	if (n < 0) {
		seen->err = n;
		return 0;
	}
	for (int i = 0; i < n; i++)
		note(seen, &c[i]);
	return n;
}

int ct_sleep(struct rf_lane *l, int ms)
{
	struct pollfd p = {.fd = rf_lane_fd(l), .events = POLLIN};
	int rc = rf_lane_arm(l);

	if (rc == RF_OK)
		poll(&p, 1, ms);
	return rc;
}

/* Sleeps until either end has something. Arming the second may move the first: not long. */
static void sleep_on_both(struct ct_lane *l)
{
	struct pollfd p[2] = {{.fd = -1, .events = POLLIN}, {.fd = -1, .events = POLLIN}};

	if (l->src && !l->at_src.err) {
		if (rf_lane_arm(l->src) != RF_OK)
			return;
		p[0].fd = rf_lane_fd(l->src);
	}
	if (l->dst && !l->at_dst.err) {
		if (rf_lane_arm(l->dst) != RF_OK)
			return;
		p[1].fd = rf_lane_fd(l->dst);
	}
	poll(p, 2, 5);
}

bool ct_until(struct ct_lane *l, bool (*done)(const struct ct_lane *l, uint64_t n), uint64_t n)
{
	uint64_t end = rf_now_ns(&rf_clock_monotonic) + CT_TIMEOUT * RF_NS_PER_MS;

	while (!done(l, n)) {
		int got = 0;

		if (l->src)
			got += ct_poll(l->src, &l->at_src);
		if (l->dst)
			got += ct_poll(l->dst, &l->at_dst);
		if (got)
			continue;
		if (done(l, n))
			break;
		if (rf_now_ns(&rf_clock_monotonic) > end)
			return false;
		sleep_on_both(l);
	}
	return true;
}

bool ct_src_wrote(const struct ct_lane *l, uint64_t n)
{
	return l->at_src.writes >= n || l->at_src.err;
}

bool ct_src_sent(const struct ct_lane *l, uint64_t n)
{
	return l->at_src.sends >= n || l->at_src.err;
}

bool ct_dst_fenced(const struct ct_lane *l, uint64_t n)
{
	return l->at_dst.fences >= n || l->at_dst.err;
}

bool ct_dst_received(const struct ct_lane *l, uint64_t n)
{
	return l->at_dst.recvs >= n || l->at_dst.err;
}

bool ct_src_received(const struct ct_lane *l, uint64_t n)
{
	return l->at_src.recvs >= n || l->at_src.err;
}

bool ct_dst_imm(const struct ct_lane *l, uint64_t n)
{
	return l->at_dst.imms >= n || l->at_dst.err;
}

bool ct_src_dead(const struct ct_lane *l, uint64_t n)
{
	return l->at_src.err != RF_OK;
}

bool ct_both_dead(const struct ct_lane *l, uint64_t n)
{
	return l->at_src.err && l->at_dst.err;
}

/* Makes room: polls both ends once. False when the source's lane is dead. */
static bool make_room(struct ct_lane *l)
{
	int got = ct_poll(l->src, &l->at_src);

	if (l->dst)
		got += ct_poll(l->dst, &l->at_dst);
	if (!got)
		sleep_on_both(l);
	return !l->at_src.err;
}

int ct_write(struct ct_lane *l, const struct rf_write *w)
{
	int rc;

	while ((rc = rf_lane_write(l->src, w, 1)) == RF_NO_RESOURCE && make_room(l))
		;
	return rc;
}

int ct_fence(struct ct_lane *l, uint64_t value)
{
	int rc;

	while ((rc = rf_lane_fence(l->src, value)) == RF_NO_RESOURCE && make_room(l))
		;
	return rc;
}
