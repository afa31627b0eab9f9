/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry restore: runs a built-in guest from a snapshot file. */
#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/size.h"
#include "tools/common.h"

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

struct restore_opts {
	struct output_opts out;
	uint64_t run_after;
	bool lazy;
};

static const struct rf_opt table[] = {
	RF_OPT_BOOL(struct restore_opts, lazy, "lazy", 'l', "no",
		    "start the guest at once, read its memory when it is touched and the rest in "
		    "the background"),
	RF_OPT_DURATION(struct restore_opts, run_after, "run-after", 0, "TIME", "500ms",
			"how long the guest runs before it is stopped and checked, at least", 1000,
			.max = 86400000),
	OUTPUT_ROWS(struct restore_opts),
	RF_OPT_END,
};

static struct rf_restore *running;
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
	if (running)
		rf_restore_cancel(running);
}

static void catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* The vm is made when the file has been opened and says what it is of. */
static int load_guest(void *arg, const void *buf, size_t len)
{
	return watched_vm_ops.load_state(arg, buf, len);
}

static int resume_guest(void *arg)
{
	return watched_vm_ops.resume(arg);
}

static const struct rf_guest_ops ops = {
	.size = sizeof(struct rf_guest_ops),
	.load_state = load_guest,
	.resume = resume_guest,
};

static bool make_memory(struct rf_region *ram)
{
	bool huge = ram->page_size > RF_PAGE_SIZE;
	unsigned flags = MFD_CLOEXEC;

	if (huge)
		flags |= MFD_HUGETLB | (unsigned)__builtin_ctz(ram->page_size) << MFD_HUGE_SHIFT;
	ram->memfd = memfd_create("ramferry-ram", flags);
	ram->addr = MAP_FAILED;
	if (ram->memfd >= 0 && ftruncate(ram->memfd, (off_t)ram->len) == 0)
		ram->addr = mmap(NULL, ram->len, PROT_READ | PROT_WRITE,
				 MAP_SHARED | (huge ? 0 : MAP_NORESERVE), ram->memfd, 0);
	if (ram->addr != MAP_FAILED)
		return true;
	fprintf(stderr, "ramferry restore: %llu bytes of memory: %s%s\n",
		(unsigned long long)ram->len, strerror(errno),
		huge ? "; are there enough free huge pages (vm.nr_hugepages)?" : "");
	return false;
}

static bool make_guest(struct rf_restore *r, struct rf_region *ram, struct watched_vm *w)
{
	struct rf_vm_cfg cfg = {0};
	struct rf_region other;
	const void *state;
	size_t len;

	if (rf_restore_region(r, 0, ram) != RF_OK || strcmp(ram->id, "ram") != 0 ||
	    rf_restore_region(r, 1, &other) == RF_OK) {
		fprintf(stderr, "ramferry restore: it is of no built-in guest: that has one "
				"region, \"ram\"\n");
		return false;
	}
	rf_restore_state(r, &state, &len);
	if (rf_vm_state_machine(state, len, &cfg) != RF_OK)
		return false;
	if (cfg.memory != ram->len) {
		fprintf(stderr,
			"ramferry restore: its state is of a guest with %llu bytes of "
			"memory, its region has %llu\n",
			(unsigned long long)cfg.memory, (unsigned long long)ram->len);
		return false;
	}
	if (!make_memory(ram) || rf_restore_add_region(r, ram) != RF_OK)
		return false;
	cfg.page_size = ram->page_size;
	cfg.memory_at = ram->addr;
	cfg.memfd = ram->memfd;
	return rf_vm_new(&cfg, &w->vm) == RF_OK;
}

static void add_real(struct json_object *o, const char *name, double v)
{
	char text[40];

	snprintf(text, sizeof(text), "%.3f", v);
	json_object_object_add(o, name, json_object_new_double_s(v, text));
}

static void print_json(const struct restore_opts *o, const struct rf_restore_stats *st,
		       const struct watched_vm *w, bool sound)
{
	struct json_object *j = json_object_new_object(), *s = json_object_new_object(),
			   *g = json_object_new_object();

	json_object_object_add(j, "status", json_object_new_string(rf_state_str(st->status)));
	if (st->error_desc[0])
		json_object_object_add(j, "error-desc", json_object_new_string(st->error_desc));
	json_object_object_add(j, "lazy", json_object_new_boolean(o->lazy));
	json_object_object_add(s, "total", json_object_new_uint64(st->total));
	json_object_object_add(s, "bytes-read", json_object_new_uint64(st->bytes_read));
	json_object_object_add(s, "faults", json_object_new_uint64(st->faults));
	json_object_object_add(s, "blocks-faulted", json_object_new_uint64(st->blocks_faulted));
	add_real(s, "start-time", st->start_time);
	add_real(s, "total-time", st->total_time);
	add_real(s, "fault-latency-p50", st->fault_latency_p50);
	add_real(s, "fault-latency-p99", st->fault_latency_p99);
	add_real(s, "fault-latency-max", st->fault_latency_max);
	json_object_object_add(j, "restore", s);
	json_object_object_add(g, "kind", json_object_new_string(rf_vm_kind(w->vm)));
	json_object_object_add(g, "passes-resume", json_object_new_uint64(w->story.at_resume));
	json_object_object_add(g, "passes-end", json_object_new_uint64(w->story.at_end));
	json_object_object_add(g, "sound", json_object_new_boolean(sound));
	json_object_object_add(j, "guest", g);
	print_json_line(j);
	json_object_put(j);
}

static int restore(const struct restore_opts *o, struct rf_restore *r, struct watched_vm *w)
{
	struct rf_restore_stats st = {.size = sizeof(st)};
	bool sound = false;
	char desc[256], got[32];
	int rc = rf_restore_run(r);

	running = NULL;
	rf_restore_stats(r, &st);
	if (rc == RF_OK) {
		sound = run_and_check(w, w->story.at_resume, o->run_after, 60000, &interrupted,
				      desc, sizeof(desc));
		if (!sound)
			fprintf(stderr, "ramferry restore: guest: %s\n", desc);
	}
	if (o->out.json)
		print_json(o, &st, w, sound);
	if (rc == RF_ERR_GUEST_LOST) {
		/* Its threads wait for memory that does not come: they end with the process. */
		fflush(NULL);
		_exit(EXIT_FAILURE);
	}
	rf_size_format(st.bytes_read, got, sizeof(got));
	if (sound && !o->out.json)
		printf("the guest ran after %.0f ms, had all its memory (%s) after %.0f ms, and "
		       "checked it: passes %llu to %llu\n",
		       st.start_time, got, st.total_time, (unsigned long long)w->story.at_resume,
		       (unsigned long long)w->story.at_end);
	return sound ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run(const struct restore_opts *o, const char *path)
{
	struct watched_vm w = {0};
	struct rf_region ram = {.addr = MAP_FAILED, .memfd = -1};
	struct rf_restore_cfg cfg = {
		.size = sizeof(cfg),
		.path = path,
		.lazy = o->lazy,
		.guest = ops,
		.guest_arg = &w,
	};
	struct rf_restore *r = NULL;
	int rc = EXIT_FAILURE;

	if (rf_restore_new(&cfg, &r) != RF_OK)
		return EXIT_FAILURE;
	if (make_guest(r, &ram, &w)) {
		running = r;
		catch_signals();
		rc = restore(o, r, &w);
	}
	rf_vm_delete(&w.vm);
	rf_restore_delete(&r);
	if (ram.addr != MAP_FAILED)
		munmap(ram.addr, ram.len);
	if (ram.memfd >= 0)
		close(ram.memfd);
	return rc;
}

int cmd_restore(int argc, char **argv)
{
	static const char prog[] = "ramferry restore";
	struct restore_opts o = {0};
	const char *path = NULL;
	unsigned npos = 0;
	int rc = parse_command(table, prog,
			       "[OPTION ...] FILE\n\n"
			       "Runs the guest of a file that 'ramferry snapshot' has written, and "
			       "checks it.",
			       argc, argv, &o, &o.out, &path, 1, &npos);

	if (rc >= 0)
		return rc;
	if (!npos) {
		fprintf(stderr, "%s: what from? give the FILE of a 'ramferry snapshot'\n", prog);
		return EXIT_USAGE;
	}
	return run(&o, path);
}
