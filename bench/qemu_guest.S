/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starts ramferry's guest program in a machine of QEMU's (bench/snapshot_qemu): a multiboot kernel
 * that puts program and parameters where they belong (vmm/program.h), maps memory one to one with
 * pages of 2 MiB, enters long mode and runs vCPU 0 at CPL 3. Assembled with the paths of both.
 */
#define PAGE_TABLES 0x100000 /* PML4, PDPT, four page directories */
#define GIBS	    4

	.code32
	.section .text
	.align 4
	.long 0x1badb002, 0, -0x1badb002
	.globl start
start:
	cli
	cld
	mov $params, %esi
	mov $0x1000, %edi
	mov $(params_end - params), %ecx
	rep movsb
	mov $program, %esi
	mov $0x8000, %edi
	mov $(program_end - program), %ecx
	rep movsb

	mov $PAGE_TABLES, %edi
	xor %eax, %eax
	mov $((2 + GIBS) * 4096 / 4), %ecx
	rep stosl
	movl $(PAGE_TABLES + 0x1007), PAGE_TABLES
	mov $(PAGE_TABLES + 0x2007), %eax
	mov $(PAGE_TABLES + 0x1000), %edi
	mov $GIBS, %ecx
1:	mov %eax, (%edi)
	add $0x1000, %eax
	add $8, %edi
	loop 1b
	mov $0x87, %eax /* present, writable, for users, 2 MiB */
	mov $(PAGE_TABLES + 0x2000), %edi
	mov $(GIBS * 512), %ecx
2:	mov %eax, (%edi)
	add $0x200000, %eax
	add $8, %edi
	loop 2b

	mov %cr4, %eax
	or $0x20, %eax /* PAE */
	mov %eax, %cr4
	mov $PAGE_TABLES, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx /* EFER */
	rdmsr
	or $0x100, %eax /* LME */
	wrmsr
	mov %cr0, %eax
	and $~0x60000000, %eax /* CD, NW */
	or $0x80000001, %eax /* PG, PE */
	mov %eax, %cr0
	lgdt gdt_at
	ljmp $8, $long_mode

	.code64
long_mode:
	/* Nested machines may emulate what runs at CPL 0: the program runs at CPL 3. */
	mov $0x2b, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	mov $0x30, %eax
	ltr %ax
	mov $0x14000, %esp
	xor %edi, %edi /* where guest-physical 0 is mapped */
	xor %esi, %esi /* vCPU */
	pushq $0x2b    /* SS, RSP, RFLAGS with IOPL 3, CS, RIP */
	pushq $0x14000 - 8
	pushq $0x3002
	pushq $0x23
	pushq $0x8000
	iretq

	.align 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff, 0x00cf93000000ffff, 0 /* 8, 16: code and data at CPL 0 */
	.quad 0x00affb000000ffff, 0x00cff3000000ffff	 /* 0x20, 0x28: at CPL 3 */
	.quad 0x0000890000000067, 0			 /* 0x30: a task state that is never used */
gdt_at:	.word . - gdt - 1
	.long gdt
params:	.incbin "params.bin"
params_end:
program: .incbin "guest_program.bin"
program_end:
