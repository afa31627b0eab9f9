/* SPDX-License-Identifier: BSD-3-Clause */
/* Urgent lanes: messages, writes with immediate, sleeping; and what the front door refuses. */
#include <poll.h>

#include "tests/contract/contract.h"

#define MESSAGES 1000 /* more than any ring has slots */

/* A message: its number, then bytes that follow from it. */
static uint32_t make_message(uint8_t *buf, uint32_t n, uint32_t max)
{
	uint32_t len = 8 + n * 13 % 120;

	if (n % 97 == 0)
		len = max;
	if (len > max)
		len = max;
	memcpy(buf, &n, sizeof(n));
	for (uint32_t i = sizeof(n); i < len; i++)
		buf[i] = (uint8_t)(n + i * 7);
	return len;
}

struct order {
	uint32_t next, max;
	bool wrong;
};

static void check_message(void *arg, const void *data, uint32_t len)
{
	struct order *o = arg;
	uint8_t want[65536];
	uint32_t want_len = make_message(want, o->next++, o->max);

	if (len != want_len || memcmp(want, data, len) != 0)
		o->wrong = true;
}

void ct_messages_both_ways(void **state)
{
	struct order to_dst = {0}, to_src = {0};
	uint32_t sent[2] = {0}, max;
	uint8_t buf[65536];
	struct ct_lane l;
	struct ct_link k;
	uint64_t end;

	ct_link_open(*state, &k);
	ct_lane_open(&k, RF_LANE_URGENT, 0, &l);
	max = rf_transport_caps(k.src)->max_msg;
	assert_in_range(max, 64, sizeof(buf));
	to_dst.max = to_src.max = max;
	l.at_dst.on_recv = l.at_src.on_recv = check_message;
	l.at_dst.arg = &to_dst;
	l.at_src.arg = &to_src;
	end = rf_now_ns(&rf_clock_monotonic) + CT_TIMEOUT * RF_NS_PER_MS;
	while (sent[0] < MESSAGES || sent[1] < MESSAGES) {
		for (unsigned side = 0; side < 2; side++) {
			struct rf_lane *lane = side ? l.dst : l.src;
			int rc = RF_OK;

			while (sent[side] < MESSAGES && rc == RF_OK) {
				rc = rf_lane_send(lane, buf, make_message(buf, sent[side], max));
				assert_true(rc == RF_OK || rc == RF_NO_RESOURCE);
				sent[side] += rc == RF_OK;
			}
		}
		ct_poll(l.src, &l.at_src);
		ct_poll(l.dst, &l.at_dst);
		assert_true(rf_now_ns(&rf_clock_monotonic) < end);
	}
	assert_true(ct_until(&l, ct_dst_received, MESSAGES));
	assert_true(ct_until(&l, ct_src_received, MESSAGES));
	assert_true(ct_until(&l, ct_src_sent, MESSAGES));
	assert_int_equal(l.at_src.recvs, MESSAGES);
	assert_int_equal(l.at_dst.recvs, MESSAGES);
	assert_int_equal(l.at_src.sends, MESSAGES);
	assert_false(to_dst.wrong);
	assert_false(to_src.wrong);
	ct_lane_close(&l);
	ct_link_close(&k);
}

/* ---- writes with immediate ---- */

struct imms {
	const struct ct_area *from, *to;
	uint64_t seen;
	bool wrong;
};

static void check_imm(void *arg, uint64_t value)
{
	struct imms *m = arg;
	uint64_t off = value & 0xffff;

	/* its data is there when the immediate is */
	if (value >> 16 != 0xbeef ||
	    memcmp(m->from->mem + off * 4096, m->to->mem + off * 4096, 4096) != 0)
		m->wrong = true;
	m->seen++;
}

void ct_write_imm(void **state)
{
	enum { PAGES = 200 };
	struct ct_area from, to;
	struct imms m = {&from, &to, 0, false};
	struct rf_mr *from_mr, *to_mr;
	struct rf_remote_key key;
	struct ct_lane l;
	struct ct_link k;
	int rc;

	ct_link_open(*state, &k);
	if (!rf_transport_caps(k.src)->imm_bytes) {
		ct_link_close(&k);
		skip_case("write_imm", "this provider has no remote completion data");
	}
	ct_area_new(&from, PAGES * 4096);
	ct_area_new(&to, PAGES * 4096);
	ct_area_fill(&from, 3);
	ct_lane_open(&k, RF_LANE_URGENT, 2, &l);
	assert_int_equal(rf_mr_register(k.src, from.mem, from.len, RF_ACCESS_LOCAL_READ, &from_mr),
			 RF_OK);
	assert_int_equal(rf_mr_register(k.dst, to.mem, to.len, RF_ACCESS_REMOTE_WRITE, &to_mr),
			 RF_OK);
	rf_mr_key(to_mr, &key);
	l.at_dst.on_imm = check_imm;
	l.at_dst.arg = &m;
	for (uint32_t i = 0; i < PAGES; i++) {
		struct rf_write w = {
			.src = from.mem + i * 4096ull,
			.src_mr = from_mr,
			.dst = &key,
			.dst_off = i * 4096ull,
			.len = 4096,
		};

		while ((rc = rf_lane_write_imm(l.src, &w, 0xbeef0000u | i)) == RF_NO_RESOURCE)
			assert_true(ct_until(&l, ct_src_wrote, l.at_src.writes + 1));
		assert_int_equal(rc, RF_OK);
	}
	assert_true(ct_until(&l, ct_dst_imm, PAGES));
	assert_true(ct_until(&l, ct_src_wrote, PAGES));
	assert_int_equal(m.seen, PAGES);
	assert_false(m.wrong);
	assert_int_equal(l.at_dst.imm, 0xbeef0000u | (PAGES - 1));
	assert_int_equal(rf_lane_inflight(l.src), 0);
	ct_lane_close(&l);
	rf_mr_deregister(&from_mr);
	rf_mr_deregister(&to_mr);
	ct_link_close(&k);
	ct_area_free(&from);
	ct_area_free(&to);
}

/* ---- sleeping ---- */

struct ponger {
	struct rf_lane *lane;
	struct ct_seen seen;
	unsigned rounds;
	bool stuck;
};

/* Sleeps until there is one more message than `have`. No message may come without waking us. */
static bool wait_message(struct rf_lane *l, struct ct_seen *s, unsigned have)
{
	uint64_t end = rf_now_ns(&rf_clock_monotonic) + CT_TIMEOUT * RF_NS_PER_MS;

	while (s->recvs <= have) {
		if (ct_poll(l, s))
			continue;
		if (s->err || rf_now_ns(&rf_clock_monotonic) > end)
			return false;
		ct_sleep(l, CT_TIMEOUT);
	}
	return true;
}

static bool send_one(struct rf_lane *l, struct ct_seen *s)
{
	int rc;

	while ((rc = rf_lane_send(l, "ping", 4)) == RF_NO_RESOURCE)
		ct_poll(l, s);
	return rc == RF_OK;
}

static void *pong(void *arg)
{
	struct ponger *p = arg;

	for (unsigned i = 0; i < p->rounds; i++) {
		if (!wait_message(p->lane, &p->seen, i) || !send_one(p->lane, &p->seen)) {
			p->stuck = true;
			break;
		}
	}
	return NULL;
}

void ct_sleep_misses_nothing(void **state)
{
	struct ponger p = {.rounds = 3000};
	pthread_t thread;
	struct ct_lane l;
	struct ct_link k;
	bool ok = true;

	ct_link_open(*state, &k);
	ct_lane_open(&k, RF_LANE_URGENT, 0, &l);
	p.lane = l.dst;
	assert_int_equal(pthread_create(&thread, NULL, pong, &p), 0);
	for (unsigned i = 0; i < p.rounds && ok; i++)
		ok = send_one(l.src, &l.at_src) && wait_message(l.src, &l.at_src, i);
	pthread_join(thread, NULL);
	assert_true(ok);
	assert_false(p.stuck);
	ct_lane_close(&l);
	ct_link_close(&k);
}

/* ---- the front door ---- */

void ct_arguments_refused(void **state)
{
	struct rf_remote_key key = {0}, near_end = {.base = UINT64_MAX - 8192};
	struct rf_mr *mr, *target;
	struct ct_area a, other;
	struct rf_completion c;
	struct ct_lane l, bulk;
	struct ct_link k;
	uint8_t fence[RF_WIRE_FENCE_SIZE];
	uint32_t max;

	ct_link_open(*state, &k);
	ct_lane_open(&k, RF_LANE_URGENT, 0, &l);
	ct_lane_open(&k, RF_LANE_BULK, 0, &bulk);
	ct_area_new(&a, 8192);
	ct_area_new(&other, 8192);
	max = rf_transport_caps(k.src)->max_write;
	assert_int_equal(rf_mr_register(k.src, a.mem, 8192, RF_ACCESS_LOCAL_READ, &mr), RF_OK);
	assert_int_equal(rf_mr_register(k.src, other.mem, 8192, RF_ACCESS_REMOTE_WRITE, &target),
			 RF_OK);
	const struct rf_write bad[] = {
		{NULL, mr, &key, 0, 8},
		{a.mem, NULL, &key, 0, 8},
		{a.mem, mr, NULL, 0, 8},
		{a.mem, mr, &key, 0, 0},
		{a.mem, mr, &key, 0, max + 1},
		{a.mem - 1, mr, &key, 0, 8},
		{a.mem + 8192 - 4, mr, &key, 0, 8},
		{a.mem + 8193, mr, &key, 0, 8},
		{other.mem, mr, &key, 0, 8},
		{other.mem, target, &key, 0, 8},
		{a.mem, mr, &near_end, 8192, 8},
		{a.mem, mr, &near_end, UINT64_MAX, 8},
	};
	for (unsigned i = 0; i < COUNT_OF(bad); i++) {
		assert_int_equal(rf_lane_write(l.src, &bad[i], 1), RF_ERR_INVALID);
		assert_int_equal(rf_lane_write_imm(l.src, &bad[i], 1), RF_ERR_INVALID);
	}
	const struct rf_write fine = {a.mem, mr, &key, 0, 8};

	assert_int_equal(rf_lane_write(l.src, &fine, 0), RF_ERR_INVALID);
	assert_int_equal(rf_lane_write_imm(bulk.src, &fine, 1), RF_ERR_INVALID);
	max = rf_transport_caps(k.src)->max_msg;
	assert_int_equal(rf_lane_send(l.src, NULL, 4), RF_ERR_INVALID);
	assert_int_equal(rf_lane_send(l.src, "x", 0), RF_ERR_INVALID);
	assert_int_equal(rf_lane_send(l.src, a.mem, max + 1), RF_ERR_INVALID);
	rf_wire_put_fence(fence, 1);
	assert_int_equal(rf_lane_send(l.src, fence, sizeof(fence)), RF_ERR_INVALID);
	assert_int_equal(rf_lane_poll(l.src, &c, 0), RF_ERR_INVALID);
	assert_int_equal(rf_mr_register(k.src, NULL, 1, RF_ACCESS_LOCAL_READ, &mr), RF_ERR_INVALID);
	assert_int_equal(rf_mr_register(k.src, a.mem, 0, RF_ACCESS_LOCAL_READ, &mr),
			 RF_ERR_INVALID);
	assert_string_equal(rf_lane_error(l.src), "");
	ct_lane_close(&l);
	ct_lane_close(&bulk);
	rf_mr_deregister(&mr);
	rf_mr_deregister(&target);
	ct_link_close(&k);
	ct_area_free(&a);
	ct_area_free(&other);
}
