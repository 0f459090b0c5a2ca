"""Interleaved rounds: every proxy once per round in a changing order, so that a drift of the machine affects all alike."""

import random
import time
from dataclasses import asdict, dataclass

from harness import process


@dataclass
class Sample:
    """One proxy in one round. `cpu_us` is the CPU time per request of its process tree in microseconds (None: no proxy).

    `foreign` is the share of the machine (0 to 1) used by processes that the benchmark did not start.
    """

    requests: int
    seconds: float
    rate: float
    cpu_us: float | None
    p50: float | None
    p99: float | None
    foreign: float
    wrong: str


@dataclass
class Target:
    """A target for load: a proxy, or the backend itself if `daemon` is None."""

    name: str
    port: int
    daemon: process.Daemon | None = None


def compare(targets, load, rounds, cores):
    """Runs `load(port)` for every target, `rounds` times. Returns {name: [sample as a dict, …]}."""
    samples = {target.name: [] for target in targets}
    order = random.Random(2379)  # the same order in each run, so that it makes no difference between two runs
    for number in range(rounds):
        print(f"  round {number + 1} of {rounds}:", end="", flush=True)
        for target in order.sample(targets, len(targets)):
            print(f" {target.name}", end="", flush=True)
            samples[target.name].append(asdict(_measure(target, load, cores)))
        print(flush=True)
    return samples


def _measure(target, load, cores):
    tree = target.daemon.tree() if target.daemon else []
    clocks = (time.monotonic(), process.machine_busy_seconds(), process.known_cpu_seconds())
    cpu = target.daemon.cpu(tree) if target.daemon else 0.0
    seen = load(target.port)
    cpu = (target.daemon.cpu(tree) if target.daemon else 0.0) - cpu
    elapsed = time.monotonic() - clocks[0]
    foreign = process.machine_busy_seconds() - clocks[1] - (process.known_cpu_seconds() - clocks[2])
    return Sample(
        requests=seen.requests,
        seconds=seen.seconds,
        rate=seen.requests / seen.seconds,
        cpu_us=cpu / seen.requests * 1e6 if target.daemon and seen.requests else None,
        p50=seen.p50,
        p99=seen.p99,
        foreign=max(0.0, foreign / elapsed / cores),
        wrong=seen.wrong if not target.daemon or target.daemon.alive() else "the proxy died",
    )
