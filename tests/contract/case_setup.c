/* SPDX-License-Identifier: BSD-3-Clause */
/* Setting lanes up: cancelling, time limits, bad addresses, IPv6, injected faults. */
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fault.h"
#include "tests/contract/contract.h"

/* Both waits end when the cancel fd says so, and when their time is over. */
void ct_cancel(void **state)
{
	struct rf_lane *lane = NULL;
	const uint64_t one = 1;
	struct ct_accept a;
	struct ct_link k;
	uint64_t start;
	int fd = eventfd(0, EFD_CLOEXEC);

	ct_link_open(*state, &k);
	ct_accept_start(&a, &k, CT_TIMEOUT, fd);
	usleep(2000);
	start = rf_now_ns(&rf_clock_monotonic);
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
	assert_int_equal(ct_accept_join(&a), RF_ERR_CANCELLED);
	assert_true(rf_now_ns(&rf_clock_monotonic) - start < 1000 * RF_NS_PER_MS);
	/* nobody accepts: a cancelled connect ends too */
	assert_int_equal(ct_connect(&k, k.token, RF_LANE_BULK, 0, CT_TIMEOUT, fd, &lane),
			 RF_ERR_CANCELLED);
	assert_null(lane);
	close(fd);
	ct_link_close(&k);
	/* a listener of its own: the cancelled one may still stand in the queue of the other */
	ct_link_open(*state, &k);
	ct_accept_start(&a, &k, 20, -1);
	assert_int_equal(ct_accept_join(&a), RF_ERR_TIMEOUT);
	ct_link_close(&k);
}

/* A listener that does not answer, and one that is gone. */
void ct_nobody_listens(void **state)
{
	struct rf_lane *lane = NULL;
	struct ct_link k;
	uint64_t start;
	int err;

	if (ct_is(*state, "ofi:shm"))
		skip_case("nobody_listens", "libfabric's shm crashes on the address of an endpoint "
					    "that was closed in the same process");
	ct_link_open(*state, &k);
	start = rf_now_ns(&rf_clock_monotonic);
	assert_int_equal(ct_connect(&k, k.token, RF_LANE_BULK, 0, 50, -1, &lane), RF_ERR_TIMEOUT);
	assert_true(rf_now_ns(&rf_clock_monotonic) - start < CT_TIMEOUT / 2 * RF_NS_PER_MS);
	rf_transport_close(&k.dst);
	err = ct_connect(&k, k.token, RF_LANE_BULK, 0, 500, -1, &lane);
	assert_true(err == RF_ERR_REFUSED || err == RF_ERR_UNREACHABLE || err == RF_ERR_TIMEOUT);
	assert_null(lane);
	ct_link_close(&k);
}

/* A TCP port that takes no connection any more: our own time limit ends the wait, not the kernel's
 * of minutes. */
void ct_silent_port(void **state)
{
	int full = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd[4];
	struct ct_env *env = *state;
	struct rf_lane *lane = NULL;
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	uint64_t start;
	struct ct_link k;

	ct_link_open(env, &k);
	assert_int_equal(k.addr_len, 4 + sizeof(in));
	memcpy(&in, k.addr + 4, sizeof(in));
	in.sin_port = 0;
	assert_int_equal(bind(full, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(full, 0), 0);
	assert_int_equal(getsockname(full, (struct sockaddr *)&in, &len), 0);
	memcpy(k.addr + 4, &in, sizeof(in));
	for (unsigned i = 0; i < COUNT_OF(fd); i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		/* whether one more is still taken does not matter */
		(void)!connect(fd[i], (struct sockaddr *)&in, sizeof(in));
	}
	start = rf_now_ns(&rf_clock_monotonic);
	assert_int_equal(ct_connect(&k, k.token, RF_LANE_BULK, 0, 50, -1, &lane), RF_ERR_TIMEOUT);
	assert_true(rf_now_ns(&rf_clock_monotonic) - start < CT_TIMEOUT / 2 * RF_NS_PER_MS);
	for (unsigned i = 0; i < COUNT_OF(fd); i++)
		close(fd[i]);
	close(full);
	ct_link_close(&k);
}

/* A peer that is there and does not move. Where the target's owner has to turn a crank, what is
 * posted fails when link_timeout is over; where device or memory answer by themselves, it is
 * written all the same. */
void ct_silent_peer(void **state)
{
	struct ct_env env = *(struct ct_env *)*state;
	struct rf_mr *from_mr, *to_mr;
	struct ct_area from, to;
	struct rf_remote_key key;
	struct ct_lane l;
	struct ct_link k;
	uint64_t start;

	if (ct_is(&env, "ofi:shm"))
		skip_case("silent_peer", "libfabric's shm crashes on closing a lane with posts "
					 "unanswered and its other end in one process");
	env.link_timeout = 200;
	ct_link_open(&env, &k);
	bool answers = !rf_transport_caps(k.src)->target_progress;

	ct_area_new(&from, 4096);
	ct_area_new(&to, 4096);
	memset(from.mem, 0x5a, 4096);
	ct_lane_open(&k, RF_LANE_BULK, 0, &l);
	assert_int_equal(rf_mr_register(k.src, from.mem, 4096, RF_ACCESS_LOCAL_READ, &from_mr),
			 RF_OK);
	assert_int_equal(rf_mr_register(k.dst, to.mem, 4096, RF_ACCESS_REMOTE_WRITE, &to_mr),
			 RF_OK);
	rf_mr_key(to_mr, &key);
	const struct rf_write w = {from.mem, from_mr, &key, 0, 4096};

	start = rf_now_ns(&rf_clock_monotonic);
	assert_int_equal(rf_lane_write(l.src, &w, 1), 1);
	while (!l.at_src.err && !l.at_src.writes &&
	       rf_now_ns(&rf_clock_monotonic) - start < CT_TIMEOUT * RF_NS_PER_MS) {
		if (!ct_poll(l.src, &l.at_src))
			ct_sleep(l.src, 20);
	}
	if (answers) {
		assert_int_equal(l.at_src.err, RF_OK);
		assert_int_equal(l.at_src.writes, 1);
		assert_memory_equal(to.mem, from.mem, 4096);
	} else {
		assert_int_equal(l.at_src.err, RF_ERR_LANE_TIMEOUT);
		assert_true(rf_now_ns(&rf_clock_monotonic) - start >= 200 * RF_NS_PER_MS);
		assert_true(strstr(rf_lane_error(l.src), "200 ms") != NULL);
	}
	ct_lane_close(&l);
	rf_mr_deregister(&from_mr);
	rf_mr_deregister(&to_mr);
	ct_link_close(&k);
	ct_area_free(&from);
	ct_area_free(&to);
}

/* Addresses come from the peer: wrong ones are refused, none is believed. */
void ct_bad_addresses(void **state)
{
	struct rf_wire_lane id = {.kind = RF_LANE_BULK};
	uint8_t addr[RF_WIRE_ADDR_SIZE];
	struct rf_lane *lane = NULL;
	struct ct_link k;
	int err;

	ct_link_open(*state, &k);
	for (uint32_t len = 0; len < k.addr_len; len++) {
		err = rf_transport_connect(k.src, k.addr, len, &id, 20, -1, &lane);
		assert_true(err < 0);
	}
	memset(addr, 0xff, sizeof(addr));
	err = rf_transport_connect(k.src, addr, sizeof(addr), &id, 20, -1, &lane);
	assert_true(err < 0);
	for (uint32_t i = 0; i < 8 && i < k.addr_len; i++) {
		memcpy(addr, k.addr, k.addr_len);
		addr[i] ^= 0xff;
		err = rf_transport_connect(k.src, addr, k.addr_len, &id, 20, -1, &lane);
		assert_true(err < 0);
	}
	id.kind = RF_LANE_KINDS;
	assert_int_equal(rf_transport_connect(k.src, k.addr, k.addr_len, &id, 20, -1, &lane),
			 RF_ERR_INVALID);
	assert_null(lane);
	ct_link_close(&k);
}

static bool has_ipv6(void)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&in6, sizeof(in6)) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

void ct_ipv6(void **state)
{
	const struct ct_env *env = *state;
	struct ct_env six = {.rung = env->rung, .local = env->local6, .peer = env->peer6};
	struct ct_lane l;
	struct ct_link k;

	if (!six.local)
		skip_case("ipv6", "give the RDMA devices' network interfaces IPv6 addresses");
	if (!ct_is(env, "verbs") && !has_ipv6())
		skip_case("ipv6", "switch IPv6 on for the loopback device");
	ct_link_open(&six, &k);
	ct_lane_open(&k, RF_LANE_URGENT, 0, &l);
	assert_int_equal(rf_lane_send(l.src, "six", 3), RF_OK);
	assert_true(ct_until(&l, ct_dst_received, 1));
	assert_int_equal(l.at_dst.err, RF_OK);
	ct_lane_close(&l);
	ct_link_close(&k);
}

#ifdef RF_FAULTS
/* A whole short life of a link that tolerates every failure. Returns its first error. */
static int live(const struct ct_env *env)
{
	struct rf_transport_cfg cfg = {.local_host = env->peer, .link_timeout = 1000};
	struct rf_mr *from_mr = NULL, *to_mr = NULL;
	struct ct_lane l = {0};
	struct ct_link k = {0};
	struct ct_accept a;
	struct ct_area area;
	struct rf_remote_key key;
	const uint64_t one = 1;
	int cancel = eventfd(0, EFD_CLOEXEC), err;

	ct_area_new(&area, 8192);
	if (ct_is(env, "mem"))
		assert_int_equal(rf_mem_hub_new(NULL, &k.hub), RF_OK);
	cfg.hub = k.hub;
	err = rf_transport_open(env->rung, &cfg, &k.dst);
	cfg.local_host = env->local;
	if (!err)
		err = rf_transport_open(env->rung, &cfg, &k.src);
	if (!err)
		err = rf_transport_listen(k.dst, k.addr, &k.addr_len);
	if (err)
		goto close;
	ct_accept_start(&a, &k, CT_TIMEOUT, cancel);
	err = ct_connect(&k, k.token, RF_LANE_BULK, 0, CT_TIMEOUT, cancel, &l.src);
	/* nobody will come any more */
	if (err && write(cancel, &one, sizeof(one)) < 0)
		err = RF_ERR_SYSTEM;
	if (ct_accept_join(&a) && !err)
		err = a.err;
	l.dst = a.lane;
	if (!err)
		err = rf_mr_register(k.src, area.mem, 4096, RF_ACCESS_LOCAL_READ, &from_mr);
	if (!err)
		err = rf_mr_register(k.dst, area.mem + 4096, 4096, RF_ACCESS_REMOTE_WRITE, &to_mr);
	if (!err) {
		const struct rf_write w = {area.mem, from_mr, &key, 0, 4096};

		rf_mr_key(to_mr, &key);
		err = ct_write(&l, &w) == 1 ? ct_fence(&l, 9) : RF_ERR_LANE;
	}
	if (!err)
		err = ct_until(&l, ct_dst_fenced, 1) ? l.at_dst.err : RF_ERR_TIMEOUT;
close:
	rf_lane_close(&l.src);
	rf_lane_close(&l.dst);
	rf_mr_deregister(&from_mr);
	rf_mr_deregister(&to_mr);
	rf_transport_close(&k.src);
	rf_transport_close(&k.dst);
	rf_mem_hub_delete(&k.hub);
	ct_area_free(&area);
	close(cancel);
	return err;
}

void ct_fault_sweep(void **state)
{
	unsigned long n = 1;
	int err;

	if (ct_is(*state, "ofi:shm"))
		skip_case("fault_sweep",
			  "libfabric's shm uses freed memory of a closed peer of the "
			  "same process");
	do {
		assert_true(n < 1000);
		rf_fault_arm(n++);
		err = live(*state);
	} while (rf_fault_fired());
	rf_fault_arm(0);
	/* without a fault only a machine that is far too busy can fail it */
	for (unsigned i = 0; err && i < 5; i++)
		err = live(*state);
	assert_int_equal(err, RF_OK);
	assert_true(n > 10);
}
#endif
