/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/fake_kvm.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

struct fake_kvm fake;

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

void fake_kvm_setup(void)
{
	const size_t offset = (size_t)KVM_DIRTY_LOG_PAGE_OFFSET * RF_PAGE_SIZE;
	const size_t bytes = FAKE_ENTRIES * sizeof(struct kvm_dirty_gfn);

	fake = (struct fake_kvm){.vm_fd = memfd_create("fake-vm", MFD_CLOEXEC)};
	for (unsigned i = 0; i < FAKE_RINGS; i++) {
		struct fake_ring *r = &fake.rings[i];

		r->fd = memfd_create("fake-vcpu", MFD_CLOEXEC);
		assert_int_equal(ftruncate(r->fd, (off_t)(offset + RF_PAGE_SIZE)), 0);
		r->gfns =
			mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, (off_t)offset);
		assert_true(r->gfns != MAP_FAILED);
	}
}

void fake_kvm_teardown(void)
{
	for (unsigned i = 0; i < FAKE_RINGS; i++) {
		munmap(fake.rings[i].gfns, FAKE_ENTRIES * sizeof(struct kvm_dirty_gfn));
		close(fake.rings[i].fd);
	}
	close(fake.vm_fd);
}

void fake_dirty(unsigned slot, uint64_t page)
{
	struct fake_slot *s = &fake.slots[slot];

	assert_true(page < s->npages);
	if (s->logging)
		s->dirty[page / 64] |= UINT64_C(1) << page % 64;
}

bool fake_push(unsigned ring, uint32_t slot, uint64_t page)
{
	struct fake_ring *r = &fake.rings[ring];
	struct kvm_dirty_gfn *gfn = &r->gfns[r->in % FAKE_ENTRIES];

	if (r->in - r->reset >= FAKE_ENTRIES)
		return false;
	assert_int_equal(gfn->flags, 0);
	gfn->slot = slot;
	gfn->offset = page;
	__atomic_store_n(&gfn->flags, KVM_DIRTY_GFN_F_DIRTY, __ATOMIC_RELEASE);
	r->in++;
	return true;
}

static int refuse(int err)
{
	errno = err;
	return -1;
}

static int set_region(const struct kvm_userspace_memory_region *r)
{
	struct fake_slot *s = &fake.slots[r->slot];

	fake.set_calls++;
	assert_true(r->slot < FAKE_SLOTS);
	if (fake.fail_set && --fake.fail_set == 0)
		return refuse(EINVAL);
	/* Only flags may change: another size or address would be another slot. */
	assert_int_equal(r->memory_size, s->npages * RF_PAGE_SIZE);
	assert_int_equal(r->userspace_addr, (uintptr_t)s->addr);
	assert_int_equal(r->guest_phys_addr, s->guest_phys);
	s->logging = r->flags & KVM_MEM_LOG_DIRTY_PAGES;
	if (!s->logging)
		memset(s->dirty, 0, sizeof(s->dirty));
	return 0;
}

static int get_log(const struct kvm_dirty_log *log)
{
	struct fake_slot *s = &fake.slots[log->slot];

	fake.get_calls++;
	if (fake.fail_get)
		return refuse(EFAULT);
	assert_true(s->logging);
	memcpy(log->dirty_bitmap, s->dirty, (s->npages + 63) / 64 * 8);
	if (fake.after_get)
		fake.after_get();
	return 0;
}

static int clear_log(const struct kvm_clear_dirty_log *c)
{
	struct fake_slot *s = &fake.slots[c->slot];
	const uint64_t *words = c->dirty_bitmap;
	uint64_t end = c->first_page + c->num_pages;

	fake.clear_calls++;
	fake.cleared_pages += c->num_pages;
	if (fake.fail_clear)
		return refuse(EFAULT);
	/* As kvm_clear_dirty_log_protect() checks. */
	if (c->first_page % 64 || !c->num_pages || end > s->npages ||
	    (c->num_pages % 64 && end != s->npages))
		return refuse(EINVAL);
	for (uint64_t w = c->first_page / 64; w < (end + 63) / 64; w++)
		s->dirty[w] &= ~words[w - c->first_page / 64];
	return 0;
}

static int reset_rings(void)
{
	unsigned done = 0;

	fake.reset_calls++;
	if (fake.fail_reset)
		return refuse(EIO);
	if (fake.reset_eintr) {
		fake.reset_eintr--;
		return refuse(EINTR);
	}
	for (unsigned i = 0; i < FAKE_RINGS; i++) {
		struct fake_ring *r = &fake.rings[i];

		for (; r->reset != r->in && (!fake.reset_most || done < fake.reset_most); done++) {
			struct kvm_dirty_gfn *gfn = &r->gfns[r->reset % FAKE_ENTRIES];

			if (!(gfn->flags & KVM_DIRTY_GFN_F_RESET))
				break;
			gfn->flags = 0;
			r->reset++;
		}
	}
	return (int)done;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (fd != fake.vm_fd)
		return __real_ioctl(fd, request, arg);
	switch (request) {
	case KVM_CHECK_EXTENSION:
		return fake.no_manual_protect ? 0 : 3;
	case KVM_ENABLE_CAP:
		assert_int_equal(((struct kvm_enable_cap *)arg)->args[0],
				 KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
		return 0;
	case KVM_SET_USER_MEMORY_REGION:
		return set_region(arg);
	case KVM_GET_DIRTY_LOG:
		return get_log(arg);
	case KVM_CLEAR_DIRTY_LOG:
		return clear_log(arg);
	case KVM_RESET_DIRTY_RINGS:
		return reset_rings();
	default:
		fail_msg("unexpected request 0x%lx", request);
		return -1;
	}
}
