/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the sanitizers should not tell of libfabric, which is not built with them.
 *  - `sockets` never frees the 480 bytes it keeps of each connection request.
 *  - Thread sanitizer does not see its spin locks, nor what orders its own threads.
 */
const char *__lsan_default_suppressions(void);
const char *__tsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:libfabric.so\n";
}

const char *__tsan_default_suppressions(void)
{
	return "race:libfabric.so\nmutex:libfabric.so\ndeadlock:libfabric.so\n";
}
