# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Whole migrations by the command, in processes of their own: what the scripts beside this share.
# Source it after `set -euo pipefail`, with $suite_of set to the name skips are told by.

. "$(dirname "${BASH_SOURCE[0]}")/sanitized.sh"
# shellcheck disable=SC2034 # read by the scripts
seed=${RF_SEED:-$((SRANDOM % 1000000 + 1))}
# shellcheck disable=SC2034
reduced=${RF_REDUCED:-}
patience=150 # seconds after which a run counts as hung
work=$(mktemp -d)
pids=() # of the case that runs
# shellcheck disable=SC2034
ran=0
failures=0
declare -A unavailable=()

kill_all()
{
	local pid
	for pid in "${pids[@]}"; do
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	pids=()
}
trap 'rc=$?; kill_all; rm -rf "$work"; sanitized "$rc"' EXIT
trap 'exit 130' INT TERM

# failed NAME WORDS…: with all that was said.
failed()
{
	local name=$1
	shift
	failures=$((failures + 1))
	echo "FAILED: $name (RF_SEED=$seed): $*"
	tail -n 20 "$work"/*.out "$work"/*.err 2>/dev/null || true
}

skip()
{
	# shellcheck disable=SC2154 # set by the scripts
	[ -n "${unavailable[$1]:-}" ] || echo "SKIP: $suite_of/$1: $2"
	unavailable[$1]=yes
}

# need_tool NAME: ends the script as skipped without it.
need_tool()
{
	command -v "$1" >/dev/null && return
	echo "SKIP: $suite_of: install $1 (scripts/setup --test)"
	exit 77
}

# report FILE FILTER: the filter on the report a command has printed as its last line.
report()
{
	tail -n 1 "$1" | jq -r "$2" 2>/dev/null || true
}

# await NAME FILE PATTERN PID: until the file has such a line; fails when the process is gone.
await()
{
	local end=$((SECONDS + patience))
	until grep -q "$3" "$2"; do
		if [ "$SECONDS" -ge "$end" ] || ! kill -0 "$4" 2>/dev/null; then
			grep -q "$3" "$2" && return
			failed "$1" "no line with '$3'"
			return 1
		fi
		sleep 0.01
	done
}

# start_receive NAME ARGS…: sets $receive, its process id, and $port.
start_receive()
{
	local name=$1
	shift
	: >"$work/receive.out"
	# shellcheck disable=SC2154
	"$ramferry" receive --json "$@" >"$work/receive.out" 2>"$work/receive.err" &
	receive=$!
	pids+=("$receive")
	await "$name" "$work/receive.out" '^listening on ' "$receive" || return
	port=$(sed -n 's/^listening on .* port \([0-9]*\)$/\1/p' "$work/receive.out")
}

# start_send ARGS…: to $port; sets $send, its process id.
start_send()
{
	: >"$work/send.err"
	"$ramferry" send --json --seed "$seed" "$@" "127.0.0.1:$port" \
		>"$work/send.out" 2>"$work/send.err" &
	send=$!
	pids+=("$send")
}

# start_both NAME ARGS-OF-BOTH… -- ARGS-OF-SEND…: sets $receive and $send, their process ids.
start_both()
{
	local name=$1 both=()
	shift
	while [ "$1" != -- ]; do
		both+=("$1")
		shift
	done
	shift
	start_receive "$name" "${both[@]}" || return
	start_send "${both[@]}" "$@"
}

# end_of PID: its exit code, in $rc; one that hangs is killed.
end_of()
{
	local end=$((SECONDS + patience))
	while kill -0 "$1" 2>/dev/null && [ "$SECONDS" -lt "$end" ]; do
		sleep 0.02
	done
	kill -KILL "$1" 2>/dev/null || true
	rc=0
	# shellcheck disable=SC2034
	wait "$1" || rc=$?
}

# sleep_ms N
sleep_ms()
{
	sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"
}
