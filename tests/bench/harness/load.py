"""The load generators: wrk for HTTP/1.1, h2load for gRPC, `openssl s_time` for TLS handshakes.

Each run returns requests, seconds, latencies and errors.
"""

import os
import re
import socket
import ssl
import subprocess
import time
from array import array
from dataclasses import dataclass

from harness.backend import KEY, need
from harness.process import Trouble, before_exec

RANGE = "/etcdserverpb.KV/Range"
# The path that each connection of `handshakes` requests.
PATH = "/v2/keys/foo"
_UNIT = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}


@dataclass
class Load:
    """The result of one load. Latencies are in milliseconds (None: unknown); `wrong` is empty if all answers were good."""

    requests: int
    seconds: float
    p50: float | None
    p99: float | None
    wrong: str


def http1(port, seconds, connections, cpus=None, scheme="http"):
    """Sends GETs on keep-alive connections from one thread, one at a time on each. wrk does not verify certificates."""
    url = f"{scheme}://127.0.0.1:{port}/v2/keys/foo"
    text = _run([need("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s", url], cpus)
    done = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", text)
    share = dict(re.findall(r"^ +(50|99)% +(\S+)", text, re.MULTILINE))
    wrong = "; ".join(re.findall(r"(Socket errors: .*|Non-2xx or 3xx responses: \d+)", text))
    if not done or len(share) != 2:
        raise Trouble(f"wrk said: {text.strip()[-300:]}")
    measured = float(done[2]) * _UNIT[done[3]] / 1e3
    return Load(int(done[1]), measured, _milliseconds(share["50"]), _milliseconds(share["99"]), wrong)


def handshakes(port, seconds, kind, cpus=None, processes=4):
    """Opens TLS 1.3 connections for one request each, with `full` or `resumed` handshakes, from several processes at once.

    `openssl s_time` reports no latencies and does not check answers, so their bytes are counted and compared with those
    of a good answer. It prints an `r` for each session that was resumed and a `*` for each that was not.
    """
    expected = _good_answer(port)
    how = "-reuse" if kind == "resumed" else "-new"
    argv = [need("openssl"), "s_time", "-connect", f"127.0.0.1:{port}", how, "-www", PATH, "-time", str(seconds)]
    out = subprocess.PIPE
    begin = time.monotonic()
    running = [
        subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, text=True, preexec_fn=lambda: before_exec(cpus))
        for _ in range(processes)
    ]
    texts = [one.communicate()[0] for one in running]
    taken = time.monotonic() - begin
    wrong, requests = [], 0
    for text in texts:
        done = re.search(r"(\d+) connections in [\d.]+s;.*bytes read (\d+)", text)
        if not done:
            raise Trouble(f"openssl s_time said: {text.strip()[-300:]}")
        count, data = int(done[1]), int(done[2])
        requests += count
        full = re.search(r"[r*]*$", text[: done.start()].rstrip())[0].count("*")
        if data != count * expected:
            wrong.append(f"{count} answers with {data} bytes, a good one has {expected}")
        if kind == "resumed" and full:
            wrong.append(f"{full} sessions not resumed")
    return Load(requests, taken, None, None, "; ".join(wrong))


def _good_answer(port):
    """Returns the length of a good answer to the request of `openssl s_time`."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, tls.wrap_socket(plain) as stream:
        stream.sendall(f"GET {PATH} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while piece := stream.recv(65536):
            answer += piece
    if b" 200 " not in answer.split(b"\r\n")[0]:
        raise Trouble(f"no good answer on port {port}: {answer[:100]}")
    return len(answer)


def http1_exactly(port, requests, connections):
    """Sends exactly `requests` GETs, which wrk cannot do. Returns the errors, empty if there were none."""
    url = f"http://127.0.0.1:{port}/v2/keys/foo"
    text = _run([need("h2load"), "--h1", "-t1", f"-n{requests}", f"-c{connections}", url], None)
    return "" if f" {requests} succeeded" in text else text.strip()[-300:]


class GrpcLoad:
    """Unary Range calls of one key, linearizable as etcd's clients send them.

    h2load cannot check `grpc-status`, but a failed call has no message. So the bytes of DATA are counted and compared
    with those of the members' own good answers.
    """

    def __init__(self, scratch, members, clients, streams):
        self.clients, self.streams = clients, streams
        self.body, self.log = os.path.join(scratch, "range.bin"), os.path.join(scratch, "h2load.log")
        with open(self.body, "wb") as body:
            key = KEY.encode()
            message = b"\x0a" + bytes([len(key)]) + key
            body.write(b"\x00" + len(message).to_bytes(4, "big") + message)
        sizes = [self._h2load(port, ["-n1", "-c1", "-m1"])[1] for port in members]
        if min(sizes) < 64:
            raise Trouble(f"a member's answer to Range has {min(sizes)} bytes: that is not our key")
        self.smallest, self.largest = min(sizes), max(sizes)

    def serves(self, port):
        """Returns a condition for `wait_until`: a good answer comes through `port`."""
        return lambda: self._wrong(*self._h2load(port, ["-n1", "-c1", "-m1"])[:3]) == ""

    def run(self, port, seconds, cpus=None):
        """Loads with all clients and streams for some seconds."""
        shape = [f"-D{seconds}", f"-c{self.clients}", f"-m{self.streams}", f"--log-file={self.log}"]
        if os.path.exists(self.log):
            os.remove(self.log)
        requests, data, text = self._h2load(port, shape, cpus)
        p50, p99 = _percentiles(self.log)
        return Load(requests, float(seconds), p50, p99, self._wrong(requests, data, text))

    def run_exactly(self, port, requests):
        """Makes exactly this many calls. Returns the errors, empty if there were none."""
        done, data, text = self._h2load(port, [f"-n{requests}", f"-c{self.clients}", f"-m{self.streams}"])
        return self._wrong(done, data, text) or ("" if done == requests else f"{done} of {requests} answered")

    def _h2load(self, port, shape, cpus=None):
        headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        argv = [need("h2load"), "-t1", "-d", self.body, *headers, *shape, f"http://127.0.0.1:{port}{RANGE}"]
        text = _run(argv, cpus)
        good = re.search(r"(\d+) succeeded", text)
        data = re.search(r"\((\d+)\) data", text)
        return int(good[1]) if good else 0, int(data[1]) if data else 0, text

    def _wrong(self, requests, data, text):
        problems = [f"{n} {what}" for n, what in re.findall(r"(\d+) (failed|errored|timeout)", text) if int(n)]
        if not requests:
            problems.append("no answer")
        # Calls in flight at the end have received data but do not count as requests.
        late = self.clients * self.streams * self.largest
        if not requests * self.smallest <= data <= requests * self.largest + late:
            problems.append(f"{requests} answers with {data} bytes: not all are good")
        return "; ".join(problems)


def _run(argv, cpus):
    out = subprocess.PIPE
    return subprocess.run(argv, stdout=out, stderr=subprocess.STDOUT, text=True, preexec_fn=lambda: before_exec(cpus)).stdout


def _milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(\D+)", text).groups()
    return float(number) * _UNIT[unit]


def _percentiles(log):
    """Returns median and 99th percentile of h2load's per-request log (third column, microseconds), in milliseconds."""
    times = array("q")
    with open(log) as rows:
        for row in rows:
            times.append(int(row.split("\t")[2]))
    if not times:
        return 0.0, 0.0
    ordered = sorted(times)
    return tuple(ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e3 for share in (0.5, 0.99))
