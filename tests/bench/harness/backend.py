"""The members behind the proxies: a static nginx that looks like a member, and a real etcd of three members."""

import base64
import json
import os
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from harness.install import program
from harness.process import Daemon, Trouble, free_port, wait_until

KEY, VALUE = "bench", "v" * 64
CLUSTER_ID = "cdf818194e3a8c32"
# The answer of an etcd 3.4 to GET /v2/keys/foo.
ANSWER = '{"action":"get","node":{"key":"/foo","value":"bar","modifiedIndex":8,"createdIndex":8}}'

STATIC_NGINX = """
{user}worker_processes 1;
worker_rlimit_nofile {files};
daemon off;
pid {dir}/pid;
error_log {dir}/error.log crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    default_type application/json;
    server {{
        listen 127.0.0.1:{client} backlog=4096;
        listen 127.0.0.1:{peer};
        location = /members {{
            add_header X-Etcd-Cluster-ID {cluster_id};
            return 200 '[{{"id":10276657743932975437,"peerURLs":["http://127.0.0.1:{peer}"],"name":"x","clientURLs":["http://127.0.0.1:{client}"]}}]';
        }}
        # This header proves to etcd-proxy that the port belongs to the cluster.
        location = /v2/members {{ add_header X-Etcd-Cluster-ID {cluster_id}; return 200 '{{"members":[]}}'; }}
        location / {{ return 200 '{answer}'; }}
    }}
}}
"""


# Ignores the environment's http_proxy, which must not be used for loopback.
_open = urllib.request.build_opener(
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
).open


class Backend:
    """A cluster: `clients` and `peers` are the ports of its members, `daemons` its processes."""

    def __init__(self, clients, peers, daemons):
        self.clients, self.peers, self.daemons = clients, peers, daemons

    def initial_cluster(self):
        """Returns the peers in the notation of `--initial-cluster`."""
        return ",".join(f"x{i}=http://127.0.0.1:{port}" for i, port in enumerate(self.peers))

    def stop(self):
        """Stops all members."""
        for daemon in self.daemons:
            daemon.stop()


def nginx_user():
    """Returns a `user` line that lets nginx's worker read a private directory; only root needs one (and may have it)."""
    return "user root;\n" if os.geteuid() == 0 else ""


def static_http(scratch, cpus=None, files=4096):
    """Starts an nginx with one worker that answers everything from memory, and `/members` like a peer port."""
    directory = tempfile.mkdtemp(prefix="static-", dir=scratch)
    client, peer = free_port(), free_port()
    with open(f"{directory}/nginx.conf", "w") as conf:
        conf.write(
            STATIC_NGINX.format(
                user=nginx_user(), dir=directory, client=client, peer=peer, cluster_id=CLUSTER_ID, answer=ANSWER, files=files
            )
        )
    argv = [need("nginx"), "-c", f"{directory}/nginx.conf", "-p", directory, "-e", f"{directory}/error.log"]
    daemon = Daemon("static nginx", argv, f"{directory}/log", cpus=cpus)
    wait_until("static nginx", lambda: status_of(f"http://127.0.0.1:{client}/") == 200, daemon=daemon)
    return Backend([client], [peer], [daemon])


def certificate(scratch):
    """Makes a self-signed ECDSA P-256 certificate for all proxies. Returns (certificate, key, both in one file)."""
    cert, key, both = (os.path.join(scratch, name) for name in ("cert.pem", "key.pem", "both.pem"))
    argv = [
        need("openssl"), "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2",
        "-subj", "/O=bench", "-addext", "subjectAltName=IP:127.0.0.1", "-out", cert, "-keyout", key,
    ]  # fmt: skip
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Trouble(f"openssl said: {done.stdout.strip()[-300:]}")
    with open(both, "w") as out:
        out.write(open(cert).read() + open(key).read())
    return cert, key, both


def etcd_cluster(scratch, size=3, cpus=None):
    """Starts a real etcd with one key: members on loopback, data in the scratch directory."""
    clients, peers = [free_port() for _ in range(size)], [free_port() for _ in range(size)]
    everyone = ",".join(f"m{i}=http://127.0.0.1:{port}" for i, port in enumerate(peers))
    daemons = []
    for i in range(size):
        client, peer = f"http://127.0.0.1:{clients[i]}", f"http://127.0.0.1:{peers[i]}"
        argv = [
            need("etcd"), "--name", f"m{i}", "--data-dir", f"{scratch}/m{i}", "--initial-cluster", everyone,
            "--initial-cluster-state", "new", "--initial-cluster-token", "bench", "--enable-v2", "--log-level", "error",
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
        ]  # fmt: skip
        daemons.append(Daemon(f"etcd m{i}", argv, f"{scratch}/m{i}.log", cpus=cpus))
    for port, daemon in zip(clients, daemons):
        wait_until(daemon.name, lambda: status_of(f"http://127.0.0.1:{port}/health") == 200, daemon=daemon)
    put(clients[0], VALUE)
    return Backend(clients, peers, daemons)


def fetch(url, body=None, timeout=5):
    """Returns the answer to a GET, or to a POST if there is a body. Raises OSError if it is no success."""
    with _open(url, body, timeout=timeout) as answer:
        return answer.read()


def put(port, value):
    """Writes the benchmark's key through the JSON gateway of the member at `port`."""
    body = json.dumps({"key": as_base64(KEY), "value": as_base64(value)}).encode()
    _open(f"http://127.0.0.1:{port}/v3/kv/put", body, timeout=5).close()


def put_v2(port, value):
    """Writes the key through the v2 API, which has a key space of its own."""
    form = urllib.parse.urlencode({"value": value}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/keys/{KEY}", form, method="PUT")
    _open(request, timeout=5).close()


def as_base64(text):
    """Encodes bytes as the JSON gateway expects them (base64)."""
    return base64.b64encode(text.encode()).decode()


def status_of(url):
    """Returns the HTTP status of a GET of `url`, or 0 if nothing answers."""
    try:
        with _open(url, timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code
    except (OSError, ValueError):
        return 0


def need(name):
    """Returns the path of a program, without which this part of the benchmark cannot run."""
    path = program(name)
    if not path:
        raise Trouble(f"{name} is not installed")
    return path


def first_line(*argv):
    """Returns the first line of a command's output on either stream, where programs print their version."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return (done.stdout.strip().splitlines() or [""])[0]
