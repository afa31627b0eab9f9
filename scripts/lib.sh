# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Shared by the scripts beside it; source it after `set -euo pipefail`.

RF_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export RF_ROOT

# die WORDS…: one line on stderr, then the end.
die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

# quietly LOG COMMAND…: runs it with all output in LOG; shows the end of LOG if it fails.
quietly()
{
	local log=$1 rc=0
	shift
	mkdir -p "${log%/*}"
	"$@" >"$log" 2>&1 </dev/null || rc=$?
	if [ "$rc" -ne 0 ]; then
		tail -n "${RF_TAIL:-40}" "$log" | sed 's/^/  | /' >&2
		echo "  | (all of it: $log)" >&2
	fi
	return "$rc"
}
