"""Connects by TLS again and again, one request on each connection, from one thread; a program of its own.

    handshakes.py PORT SECONDS full|resumed       prints {"requests": …, "seconds": …, "p50": …, "p99": …, "wrong": "…"}

Each connection is a whole exchange: connect, handshake, GET, answer, close. A resumed one shows the session ticket of the
one before, and counts as wrong when the proxy did not take it.
"""

import json
import socket
import ssl
import sys
import time

REQUEST = b"GET /v2/keys/foo HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def context():
    """TLS 1.3 with whatever the other side likes best; its certificate is not looked at."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.set_alpn_protocols(["http/1.1"])
    return made


def exchange(tls, port, session):
    """One connection. Returns (whether the session was taken up, whether the answer was good, the session for the next)."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with tls.wrap_socket(plain, session=session) as stream:
            stream.sendall(REQUEST)
            answer = b""
            while piece := stream.recv(65536):
                answer += piece
            return stream.session_reused, answer.startswith(b"HTTP/1.1 200"), stream.session


def main(port, seconds, kind):
    """Runs for some seconds."""
    tls, times, bad, unresumed = context(), [], 0, 0
    _, _, session = exchange(tls, port, None)
    resumes = kind == "resumed"
    begin = now = time.monotonic()
    while now - begin < seconds:
        taken, good, next_session = exchange(tls, port, session if resumes else None)
        session = next_session or session
        ended = time.monotonic()
        times.append(ended - now)
        now = ended
        bad += not good
        unresumed += resumes and not taken
    wrong = [f"{n} {what}" for n, what in ((bad, "answers not good"), (unresumed, "sessions not resumed")) if n]
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1e3 for share in (0.5, 0.99))
    print(json.dumps({"requests": len(times), "seconds": now - begin, "p50": p50, "p99": p99, "wrong": "; ".join(wrong)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
