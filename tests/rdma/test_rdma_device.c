/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that goes, or loses its link, while it is in use. In the lab only, whose devices are
 * made anew after it: a soft-RoCE device may have no connection manager any more when its link was
 * down. That waits until no process has the device open, and librdmacm closes none before its
 * process ends: so all that uses the device is this program started anew, once as each of
 *
 *   test_rdma_device stream WORDS   streams until the lane dies; 0 if its error has these words
 *   test_rdma_device works          0 if the rung is there and a stream is moved
 *   test_rdma_device gone           0 if the rung is not there, and the log says why
 */
#include <sys/wait.h>
#include <unistd.h>

#include "tests/rdma/rdma_link.h"

#define LEN	     (4u << 20)
#define PIECE	     (64u << 10)
#define LINK_TIMEOUT 2000

static struct rdma_env env;

/* ---- the program that uses the device ---- */

static int be_stream(const char *words)
{
	struct rdma_link r;

	rdma_log_keep();
	rdma_link_open(&r, &env, RF_LANE_BULK, LINK_TIMEOUT, LEN);
	rdma_link_stream(&r, PIECE, 200);
	if (r.l.at_src.err || write(STDOUT_FILENO, "r", 1) != 1)
		return 1;
	rdma_link_stream_to_death(&r, PIECE, CT_TIMEOUT);
	fprintf(stderr, "source: %s\n", rf_lane_error(r.l.src));
	if (!strstr(rf_lane_error(r.l.src), words))
		return 2;
	rdma_link_close(&r);
	return 0;
}

static int be_works(void)
{
	char rungs[4][RF_WIRE_RUNG_SIZE];
	struct rdma_link r;

	if (rf_transport_rungs("verbs", NULL, rungs, 4) != 1 || strcmp(rungs[0], "verbs") != 0)
		return 1;
	rdma_link_open(&r, &env, RF_LANE_BULK, LINK_TIMEOUT, LEN);
	rdma_link_stream(&r, PIECE, 200);
	if (r.l.at_src.err || !r.l.at_src.writes)
		return 2;
	rdma_link_close(&r);
	return 0;
}

static int be_gone(void)
{
	char rungs[4][RF_WIRE_RUNG_SIZE];

	rdma_log_keep();
	if (rf_transport_rungs("verbs", NULL, rungs, 4) != RF_ERR_UNSUPPORTED)
		return 1;
	return rdma_log_has("no RDMA device with an active port") ? 0 : 2;
}

/* ---- the case ---- */

static pid_t start(const char *role, const char *words, int out)
{
	char *argv[] = {"test_rdma_device", (char *)role, (char *)words, env.local, env.peer, NULL};
	pid_t pid = fork();

	if (!pid) {
		if (out >= 0)
			dup2(out, STDOUT_FILENO);
		execv("/proc/self/exe", argv);
		_exit(9);
	}
	return pid;
}

static int result(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static int run(const char *role)
{
	return result(start(role, "", -1));
}

/* A stream that has begun. */
static pid_t start_stream(const char *words)
{
	pid_t stream;
	int out[2];
	char ready;

	assert_int_equal(pipe(out), 0);
	stream = start("stream", words, out[1]);
	close(out[1]);
	assert_int_equal(read(out[0], &ready, 1), 1);
	close(out[0]);
	return stream;
}

static void device_removed_under_a_stream(void **state)
{
	pid_t stream = start_stream("the device was removed");

	/* returns when the device is gone, so when the stream's process is */
	assert_int_equal(rdma_link_try_net("noroce"), 0);
	assert_int_equal(result(stream), 0);
	assert_int_equal(run("gone"), 0);
	assert_int_equal(rdma_link_try_net("roce"), 0);
	assert_int_equal(run("works"), 0);
}

static void link_down_under_a_stream(void **state)
{
	pid_t stream = start_stream("the port here is down");

	assert_int_equal(rdma_link_try_net("cut"), 0);
	assert_int_equal(result(stream), 0);
	assert_int_equal(run("gone"), 0);
	assert_int_equal(rdma_link_try_net("reset"), 0);
	assert_int_equal(run("works"), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(device_removed_under_a_stream),
		cmocka_unit_test(link_down_under_a_stream),
	};

	if (argc > 4) {
		snprintf(env.local, sizeof(env.local), "%s", argv[3]);
		snprintf(env.peer, sizeof(env.peer), "%s", argv[4]);
		if (!strcmp(argv[1], "stream"))
			return be_stream(argv[2]);
		return strcmp(argv[1], "works") ? be_gone() : be_works();
	}
	rdma_link_require("test_rdma_device", &env);
	if (!rdma_env_in_lab()) {
		printf("SKIP: test_rdma_device: needs the lab's devices; tests/lab/run "
		       "tests/lab/rdma-tests BUILD_DIRECTORY\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
