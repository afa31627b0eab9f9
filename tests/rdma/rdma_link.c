/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/rdma/rdma_link.h"

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[65536];

uint64_t rdma_now_ms(void)
{
	return rf_now_ns(&rf_clock_monotonic) / RF_NS_PER_MS;
}

void rdma_link_require(const char *test, struct rdma_env *env)
{
	if (rdma_env_find(env))
		return;
	printf("SKIP: %s: %s\n", test, RDMA_ENV_ENABLE);
	exit(77);
}

/* ---- log ---- */

static void keep(void *arg, enum rf_log_level level, const char *line)
{
	size_t used;

	pthread_mutex_lock(&log_lock);
	used = strlen(log_text);
	snprintf(log_text + used, sizeof(log_text) - used, "%s\n", line);
	pthread_mutex_unlock(&log_lock);
	if (level <= RF_LOG_INFO && getenv("RF_LOG"))
		fprintf(stderr, "%s\n", line);
}

void rdma_log_keep(void)
{
	rf_log_set_level(RF_LOG_INFO);
	rf_log_set_sink(keep, NULL);
	pthread_mutex_lock(&log_lock);
	log_text[0] = '\0';
	pthread_mutex_unlock(&log_lock);
}

bool rdma_log_has(const char *words)
{
	bool found;

	pthread_mutex_lock(&log_lock);
	found = strstr(log_text, words) != NULL;
	if (!found)
		printf("the log has no \"%s\":\n%s", words, log_text);
	pthread_mutex_unlock(&log_lock);
	return found;
}

/* ---- links ---- */

static void open_transports(struct rdma_link *r, const struct rdma_env *env, uint32_t link_timeout)
{
	struct rf_transport_cfg cfg = {.link_timeout = link_timeout, .local_host = env->peer};
	struct ct_link *k = &r->k;

	assert_int_equal(rf_transport_open("verbs", &cfg, &k->dst), RF_OK);
	cfg.local_host = env->local;
	cfg.peer_host = env->peer;
	assert_int_equal(rf_transport_open("verbs", &cfg, &k->src), RF_OK);
	memset(k->token, 0x5c, sizeof(k->token));
	assert_int_equal(rf_transport_listen(k->dst, k->addr, &k->addr_len), RF_OK);
}

void rdma_link_open(struct rdma_link *r, const struct rdma_env *env, enum rf_lane_kind kind,
		    uint32_t link_timeout, size_t len)
{
	memset(r, 0, sizeof(*r));
	open_transports(r, env, link_timeout);
	ct_area_new(&r->from, len);
	ct_area_new(&r->to, len);
	ct_area_fill(&r->from, 77);
	assert_int_equal(rf_mr_register(r->k.src, r->from.mem, len, RF_ACCESS_LOCAL_READ,
					&r->from_mr),
			 RF_OK);
	assert_int_equal(rf_mr_register(r->k.dst, r->to.mem, len, RF_ACCESS_REMOTE_WRITE,
					&r->to_mr),
			 RF_OK);
	rf_mr_key(r->to_mr, &r->key);
	ct_lane_open(&r->k, kind, 0, &r->l);
}

void rdma_link_close(struct rdma_link *r)
{
	ct_lane_close(&r->l);
	rf_mr_deregister(&r->from_mr);
	rf_mr_deregister(&r->to_mr);
	ct_link_close(&r->k);
	assert_true(ct_area_guards_intact(&r->to));
	ct_area_free(&r->from);
	ct_area_free(&r->to);
}

struct rf_write rdma_link_write_of(struct rdma_link *r, uint64_t off, uint32_t len)
{
	return (struct rf_write){r->from.mem + off, r->from_mr, &r->key, off, len};
}

/* ---- streams ---- */

static void stream_a_bit(struct rdma_link *r, uint32_t piece)
{
	struct rf_write w;
	int rc;

	if (r->next + piece > r->from.len)
		r->next = 0;
	w = rdma_link_write_of(r, r->next, piece);
	rc = rf_lane_write(r->l.src, &w, 1);
	if (rc == 1)
		r->next += piece;
	else if (rc != RF_NO_RESOURCE)
		r->l.at_src.err = rc;
	if (r->l.dst)
		ct_poll(r->l.dst, &r->l.at_dst);
	if (!ct_poll(r->l.src, &r->l.at_src) && rc == RF_NO_RESOURCE)
		ct_sleep(r->l.src, 5);
}

void rdma_link_stream(struct rdma_link *r, uint32_t piece, uint32_t ms)
{
	uint64_t end = rdma_now_ms() + ms;

	while (!r->l.at_src.err && rdma_now_ms() < end)
		stream_a_bit(r, piece);
}

uint32_t rdma_link_stream_to_death(struct rdma_link *r, uint32_t piece, uint32_t ms)
{
	uint64_t start = rdma_now_ms();

	rdma_link_stream(r, piece, ms);
	assert_int_not_equal(r->l.at_src.err, RF_OK);
	return (uint32_t)(rdma_now_ms() - start);
}

static void poll_both(struct rdma_link *r)
{
	int got = ct_poll(r->l.dst, &r->l.at_dst) + ct_poll(r->l.src, &r->l.at_src);

	if (!got)
		ct_sleep(r->l.src, 5);
}

uint32_t rdma_link_move(struct rdma_link *r, size_t len, uint32_t piece, uint32_t limit)
{
	const unsigned fences = r->l.at_dst.fences;
	const uint64_t start = rdma_now_ms();
	uint64_t off = 0;
	int rc = RF_NO_RESOURCE;

	while (r->l.at_dst.fences == fences && !r->l.at_src.err && !r->l.at_dst.err &&
	       rdma_now_ms() - start < limit) {
		struct rf_write w = rdma_link_write_of(r, off, piece);

		if (off < len && rf_lane_write(r->l.src, &w, 1) == 1)
			off += piece;
		else if (off == len && rc == RF_NO_RESOURCE)
			rc = rf_lane_fence(r->l.src, 1);
		poll_both(r);
	}
	printf("%zu KiB in %lu ms, of which %lu were posted\n", len >> 10, rdma_now_ms() - start,
	       off >> 10);
	assert_int_equal(r->l.at_src.err, RF_OK);
	assert_int_equal(r->l.at_dst.err, RF_OK);
	assert_int_equal(r->l.at_dst.fences, fences + 1);
	assert_int_equal(ct_sum(r->from.mem, len), ct_sum(r->to.mem, len));
	return (uint32_t)(rdma_now_ms() - start);
}

/* ---- the lab's network ---- */

int rdma_link_try_net(const char *arguments)
{
	char command[300];

	snprintf(command, sizeof(command), "%s/tests/lab/net %s", RF_SOURCE_DIR, arguments);
	return system(command); // NOLINT(cert-env33-c): a script of ours, in a VM of ours
}

void rdma_link_net(const char *test, const char *arguments)
{
	if (!rdma_env_in_lab())
		skip_case(test, "needs the lab's link; tests/lab/run tests/lab/rdma-tests "
				"BUILD_DIRECTORY");
	assert_int_equal(rdma_link_try_net(arguments), 0);
}
