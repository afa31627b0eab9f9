# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034 # used by the scripts that source this
# Paths and small helpers of the host side of the lab; sourced, never run.

lab_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
lab_tree=$(cd "$lab_dir/../.." && pwd -P)
# What belongs to this tree: initramfs, console log, results, running VMs.
lab_build=$lab_tree/build/lab
lab_initramfs=$lab_build/initramfs.img
# Small programs of tests/lab, compiled.
lab_tsc_khz=$lab_build/tsc_khz
lab_kvm_hold=$lab_build/kvm_hold
# What several trees may share: the kernel.
lab_cache=${RF_LAB_CACHE:-$lab_build}
case $lab_cache in /*) ;; *) lab_cache=$PWD/$lab_cache ;; esac
lab_kernel=$lab_cache/kernel

# Where root's programs are, for users whose PATH lacks them.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

lab_say() { printf 'lab: %s\n' "$*" >&2; }

# die CODE MESSAGE...
lab_die()
{
	local code=$1
	shift
	lab_say "$*"
	exit "$code"
}

# Release of the unpacked kernel, empty if there is none.
lab_kernel_release()
{
	local f
	for f in "$lab_kernel"/boot/vmlinuz-*; do
		[ -e "$f" ] && [ -e "$lab_kernel/.complete" ] && echo "${f##*/vmlinuz-}"
	done | sort -V | tail -n 1
}

# Packages of the list that are not installed, on one line.
lab_missing_packages()
{
	local -a want
	local p missing=()
	mapfile -t want < <(sed 's/[[:space:]]*#.*//; /^$/d' "$lab_dir/packages")
	declare -A have=()
	# dpkg-query fails when one of the names is unknown: that one is missing.
	while read -r p; do have[$p]=1; done < <(
		dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${want[@]}" 2>/dev/null |
			sed -n 's/^installed //p')
	for p in "${want[@]}"; do
		[ -n "${have[$p]:-}" ] || missing+=("$p")
	done
	echo "${missing[*]}"
}
