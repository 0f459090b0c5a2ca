"""Idle watchers: thousands of watches on HTTP/1.1 connections, opened, held, read once and dropped.

A watch is a `POST /v3/watch` stream, or a v2 long poll for `etcd --proxy on`, which passes on nothing of a stream until
it has filled a buffer.
"""

import json
import selectors
import socket
import time

from harness.backend import KEY, as_base64, put, put_v2
from harness.process import Trouble, wait_until

# Watches opened at once: enough to be quick, too few to overflow a listening socket's queue.
BURST = 100
_BODY = json.dumps({"create_request": {"key": as_base64(KEY)}})
STREAM = f"POST /v3/watch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n\r\n{_BODY}"
LONG_POLL = f"GET /v2/keys/{KEY}?wait=true HTTP/1.1\r\nHost: x\r\n\r\n"


class Watchers:
    """`count` open watches of the benchmark's key through the proxy at `port`."""

    def __init__(self, port, count, long_poll=False):
        self.port, self.long_poll = port, long_poll
        self.sockets = []
        while len(self.sockets) < count:
            burst = [self._open() for _ in range(min(BURST, count - len(self.sockets)))]
            self.sockets += burst
            if not long_poll:
                await_text(burst, b'"created":true', 30)

    def _open(self):
        stream = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        stream.sendall((LONG_POLL if self.long_poll else STREAM).encode())
        return stream

    def read_event(self, member):
        """Makes one event at the member with this client port and waits until every watcher has received it."""
        (put_v2 if self.long_poll else put)(member, "event")
        await_text(self.sockets, b'"action":"set"' if self.long_poll else b'"events":', 60)

    def drop(self):
        """Closes all connections without ending the watches, as clients that die do."""
        for stream in self.sockets:
            stream.close()
        self.sockets = []


def await_text(sockets, wanted, seconds):
    """Reads each socket until `wanted` has arrived on it."""
    deadline = time.monotonic() + seconds
    seen = dict.fromkeys(sockets, b"")
    with selectors.DefaultSelector() as ready:
        for stream in sockets:
            ready.register(stream, selectors.EVENT_READ)
        while seen:
            for key, _ in ready.select(1.0):
                stream = key.fileobj
                got = stream.recv(65536)
                if not got:
                    raise Trouble(f"a watch ended after {seen[stream][:200]!r}")
                seen[stream] += got
                if wanted in seen[stream]:
                    ready.unregister(stream)
                    del seen[stream]
            if seen and time.monotonic() > deadline:
                raise Trouble(f"{len(seen)} of {len(sockets)} watches did not receive {wanted.decode()} in {seconds} s")


def settled(daemon, seconds=4.0):
    """Returns the daemon's memory (RSS, PSS in KiB) when it no longer changes, or after some seconds."""
    deadline = time.monotonic() + seconds
    last, steady = daemon.memory(), 0
    while steady < 3 and time.monotonic() < deadline:
        time.sleep(0.25)
        now = daemon.memory()
        steady = steady + 1 if abs(now[0] - last[0]) <= 0.002 * last[0] else 0
        last = now
    return last


def measure(daemon, port, count, member, long_poll=False):
    """Measures the cost of `count` idle watchers in KiB each. The event is made at the client port `member`."""
    first = Watchers(port, 20, long_poll)  # so that one-time allocations are not counted
    first.drop()
    before, descriptors = settled(daemon), daemon.descriptors()
    watchers = Watchers(port, count, long_poll)
    try:
        # One connection from the client and one to a member: nothing else shows that a long poll is in flight.
        wait_until("watches under way", lambda: daemon.descriptors() - descriptors >= 1.9 * count, 30, daemon)
        held, held_descriptors = settled(daemon), daemon.descriptors()
        watchers.read_event(member)
        after_event = settled(daemon)
    finally:
        watchers.drop()
    _await_descriptors(daemon, descriptors + 10)
    dropped = settled(daemon)
    return {
        "watchers": count,
        "before_kib": before,
        "rss": (held[0] - before[0]) / count,
        "pss": (held[1] - before[1]) / count,
        "rss_after_event": (after_event[0] - before[0]) / count,
        "rss_after_drop": (dropped[0] - before[0]) / count,
        "descriptors": (held_descriptors - descriptors) / count,
        "descriptors_left": daemon.descriptors() - descriptors,
    }


def _await_descriptors(daemon, most, seconds=5.0):
    """Waits until the daemon has closed its descriptors. A daemon that keeps them is no error but a figure in the report."""
    deadline = time.monotonic() + seconds
    while daemon.descriptors() > most and time.monotonic() < deadline:
        time.sleep(0.1)
