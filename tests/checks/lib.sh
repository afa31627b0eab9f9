# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Shared by the checks beside it. Each check is a script of its own:
#
#   tests/checks/NAME [--root DIR] [--build DIR] [ARGS]
#
#   --root   tree to look at (default: this repository; the self-test gives it bad ones)
#   --build  build folder, for checks that need one (default: ROOT/build/release)
#
# It prints one line per violation, beginning with file:line, and exits 1 if there was one;
# 77 if it cannot be run here, after a line `SKIP: name: what would enable it`.

RF_CHECK=${0##*/}
RF_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
RF_BUILD=''
RF_ARGS=()
RF_VIOLATIONS=0
export LC_ALL=C.UTF-8

while [ $# -gt 0 ]; do
	case "$1" in
	--root) RF_ROOT=$(cd "$2" && pwd) && shift ;;
	--build) RF_BUILD=$(cd "$2" && pwd) && shift ;;
	*) RF_ARGS+=("$1") ;;
	esac
	shift
done
: "${RF_BUILD:=$RF_ROOT/build/release}"
cd "$RF_ROOT" || exit

# need PROGRAM…: skips the check where one of them is missing.
need()
{
	local program
	for program; do
		command -v "$program" >/dev/null && continue
		echo "SKIP: check-$RF_CHECK: install $program (scripts/setup --test)"
		exit 77
	done
}

# files PATTERN…: files of the project whose paths match one of the patterns (`*` also matches
# slashes), sorted. Files not yet committed count, ignored ones do not.
files()
{
	if git rev-parse --show-toplevel 2>/dev/null | grep -qxF "$RF_ROOT"; then
		git ls-files -co --exclude-standard -- "$@" | sort -u
	else
		local pattern find_args=()
		for pattern; do
			find_args+=(-o -path "./$pattern")
		done
		find . -path ./build -prune -o -type f \( "${find_args[@]:1}" \) -print |
			sed 's|^\./||' | sort -u
	fi | while IFS= read -r file; do
		# A file that was deleted but is still in the index is no longer the project's.
		[ ! -f "$file" ] || printf '%s\n' "$file"
	done
}

# violation FILE:LINE WORDS…
violation()
{
	local where=$1
	shift
	echo "$where: $*"
	RF_VIOLATIONS=$((RF_VIOLATIONS + 1))
}

# report: takes lines that are violations from standard input.
report()
{
	local line
	while IFS= read -r line; do
		echo "$line"
		RF_VIOLATIONS=$((RF_VIOLATIONS + 1))
	done
}

# finish: the verdict; last command of a check.
finish()
{
	if [ "$RF_VIOLATIONS" -gt 0 ]; then
		echo "$RF_CHECK: $RF_VIOLATIONS violations"
		exit 1
	fi
	exit 0
}
