"""What processes and sockets cost, read from /proc, and the difference over some seconds."""

import os
import re
import time
from statistics import mean, median

from harness import process

_RPC = re.compile(r'^grpc_server_started_total\{grpc_method="(\w+)",grpc_service="([\w.]+)"')
# HTTP requests that members count by kind. They do not count others, nor those at peer ports.
_HTTP = {
    "etcd_server_health_success": "GET /health",
    "etcd_server_health_failures": "GET /health",
    "etcd_http_received_total": "v2 requests",
}
_ESTABLISHED, _LISTENING = "01", "0A"


def ports_below_ephemeral():
    """Returns a function that finds free ports which the kernel gives to no outgoing connection.

    A port of the ephemeral range may be taken by somebody's connection while its owner restarts.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range") as limits:
        low = int(limits.read().split()[0])
    candidates = iter(range(max(1024, low - 16000), low))

    def take():
        for port in candidates:
            if process.is_free(port):
                return port
        raise process.Trouble(f"there is no free port below {low}")

    return take


def _sockets(state):
    """Returns the local ports of the TCP sockets in this state, one for each socket."""
    with open("/proc/net/tcp") as table:
        next(table)
        rows = (line.split() for line in table)
        return [int(row[1].rsplit(":", 1)[1], 16) for row in rows if row[3] == state]


def listening():
    """Returns the ports that somebody listens on."""
    return set(_sockets(_LISTENING))


def established(ports):
    """Returns how many established connections the listeners of `ports` hold."""
    ports = set(ports)
    return sum(port in ports for port in _sockets(_ESTABLISHED))


def resident_kib(pid):
    """Returns the resident memory of a process in KiB."""
    return int(_status(f"/proc/{pid}/status").get("VmRSS", "0").split()[0])


def voluntary_switches(pid):
    """Returns how often each thread of a process has gone to sleep: {(thread, name): number}."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return {}
    counts = {}
    for thread in threads:
        if status := _status(f"/proc/{pid}/task/{thread}/status"):
            counts[thread, status["Name"]] = int(status["voluntary_ctxt_switches"])
    return counts


def _status(path):
    """Returns the lines of a status file by name, nothing if its thread has ended."""
    try:
        with open(path) as status:
            pairs = (line.partition(":") for line in status)
            return {name: value.strip() for name, _, value in pairs}
    except (FileNotFoundError, ProcessLookupError):
        return {}


class Counted:
    """The RPCs and HTTP requests that each member has counted, with the time of the look."""

    def __init__(self, cluster):
        self.looks = []
        for i, daemon in enumerate(cluster.daemons):
            if daemon.alive():
                metrics = cluster.metrics(i)
                self.looks.append((i, time.monotonic(), metrics))

    def goroutines(self):
        """Returns the goroutines of all members."""
        return int(sum(metrics["go_goroutines"] for _, _, metrics in self.looks))

    def since(self, earlier, restarted=None):
        """Returns {name: {"calls": number, "per_second": rate}} of all members together.

        The counters of the member `restarted` have begun again at 0.
        """
        before = {i: (at, {} if i == restarted else old) for i, at, old in earlier.looks}
        counts = {}
        for i, at, metrics in self.looks:
            if i not in before:
                continue
            then, old = before[i]
            for name, value in metrics.items():
                kind = _kind(name)
                grown = value - old.get(name, 0.0)
                if kind and grown > 0:
                    one = counts.setdefault(kind, {"calls": 0, "per_second": 0.0})
                    one["calls"] += int(grown)
                    one["per_second"] += grown / (at - then)
        return dict(sorted(counts.items()))


def _kind(name):
    if rpc := _RPC.match(name):
        return f"{rpc[2].rsplit('.', 1)[-1]}/{rpc[1]}"
    return _HTTP.get(name.split("{", 1)[0])


class Clock:
    """The CPU time of some processes, with the time of the look."""

    def __init__(self, pids):
        self.at = time.monotonic()
        self.seconds = {pid: process.cpu_seconds(pid) for pid in pids}

    def since(self, earlier):
        """Returns the microseconds of CPU a second that each process has used."""
        elapsed = self.at - earlier.at
        before = earlier.seconds
        return [(now - before[pid]) / elapsed * 1e6 for pid, now in self.seconds.items()]


def measure(cluster, pids, seconds):
    """Looks at the members and at the proxies `pids`, sleeps, and returns the differences.

    A scrape costs a member milliseconds, so the scrapes are outside of the time whose CPU counts.
    """
    members = cluster.pids()
    counted = Counted(cluster)
    time.sleep(1.0)
    asleep, asleep_at = [voluntary_switches(pid) for pid in pids], time.monotonic()
    busy, known = process.machine_busy_seconds(), _own_seconds()
    cpu = Clock(members), Clock(pids)
    time.sleep(seconds)
    later = Clock(members), Clock(pids)
    elapsed = later[0].at - cpu[0].at
    busy, known = process.machine_busy_seconds() - busy, _own_seconds() - known
    woken = _woken(pids, asleep)
    woken_for = (time.monotonic() - asleep_at) * max(1, len(pids))
    by_thread = {name: count / woken_for for name, count in sorted(woken.items())}
    members_us, proxies_us = sum(later[0].since(cpu[0])), later[1].since(cpu[1])
    known += (members_us + sum(proxies_us)) / 1e6 * elapsed
    now = Counted(cluster)
    return {
        "seconds": elapsed,
        "members_us": members_us,
        "requests": now.since(counted),
        "client_connections": established(cluster.clients),
        "peer_connections": established(cluster.peers),
        "members_rss_kib": sum(resident_kib(pid) for pid in members),
        "goroutines": now.goroutines(),
        "proxy_us": mean(proxies_us) if pids else None,
        "proxy_us_most": max(proxies_us, default=None),
        "proxy_switches": sum(by_thread.values()) if pids else None,
        "proxy_switches_by_thread": by_thread,
        "proxy_rss_kib": median(resident_kib(pid) for pid in pids) if pids else None,
        "foreign": max(0.0, busy - known) / elapsed / os.cpu_count(),
    }


def _own_seconds():
    times = os.times()
    return times.user + times.system


def _woken(pids, earlier):
    """Returns the switches of all processes since then by the names of their threads."""
    woken = {}
    for pid, before in zip(pids, earlier):
        for thread, count in voluntary_switches(pid).items():
            woken[thread[1]] = woken.get(thread[1], 0) + count - before.get(thread, 0)
    return woken
