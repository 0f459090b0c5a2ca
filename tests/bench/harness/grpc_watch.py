"""Idle gRPC watches: a connection with one Watch stream for each port, all served by one thread.

Knows as much of HTTP/2 (RFC 9113) as that needs. It never sends WINDOW_UPDATE, since an idle watch
receives far less than the 64 KiB that a peer may send without.
"""

import selectors
import socket
import threading
import time

from harness.backend import KEY
from harness.hpack import encode, grpc_status
from harness.process import Trouble
from harness.protobuf import fields, length_delimited

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _CONTINUATION = 0, 1, 3, 4, 6, 7, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_HEADER_TABLE_SIZE = 1
_STREAM = 1
# Fields of etcd's messages.
_CREATE_REQUEST, _WATCH_KEY = 1, 1
_HEADER, _MEMBER_ID, _CREATED, _CANCELED = 1, 2, 3, 4


def _frame(kind, flags, stream, payload=b""):
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def _request(port):
    """Returns all that a client sends to open its watch."""
    headers = encode([
        (":method", "POST"), (":scheme", "http"), (":path", "/etcdserverpb.Watch/Watch"),
        (":authority", f"127.0.0.1:{port}"), ("te", "trailers"),
        ("content-type", "application/grpc"),
    ])  # fmt: skip
    message = length_delimited(_CREATE_REQUEST, length_delimited(_WATCH_KEY, KEY.encode()))
    no_table = _HEADER_TABLE_SIZE.to_bytes(2, "big") + (0).to_bytes(4, "big")
    return b"".join([
        _PREFACE,
        _frame(_SETTINGS, 0, 0, no_table),
        _frame(_HEADERS, _END_HEADERS, _STREAM, headers),
        _frame(_DATA, 0, _STREAM, b"\x00" + len(message).to_bytes(4, "big") + message),
    ])  # fmt: skip


class Watch:
    """One watch. `created` and `ended` are times.

    `how` says how it ended, `status` is its gRPC status if one has come. `member` is the ID of the
    member that created it; `pings` counts the peer's PINGs.
    """

    def __init__(self, port):
        self.port = port
        self.created = self.ended = self.how = self.status = self.member = None
        self.pings = 0
        self._input, self._messages, self._block = b"", b"", b""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.sendall(_request(port))

    def receive(self):
        """Takes what has arrived. Returns whether the watch goes on."""
        try:
            data = self.socket.recv(65536)
        except OSError as error:
            self._end(f"connection lost ({error.strerror})")
            return False
        if not data:
            self._end("connection closed")
            return False
        self._input += data
        while self.ended is None and len(self._input) >= 9:
            length = int.from_bytes(self._input[:3], "big")
            if len(self._input) < 9 + length:
                break
            kind, flags = self._input[3], self._input[4]
            stream = int.from_bytes(self._input[5:9], "big") & 0x7FFFFFFF
            payload, self._input = self._input[9 : 9 + length], self._input[9 + length :]
            self._take(kind, flags, stream, payload)
        return self.ended is None

    def _take(self, kind, flags, stream, payload):
        if kind == _SETTINGS and not flags & _ACK:
            self._send(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            self.pings += 1
            self._send(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY and int.from_bytes(payload[:4], "big") & 0x7FFFFFFF < _STREAM:
            self._end("GOAWAY")
        elif stream != _STREAM:
            return
        elif kind == _RST_STREAM:
            self._end(f"RST_STREAM {int.from_bytes(payload, 'big')}")
        elif kind == _DATA:
            self._messages += _without_padding(flags, payload)
            self._read_messages()
        elif kind in (_HEADERS, _CONTINUATION):
            if kind == _HEADERS:
                payload = _without_padding(flags, payload)
                self._block = payload[5:] if flags & _PRIORITY else payload
                self._is_last = flags & _END_STREAM
            else:
                self._block += payload
            if flags & _END_HEADERS and self._is_last:
                self.status = grpc_status(self._block)
                self._end("trailers")
        if kind == _DATA and flags & _END_STREAM:
            self._end("end of stream without trailers")

    def _read_messages(self):
        while len(self._messages) >= 5:
            end = 5 + int.from_bytes(self._messages[1:5], "big")
            if len(self._messages) < end:
                return
            message, self._messages = self._messages[5:end], self._messages[end:]
            answer = fields(message)
            if answer.get(_CREATED):
                self.created = time.monotonic()
                self.member = fields(answer.get(_HEADER, b"")).get(_MEMBER_ID)
            if answer.get(_CANCELED):
                self._end("canceled by the member")

    def _send(self, frame):
        try:
            self.socket.sendall(frame)
        except OSError as error:
            self._end(f"connection lost ({error.strerror})")

    def end(self):
        """Describes the end of the watch."""
        return f"{self.how}, gRPC status {'unknown' if self.status is None else self.status}"

    def _end(self, how):
        if self.ended is None:
            self.ended, self.how = time.monotonic(), how


def _without_padding(flags, payload):
    return payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload


class GrpcWatches:
    """One watch through each of `ports`. The thread sleeps while nothing arrives."""

    def __init__(self, ports, seconds=30.0):
        self._changed = threading.Condition()
        self._selector = selectors.DefaultSelector()
        self._wake, woken = socket.socketpair()
        self._selector.register(woken, selectors.EVENT_READ)
        self.watches = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        try:
            for port in ports:
                watch = Watch(port)
                self.watches.append(watch)
                self._selector.register(watch.socket, selectors.EVENT_READ, watch)
        except OSError as error:
            self._thread = None
            self.close()
            raise Trouble(f"no watch through port {port}: {error}") from error
        self._thread.start()
        if not self.wait(lambda: all(w.created or w.ended for w in self.watches), seconds):
            late = [watch for watch in self.watches if not watch.created]
            self._fail(f"not created within {seconds:.0f} s", late)
        if ended := self.ended():
            self._fail(ended[0].end(), ended)

    def ended(self):
        """Returns the watches that have ended."""
        return [watch for watch in self.watches if watch.ended is not None]

    def wait(self, condition, seconds):
        """Waits until a condition of the watches is true. Returns whether it is."""
        with self._changed:
            return self._changed.wait_for(condition, seconds)

    def close(self):
        """Closes all connections and ends the thread."""
        self._wake.close()
        if self._thread:
            self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()

    def _fail(self, what, which):
        self.close()
        raise Trouble(f"{len(which)} of {len(self.watches)} watches: {what}")

    def _run(self):
        while True:
            for key, _ in self._selector.select():
                if key.data is None:  # `close` has closed the other end
                    return
                with self._changed:
                    if not key.data.receive():
                        self._selector.unregister(key.fileobj)
                        key.fileobj.close()
                    self._changed.notify_all()
