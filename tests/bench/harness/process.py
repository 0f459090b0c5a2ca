"""The daemons that the benchmark starts: the resources they use, and their certain end.

Every daemon runs in a session of its own, so that one signal reaches its whole process tree. The kernel sends it
SIGTERM if this program is killed.
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
    """Something could not be started or measured; the text is shown to the user."""


class Daemon:
    """One running process tree.

    `cpus` are the processor numbers it may use (None: all). `env` is added to a copy of our environment without `ETCD_*`.
    `at_death` is the signal that it gets if this program is killed; only SIGKILL ends a process that is stopped.
    """

    def __init__(self, name, argv, log, env=None, cpus=None, at_death=signal.SIGTERM):
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
                preexec_fn=lambda: before_exec(cpus, at_death),
            )
        _running.append(self)

    def alive(self):
        """Returns whether the first process of the tree still runs."""
        return self.popen.poll() is None

    def last_words(self, lines=5):
        """Returns the end of its output, for an error message."""
        with open(self.log, errors="replace") as log:
            return "\n".join("    " + line.rstrip() for line in log.readlines()[-lines:])

    def tree(self):
        """Returns the process and all its descendants."""
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
        """Returns the CPU seconds of the processes of `tree`: utime + stime, in the scheduler's nanoseconds, not clock ticks."""
        return sum(cpu_seconds(pid) for pid in tree)

    def is_stopped(self):
        """Returns whether a signal has stopped the first process of the tree."""
        return (_stat(self.popen.pid) or "-")[0] == "T"

    def memory(self):
        """Returns the resident and the proportional set size of the whole tree, in KiB."""
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
        """Returns the number of open file descriptors of the whole tree."""
        total = 0
        for pid in self.tree():
            try:
                total += len(os.listdir(f"/proc/{pid}/fd"))
            except FileNotFoundError:
                pass
        return total

    def stop(self, seconds=3.0):
        """Sends SIGTERM, and SIGKILL after some seconds. Returns when the process has ended."""
        stop_together([self], seconds)

    def signal(self, number):
        """Sends a signal to the whole process tree, if it still runs."""
        try:
            os.killpg(self.popen.pid, number)
        except ProcessLookupError:
            pass


def stop_together(daemons, seconds=3.0):
    """Sends SIGTERM to all, and SIGKILL after some seconds to those that still run. Returns when all have ended."""
    for daemon in daemons:
        if daemon in _running:
            _running.remove(daemon)
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGCONT)
    deadline = time.monotonic() + seconds
    for daemon in daemons:
        try:
            daemon.popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
    for daemon in daemons:
        daemon.signal(signal.SIGKILL)
        daemon.popen.wait()


def before_exec(cpus, at_death=signal.SIGTERM):
    """Runs in a new process: makes it end with this program and use only these processors (None: all)."""
    _libc.prctl(PR_SET_PDEATHSIG, at_death)
    if cpus:
        os.sched_setaffinity(0, cpus)


def _stat(pid):
    """Returns the fields of /proc/PID/stat from the state on, or None if the process has ended."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def cpu_seconds(pid):
    """Returns the CPU seconds that a process has used, 0 if it has ended."""
    # clock_getcpuclockid(3): the kernel's number for "the CPU time of this process" (CPUCLOCK_SCHED = 2).
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def machine_busy_seconds():
    """Returns the busy CPU seconds of the whole machine since its boot."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def known_cpu_seconds():
    """Returns the CPU seconds of this program, its ended children (the load generators) and all running daemons."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return own + sum(daemon.cpu(daemon.tree()) for daemon in _running)


def free_port():
    """Returns a TCP port that is free on 127.0.0.1; never the same one twice."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in _handed_out:
            _handed_out.add(port)
            return port


def is_free(port):
    """Returns whether nothing holds this TCP port on 127.0.0.1."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until(what, condition, seconds=15.0, daemon=None):
    """Polls `condition` until it is true. Raises `Trouble` with the reason if it never is, or at once if `daemon` ends."""
    deadline = time.monotonic() + seconds
    while not condition():
        if daemon and not daemon.alive():
            raise Trouble(f"{what}: it ended (status {daemon.popen.returncode})\n{daemon.last_words()}")
        if time.monotonic() > deadline:
            raise Trouble(f"{what}: not within {seconds:.0f} s" + (f"\n{daemon.last_words()}" if daemon else ""))
        time.sleep(0.05)


def raise_descriptor_limit():
    """Raises the limit of file descriptors to the hard limit, which our daemons inherit. Returns it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def stop_all():
    """Stops every daemon that still runs."""
    stop_together(_running[::-1])


def scratch_directory():
    """Makes a directory for this run. It is removed, and all daemons are stopped, when the program ends."""
    path = tempfile.mkdtemp(prefix="etcd-proxy-bench-")
    atexit.register(lambda: (stop_all(), shutil.rmtree(path, ignore_errors=True)))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: raise_exit())
    return path


def raise_exit():
    """Turns a signal into a regular exit, so that the functions registered above run."""
    raise SystemExit(130)
