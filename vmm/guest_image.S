/* SPDX-License-Identifier: BSD-3-Clause */
/* The kvm guest's flat binary, as bytes of this program. */
	.section .rodata
	.balign	16
	.globl	rf_guest_image
	.hidden	rf_guest_image
	.type	rf_guest_image, @object
rf_guest_image:
	.incbin	RF_GUEST_IMAGE
.Lend:
	.size	rf_guest_image, . - rf_guest_image
	.balign	8
	.globl	rf_guest_image_bytes
	.hidden	rf_guest_image_bytes
	.type	rf_guest_image_bytes, @object
rf_guest_image_bytes:
	.quad	.Lend - rf_guest_image
	.size	rf_guest_image_bytes, 8
	.section .note.GNU-stack, "", @progbits
