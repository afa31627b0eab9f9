/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/verify.h"

#include <string.h>

#include "bench/say.h"
#include "common/digest.h"

void verify_fill(struct session *s, const struct run *r)
{
	uint64_t x = r->number * 0x9e3779b97f4a7c15ull | 1;
	uint64_t *word = (uint64_t *)s->src;

	/* xorshift: other in each word, lane and run; memory is a multiple of 8 or its end stays */
	for (uint64_t i = 0; i < s->bytes / sizeof(*word); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		word[i] = x;
	}
}

int verify_client(struct session *s, const struct run *r, const uint64_t *posted, uint64_t slots,
		  struct row *row)
{
	unsigned lanes = s->engine->lanes;
	uint64_t covered[BENCH_MAX_LANES];
	struct msg m;

	msg_init(&m, MSG_CHECK);
	for (unsigned i = 0; i < lanes; i++) {
		covered[i] = (posted[i] < slots ? posted[i] : slots) * r->size;
		msg_put_u64(&m, covered[i]);
	}
	if (msg_send(s->peer.fd, &m) || msg_recv(s->peer.fd, &m, MSG_DIGESTS, -1))
		return -1;
	for (unsigned i = 0; i < lanes; i++) {
		uint64_t mine = rf_digest(s->src + i * s->lane_bytes, covered[i]);

		if (msg_get_u64(&m) != mine)
			return say_error("lane %u: what arrived differs from what was sent "
					 "(%llu bytes, messages of %llu)",
					 i, (unsigned long long)covered[i],
					 (unsigned long long)r->size);
	}
	if (!msg_end(&m))
		return session_nonsense();
	row->verified = true;
	return 0;
}

static bool all_zero(const uint8_t *p, uint64_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

int verify_server(struct session *s)
{
	struct msg in, out;

	if (msg_recv(s->peer.fd, &in, MSG_CHECK, PEER_TIMEOUT))
		return -1;
	msg_init(&out, MSG_DIGESTS);
	for (unsigned i = 0; i < s->engine->lanes; i++) {
		const uint8_t *lane = s->dst + i * s->lane_bytes;
		uint64_t covered = msg_get_u64(&in);

		if (covered > s->lane_bytes)
			return session_nonsense();
		msg_put_u64(&out, rf_digest(lane, covered));
		if (!all_zero(lane + covered, s->lane_bytes - covered))
			return say_error("lane %u: memory was changed that was not written to", i);
	}
	if (!msg_end(&in))
		return session_nonsense();
	return msg_send(s->peer.fd, &out);
}
