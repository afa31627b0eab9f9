/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a VMM embeds ramferry, in one page. The "guest" is a counter in 16 MiB of memory that a
 * thread of the source increments; the child process is the destination host.
 * Build: cc -D_GNU_SOURCE embed.c $(pkg-config --cflags --libs ramferry) -lpthread
 */
#include <pthread.h>
#include <ramferry/ramferry.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RAM_BYTES (16u << 20)
static _Alignas(RF_PAGE_SIZE) _Atomic uint64_t ram[RAM_BYTES / 8]; /* of the source */

static void must(int err)
{
	if (err != RF_OK)
		fprintf(stderr, "embed: %s\n", rf_err_str(err)), exit(1);
}

struct machine {
	_Atomic uint64_t *ram;
	struct rf_tracker tracker;
	pthread_mutex_t cpu; /* held by whoever runs: the vCPU for a step, or the pause */
	char device[16];
};

/* The vCPU: writes a word in another page each step and reports the pages as written. */
_Noreturn static void *run_vcpu(void *arg)
{
	struct machine *m = arg;

	for (uint64_t i = 1;; i++) {
		uint64_t offset = i * 4096 % RAM_BYTES;

		pthread_mutex_lock(&m->cpu);
		atomic_store(&m->ram[0], i);
		rf_tracker_manual_mark(&m->tracker, 0, 0, 8);
		atomic_store(&m->ram[offset / 8 + 1], i);
		rf_tracker_manual_mark(&m->tracker, 0, offset + 8, 8);
		pthread_mutex_unlock(&m->cpu);
		usleep(10);
	}
}

static int pause_machine(void *m)
{
	return pthread_mutex_lock(&((struct machine *)m)->cpu) ? RF_ERR_GUEST : RF_OK;
}

static int resume_source(void *m)
{
	return pthread_mutex_unlock(&((struct machine *)m)->cpu) ? RF_ERR_GUEST : RF_OK;
}

static int save_state(void *m, void **buf, size_t *len)
{
	*len = sizeof(((struct machine *)m)->device);
	*buf = malloc(*len);
	if (!*buf)
		return RF_ERR_NO_MEMORY;
	memcpy(*buf, ((struct machine *)m)->device, *len);
	return RF_OK;
}

static int load_state(void *m, const void *buf, size_t len)
{
	if (len != sizeof(((struct machine *)m)->device)) /* it comes from the network */
		return RF_ERR_GUEST;
	memcpy(((struct machine *)m)->device, buf, len);
	return RF_OK;
}

static int start_here(void *arg)
{
	struct machine *m = arg;

	return printf("destination: counter %lu\n", atomic_load(m->ram)) > 0 ? RF_OK : RF_ERR_GUEST;
}

static void run_destination(int port_pipe)
{
	struct machine m = {0};
	struct rf_dest_cfg cfg = {.size = sizeof(cfg), .guest_arg = &m};
	struct rf_dest_region region = {.size = sizeof(region), .id = "ram"};
	struct rf_dest_memory memory = {.size = sizeof(memory)};
	struct rf_dest *dst;
	uint16_t port;

	cfg.guest = (struct rf_guest_ops){.size = sizeof(cfg.guest),
					  .load_state = load_state,
					  .resume = start_here};
	region.len = RAM_BYTES;
	region.page_size = RF_PAGE_SIZE;
	must(rf_dest_new(&cfg, &dst));
	must(rf_dest_add_region(dst, &region, &memory));
	m.ram = memory.guest_view;
	port = rf_dest_port(dst);
	must(write(port_pipe, &port, sizeof(port)) == sizeof(port) ? RF_OK : RF_ERR_SYSTEM);
	must(rf_dest_run(dst));
	rf_dest_delete(&dst);
}

static void run_source(uint16_t port)
{
	struct machine m = {.cpu = PTHREAD_MUTEX_INITIALIZER, .device = "serial port"};
	struct rf_region region = {.size = sizeof(region), .id = "ram", .len = RAM_BYTES};
	struct rf_source_cfg cfg = {.size = sizeof(cfg), .host = "127.0.0.1", .guest_arg = &m};
	struct rf_source *src;
	pthread_t vcpu;

	region.page_size = RF_PAGE_SIZE;
	region.memfd = -1; /* no file behind it */
	region.addr = m.ram = ram;
	must(rf_tracker_manual_new(&m.tracker));
	must(pthread_create(&vcpu, NULL, run_vcpu, &m) ? RF_ERR_SYSTEM : RF_OK);
	cfg.port = port;
	cfg.verify = 1;
	cfg.tracker = m.tracker;
	cfg.guest = (struct rf_guest_ops){.size = sizeof(cfg.guest),
					  .pause = pause_machine,
					  .resume = resume_source,
					  .save_state = save_state};
	must(rf_source_new(&cfg, &src));
	must(rf_source_add_region(src, &region));
	must(rf_source_run(src));
	/* The machine stays paused here for good: exit ends its vCPU. */
	printf("source: moved, counter %lu\n", atomic_load(m.ram));
	rf_source_delete(&src);
	rf_tracker_delete(&m.tracker);
}

int main(void)
{
	int pipe_fd[2], status = 1;
	uint16_t port;

	must(pipe(pipe_fd) ? RF_ERR_SYSTEM : RF_OK);
	if (fork() == 0) {
		run_destination(pipe_fd[1]);
		return 0;
	}
	close(pipe_fd[1]); /* so that a destination that fails early ends the read */
	must(read(pipe_fd[0], &port, sizeof(port)) == sizeof(port) ? RF_OK : RF_ERR_PEER_GONE);
	run_source(port);
	return wait(&status) < 0 || status;
}
