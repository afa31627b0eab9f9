/* SPDX-License-Identifier: BSD-3-Clause */
/* The guests' device state, as it is and as a bad peer would send it. */
#include "tests/unit/guest_fixture.h"

#include <linux/kvm.h>

#include "vmm/state_blob.h"

static const struct guest_case rows[] = {
	{"kvm, 2 vCPUs", "kvm", NULL, 2, RF_PATTERN_RANDOM, 0},
	{"threads, 2 vCPUs", "threads", NULL, 2, RF_PATTERN_RANDOM, 0},
};

struct saved {
	struct guest_memory memory;
	unsigned char *state;
	size_t len;
};

/* A guest that ran for some passes: its memory and its state. */
static void save_guest(const struct guest_case *c, struct saved *s)
{
	struct rf_region r;
	void *state = NULL;

	need_guest(c);
	struct rf_vm *vm = new_guest(c);
	rf_vm_region(vm, &r);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_passes(vm, c->vcpus);
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_int_equal(rf_vm_ops.save_state(vm, &state, &s->len), RF_OK);
	s->state = state;
	make_memory(&s->memory, r.len);
	memcpy(s->memory.at, r.addr, r.len);
	rf_vm_delete(&vm);
}

static void drop_saved(struct saved *s)
{
	free(s->state);
	drop_memory(&s->memory);
}

static struct rf_vm *new_destination(const struct guest_case *c, const struct saved *s)
{
	struct rf_vm_cfg cfg;
	struct rf_vm *vm = NULL;

	fill_cfg(c, &cfg);
	cfg.memory_at = s->memory.at;
	cfg.memfd = s->memory.memfd;
	assert_int_equal(rf_vm_new(&cfg, &vm), RF_OK);
	return vm;
}

/* The bytes in memory of their own length, so that a sanitizer sees a read past them. */
static int load_copy(struct rf_vm *vm, const unsigned char *state, size_t len)
{
	unsigned char *copy = malloc(len ? len : 1);

	memcpy(copy, state, len);
	int rc = rf_vm_ops.load_state(vm, copy, len);
	free(copy);
	return rc;
}

static void good_state_still_runs(struct rf_vm *vm, const struct guest_case *c,
				  const struct saved *s)
{
	assert_int_equal(load_copy(vm, s->state, s->len), RF_OK);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_passes(vm, rf_vm_passes(vm) + c->vcpus);
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_checked(vm);
}

static void truncated_state_is_refused(void **state)
{
	const struct guest_case *c = *state;
	struct log_watch log;
	struct saved s;

	save_guest(c, &s);
	struct rf_vm *vm = new_destination(c, &s);
	watch_log(&log);
	for (size_t len = 0; len < s.len; len++) {
		assert_int_equal(load_copy(vm, s.state, len), RF_ERR_PROTOCOL);
		assert_int_equal(log.errors, len + 1);
	}
	/* Nor is anything behind it taken. */
	unsigned char *longer = calloc(1, s.len + 1);
	memcpy(longer, s.state, s.len);
	assert_int_equal(load_copy(vm, longer, s.len + 1), RF_ERR_PROTOCOL);
	free(longer);
	assert_int_equal(rf_vm_ops.resume(vm), RF_ERR_STATE);
	unwatch_log();
	good_state_still_runs(vm, c, &s);
	rf_vm_delete(&vm);
	drop_saved(&s);
}

static void flipped_bits_are_refused(void **state)
{
	const struct guest_case *c = *state;
	struct log_watch log;
	struct saved s;

	save_guest(c, &s);
	struct rf_vm *vm = new_destination(c, &s);
	watch_log(&log);
	for (size_t i = 0; i < s.len; i++) {
		unsigned char bit = (unsigned char)(1u << test_random() % 8);

		s.state[i] ^= bit;
		if (load_copy(vm, s.state, s.len) == RF_OK)
			fail_msg("a flip in byte %zu was not seen", i);
		s.state[i] ^= bit;
	}
	assert_int_equal(rf_vm_ops.resume(vm), RF_ERR_STATE);
	unwatch_log();
	good_state_still_runs(vm, c, &s);
	rf_vm_delete(&vm);
	drop_saved(&s);
}

static void another_machine_is_refused(void **state)
{
	const struct guest_case *c = *state;
	struct guest_case other = *c;
	struct log_watch log;
	struct rf_vm_cfg cfg;
	struct rf_vm *vm;
	struct saved s;

	other.kind = strcmp(c->kind, "kvm") ? "kvm" : "threads";
	need_guest(&other);
	save_guest(c, &s);
	watch_log(&log);
	other = *c;
	other.vcpus = 3;
	vm = new_destination(&other, &s);
	assert_int_equal(load_copy(vm, s.state, s.len), RF_ERR_MISMATCH);
	assert_non_null(strstr(log.last, "vCPUs"));
	rf_vm_delete(&vm);

	other = *c;
	other.kind = strcmp(c->kind, "kvm") ? "kvm" : "threads";
	vm = new_destination(&other, &s);
	assert_int_equal(load_copy(vm, s.state, s.len), RF_ERR_MISMATCH);
	assert_non_null(strstr(log.last, "kind"));
	rf_vm_delete(&vm);

	fill_cfg(c, &cfg);
	cfg.memory -= RF_PAGE_SIZE;
	cfg.memory_at = s.memory.at;
	cfg.memfd = s.memory.memfd;
	assert_int_equal(rf_vm_new(&cfg, &vm), RF_OK);
	assert_int_equal(load_copy(vm, s.state, s.len), RF_ERR_MISMATCH);
	assert_non_null(strstr(log.last, "memory"));
	rf_vm_delete(&vm);
	unwatch_log();
	drop_saved(&s);
}

/* A peer that knows the format: what a section list may look like. */
struct section {
	struct rf_blob_section s;
	unsigned char data[8192];
};
#define MAX_SECTIONS 64

static size_t split(const struct guest_case *c, const struct saved *s, struct section *out)
{
	struct rf_blob_machine m = {strcmp(c->kind, "kvm") ? 2 : 1, c->vcpus, s->memory.len};
	const unsigned char *p;
	size_t left, n = 0;

	assert_int_equal(rf_blob_open(s->state, s->len, &m, &p, &left), RF_OK);
	while (rf_blob_next(&p, &left, &out[n].s) == RF_OK) {
		assert_true(out[n].s.len <= sizeof(out[n].data) && n + 2 < MAX_SECTIONS);
		memcpy(out[n].data, out[n].s.data, out[n].s.len);
		n++;
	}
	return n;
}

static int load_joined(struct rf_vm *vm, const struct guest_case *c, const struct saved *s,
		       const struct section *sections, size_t n)
{
	struct rf_blob_machine m = {strcmp(c->kind, "kvm") ? 2 : 1, c->vcpus, s->memory.len};
	struct rf_blob_writer w;
	void *buf = NULL;
	size_t len = 0;

	rf_blob_begin(&w);
	for (size_t i = 0; i < n; i++)
		rf_blob_put(&w, sections[i].s.tag, sections[i].s.vcpu, sections[i].data,
			    sections[i].s.len);
	assert_int_equal(rf_blob_finish(&w, &m, &buf, &len), RF_OK);
	int rc = load_copy(vm, buf, len);
	free(buf);
	return rc;
}

static void wrong_sections_are_refused(void **state)
{
	static struct section good[MAX_SECTIONS], bad[MAX_SECTIONS];
	const struct guest_case *c = *state;
	struct log_watch log;
	struct saved s;

	save_guest(c, &s);
	struct rf_vm *vm = new_destination(c, &s);
	size_t n = split(c, &s, good);
	watch_log(&log);
	for (size_t i = 0; i < n; i++) {
		memcpy(bad, good, sizeof(bad));
		bad[i].s.len--;
		assert_int_equal(load_joined(vm, c, &s, bad, n), RF_ERR_PROTOCOL);
		bad[i].s.len += 2;
		assert_int_equal(load_joined(vm, c, &s, bad, n), RF_ERR_PROTOCOL);
		bad[i].s.len = 0;
		assert_int_equal(load_joined(vm, c, &s, bad, n), RF_ERR_PROTOCOL);
		bad[i] = good[i];
		bad[i].s.tag = 0;
		assert_int_equal(load_joined(vm, c, &s, bad, n), RF_ERR_PROTOCOL);
		bad[i].s.tag = 999;
		assert_int_equal(load_joined(vm, c, &s, bad, n), RF_ERR_PROTOCOL);
		bad[i] = good[i];
		bad[i].s.vcpu = (uint16_t)c->vcpus;
		assert_int_equal(load_joined(vm, c, &s, bad, n), RF_ERR_PROTOCOL);
		bad[i] = good[i];
		bad[n] = good[i];
		assert_int_equal(load_joined(vm, c, &s, bad, n + 1), RF_ERR_PROTOCOL);
		/* Sections may be missing, but not the registers. */
		bad[i] = good[n - 1];
		int rc = load_joined(vm, c, &s, bad, n - 1);
		assert_true(rc == RF_OK || rc == RF_ERR_PROTOCOL);
	}
	if (n)
		assert_int_equal(load_joined(vm, c, &s, good, 1), RF_ERR_PROTOCOL);
	memset(bad, 0, sizeof(bad[0]));
	assert_int_equal(load_joined(vm, c, &s, bad, 1), RF_ERR_PROTOCOL);
	unwatch_log();
	good_state_still_runs(vm, c, &s);
	rf_vm_delete(&vm);
	drop_saved(&s);
}

/* The count of MSRs against the section's length, at the edges of 32-bit arithmetic. */
static void count_of_msrs_is_not_trusted(void **state)
{
	static struct section sections[MAX_SECTIONS];
	static const uint32_t counts[] = {0,	      1,	  0x0fffffff, 0x10000000,
					  0x10000001, 0x7fffffff, 0x80000000, UINT32_MAX};
	const struct guest_case *c = *state;
	struct log_watch log;
	struct saved s;

	save_guest(c, &s);
	struct rf_vm *vm = new_destination(c, &s);
	size_t n = split(c, &s, sections);
	watch_log(&log);
	for (size_t i = 0; i < n; i++) {
		if (sections[i].s.tag != 1)
			continue;
		for (size_t k = 0; k < COUNT_OF(counts); k++) {
			memcpy(sections[i].data + 4, &counts[k], 4);
			assert_int_equal(load_joined(vm, c, &s, sections, n), RF_ERR_PROTOCOL);
		}
	}
	unwatch_log();
	rf_vm_delete(&vm);
	drop_saved(&s);
}

/* Registers that are nonsense: the guest dies or strays, the host goes on. */
static void nonsense_in_registers_harms_only_the_guest(void **state)
{
	static struct section sections[MAX_SECTIONS];
	const struct guest_case *c = *state;
	struct log_watch log;
	struct saved s;

	save_guest(c, &s);
	for (unsigned round = 0; round < 10; round++) {
		size_t n = split(c, &s, sections);
		struct rf_vm *vm = new_destination(c, &s);
		char desc[256];

		for (size_t i = 0; i < n; i++)
			for (unsigned k = 0; k < 8; k++)
				if (sections[i].s.len == sizeof(struct kvm_regs))
					sections[i].data[test_random() % sections[i].s.len] =
						(unsigned char)test_random();
		watch_log(&log);
		if (load_joined(vm, c, &s, sections, n) == RF_OK) {
			assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
			sleep_ms(2);
			assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
			rf_vm_health(vm, desc, sizeof(desc));
		}
		unwatch_log();
		rf_vm_delete(&vm);
	}
	drop_saved(&s);
}

/* Any byte of any structure: KVM takes it or not. */
static void nonsense_elsewhere_is_kvms_to_refuse(void **state)
{
	static struct section sections[MAX_SECTIONS];
	const struct guest_case *c = *state;
	struct log_watch log;
	struct saved s;

	save_guest(c, &s);
	for (unsigned round = 0; round < 60; round++) {
		size_t n = split(c, &s, sections), i = n ? test_random() % n : 0;
		struct rf_vm *vm = new_destination(c, &s);

		for (unsigned k = 0; k < 3; k++)
			sections[i].data[test_random() % (sections[i].s.len | 1)] ^=
				(unsigned char)(1u << test_random() % 8);
		watch_log(&log);
		int rc = load_joined(vm, c, &s, sections, n);
		if (rc != RF_OK)
			assert_int_equal(rf_vm_ops.resume(vm), RF_ERR_STATE);
		unwatch_log();
		assert_true(rc == RF_OK || rc == RF_ERR_GUEST || rc == RF_ERR_PROTOCOL);
		rf_vm_delete(&vm);
	}
	drop_saved(&s);
}

int main(void)
{
	static struct guest_tests g;

	add_rows(&g, truncated_state_is_refused, rows, COUNT_OF(rows));
	add_rows(&g, flipped_bits_are_refused, rows, COUNT_OF(rows));
	add_rows(&g, another_machine_is_refused, rows, COUNT_OF(rows));
	add_rows(&g, wrong_sections_are_refused, rows, COUNT_OF(rows));
	add_rows(&g, count_of_msrs_is_not_trusted, rows, 1);
	add_rows(&g, nonsense_in_registers_harms_only_the_guest, rows, 1);
	add_rows(&g, nonsense_elsewhere_is_kvms_to_refuse, rows, 1);
	return run_guest_tests("test_guest_state", &g);
}
