"""The proxies under test: how each is started in front of a backend, on one worker thread."""

import os
from dataclasses import dataclass
from typing import Callable

from harness import configs
from harness.backend import first_line, need, status_of
from harness.process import Daemon, Trouble, free_port, wait_until

# Suites whose listeners speak TLS; the members do not.
TLS_SUITES = ("tls", "full", "resumed")
# Limits Go to one processor, which its own helpers (GC, network poller) share.
ONE_PROCESSOR = {"GOMAXPROCS": "1"}


@dataclass
class Start:
    """The inputs of a proxy's command line. `scratch` is an empty directory for it."""

    suite: str
    port: int
    backend: object
    scratch: str
    files: int
    tools: dict

    def pair(self):
        """Returns certificate, key and both if this suite's listeners speak TLS, else None."""
        return self.tools["certificate"] if self.suite in TLS_SUITES else None

    def write(self, name, text):
        """Writes a file into the scratch directory and returns its path."""
        path = os.path.join(self.scratch, name)
        with open(path, "w") as out:
            out.write(text)
        return path

    def endpoints(self):
        """Returns the members' client addresses in the notation of etcd's own proxies."""
        return ",".join(f"127.0.0.1:{port}" for port in self.backend.clients)


@dataclass
class Proxy:
    """A proxy of the comparison: its name for `--only`, its label in the report, and its suites."""

    name: str
    label: str
    suites: tuple
    command: Callable
    version: Callable
    env: dict | None = None


def ours(start):
    """Our release binary. Probes are off in front of the static nginx, which cannot answer gRPC, and as shipped for etcd."""
    pair = start.pair()
    argv = [
        _ours_binary(start.tools),
        "--proxy", "on", "--workers", "1",
        "--listen-client-urls", f"{'https' if pair else 'http'}://127.0.0.1:{start.port}",
        "--initial-cluster", start.backend.initial_cluster(),
        "--data-dir", f"{start.scratch}/data",
        "--admin-socket", f"{start.scratch}/admin.sock",
    ]  # fmt: skip
    if pair:
        argv += ["--cert-file", pair[0], "--key-file", pair[1]]
    return argv + (["--health-interval", "0"] if start.suite == "http1" or pair else [])


def haproxy(start):
    """HAProxy in the foreground, without a master process."""
    text = configs.haproxy(start.suite, start.port, start.backend.clients, start.files, start.pair())
    return [need("haproxy"), "-db", "-f", start.write("haproxy.cfg", text)]


def nginx(start):
    """nginx with its master and one worker."""
    text = configs.nginx(start.suite, start.port, start.backend.clients, start.scratch, start.files, start.pair())
    conf = start.write("nginx.conf", text)
    return [need("nginx"), "-c", conf, "-p", start.scratch, "-e", f"{start.scratch}/error.log"]


def envoy(start):
    """Envoy with one worker (its main thread stays)."""
    conf = start.write("envoy.json", configs.envoy(start.suite, start.port, start.backend.clients))
    return [_envoy_binary(start.tools), "--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c", conf]


def etcd_proxy_on(start):
    """etcd's old v2 proxy."""
    return [
        need("etcd"), "--proxy", "on", "--listen-client-urls", f"http://127.0.0.1:{start.port}",
        "--initial-cluster", start.backend.initial_cluster(), "--data-dir", f"{start.scratch}/data", "--log-level", "error",
    ]  # fmt: skip


def etcd_gateway(start):
    """etcd's TCP forwarder."""
    return [need("etcd"), "gateway", "start", "--endpoints", start.endpoints(), "--listen-addr", f"127.0.0.1:{start.port}"]


def etcd_grpc_proxy(start):
    """etcd's caching gRPC proxy; it does not cache the linearizable reads of this benchmark."""
    argv = [need("etcd"), "grpc-proxy", "start", "--endpoints", start.endpoints(), "--listen-addr", f"127.0.0.1:{start.port}"]
    return [*argv, "--data-dir", f"{start.scratch}/data", "--advertise-client-url", f"127.0.0.1:{start.port}"]


def _ours_binary(tools):
    path = tools["ours"]
    if not os.access(path, os.X_OK):
        raise Trouble(f"{path} is not there; build it with `cargo build --release`")
    return path


def _envoy_binary(tools):
    if not tools.get("envoy"):
        raise Trouble("not installed")
    return tools["envoy"]


def _envoy_version(tools):
    # ".../envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL"
    return "envoy " + first_line(_envoy_binary(tools), "--version").split("version: ")[-1].split("/")[1]


def _etcd_version(_tools):
    return first_line(need("etcd"), "--version").replace("Version: ", "")


PROXIES = [
    Proxy("ours", "**etcd-proxy**", ("http1", "grpc", "watch", *TLS_SUITES), ours, lambda t: first_line(_ours_binary(t), "--version")),
    Proxy("haproxy", "HAProxy", ("http1", "grpc", "watch", *TLS_SUITES), haproxy, lambda _: " ".join(first_line(need("haproxy"), "-v").split()[:3])),
    Proxy("nginx", "nginx", ("http1", "grpc", "watch", *TLS_SUITES), nginx, lambda _: first_line(need("nginx"), "-v").split(": ")[-1]),
    Proxy("gateway", "`etcd gateway`", ("http1", "grpc", "watch"), etcd_gateway, _etcd_version, ONE_PROCESSOR),
    Proxy("envoy", "Envoy", ("http1", "grpc", "watch"), envoy, lambda t: _envoy_version(t)),
    Proxy("v2-proxy", "`etcd --proxy on`", ("http1", "watch"), etcd_proxy_on, _etcd_version, ONE_PROCESSOR),
    Proxy("grpc-proxy", "`etcd grpc-proxy`", ("grpc",), etcd_grpc_proxy, _etcd_version, ONE_PROCESSOR),
]
# Ratios are taken against the better of these two.
RIVALS = ("haproxy", "nginx")


def launch(proxy, suite, backend, scratch, tools, files, cpus=None):
    """Starts one proxy for one suite and waits until it serves. Returns (daemon, port); raises `Trouble`."""
    directory = os.path.join(scratch, f"{suite}-{proxy.name}")
    os.makedirs(directory)
    port = free_port()
    argv = proxy.command(Start(suite, port, backend, directory, files, tools))
    daemon = Daemon(proxy.name, argv, f"{directory}/log", env=proxy.env, cpus=cpus)
    try:
        wait_until("no answer", tools["ready"][suite](port), daemon=daemon)
    except Trouble:
        daemon.stop()
        raise
    return daemon, port


def serves_https(port):
    """Like `serves_http`, with TLS."""
    return lambda: status_of(f"https://127.0.0.1:{port}/version") == 200


def serves_http(port):
    """Returns a condition for `wait_until`: the proxy at `port` passes a GET to a member."""
    return lambda: status_of(f"http://127.0.0.1:{port}/version") == 200


