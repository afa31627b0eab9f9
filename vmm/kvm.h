/* SPDX-License-Identifier: BSD-3-Clause */
/* The kvm guest, split over kvm.c (machine), kvm_run.c (vCPU threads), kvm_state.c. */
#ifndef RF_VMM_KVM_H
#define RF_VMM_KVM_H

#include "vmm/vm.h"

/* kvm_run.c */
void rf_kvm_install_kick(void);
void rf_kvm_run(struct rf_vcpu *v);
void rf_kvm_kick(struct rf_vcpu *v);

/* kvm_state.c */
int rf_kvm_save(struct rf_vm *vm, struct rf_blob_writer *w);
int rf_kvm_load(struct rf_vm *vm, const void *body, size_t len);
uint64_t rf_kvm_state_size(const struct rf_vm *vm);

#endif
