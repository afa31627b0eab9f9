/* SPDX-License-Identifier: BSD-3-Clause */
/* What errors of devices and of the connection manager become. */
#include <errno.h>

#include "tests/unit/unit.h"

#include "transport/verbs/verbs.h"

static void completions(void **state)
{
	static const struct {
		enum ibv_wc_status status;
		int err;
	} table[] = {
		{IBV_WC_SUCCESS, RF_OK},
		{IBV_WC_RETRY_EXC_ERR, RF_ERR_LANE_TIMEOUT},
		{IBV_WC_RNR_RETRY_EXC_ERR, RF_ERR_LANE_TIMEOUT},
		{IBV_WC_RESP_TIMEOUT_ERR, RF_ERR_LANE_TIMEOUT},
		{IBV_WC_REM_ACCESS_ERR, RF_ERR_REMOTE_ACCESS},
		{IBV_WC_WR_FLUSH_ERR, RF_ERR_LANE_CLOSED},
		{IBV_WC_LOC_PROT_ERR, RF_ERR_LANE},
		{IBV_WC_REM_OP_ERR, RF_ERR_LANE},
		{IBV_WC_GENERAL_ERR, RF_ERR_LANE},
		{(enum ibv_wc_status)4711, RF_ERR_LANE},
	};

	for (unsigned i = 0; i < COUNT_OF(table); i++) {
		assert_int_equal(rf_verbs_error_of_wc(table[i].status), table[i].err);
		assert_true(strlen(rf_verbs_error_wc_words(table[i].status)) > 4);
	}
}

static void connection_manager(void **state)
{
	static const struct {
		enum rdma_cm_event_type type;
		int status, err;
		const char *words;
	} table[] = {
		{RDMA_CM_EVENT_REJECTED, 8, RF_ERR_REFUSED, "nobody listens"},
		{RDMA_CM_EVENT_REJECTED, 28, RF_ERR_REFUSED, "turned it away"},
		{RDMA_CM_EVENT_REJECTED, 10, RF_ERR_REFUSED, "old connection"},
		{RDMA_CM_EVENT_REJECTED, 4, RF_ERR_TIMEOUT, "gave up"},
		{RDMA_CM_EVENT_REJECTED, 33, RF_ERR_REFUSED, "reason 33"},
		{RDMA_CM_EVENT_ADDR_ERROR, -ENODEV, RF_ERR_UNREACHABLE, "no RDMA device"},
		{RDMA_CM_EVENT_ADDR_ERROR, -ETIMEDOUT, RF_ERR_UNREACHABLE, "does not resolve"},
		{RDMA_CM_EVENT_ROUTE_ERROR, -EINVAL, RF_ERR_UNREACHABLE, "no RDMA route"},
		{RDMA_CM_EVENT_UNREACHABLE, -ETIMEDOUT, RF_ERR_TIMEOUT, "cannot be reached"},
		{RDMA_CM_EVENT_UNREACHABLE, -ENETUNREACH, RF_ERR_UNREACHABLE, "cannot be reached"},
		{RDMA_CM_EVENT_DISCONNECTED, 0, RF_ERR_REFUSED, "hung up"},
		{RDMA_CM_EVENT_DEVICE_REMOVAL, 0, RF_ERR_UNREACHABLE, "removed"},
		{RDMA_CM_EVENT_CONNECT_ERROR, 3, RF_ERR_SYSTEM, "CONNECT_ERROR"},
	};

	for (unsigned i = 0; i < COUNT_OF(table); i++) {
		char words[128] = "";

		assert_int_equal(rf_verbs_error_of_cm(table[i].type, table[i].status, words,
						      sizeof(words)),
				 table[i].err);
		assert_non_null(strstr(words, table[i].words));
	}
}

static void system_calls(void **state)
{
	assert_int_equal(rf_verbs_error_of_errno(ENODEV), RF_ERR_UNREACHABLE);
	assert_int_equal(rf_verbs_error_of_errno(EADDRNOTAVAIL), RF_ERR_UNREACHABLE);
	assert_int_equal(rf_verbs_error_of_errno(EADDRINUSE), RF_ERR_BUSY);
	assert_int_equal(rf_verbs_error_of_errno(ENOMEM), RF_ERR_NO_MEMORY);
	assert_int_equal(rf_verbs_error_of_errno(EACCES), RF_ERR_PERMISSION);
	assert_int_equal(rf_verbs_error_of_errno(EINVAL), RF_ERR_SYSTEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(completions),
		cmocka_unit_test(connection_manager),
		cmocka_unit_test(system_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
