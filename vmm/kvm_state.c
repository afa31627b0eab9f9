/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * State of the kvm guest's vCPUs: one section for each of KVM's structures, which are ABI and
 * so the same on both hosts. All sections are checked for length before the first is applied;
 * what they say is checked by KVM, and binds only the guest.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <ramferry/err.h>

#include "vmm/kvm.h"

#define STATE_NAME "kvm guest state"

enum { TAG_MSRS = 1, TAG_FIXED = 2 };

/* Structures of fixed size. */
static const struct part {
	const char *name;
	unsigned long get, set;
	uint32_t len;
	int cap; /* 0: every KVM has it */
} parts[] = {
	/* in the order of loading, MSRs between [MSRS_AFTER] and the next */
	{"SREGS", KVM_GET_SREGS, KVM_SET_SREGS, sizeof(struct kvm_sregs), 0},
	{"XCRS", KVM_GET_XCRS, KVM_SET_XCRS, sizeof(struct kvm_xcrs), KVM_CAP_XCRS},
	{"XSAVE", KVM_GET_XSAVE, KVM_SET_XSAVE, sizeof(struct kvm_xsave), KVM_CAP_XSAVE},
	{"DEBUGREGS", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, sizeof(struct kvm_debugregs),
	 KVM_CAP_DEBUGREGS},
	{"VCPU_EVENTS", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events),
	 KVM_CAP_VCPU_EVENTS},
	{"MP_STATE", KVM_GET_MP_STATE, KVM_SET_MP_STATE, sizeof(struct kvm_mp_state),
	 KVM_CAP_MP_STATE},
	{"REGS", KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs), 0},
};
#define NPARTS	   (sizeof(parts) / sizeof(parts[0]))
#define MSRS_AFTER 2

#define MAX_MSRS  4096u
#define MSR_BATCH 128u /* KVM takes less than 256 a call */

/* struct kvm_msrs with its room. */
struct msr_batch {
	uint32_t nmsrs;
	uint32_t pad;
	struct kvm_msr_entry entries[MSR_BATCH];
};
_Static_assert(offsetof(struct msr_batch, entries) == offsetof(struct kvm_msrs, entries),
	       "KVM's layout");

/* TSC frequency travels with the MSRs, one of which is the TSC itself. */
struct msr_section_head {
	uint32_t tsc_khz; /* 0: unknown */
	uint32_t count;
};

static bool part_offered(const struct rf_vm *vm, const struct part *p)
{
	return !p->cap || ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, p->cap) > 0;
}

static int save_parts(struct rf_vm *vm, struct rf_vcpu *v, struct rf_blob_writer *w)
{
	union {
		struct kvm_xsave largest;
		unsigned char bytes[sizeof(struct kvm_xsave)];
	} buf;

	for (size_t i = 0; i < NPARTS; i++) {
		if (!part_offered(vm, &parts[i]))
			continue;
		memset(&buf, 0, sizeof(buf));
		if (ioctl(v->fd, parts[i].get, &buf)) {
			rf_err_log(STATE_NAME, "vCPU %u: reading %s: %s", v->index, parts[i].name,
				   strerror(errno));
			return RF_ERR_GUEST;
		}
		rf_blob_put(w, (uint16_t)(TAG_FIXED + i), (uint16_t)v->index, buf.bytes,
			    parts[i].len);
	}
	return RF_OK;
}

static struct kvm_msr_list *msr_list(const struct rf_vm *vm)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + MAX_MSRS * sizeof(list->indices[0]));

	if (!list)
		return NULL;
	list->nmsrs = MAX_MSRS;
	if (!ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, list))
		return list;
	free(list);
	return NULL;
}

/* Reads as many of the listed MSRs as KVM gives; entries has room for all of them. */
static uint32_t read_msrs(const struct rf_vcpu *v, const struct kvm_msr_list *list,
			  struct kvm_msr_entry *entries)
{
	struct msr_batch b;
	uint32_t next = 0, count = 0;

	while (next < list->nmsrs) {
		uint32_t n = list->nmsrs - next < MSR_BATCH ? list->nmsrs - next : MSR_BATCH;
		int got;

		memset(&b, 0, sizeof(b));
		b.nmsrs = n;
		for (uint32_t i = 0; i < n; i++)
			b.entries[i].index = list->indices[next + i];
		got = ioctl(v->fd, KVM_GET_MSRS, &b);
		if (got < 0)
			got = 0;
		memcpy(entries + count, b.entries, (uint32_t)got * sizeof(*entries));
		count += (uint32_t)got;
		/* The one it stopped at is listed but not readable: nothing to move. */
		next += (uint32_t)got + ((uint32_t)got < n);
	}
	return count;
}

static int save_msrs(struct rf_vm *vm, struct rf_vcpu *v, struct rf_blob_writer *w)
{
	struct kvm_msr_list *list = msr_list(vm);
	struct msr_section_head *head = NULL;
	int khz = ioctl(v->fd, KVM_GET_TSC_KHZ, 0);

	if (list)
		head = calloc(1, sizeof(*head) + list->nmsrs * sizeof(struct kvm_msr_entry));
	if (!head) {
		rf_err_log(STATE_NAME, "vCPU %u: no list of MSRs: %s", v->index, strerror(errno));
		free(list);
		return RF_ERR_GUEST;
	}
	head->tsc_khz = khz > 0 ? (uint32_t)khz : 0;
	head->count = read_msrs(v, list, (struct kvm_msr_entry *)(head + 1));
	rf_blob_put(w, TAG_MSRS, (uint16_t)v->index, head,
		    (uint32_t)(sizeof(*head) + head->count * sizeof(struct kvm_msr_entry)));
	free(head);
	free(list);
	return RF_OK;
}

int rf_kvm_save(struct rf_vm *vm, struct rf_blob_writer *w)
{
	int rc = RF_OK;

	for (unsigned i = 0; !rc && i < vm->cfg.vcpus; i++) {
		rc = save_parts(vm, &vm->vcpu[i], w);
		if (!rc)
			rc = save_msrs(vm, &vm->vcpu[i], w);
	}
	return rc;
}

uint64_t rf_kvm_state_size(const struct rf_vm *vm)
{
	uint64_t vcpu = sizeof(struct msr_section_head) + 200 * sizeof(struct kvm_msr_entry);

	for (size_t i = 0; i < NPARTS; i++)
		vcpu += RF_BLOB_SECTION_HEAD + parts[i].len;
	return vm->cfg.vcpus * vcpu;
}

/* The sections of one vCPU as they were found. */
struct found {
	const unsigned char *part[NPARTS];
	const unsigned char *msrs; /* struct msr_section_head and entries, not aligned */
};

static bool msrs_ok(const struct rf_blob_section *s)
{
	struct msr_section_head head;

	if (s->len < sizeof(head))
		return false;
	memcpy(&head, s->data, sizeof(head));
	return head.count <= MAX_MSRS &&
	       s->len == sizeof(head) + head.count * sizeof(struct kvm_msr_entry);
}

static bool sort_section(const struct rf_blob_section *s, struct found *f, unsigned vcpus)
{
	const unsigned char **place;

	if (s->vcpu >= vcpus)
		return false;
	if (s->tag == TAG_MSRS && msrs_ok(s))
		place = &f[s->vcpu].msrs;
	else if (s->tag >= TAG_FIXED && s->tag - TAG_FIXED < (int)NPARTS &&
		 s->len == parts[s->tag - TAG_FIXED].len)
		place = &f[s->vcpu].part[s->tag - TAG_FIXED];
	else
		return false;
	if (*place)
		return false;
	*place = s->data;
	return true;
}

static int find_sections(struct rf_vm *vm, const unsigned char *body, size_t len, struct found *f)
{
	struct rf_blob_section s;
	int rc;

	while (!(rc = rf_blob_next(&body, &len, &s))) {
		if (sort_section(&s, f, vm->cfg.vcpus))
			continue;
		rf_err_log(STATE_NAME, "section %u of vCPU %u, %u bytes: unknown, wrong or twice",
			   s.tag, s.vcpu, s.len);
		return RF_ERR_PROTOCOL;
	}
	if (rc != RF_AGAIN)
		return rc;
	for (unsigned i = 0; i < vm->cfg.vcpus; i++) {
		for (size_t p = 0; p < NPARTS; p++) {
			if (f[i].part[p] || parts[p].cap)
				continue;
			rf_err_log(STATE_NAME, "vCPU %u: %s is missing", i, parts[p].name);
			return RF_ERR_PROTOCOL;
		}
	}
	return RF_OK;
}

static int load_part(struct rf_vcpu *v, const struct part *p, const unsigned char *data)
{
	union {
		struct kvm_xsave largest;
		unsigned char bytes[sizeof(struct kvm_xsave)];
	} buf;

	if (!data)
		return RF_OK;
	memcpy(buf.bytes, data, p->len);
	if (!ioctl(v->fd, p->set, &buf))
		return RF_OK;
	rf_err_log(STATE_NAME, "vCPU %u: KVM refuses %s: %s", v->index, p->name, strerror(errno));
	return RF_ERR_GUEST;
}

static void load_tsc_khz(struct rf_vcpu *v, uint32_t khz)
{
	if (!khz || ioctl(v->fd, KVM_GET_TSC_KHZ, 0) == (int)khz)
		return;
	if (ioctl(v->fd, KVM_SET_TSC_KHZ, khz))
		rf_warn(STATE_NAME, "vCPU %u: TSC of %u kHz is not possible here: %s", v->index,
			khz, strerror(errno));
}

/* An MSR this host does not take is named and left as it is. */
static void load_msrs(struct rf_vcpu *v, const unsigned char *data)
{
	struct msr_section_head head;
	struct msr_batch b;

	if (!data)
		return;
	memcpy(&head, data, sizeof(head));
	data += sizeof(head);
	load_tsc_khz(v, head.tsc_khz);
	for (uint32_t next = 0; next < head.count;) {
		uint32_t n = head.count - next < MSR_BATCH ? head.count - next : MSR_BATCH;
		int set;

		b.nmsrs = n;
		b.pad = 0;
		memcpy(b.entries, data + next * sizeof(b.entries[0]), n * sizeof(b.entries[0]));
		set = ioctl(v->fd, KVM_SET_MSRS, &b);
		if (set < 0)
			set = 0;
		if ((uint32_t)set < n) {
			rf_info(STATE_NAME, "vCPU %u: MSR 0x%x = 0x%llx is refused, left as it is",
				v->index, b.entries[set].index, b.entries[set].data);
			set++;
		}
		next += (uint32_t)set;
	}
}

static int load_vcpu(struct rf_vcpu *v, const struct found *f)
{
	int rc = RF_OK;

	for (size_t i = 0; !rc && i < NPARTS; i++) {
		rc = load_part(v, &parts[i], f->part[i]);
		if (i == MSRS_AFTER)
			load_msrs(v, f->msrs);
	}
	return rc;
}

int rf_kvm_load(struct rf_vm *vm, const void *body, size_t len)
{
	struct found found[RF_GUEST_MAX_VCPUS] = {0};
	int rc = find_sections(vm, body, len, found);

	for (unsigned i = 0; !rc && i < vm->cfg.vcpus; i++)
		rc = load_vcpu(&vm->vcpu[i], &found[i]);
	return rc;
}
