"""Daemons we start: they say what they cost, and none of them outlives us.

Every daemon runs in a session of its own, so that one signal reaches its whole tree, and asks the kernel for SIGTERM
should this program be killed.
"""

import atexit
import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_running = []
_handed_out = set()


class Trouble(Exception):
    """Something could not be started or measured; the text says what, for the person at the terminal."""


class Daemon:
    """One running process tree.

    `cpus` are the processor numbers it may use (None: all). `env` is added to a copy of ours that has no `ETCD_*` in it.
    """

    def __init__(self, name, argv, log, env=None, cpus=None):
        self.name, self.log = name, log
        clean = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
        with open(log, "wb") as out:
            self.popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**clean, **(env or {})},
                start_new_session=True,
                preexec_fn=lambda: before_exec(cpus),
            )
        _running.append(self)

    def alive(self):
        """Whether the first process of the tree still runs."""
        return self.popen.poll() is None

    def last_words(self, lines=5):
        """The end of what it printed, for an error message."""
        with open(self.log, errors="replace") as log:
            return "\n".join("    " + line.rstrip() for line in log.readlines()[-lines:])

    def tree(self):
        """The process and all its descendants."""
        children = {}
        for pid in (int(e) for e in os.listdir("/proc") if e.isdigit()):
            fields = _stat(pid)
            if fields:
                children.setdefault(int(fields[1]), []).append(pid)
        found, todo = [], [self.popen.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children.get(pid, [])
        return found

    def cpu(self, tree):
        """CPU seconds so far of the processes of `tree`: utime + stime, at the scheduler's nanoseconds, not at clock ticks."""
        return sum(_cpu_seconds(pid) for pid in tree)

    def memory(self):
        """Resident and proportional set size of the whole tree, in KiB."""
        rss = pss = 0
        for pid in self.tree():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as rollup:
                    sizes = {f[0]: int(f[1]) for f in map(str.split, rollup) if len(f) == 3}
            except (FileNotFoundError, ProcessLookupError):
                continue
            rss += sizes.get("Rss:", 0)
            pss += sizes.get("Pss:", 0)
        return rss, pss

    def descriptors(self):
        """Open file descriptors of the whole tree."""
        total = 0
        for pid in self.tree():
            try:
                total += len(os.listdir(f"/proc/{pid}/fd"))
            except FileNotFoundError:
                pass
        return total

    def stop(self, seconds=3.0):
        """SIGTERM, then SIGKILL after some seconds; returns when the process is gone."""
        if self in _running:
            _running.remove(self)
        self._signal(signal.SIGTERM)
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        self._signal(signal.SIGKILL)
        self.popen.wait()

    def _signal(self, number):
        try:
            os.killpg(self.popen.pid, number)
        except ProcessLookupError:
            pass


def before_exec(cpus):
    """In a new process: end with us, and use only these processors (None: all)."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if cpus:
        os.sched_setaffinity(0, cpus)


def _stat(pid):
    """The fields of /proc/PID/stat from the state on, or None when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _cpu_seconds(pid):
    # clock_getcpuclockid(3): the kernel's number for "the CPU time of this process" (CPUCLOCK_SCHED = 2).
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def machine_busy_seconds():
    """CPU seconds that the whole machine has spent working since it booted."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def known_cpu_seconds():
    """CPU seconds of this program, of the children it has waited for (the load generators) and of all running daemons."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return own + sum(daemon.cpu(daemon.tree()) for daemon in _running)


def free_port():
    """A TCP port that nothing on 127.0.0.1 uses now; never the same one twice."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in _handed_out:
            _handed_out.add(port)
            return port


def wait_until(what, condition, seconds=15.0, daemon=None):
    """Polls `condition` until it is true; says why it never was. Gives up at once when `daemon` ends."""
    deadline = time.monotonic() + seconds
    while not condition():
        if daemon and not daemon.alive():
            raise Trouble(f"{what}: it ended (status {daemon.popen.returncode})\n{daemon.last_words()}")
        if time.monotonic() > deadline:
            raise Trouble(f"{what}: not within {seconds:.0f} s" + (f"\n{daemon.last_words()}" if daemon else ""))
        time.sleep(0.05)


def raise_descriptor_limit():
    """Takes all the file descriptors the system allows; our daemons inherit it. Returns how many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def stop_all():
    """Stops every daemon that still runs."""
    for daemon in reversed(_running[:]):
        daemon.stop()


def scratch_directory():
    """A directory for this run, and the promise that it and all daemons are gone when the program ends."""
    path = tempfile.mkdtemp(prefix="etcd-proxy-bench-")
    atexit.register(lambda: (stop_all(), shutil.rmtree(path, ignore_errors=True)))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: raise_exit())
    return path


def raise_exit():
    """Turns a signal into an orderly end, so that what was registered above runs."""
    raise SystemExit(130)
