/* SPDX-License-Identifier: BSD-3-Clause */
/* What the commands of the ramferry tool share. */
#ifndef RF_TOOLS_COMMON_H
#define RF_TOOLS_COMMON_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <ramferry/ramferry.h>

#include "common/opts.h"
#include "vmm/guest.h"

struct json_object;

#define EXIT_USAGE 2

/* Options of the built-in guest, the same for both sides. */
struct guest_opts {
	const char *kind, *pattern, *tracker;
	const char *page_size;
	uint64_t memory, vcpus, working_set, dirty_rate, balloon, free_fraction, fill, seed, hot;
};

/* Options of the migration; the destination has a few of them. */
struct migration_opts {
	const char *transport, *provider;
	uint64_t lanes, chunk_size, piece_size, downtime_limit, timeout, connect_timeout;
	uint64_t link_timeout;
	uint64_t urgent_lanes, urgent_window, postcopy_after, max_postcopy_bandwidth;
	uint64_t max_bandwidth, avail_switchover_bandwidth, sync_interval;
	uint64_t cpu_throttle_initial, cpu_throttle_increment, max_cpu_throttle;
	const char *timeout_action;
	bool background_sync, defer_hot, auto_converge, cpu_throttle_tailslow;
	const char *mode, *locality, *poll_mode, *poll_cpus;
	bool pin_all, odp, verify, free_hints, release_ram;
};

/* How a command talks. */
struct output_opts {
	bool json, help;
	const char *log_level, *control;
};

/*
 * Rows of these options, for a command whose struct T has members guest, mig and out of the
 * types above.
 */
/* clang-format off */
#define GUEST_ROWS(T) \
	RF_OPT_GROUP("Guest"), \
	RF_OPT_CHOICE(T, guest.kind, "guest", 'g', "auto|kvm|threads", "auto", \
		"built-in guest; auto: kvm if it works here"), \
	RF_OPT_SIZE(T, guest.memory, "memory", 'm', "SIZE", "256M", \
		"guest memory; must be the same on both sides", \
		.min = RF_GUEST_MIN_BYTES, .max = RF_GUEST_MAX_BYTES), \
	RF_OPT_CHOICE(T, guest.page_size, "page-size", 0, "4K|2M|1G", "4K", \
		"host pages of guest memory; 2M, 1G: huge pages that must be free"), \
	RF_OPT_UINT(T, guest.vcpus, "vcpus", 'c', "N", "1", \
		"virtual CPUs; must be the same on both sides", \
		.min = 1, .max = RF_GUEST_MAX_VCPUS)

/* only the source */
#define WORK_ROWS(T) \
	RF_OPT_SIZE(T, guest.working_set, "working-set", 'w', "SIZE", "64M", \
		"memory the guest's program walks, checks and writes"), \
	RF_OPT_SIZE(T, guest.dirty_rate, "dirty-rate", 0, "SIZE", "0", \
		"bytes of pages written a second; 0: as fast as it can"), \
	RF_OPT_UINT(T, guest.hot, "hot", 0, "PERCENT", "0", \
		"part of the working set the first of several vCPUs walks; 0: all walk as much", \
		.max = 99), \
	RF_OPT_SIZE(T, guest.balloon, "balloon", 0, "SIZE", "0", \
		"memory it takes, checks and gives back all the time"), \
	RF_OPT_UINT(T, guest.free_fraction, "free-fraction", 0, "N", "50", \
		"percent of that which is free at a time", .min = 1, .max = 99), \
	RF_OPT_SIZE(T, guest.fill, "fill", 0, "SIZE", "0", \
		"incompressible data behind the working set"), \
	RF_OPT_CHOICE(T, guest.pattern, "pattern", 0, "random|sequential", "random", \
		"order in which the program walks"), \
	RF_OPT_UINT(T, guest.seed, "seed", 0, "N", "0", \
		"seed of that order and of the fill; 0: a random one")

#define PROGRAM_ROWS(T) \
	WORK_ROWS(T), \
	RF_OPT_CHOICE(T, guest.tracker, "tracker", 0, "auto|kvm-log|kvm-ring|uffd-wp|soft-dirty", "auto", \
		"how pages the guest writes are found; auto: what fits guest and kernel")

#define REACH_ROWS(T) \
	RF_OPT_GROUP("Link"), \
	RF_OPT_CHOICE(T, mig.transport, "transport", 't', "auto|verbs|ofi", "auto", \
		"auto: the best that works on both sides"), \
	RF_OPT_STRING(T, mig.provider, "provider", 'p', "NAME", NULL, \
		"libfabric provider, e.g. tcp, sockets; default: the first that works"), \
	RF_OPT_DURATION(T, mig.connect_timeout, "connect-timeout", 0, "TIME", "10s", \
		"longest wait for each step of connecting", 1000, .min = 1, .max = 3600000), \
	RF_OPT_DURATION(T, mig.link_timeout, "link-timeout", 0, "TIME", "10s", \
		"silence after which the peer counts as dead", 1000, .min = 100, .max = 3600000)

#define LANES_ROW(T) \
	RF_OPT_UINT(T, mig.lanes, "lanes", 'l', "N", "1", "bulk lanes", .min = 1, .max = 16)

#define LINK_ROWS(T) \
	REACH_ROWS(T), \
	RF_OPT_CHOICE(T, mig.poll_mode, "poll-mode", 0, "adaptive|busy|event", "adaptive", \
		"how threads that serve lanes wait"), \
	RF_OPT_STRING(T, mig.poll_cpus, "poll-cpus", 0, "LIST", NULL, \
		"CPUs for them, e.g. 2,4-7; default: next to the NIC"), \
	RF_OPT_BOOL(T, mig.odp, "odp", 0, "no", \
		"RDMA pins nothing, its device pages on demand; refused where it cannot")

/* only the source */
#define MIGRATION_ROWS(T, verify_by_default) \
	RF_OPT_GROUP("Migration"), \
	LANES_ROW(T), \
	RF_OPT_DURATION(T, mig.downtime_limit, "downtime-limit", 'd', "TIME", "300ms", \
		"longest the guest may stand still (a bare number: ms)", 1, \
		.min = 1, .max = 3600000), \
	RF_OPT_SIZE(T, mig.max_bandwidth, "max-bandwidth", 0, "SIZE", "0", \
		"bytes a second while the guest runs; 0: no limit"), \
	RF_OPT_SIZE(T, mig.avail_switchover_bandwidth, "avail-switchover-bandwidth", 0, "SIZE", \
		"0", "bytes a second to reckon with for the downtime; 0: as measured"), \
	RF_OPT_DURATION(T, mig.timeout, "timeout", 'T', "TIME", "0", \
		"time for the whole migration; 0: no limit (a bare number: s)", 1000, \
		.max = 4000000000), \
	RF_OPT_CHOICE(T, mig.timeout_action, "timeout-action", 0, "cancel|postcopy|switch", \
		"cancel", \
		"when it is over: the guest stays, or leaves in either way (postcopy: hybrid only)"), \
	RF_OPT_BOOL(T, mig.pin_all, "pin-all", 0, "no", \
		"register all memory at set-up instead of on demand"), \
	RF_OPT_BOOL(T, mig.verify, "verify", 0, verify_by_default, \
		"compare digests of all memory while the guest is paused"), \
	RF_OPT_BOOL(T, mig.free_hints, "free-hints", 0, "yes", \
		"leave out pages of --balloon that the guest says are free"), \
	RF_OPT_SIZE(T, mig.chunk_size, "chunk-size", 0, "SIZE", "64M", \
		"unit of memory registration, a power of two", .min = 1u << 20, .max = 1u << 30), \
	RF_OPT_SIZE(T, mig.piece_size, "piece-size", 0, "SIZE", "1M", \
		"longest single write", .min = 4096, .max = 16u << 20)

#define CONVERGENCE_ROWS(T) \
	RF_OPT_GROUP("Convergence"), \
	RF_OPT_BOOL(T, mig.auto_converge, "auto-converge", 0, "no", \
		"throttle the guest while it dirties over half of what is sent"), \
	RF_OPT_UINT(T, mig.cpu_throttle_initial, "cpu-throttle-initial", 0, "PERCENT", "20", \
		"share of time its vCPUs stand still at first", .min = 1, .max = 99), \
	RF_OPT_UINT(T, mig.cpu_throttle_increment, "cpu-throttle-increment", 0, "PERCENT", "10", \
		"how much more when that is not enough", .min = 1, .max = 99), \
	RF_OPT_UINT(T, mig.max_cpu_throttle, "max-cpu-throttle", 0, "PERCENT", "99", \
		"how much at most", .min = 1, .max = 99), \
	RF_OPT_BOOL(T, mig.cpu_throttle_tailslow, "cpu-throttle-tailslow", 0, "no", \
		"smaller steps when they are enough"), \
	RF_OPT_BOOL(T, mig.background_sync, "background-sync", 0, "yes", \
		"look for dirty pages also in the middle of a round"), \
	RF_OPT_DURATION(T, mig.sync_interval, "sync-interval", 0, "TIME", "0", \
		"how often; 0: by the length of the round, 100ms to 5s (a bare number: ms)", 1, \
		.max = 3600000), \
	RF_OPT_BOOL(T, mig.defer_hot, "defer-hot", 0, "yes", \
		"send pages that are dirtied all the time last in their round")

#define PLACEMENT_ROW(T) \
	RF_OPT_CHOICE(T, placement, "placement", 0, "continue|copy", "continue", \
		"destination: the guest's memory is what is written to, or its own and copied into")

#define POSTCOPY_ROWS(T) \
	RF_OPT_GROUP("Postcopy"), \
	RF_OPT_CHOICE(T, mig.mode, "mode", 'M', "precopy|postcopy|hybrid", "precopy", \
		"hybrid: precopy, then postcopy on SIGUSR1 or when it gets nowhere"), \
	RF_OPT_UINT(T, mig.postcopy_after, "postcopy-after", 0, "N", "0", \
		"hybrid: go over to postcopy after N rounds; 0: as needed"), \
	RF_OPT_UINT(T, mig.urgent_lanes, "urgent-lanes", 0, "N", "1", \
		"lanes for page requests, each with a fault thread", .min = 1, .max = 16), \
	RF_OPT_SIZE(T, mig.urgent_window, "urgent-window", 0, "SIZE", "64K", \
		"bulk in flight while a page request is open; 0: none", .max = 1u << 30), \
	RF_OPT_CHOICE(T, mig.locality, "locality", 0, "resume|follow", "resume", \
		"where the push goes on after a request: where it was, or behind that page"), \
	RF_OPT_BOOL(T, mig.release_ram, "release-ram", 0, "no", \
		"give memory back to this host as pages arrive there; not in precopy"), \
	RF_OPT_SIZE(T, mig.max_postcopy_bandwidth, "max-postcopy-bandwidth", 0, "SIZE", "0", \
		"bytes a second of the push; 0: no limit; answers are never limited")

#define CONTROL_ROWS(T, doc) \
	RF_OPT_GROUP("Control"), \
	RF_OPT_STRING(T, out.control, "control", 0, "PATH", NULL, doc)

#define OUTPUT_ROWS(T) \
	RF_OPT_GROUP("Output"), \
	RF_OPT_BOOL(T, out.json, "json", 'j', "no", \
		"print one JSON object as the last line of stdout"), \
	RF_OPT_CHOICE(T, out.log_level, "log-level", 0, "none|error|warn|info|debug|trace", \
		"warn", "how much is told on stderr"), \
	RF_OPT_BOOL(T, out.help, "help", 'h', "no", "print this help")
/* clang-format on */

/* Parses, handles --help and the log level. Returns -1 to go on, otherwise the exit code. */
int parse_command(const struct rf_opt *table, const char *prog, const char *usage, int argc,
		  char **argv, void *opts, struct output_opts *out, const char **pos,
		  unsigned npos_max, unsigned *npos);

/* "HOST:PORT", "[v6]:PORT" or ":PORT" (host "127.0.0.1"). False with one line on stderr. */
bool parse_host_port(const char *prog, const char *text, char *host, size_t cap, uint16_t *port);

/* Bytes of a host page. */
uint32_t guest_page_size(const struct guest_opts *g);

void guest_config(const struct guest_opts *g, struct rf_vm_cfg *cfg);

/* Passes of the guest at the steps of its life, UINT64_MAX where not known. */
struct guest_story {
	uint64_t at_start, at_migration, at_pause, at_resume, at_end;
	bool healthy; /* when it was paused: its program had found nothing wrong */
};

/* A vm and what is noted when ramferry calls it; guest_ops call it with a pointer to this. */
struct watched_vm {
	struct rf_vm *vm;
	struct guest_story story;
};
extern const struct rf_guest_ops watched_vm_ops;

/* Lets the guest run until its passes rose, at least min_ms and at most max_ms or until *stop;
 * then pauses it and checks every cell. True if it is sound and its passes rose. */
bool run_and_check(struct watched_vm *w, uint64_t from_passes, uint64_t min_ms, uint64_t max_ms,
		   const volatile sig_atomic_t *stop, char *desc, size_t cap);

/* The statistics as an object with QEMU's names; the caller puts more in and prints it. */
struct json_object *stats_to_json(const struct rf_stats *st);
void print_json_line(struct json_object *o);

/* The line that moves on a terminal, plain lines elsewhere; give as progress with arg = state. */
struct progress {
	bool tty;
	uint64_t last_round;
	enum rf_state last_state;
	bool open; /* a line without its newline is on the terminal */
	int index; /* of one of several, which have plain lines; -1: the only one */
};
void progress_init(struct progress *p, int index);
void progress_show(void *arg, const struct rf_stats *st);
void progress_end(struct progress *p);

int cmd_send(int argc, char **argv);
int cmd_receive(int argc, char **argv);
int cmd_demo(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_control(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_restore(int argc, char **argv);

#endif
