/* SPDX-License-Identifier: BSD-3-Clause */
/* Bulk lanes: writes, fences, full queues. */
#include <sys/mman.h>
#include <unistd.h>

#include "tests/contract/contract.h"

#define MIB (1u << 20)

/* Source and target memory of a case, registered. */
struct bulk {
	struct ct_link k;
	struct ct_lane l;
	struct ct_area from, to;
	struct rf_mr *from_mr, *to_mr;
	struct rf_remote_key key;
};

static void open_bulk(struct bulk *b, const struct ct_env *env, size_t len)
{
	ct_link_open(env, &b->k);
	ct_area_new(&b->from, len);
	ct_area_new(&b->to, len);
	ct_area_fill(&b->from, 42);
	assert_int_equal(rf_mr_register(b->k.src, b->from.mem, len, RF_ACCESS_LOCAL_READ,
					&b->from_mr),
			 RF_OK);
	assert_int_equal(rf_mr_register(b->k.dst, b->to.mem, len, RF_ACCESS_REMOTE_WRITE,
					&b->to_mr),
			 RF_OK);
	rf_mr_key(b->to_mr, &b->key);
	ct_lane_open(&b->k, RF_LANE_BULK, 0, &b->l);
}

static void close_bulk(struct bulk *b)
{
	assert_true(ct_area_guards_intact(&b->to));
	ct_lane_close(&b->l);
	rf_mr_deregister(&b->from_mr);
	rf_mr_deregister(&b->to_mr);
	assert_null(b->to_mr);
	ct_link_close(&b->k);
	ct_area_free(&b->from);
	ct_area_free(&b->to);
}

static struct rf_write write_of(struct bulk *b, uint64_t off, uint32_t len)
{
	return (struct rf_write){
		.src = b->from.mem + off,
		.src_mr = b->from_mr,
		.dst = &b->key,
		.dst_off = off,
		.len = len,
	};
}

static uint32_t max_write(const struct bulk *b)
{
	return rf_transport_caps(b->k.src)->max_write;
}

/* ---- fences ---- */

static bool equal_at_fence;

static void compare_at_fence(void *arg, uint64_t value)
{
	struct bulk *b = arg;

	/* the value says how much has been written so far */
	if (memcmp(b->from.mem, b->to.mem, value) != 0)
		equal_at_fence = false;
}

void ct_fence_orders_writes(void **state)
{
	const size_t len = 8 * MIB;
	struct bulk b;
	uint32_t piece;
	uint64_t n = 0;

	open_bulk(&b, *state, len);
	piece = max_write(&b) < MIB / 2 ? max_write(&b) : MIB / 2;
	equal_at_fence = true;
	b.l.at_dst.on_fence = compare_at_fence;
	b.l.at_dst.arg = &b;
	for (uint64_t off = 0; off < len; off += piece) {
		struct rf_write w = write_of(&b, off, piece);

		assert_int_equal(ct_write(&b.l, &w), 1);
		assert_int_equal(ct_fence(&b.l, off + piece), RF_OK);
		n++;
	}
	assert_true(ct_until(&b.l, ct_dst_fenced, n));
	assert_int_equal(b.l.at_dst.err, RF_OK);
	assert_int_equal(b.l.at_dst.fences, n);
	assert_int_equal(b.l.at_dst.fence, len);
	assert_true(equal_at_fence);
	assert_true(ct_until(&b.l, ct_src_sent, n));
	assert_true(ct_until(&b.l, ct_src_wrote, n));
	assert_int_equal(b.l.at_src.sends, n);
	assert_int_equal(b.l.at_src.bytes, len);
	assert_int_equal(rf_lane_inflight(b.l.src), 0);
	close_bulk(&b);
}

/* Each lane's fence speaks for that lane: all of them, and everything is there. */
void ct_fence_of_each_lane(void **state)
{
	const size_t len = 4 * MIB;
	struct ct_lane extra[2], *lanes[3];
	struct bulk b;

	open_bulk(&b, *state, len);
	lanes[0] = &b.l;
	for (uint16_t i = 0; i < 2; i++) {
		ct_lane_open(&b.k, RF_LANE_BULK, i + 1, &extra[i]);
		lanes[i + 1] = &extra[i];
	}
	for (uint64_t off = 0, i = 0; off < len; off += 65536, i++) {
		struct rf_write w = write_of(&b, off, 65536);

		assert_int_equal(ct_write(lanes[i % 3], &w), 1);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ct_fence(lanes[i], 7 + i), RF_OK);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(ct_until(lanes[i], ct_dst_fenced, 1));
		assert_int_equal(lanes[i]->at_dst.fence, 7 + i);
	}
	assert_memory_equal(b.from.mem, b.to.mem, len);
	ct_lane_close(&extra[0]);
	ct_lane_close(&extra[1]);
	close_bulk(&b);
}

/* ---- queues ---- */

/* The target does not poll: at some point nothing more is taken, later it is. */
void ct_full_queue_recovers(void **state)
{
	const unsigned most = 100000;
	struct bulk b;
	unsigned posted = 0, more = 0;
	int rc = RF_OK;

	open_bulk(&b, *state, MIB);
	while (posted < most) {
		struct rf_write w = write_of(&b, 0, MIB < max_write(&b) ? MIB : max_write(&b));

		rc = rf_lane_write(b.l.src, &w, 1);
		if (rc != 1)
			break;
		posted++;
		assert_true(rf_lane_inflight(b.l.src) > 0);
	}
	assert_int_equal(rc, RF_NO_RESOURCE);
	assert_in_range(posted, 1, rf_transport_caps(b.k.src)->depth);
	while (more < 3 * posted) {
		struct rf_write w = write_of(&b, 0, 4096);

		assert_int_equal(ct_write(&b.l, &w), 1);
		more++;
	}
	assert_true(ct_until(&b.l, ct_src_wrote, posted + more));
	assert_int_equal(b.l.at_src.writes, posted + more);
	assert_int_equal(rf_lane_inflight(b.l.src), 0);
	close_bulk(&b);
}

void ct_batches_complete(void **state)
{
	enum { N = 48 };
	struct rf_write w[N];
	struct bulk b;
	unsigned done = 0;
	int rc;

	open_bulk(&b, *state, N * 4096);
	for (unsigned i = 0; i < N; i++)
		w[i] = write_of(&b, i * 4096ull, 4096);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < N; i += (unsigned)rc) {
			rc = rf_lane_write(b.l.src, w + i, N - i);
			if (rc == RF_NO_RESOURCE) {
				rc = 0;
				assert_true(ct_until(&b.l, ct_src_wrote, b.l.at_src.writes + 1));
			}
			assert_true(rc >= 0);
		}
		done += N;
	}
	assert_int_equal(ct_fence(&b.l, 1), RF_OK);
	assert_true(ct_until(&b.l, ct_dst_fenced, 1));
	assert_true(ct_until(&b.l, ct_src_wrote, done));
	assert_int_equal(b.l.at_src.writes, done);
	assert_int_equal(b.l.at_src.bytes, done * 4096ull);
	assert_memory_equal(b.from.mem, b.to.mem, N * 4096);
	close_bulk(&b);
}

void ct_big_and_unaligned(void **state)
{
	static const struct {
		uint64_t off;
		uint32_t len;
	} odd[] = {{0, 1}, {1, 1}, {3, 7}, {4095, 2}, {12345, 54321}, {100001, 65537}};
	struct ct_env *env = *state;
	struct bulk b;
	size_t len;
	uint64_t n = 0;

	/* probe for the size first */
	open_bulk(&b, env, 4096);
	len = max_write(&b) + 4096ull;
	close_bulk(&b);
	open_bulk(&b, env, len);
	for (unsigned i = 0; i < COUNT_OF(odd); i++) {
		struct rf_write w = write_of(&b, odd[i].off, odd[i].len);

		assert_int_equal(ct_write(&b.l, &w), 1);
		n++;
	}
	assert_int_equal(ct_fence(&b.l, 1), RF_OK);
	assert_true(ct_until(&b.l, ct_dst_fenced, 1));
	for (unsigned i = 0; i < COUNT_OF(odd); i++)
		assert_memory_equal(b.from.mem + odd[i].off, b.to.mem + odd[i].off, odd[i].len);
	assert_int_equal(b.to.mem[2], 0);
	for (uint64_t off = 0; off <= 4096; off += 4096) {
		struct rf_write w = write_of(&b, off, max_write(&b));

		assert_int_equal(ct_write(&b.l, &w), 1);
		n++;
	}
	assert_int_equal(ct_fence(&b.l, 2), RF_OK);
	assert_true(ct_until(&b.l, ct_dst_fenced, 2));
	assert_int_equal(ct_sum(b.from.mem, len), ct_sum(b.to.mem, len));
	assert_true(ct_until(&b.l, ct_src_wrote, n));
	close_bulk(&b);
}

static void far_offsets_of_small_range(struct bulk *b, const uint64_t *offs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct rf_remote_key key = b->key;
		struct rf_write w = write_of(b, 0, 4096 + i);

		key.base -= offs[i];
		w.dst = &key;
		w.dst_off = offs[i] + i;
		memset(b->to.mem, 0, b->to.len);
		assert_int_equal(ct_write(&b->l, &w), 1);
		assert_int_equal(ct_fence(&b->l, i), RF_OK);
		assert_true(ct_until(&b->l, ct_dst_fenced, i + 1));
		assert_int_equal(b->l.at_dst.err, RF_OK);
		assert_memory_equal(b->to.mem + i, b->from.mem, 4096 + i);
	}
}

/* A range of more than 4 GiB, sparse: only what is written exists. */
void ct_far_offsets(void **state)
{
	const uint64_t len = 5ull << 30;
	static const uint64_t offs[] = {0, (4ull << 30) - 4096, 4ull << 30, (5ull << 30) - 65536};
	int fd = memfd_create("far", MFD_CLOEXEC);
	struct rf_remote_key key;
	struct rf_mr *mr;
	struct bulk b;
	uint8_t *far;

	open_bulk(&b, *state, 65536);
	if (rf_transport_caps(b.k.dst)->pins) {
		/* so much cannot be pinned: a range that is said to begin that far before */
		far_offsets_of_small_range(&b, offs, COUNT_OF(offs));
		close_bulk(&b);
		close(fd);
		return;
	}
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	far = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	assert_true(far != MAP_FAILED);
	close(fd);
	assert_int_equal(rf_mr_register(b.k.dst, far, len, RF_ACCESS_REMOTE_WRITE, &mr), RF_OK);
	rf_mr_key(mr, &key);
	for (unsigned i = 0; i < COUNT_OF(offs); i++) {
		struct rf_write w = write_of(&b, 0, i < 2 ? 4096 : 65536);

		w.dst = &key;
		w.dst_off = offs[i];
		assert_int_equal(ct_write(&b.l, &w), 1);
	}
	assert_int_equal(ct_fence(&b.l, 1), RF_OK);
	assert_true(ct_until(&b.l, ct_dst_fenced, 1));
	assert_int_equal(b.l.at_dst.err, RF_OK);
	for (unsigned i = 0; i < COUNT_OF(offs); i++)
		assert_memory_equal(far + offs[i], b.from.mem, i < 2 ? 4096 : 65536);
	assert_int_equal(far[2ull << 30], 0);
	rf_mr_deregister(&mr);
	munmap(far, len);
	close_bulk(&b);
}
