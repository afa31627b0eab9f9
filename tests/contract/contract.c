/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver: which backend, at which addresses, which cases. */
#include <getopt.h>

#include <ramferry/log.h>

#include "tests/contract/contract.h"
#include "tests/rdma/rdma_env.h"

#define CASE(c)                                 \
	{                                       \
		.name = #c, .test_func = ct_##c \
	}

static const struct CMUnitTest cases[] = {
	CASE(fence_orders_writes),
	CASE(fence_of_each_lane),
	CASE(full_queue_recovers),
	CASE(batches_complete),
	CASE(big_and_unaligned),
	CASE(far_offsets),
	CASE(messages_both_ways),
	CASE(write_imm),
	CASE(sleep_misses_nothing),
	CASE(arguments_refused),
	CASE(past_the_end),
	CASE(before_the_begin),
	CASE(revoked_key),
	CASE(write_cut_short),
	CASE(late_writes),
	CASE(other_registration),
	CASE(peer_closes_busy_lane),
	CASE(peer_closes_idle_lane),
	CASE(dead_lane_stays_dead),
	CASE(storm_leaks_nothing),
	CASE(wrong_token),
	CASE(strangers),
	CASE(two_links),
	CASE(lanes_in_threads),
	CASE(cancel),
	CASE(nobody_listens),
	CASE(silent_port),
	CASE(silent_peer),
	CASE(bad_addresses),
	CASE(ipv6),
#ifdef RF_FAULTS
	CASE(fault_sweep),
#endif
};

/* Over RDMA there is no loopback address. */
static void find_addresses(struct ct_env *env)
{
	static struct rdma_env rdma;
	bool given = env->local || env->peer;

	if (!env->local)
		env->local = "127.0.0.1";
	if (!env->peer)
		env->peer = env->local;
	if (strcmp(env->rung, "verbs") != 0) {
		env->local6 = env->peer6 = "::1";
		return;
	}
	if (!rdma_env_find(&rdma))
		return;
	if (!given) {
		env->local = rdma.local;
		env->peer = rdma.peer;
	}
	if (rdma.local6[0] && rdma.peer6[0]) {
		env->local6 = rdma.local6;
		env->peer6 = rdma.peer6;
	}
}

/* Some cases are about what not every backend has: there they are left out, not skipped. */
static bool applies(const struct ct_env *env, const struct CMUnitTest *t)
{
	bool tcp = ct_is(env, "ofi:tcp") || ct_is(env, "ofi:sockets");

	if (t->test_func == ct_strangers || t->test_func == ct_silent_port)
		return tcp; /* lanes listen on a TCP port */
	if (t->test_func == ct_ipv6)
		return tcp || ct_is(env, "verbs");
	return true;
}

static int skip_all(const char *rung)
{
	if (!strcmp(rung, "verbs"))
		printf("SKIP: contract_verbs: %s\n", RDMA_ENV_ENABLE);
	else
		printf("SKIP: contract: %s does not work on this machine\n", rung);
	return 77;
}

static int usage(void)
{
	fprintf(stderr, "usage: contract RUNG [--local ADDR] [--peer ADDR] [--case NAME]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"local", required_argument, NULL, 'l'},
		{"peer", required_argument, NULL, 'p'},
		{"case", required_argument, NULL, 'c'},
		{0},
	};
	struct CMUnitTest chosen[COUNT_OF(cases)];
	struct ct_env env = {0};
	size_t n = 0;
	char rungs[1][RF_WIRE_RUNG_SIZE], name[RF_WIRE_RUNG_SIZE];
	enum rf_log_level level = RF_LOG_NONE;
	char *provider;
	int o;

	while ((o = getopt_long(argc, argv, "l:p:c:", longs, NULL)) != -1) {
		if (o == 'l')
			env.local = optarg;
		else if (o == 'p')
			env.peer = optarg;
		else if (o == 'c')
			cmocka_set_test_filter(optarg);
		else
			return usage();
	}
	if (optind != argc - 1)
		return usage();
	env.rung = argv[optind];
	snprintf(name, sizeof(name), "%s", env.rung);
	provider = strchr(name, ':');
	if (provider)
		*provider++ = '\0';
	if (rf_transport_rungs(name, provider, rungs, 1) < 1)
		return skip_all(env.rung);
	find_addresses(&env);
	if (getenv("RF_LOG"))
		rf_log_level_parse(getenv("RF_LOG"), &level);
	rf_log_set_level(level);
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		if (!applies(&env, &cases[i]))
			continue;
		chosen[n] = cases[i];
		chosen[n++].initial_state = &env;
	}
	return _cmocka_run_group_tests(env.rung, chosen, n, NULL, NULL);
}
