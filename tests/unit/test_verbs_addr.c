/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses on the control stream: they come from the peer. */
#include <arpa/inet.h>

#include "tests/unit/unit.h"

#include <ramferry/log.h>

#include "transport/verbs/verbs.h"

static void put_text(const char *text, uint16_t port, uint8_t addr[RF_VERBS_ADDR_SIZE])
{
	struct sockaddr_storage ss;

	assert_int_equal(rf_verbs_addr_resolve(text, &ss), RF_OK);
	if (ss.ss_family == AF_INET)
		((struct sockaddr_in *)&ss)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)&ss)->sin6_port = htons(port);
	rf_verbs_addr_put((struct sockaddr *)&ss, addr);
}

static void there_and_back(void **state)
{
	static const char *const hosts[] = {"10.9.0.2", "255.255.255.255", "fd00:9::2", "::1"};
	struct rf_verbs v = {0};

	for (unsigned i = 0; i < COUNT_OF(hosts); i++) {
		uint8_t addr[RF_VERBS_ADDR_SIZE];
		char text[RF_VERBS_HOST_SIZE];
		struct sockaddr_storage ss;

		put_text(hosts[i], 40679, addr);
		assert_int_equal(rf_verbs_addr_get(&v, addr, sizeof(addr), &ss), RF_OK);
		rf_verbs_addr_text((struct sockaddr *)&ss, text);
		assert_string_equal(text, hosts[i]);
		assert_int_equal(ss.ss_family == AF_INET ? ((struct sockaddr_in *)&ss)->sin_port
							 : ((struct sockaddr_in6 *)&ss)->sin6_port,
				 htons(40679));
	}
}

static void every_wrong_length_is_refused(void **state)
{
	struct rf_verbs v = {0};
	struct sockaddr_storage ss;
	uint8_t addr[64] = {0};

	put_text("10.9.0.2", 1, addr);
	for (uint32_t len = 0; len < sizeof(addr); len++) {
		if (len != RF_VERBS_ADDR_SIZE)
			assert_int_equal(rf_verbs_addr_get(&v, addr, len, &ss), RF_ERR_PROTOCOL);
	}
}

static void every_wrong_byte_is_refused(void **state)
{
	/* family, padding, port 0, rest of an IPv4 address */
	static const struct {
		unsigned at;
		uint8_t value;
	} wrong[] = {{0, 0}, {0, 5}, {0, 255}, {1, 1}, {2, 0}, {8, 1}, {19, 255}};
	struct rf_verbs v = {0};
	struct sockaddr_storage ss;

	for (unsigned i = 0; i < COUNT_OF(wrong); i++) {
		uint8_t addr[RF_VERBS_ADDR_SIZE];

		put_text("10.9.0.2", 1, addr);
		addr[wrong[i].at] = wrong[i].value;
		assert_int_equal(rf_verbs_addr_get(&v, addr, sizeof(addr), &ss), RF_ERR_PROTOCOL);
	}
}

static void any_address_is_the_known_host(void **state)
{
	static const char *const any[] = {"0.0.0.0", "::"};
	char known[] = "10.9.0.7";
	struct rf_verbs v = {0};

	for (unsigned i = 0; i < COUNT_OF(any); i++) {
		uint8_t addr[RF_VERBS_ADDR_SIZE];
		char text[RF_VERBS_HOST_SIZE];
		struct sockaddr_storage ss;

		put_text(any[i], 77, addr);
		v.peer_host = NULL;
		assert_int_equal(rf_verbs_addr_get(&v, addr, sizeof(addr), &ss),
				 RF_ERR_UNREACHABLE);
		v.peer_host = known;
		assert_int_equal(rf_verbs_addr_get(&v, addr, sizeof(addr), &ss), RF_OK);
		rf_verbs_addr_text((struct sockaddr *)&ss, text);
		assert_string_equal(text, known);
		assert_int_equal(((struct sockaddr_in *)&ss)->sin_port, htons(77));
	}
}

static void link_local_is_on_our_link(void **state)
{
	struct rf_verbs v = {0};
	struct sockaddr_in6 *local = (struct sockaddr_in6 *)&v.local;
	struct sockaddr_storage ss;
	uint8_t addr[RF_VERBS_ADDR_SIZE];

	local->sin6_family = AF_INET6;
	local->sin6_scope_id = 3;
	put_text("fe80::2", 5, addr);
	assert_int_equal(rf_verbs_addr_get(&v, addr, sizeof(addr), &ss), RF_OK);
	assert_int_equal(((struct sockaddr_in6 *)&ss)->sin6_scope_id, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(every_wrong_length_is_refused),
		cmocka_unit_test(every_wrong_byte_is_refused),
		cmocka_unit_test(any_address_is_the_known_host),
		cmocka_unit_test(link_local_is_on_our_link),
	};

	rf_log_set_level(RF_LOG_NONE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
