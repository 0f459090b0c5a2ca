"""A real etcd cluster of one generation: its metrics, its leader, and faults of single members."""

import json
import os
import re
import signal
import tempfile
import time

from harness.backend import VALUE, Backend, fetch, put, status_of
from harness.process import Daemon, Trouble, stop_together, wait_until

# Later generations refuse the flag.
WITH_V2 = ("3.4", "3.5")
_SAMPLE = re.compile(r"^([a-zA-Z_:][^ {]*(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


def binary(generations, generation):
    """Returns the etcd of a generation below the directory that tests/etcd/provision fills."""
    path = os.path.join(generations, generation, "etcd")
    if not os.access(path, os.X_OK):
        raise Trouble(f"{path} is missing; install it with `tests/etcd/provision {generation}`")
    return path


class Cluster(Backend):
    """Members with one key. A dead member's place in `daemons` stays, so that it can be restarted.

    `take_port` returns a free port.
    """

    def __init__(self, etcd, generation, scratch, take_port, size=3):
        self.directory = tempfile.mkdtemp(prefix=f"etcd-{generation}-", dir=scratch)
        clients, peers = [take_port() for _ in range(size)], [take_port() for _ in range(size)]
        super().__init__(clients, peers, [])
        everyone = ",".join(f"m{i}=http://127.0.0.1:{port}" for i, port in enumerate(self.peers))
        self._commands = []
        for i in range(size):
            client = f"http://127.0.0.1:{self.clients[i]}"
            peer = f"http://127.0.0.1:{self.peers[i]}"
            self._commands.append([
                etcd, "--name", f"m{i}", "--data-dir", f"{self.directory}/m{i}",
                "--initial-cluster", everyone, "--initial-cluster-state", "new",
                "--initial-cluster-token", os.path.basename(self.directory),
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--log-level", "error", *(["--enable-v2"] if generation in WITH_V2 else []),
            ])  # fmt: skip
            self.daemons.append(self._daemon(i))
        for i in range(size):
            self.wait_healthy(i)
        put(self.clients[0], VALUE)
        self.ids = [int(self.status(i)["header"]["member_id"]) for i in range(size)]

    def _daemon(self, i):
        # SIGKILL at this program's death, since a member may be stopped then.
        log = f"{self.directory}/m{i}.log"
        return Daemon(f"etcd m{i}", self._commands[i], log, at_death=signal.SIGKILL)

    def wait_healthy(self, i, seconds=30.0):
        """Waits until member `i` answers linearizable reads."""
        url = f"http://127.0.0.1:{self.clients[i]}/health"
        daemon = self.daemons[i]
        wait_until(daemon.name, lambda: status_of(url) == 200, seconds, daemon)

    def call(self, i, path, body):
        """Calls the JSON gateway of member `i`."""
        url = f"http://127.0.0.1:{self.clients[i]}/v3/{path}"
        return json.loads(fetch(url, json.dumps(body).encode()))

    def status(self, i):
        """Returns what member `i` says of itself."""
        return self.call(i, "maintenance/status", {})

    def leader(self):
        """Returns the number of the leader as the first member that answers sees it, or None."""
        for i in range(len(self.daemons)):
            try:
                leader = int(self.status(i).get("leader", 0))
            except OSError:
                continue
            if leader in self.ids:
                return self.ids.index(leader)
        return None

    def move_leader(self, to):
        """Makes member `to` the leader."""
        deadline = time.monotonic() + 15
        while (leader := self.leader()) != to:
            if time.monotonic() > deadline:
                raise Trouble(f"the leader did not move to m{to}")
            if leader is not None:
                try:
                    body = {"targetID": str(self.ids[to])}
                    self.call(leader, "maintenance/transfer-leadership", body)
                except OSError:
                    pass  # the next look tells whether it moved
            time.sleep(0.2)

    def metrics(self, i):
        """Returns the metrics of member `i`: {name with labels: number}."""
        text = fetch(f"http://127.0.0.1:{self.clients[i]}/metrics", timeout=10).decode()
        return {name: float(number) for name, number in _SAMPLE.findall(text)}

    def leader_changes(self):
        """Returns the leader changes seen by each member since it started."""
        name = "etcd_server_leader_changes_seen_total"
        return [int(self.metrics(i).get(name, 0)) for i in range(len(self.daemons))]

    def freeze(self, i):
        """Stops member `i` with SIGSTOP: its connections stay open and nothing answers."""
        self.daemons[i].signal(signal.SIGSTOP)

    def kill(self, i):
        """Kills member `i`: the kernel closes its connections."""
        self.daemons[i].signal(signal.SIGKILL)
        self.daemons[i].stop()

    def terminate(self, i):
        """Ends member `i` as a service manager does."""
        self.daemons[i].stop(10.0)

    def restart(self, i):
        """Starts member `i` again with its data."""
        self.daemons[i] = self._daemon(i)

    def pids(self):
        """Returns the process IDs of the members that run."""
        return [daemon.popen.pid for daemon in self.daemons if daemon.alive()]

    def stop(self):
        """Kills all members; their data is not needed any more."""
        running = [daemon for daemon in self.daemons if daemon.alive()]
        for daemon in running:
            daemon.signal(signal.SIGKILL)
        stop_together(running)
