# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of snapshots share: commands that are started, ended and read, cases that are
counted. sys.argv[1] is the ramferry to test."""
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

PATIENCE = 240  # seconds after which something counts as never
TOOL = os.path.abspath(sys.argv[1]) if len(sys.argv) > 2 else ""
SMALL = ["--memory", "64M", "--working-set", "16M", "--run-before", "100ms", "--run-after", "50ms"]
HUGE = ["--memory", "32M", "--page-size", "2M", "--working-set", "16M", "--run-before", "100ms"]
STRATEGIES = (
    ["--strategy", "auto"],
    ["--strategy", "queue"],
    ["--strategy", "copy", "--fault-threads", "2"],
    ["--strategy", "copy", "--snapshot-pool", "1M", "--max-bandwidth", "50M"],
)
RUNS = int(os.environ.get("RF_RUNS", "1"))
SEED = int(os.environ.get("RF_SEED", random.randint(1, 10**6)))
# Something to save even if it has had no turn yet.
THREADS = ["--guest", "threads", *SMALL, "--fill", "16M"]
ran = 0
failed = 0
started = []  # by the case that runs


def start(*args):
    process = subprocess.Popen(
        [TOOL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    started.append(process)
    return process


def finish(process, code=0):
    """Its last line of stdout as JSON, and its stderr."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"hangs: {process.args}") from None
    assert process.returncode == code, (process.args, process.returncode, out, err)
    return json.loads(out.splitlines()[-1]) if out.strip() else None, err


def run(*args, code=0):
    return finish(start(*args), code)


def case(name, fn, *args):
    global ran, failed
    ran += 1
    try:
        fn(*args)
        print(f"ok: {name}", flush=True)
    except Exception:
        failed += 1
        print(f"FAILED: {name}", flush=True)
        traceback.print_exc()
    while started:
        process = started.pop()
        if process.poll() is None:
            process.kill()
        process.communicate()


def unavailable(guest, size):
    if guest == "kvm" and not os.access("/dev/kvm", os.W_OK):
        return "a /dev/kvm this user may write to"
    if size == "2M":
        path = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
        free = int(open(path).read()) if os.path.exists(path) else 0
        if free < 16:
            return "16 free huge pages: sysctl vm.nr_hugepages=16"
    return None


def one_line(err):
    lines = [line for line in err.splitlines() if line.startswith("ramferry: error")]
    assert len(lines) == 1, err
    return lines[0]


def wait_for_saver(pid):
    """Until it is saving, which its thread shows."""
    for _ in range(PATIENCE * 100):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/comm") as f:
                if f.read().strip() == "rf-snap-save":
                    return
        signal.sigtimedwait([], 0.01)
    raise AssertionError("it saves nothing")


def nameless_files(work):
    try:
        os.close(os.open(work, os.O_TMPFILE | os.O_RDWR))
        return True
    except OSError:
        return False


def in_place_of(fn):
    def with_folder(work, *args):
        place = tempfile.mkdtemp(dir=work)
        try:
            fn(place, *args)
        finally:
            shutil.rmtree(place)

    return with_folder


@contextlib.contextmanager
def small_disk(place):
    """A file system of 4 MiB; nothing may be left on it."""
    os.makedirs(place, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "none", place], check=True)
    try:
        yield
        assert os.listdir(place) == []
    finally:
        subprocess.run(["umount", place], check=True)


def main(suites, usage):
    if len(sys.argv) < 3 or any(s not in suites for s in sys.argv[2:]):
        print(usage)
        sys.exit(0 if "--help" in sys.argv else 2)
    print(f"RF_SEED={SEED}")
    with tempfile.TemporaryDirectory(prefix="rf-snapshot-") as work:
        for suite in sys.argv[2:]:
            suites[suite](work)
    print(f"{ran} cases, {failed} failed")
    sys.exit(1 if failed else 0 if ran else 77)
