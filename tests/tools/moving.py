# SPDX-License-Identifier: BSD-3-Clause
"""What tests of running migrations share: the command, and clients of its control sockets."""
import concurrent.futures
import json
import os
import socket
import subprocess
import sys
import time
import traceback

TOOL = os.path.abspath(sys.argv[1])
PATIENCE = 300  # seconds after which something counts as never
# a busy machine is no fault
GUEST = ["--guest", "threads", "--memory", "64M", "--connect-timeout", "200s", "--link-timeout", "60s"]
PROGRAM = ["--working-set", "8M", "--fill", "16M", "--dirty-rate", "20M", "--run-before", "20ms", "--seed", "7"]
SLOW = ["--max-bandwidth", "50K"]  # 480 s: more than anybody waits


def await_true(what, condition):
    """Its result, once there is one."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"never: {what}")


def tool(*args, code=0):
    done = subprocess.run([TOOL, *args], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == code, (args, done)
    assert code == 0 or done.stderr.count("\n") == 1, done  # one line that says why
    return done.stderr if code else done.stdout


class Client:
    """A connection; answers and events in the order they come."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        await_true("a control socket", lambda: self.connect(path))
        self.socket.settimeout(PATIENCE)
        self.lines = self.socket.makefile("rb")
        self.events = []

    def connect(self, path):
        try:
            self.socket.connect(path)
            return True
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        for line in self.lines:
            o = json.loads(line)
            if "event" not in o:
                return o
            self.events.append(o)
        return None

    def ask(self, command, **arguments):
        request = {"execute": command, "arguments": {k.replace("_", "-"): v for k, v in arguments.items()}}
        self.send(json.dumps(request).encode() + b"\n")
        return self.answer()

    def do(self, command, **arguments):
        o = self.ask(command, **arguments)
        assert "return" in o, (command, arguments, o)
        return o["return"]

    def refused(self, command, **arguments):
        o = self.ask(command, **arguments)
        assert "error" in o, (command, arguments, o)
        return o["error"]["desc"]

    def migration(self):
        return self.do("status")["migrations"][0]

    def await_status(self, *names):
        return await_true(names, lambda: (m := self.migration())["status"] in names and m)


def run(case):
    start = time.monotonic()
    try:
        case()
    except Exception:
        print(f"FAILED: {case.__name__}\n{traceback.format_exc()}", flush=True)
        return False
    print(f"ok: {case.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
    return True


def main(all_cases):
    cases = [case for case in all_cases if not sys.argv[2:] or case.__name__ in sys.argv[2:]]
    # Most of each is spent on waiting.
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        sys.exit(0 if cases and all(list(pool.map(run, cases))) else 1)

