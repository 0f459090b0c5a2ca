"""Many proxies of one kind in front of one cluster, each a process of its own with its own port."""

import os
import shlex
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness import usage
from harness.backend import first_line, need, status_of
from harness.process import Daemon, Trouble, stop_together, wait_until
from harness.watchers import Watchers

# TCP mode carries gRPC and HTTP/1.1 alike. The check is the one that guides for etcd recommend.
HAPROXY = """
global
    nbthread 1
    maxconn 1000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    option httpchk GET /health
    default-server check inter 2s
listen etcd
    bind 127.0.0.1:{port}
    balance roundrobin
{servers}
"""


# Stops itself, and becomes the command after it when SIGCONT comes.
HOLD = ("/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "sh")


@dataclass
class Tools:
    """The programs of a run, and how ours are started."""

    ours: str
    etcd: str
    generation: str
    workers: int
    flags: str
    ports: object


def ours(tools, cluster, port, directory):
    """Our binary with a settings file of its own and the defaults, but for the workers."""
    settings = f"{directory}/etcd-proxy.toml"
    with open(settings, "w") as out:
        out.write(
            f'proxy = "on"\nlisten-client-urls = "http://127.0.0.1:{port}"\n'
            f'initial-cluster = "{cluster.initial_cluster()}"\nworkers = {tools.workers}\n'
            f'data-dir = "{directory}/data"\nadmin-socket = "{directory}/admin.sock"\n'
        )
    clients = ",".join(f"http://127.0.0.1:{client}" for client in cluster.clients)
    flags = shlex.split(tools.flags.replace("{clients}", clients))
    return [tools.ours, "--config-file", settings, *flags]


def gateway(tools, cluster, port, _directory):
    """The TCP forwarder of the cluster's own etcd."""
    endpoints = ",".join(f"127.0.0.1:{client}" for client in cluster.clients)
    addresses = ["--endpoints", endpoints, "--listen-addr", f"127.0.0.1:{port}"]
    return [tools.etcd, "gateway", "start", *addresses]


def v2_proxy(tools, cluster, port, directory):
    """The old proxy, which only etcd 3.4 has of the generations here."""
    if tools.generation != "3.4":
        raise Trouble("measured in front of etcd 3.4 only")
    return [
        tools.etcd, "--proxy", "on", "--listen-client-urls", f"http://127.0.0.1:{port}",
        "--initial-cluster", cluster.initial_cluster(), "--data-dir", f"{directory}/data",
        "--log-level", "error",
    ]  # fmt: skip


def haproxy(_tools, cluster, port, directory):
    """HAProxy with a health check of every member, if it is installed."""
    servers = "\n".join(f"    server m{i} 127.0.0.1:{p}" for i, p in enumerate(cluster.clients))
    with open(f"{directory}/haproxy.cfg", "w") as out:
        out.write(HAPROXY.format(port=port, servers=servers))
    return [need("haproxy"), "-db", "-f", f"{directory}/haproxy.cfg"]


KINDS = {"ours": ours, "gateway": gateway, "v2-proxy": v2_proxy, "haproxy": haproxy}
PEERS = [kind for kind in KINDS if kind != "ours"]


def versions(tools):
    """Returns what is measured, in a line."""
    if not os.access(tools.ours, os.X_OK):
        raise Trouble(f"{tools.ours} is missing; build it with `make build`")
    etcd = first_line(tools.etcd, "--version").replace("etcd Version: ", "etcd ")
    return f"{etcd}, {first_line(tools.ours, '--version')}"


class Fleet:
    """`count` proxies. When the constructor returns all listen, and no request has been sent."""

    def __init__(self, kind, count, cluster, tools):
        self.kind, self.count = kind, count
        root = tempfile.mkdtemp(prefix=f"{kind}-", dir=cluster.directory)
        self.ports = [tools.ports() for _ in range(count)]
        self.directories = [f"{root}/{i}" for i in range(count)]
        self._commands = []
        for port, directory in zip(self.ports, self.directories):
            os.makedirs(directory)
            self._commands.append(KINDS[kind](tools, cluster, port, directory))
        self.daemons = []
        self.start()
        try:
            self.wait_listening()
        except Trouble:
            self.stop()
            raise

    def start(self, before=()):
        """Starts all of them. `before` is a command that each process runs first, see `HOLD`."""
        self.daemons = [
            Daemon(f"{self.kind} {i}", [*before, *command], f"{directory}/log")
            for i, (command, directory) in enumerate(zip(self._commands, self.directories))
        ]

    def start_at_once(self):
        """Prepares all processes and lets them go together, within milliseconds."""
        self.start(before=HOLD)
        everyone = f"{self.count} {self.kind} to start"
        wait_until(everyone, lambda: all(daemon.is_stopped() for daemon in self.daemons), 60.0)
        for daemon in self.daemons:
            daemon.signal(signal.SIGCONT)

    def wait_listening(self, seconds=60.0):
        """Waits until all listen. Connects to none, which would make some dial a member."""
        deadline = time.monotonic() + seconds
        while missing := set(self.ports) - usage.listening():
            self.check_alive()
            if time.monotonic() > deadline:
                what = f"{len(missing)} of {self.count} {self.kind}"
                raise Trouble(f"{what} do not listen after {seconds:.0f} s")
            time.sleep(0.2)

    def check_alive(self):
        """Raises `Trouble` with the last words of the first that has ended."""
        if dead := [daemon for daemon in self.daemons if not daemon.alive()]:
            raise Trouble(f"{len(dead)} of {self.count} {self.kind} ended\n{dead[0].last_words()}")

    def pids(self):
        """Returns their process IDs. None has children."""
        return [daemon.popen.pid for daemon in self.daemons]

    def wait_serving(self, seconds=60.0):
        """Asks each until it passes a request to a member. Returns how many seconds each took."""
        begin = time.monotonic()

        def ask(port):
            while status_of(f"http://127.0.0.1:{port}/version") != 200:
                if time.monotonic() - begin > seconds:
                    return None
                time.sleep(0.25)
            return time.monotonic() - begin

        with ThreadPoolExecutor(max_workers=min(64, self.count)) as pool:
            taken = list(pool.map(ask, self.ports))
        if None in taken:
            self.check_alive()
            what = f"{taken.count(None)} of {self.count} {self.kind}"
            raise Trouble(f"{what} do not serve after {seconds:.0f} s")
        return taken

    def stop(self, seconds=5.0):
        """Stops all of them at once. Returns the seconds until the last had ended."""
        begin = time.monotonic()
        stop_together(self.daemons, seconds)
        return time.monotonic() - begin


class LongPolls:
    """One v2 long poll through each port: the watch of `etcd --proxy on`, which knows no gRPC."""

    def __init__(self, ports):
        self._polls = [Watchers(port, 1, long_poll=True) for port in ports]

    def ended(self):
        """Returns none: nothing reads the polls."""
        return []

    def close(self):
        """Closes all connections."""
        for poll in self._polls:
            poll.drop()
