/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Holds an empty virtual machine for as long as the lab's VM lives.
 *
 * With the first machine KVM's module switches a branch of the scheduler on, with the last one off
 * again: each time it puts a breakpoint over an instruction that the other processor may be about
 * to execute. QEMU's translator can go on executing the breakpoint after it is gone: that processor
 * never leaves the scheduler, with its run queue's lock held, and all stands still without a word.
 * With this one machine it is switched once, while nothing else runs.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0 || ioctl(kvm, KVM_CREATE_VM, 0ul) < 0) {
		perror("kvm_hold: /dev/kvm");
		return 1;
	}
	/* Who started us waits for this end of file. */
	close(STDOUT_FILENO);
	for (;;)
		pause();
}
