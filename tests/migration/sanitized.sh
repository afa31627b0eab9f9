# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# For scripts whose processes may be built with a sanitizer. One that leaks or races ends with an error,
# which is noticed neither where it was to fail anyway nor where it was the child of another. So what
# the sanitizer says goes to files, and at the end a file is a failure.
# Source it after `set -euo pipefail`; the trap of the end calls `sanitized` last.

sanitizer_said=$(mktemp -d)
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}log_path=$sanitizer_said/address"
export TSAN_OPTIONS="${TSAN_OPTIONS:+$TSAN_OPTIONS:}log_path=$sanitizer_said/thread"

# sanitized CODE: ends the script with that code, or with 1 after what the sanitizer said.
sanitized()
{
	local file code=$1
	for file in "$sanitizer_said"/*; do
		[ -e "$file" ] || continue
		code=1
		echo "FAILED: sanitizer, ${file##*/}:"
		cat "$file"
	done
	rm -rf "$sanitizer_said"
	exit "$code"
}
