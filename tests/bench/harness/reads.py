"""Linearizable reads by etcd's JSON API on HTTP/1.1, paced or one after another, by one thread."""

import json
import re
import selectors
import socket
import threading
import time

from harness.backend import KEY, as_base64

# A read without an answer for so long has failed.
PATIENCE = 10.0
# The pause before a connection is tried again.
_PAUSE = 0.2
_BODY = json.dumps({"key": as_base64(KEY)})
REQUEST = (
    "POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(_BODY)}\r\n\r\n{_BODY}"
).encode()
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MEMBER = re.compile(rb'"member_id": *"(\d+)"')


def whole_answer(data):
    """Returns (status, body) of an answer that has arrived completely, else None."""
    head, gap, body = data.partition(b"\r\n\r\n")
    if not gap:
        return None
    length = _LENGTH.search(head)
    is_whole = len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")
    return (int(head.split(b" ", 2)[1]), body) if is_whole else None


class _Connection:
    def __init__(self, port, due):
        self.port, self.due = port, due
        self.socket = self.sent = self.member = None
        self.input = b""


class Reads:
    """Reads through each of `ports` until `stop`.

    `interval` is the time between two reads of a connection in seconds (None: one after another).

    `failed` has (time, reason) of each failure, `slowest` the seconds of the slowest answered read.
    """

    def __init__(self, ports, interval=None):
        now = time.monotonic()
        self.interval = interval
        gap = (interval or 0.0) / max(1, len(ports))
        self.connections = [_Connection(port, now + i * gap) for i, port in enumerate(ports)]
        self.forget()
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def forget(self):
        """Begins the counts again."""
        self.answered, self.slowest, self.failed, self.reopened = 0, 0.0, [], 0

    def members(self):
        """Returns the ID of the member that answered last, for each connection."""
        return [connection.member for connection in self.connections if connection.member]

    def stop(self):
        """Ends the reads and returns what they saw."""
        self._stopping = True
        self._thread.join()
        reasons = {}
        for _, reason in self.failed:
            reasons[reason] = reasons.get(reason, 0) + 1
        return {
            "answered": self.answered,
            "failed": len(self.failed),
            "reasons": reasons,
            "slowest": self.slowest,
            "reopened": self.reopened,
        }

    def _run(self):
        while not self._stopping:
            now = time.monotonic()
            for connection in self.connections:
                if connection.sent is None and connection.due <= now:
                    self._send(connection, now)
                elif connection.sent is not None and now - connection.sent > PATIENCE:
                    self._fail(connection, f"no answer within {PATIENCE:.0f} s")
            waits = [c.due - now for c in self.connections if c.sent is None]
            for key, _ in self._selector.select(max(0.0, min([0.25, *waits]))):
                self._receive(key.data)
        for connection in self.connections:
            self._close(connection)
        self._selector.close()

    def _send(self, connection, now):
        connection.sent = now
        try:
            if not connection.socket:
                connection.socket = socket.create_connection(("127.0.0.1", connection.port), 5)
                self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.socket.sendall(REQUEST)
        except OSError as error:
            self._fail(connection, f"not sent: {error.strerror or error}")

    def _receive(self, connection):
        try:
            data = connection.socket.recv(65536)
        except OSError as error:
            data, reason = b"", f"connection lost ({error.strerror})"
        else:
            reason = "connection closed"
        if not data:
            if connection.sent is None:
                self.reopened += 1
                self._close(connection)
            else:
                self._fail(connection, reason)
            return
        connection.input += data
        if answer := whole_answer(connection.input):
            self._finish(connection, *answer)

    def _finish(self, connection, status, body):
        if status != 200 or b'"kvs"' not in body:
            # Without the line breaks of chunks, in which the text may stand.
            text = " ".join(body.decode(errors="replace").split())
            self._fail(connection, f"status {status}: {text[:120]}")
            return
        now = time.monotonic()
        self.answered += 1
        self.slowest = max(self.slowest, now - connection.sent)
        if member := _MEMBER.search(body):
            connection.member = int(member[1])
        connection.sent, connection.input = None, b""
        connection.due = max(now, connection.due + self.interval) if self.interval else now

    def _fail(self, connection, reason):
        self.failed.append((time.monotonic(), reason))
        connection.due = time.monotonic() + (self.interval or _PAUSE)
        self._close(connection)

    def _close(self, connection):
        if connection.socket:
            self._selector.unregister(connection.socket)
            connection.socket.close()
        connection.socket = connection.sent = None
        connection.input = b""
