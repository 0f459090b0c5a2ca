"""Formats the figures as Markdown. A ratio is taken against the better rival of the same round; the median is shown."""

import datetime
import os
import platform
import subprocess
from statistics import median

from harness.proxies import RIVALS

TITLES = {
    "http1": "HTTP/1.1",
    "tls": "HTTP/1.1 over TLS",
    "full": "TLS connection, full handshake, one request",
    "resumed": "TLS connection, resumed, one request",
    "grpc": "gRPC unary Range",
    "watch": "idle HTTP/1.1 watcher",
}
# Above this share, other work on the machine makes absolute figures worthless and ratios doubtful.
NOISY = 0.05


def throughput(suite, samples, labels):
    """Returns the table of one load suite."""
    each, every = ("connection", "handshakes/s") if suite in ("full", "resumed") else ("request", "requests/s")
    rows = [
        f"| {TITLES[suite]} | CPU µs per {each} | × best | {every} | × best | p50 ms | p99 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rounds in samples.items():
        cells = [
            _spread([r["cpu_us"] for r in rounds], 1),
            _ratio(samples, name, "cpu_us", min),
            _spread([r["rate"] for r in rounds], 0),
            _ratio(samples, name, "rate", max),
            _spread([r["p50"] for r in rounds], 2),
            _spread([r["p99"] for r in rounds], 2),
        ]
        rows.append(f"| {labels[name]} | {' | '.join(cells)} |")
    return rows


def memory(figures, labels):
    """Returns the table of the watch suite."""
    rows = [
        f"| {TITLES['watch']} | RSS KiB | × best | PSS KiB | RSS after an event | RSS left after the drop | descriptors left | idle RSS MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    best = min((figures[name]["rss"] for name in RIVALS if name in figures), default=None)
    for name, one in figures.items():
        ratio = f"{one['rss'] / best:.2f}" if best else "–"
        each = " | ".join(f"{one[key]:.1f}" for key in ("pss", "rss_after_event", "rss_after_drop"))
        rows.append(
            f"| {labels[name]} | {one['rss']:.1f} | {ratio} | {each} | {one['descriptors_left']} | {one['before_kib'][0] / 1024:.1f} |"
        )
    return rows


def wrong_answers(suites, labels):
    """Returns a line for each run with wrong answers, whose figures are meaningless."""
    return [
        f"- {TITLES[suite]}, {labels[name]}, round {number}: {sample['wrong']}"
        for suite, samples in suites.items()
        for name, rounds in samples.items()
        for number, sample in enumerate(rounds, 1)
        if sample["wrong"]
    ]


def foreign_work(suites):
    """Returns a sentence about other work on the machine during the measurement."""
    shares = [r["foreign"] for samples in suites.values() for rounds in samples.values() for r in rounds]
    if not shares:
        return ""
    text = f"Other work took {median(shares):.0%} of the machine (median; at most {max(shares):.0%})"
    return text + (": **these figures are noise**, repeat on a quiet machine." if median(shares) > NOISY else ".")


def machine():
    """Describes the machine and the commit of the measurement."""
    with open("/proc/cpuinfo") as info:
        model = next((line.split(": ", 1)[1].strip() for line in info if line.startswith("model name")), platform.machine())
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(gigabytes),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": _commit(),
    }


def _commit():
    root = os.path.dirname(os.path.abspath(__file__))
    try:
        argv = ["git", "-C", root, "describe", "--always", "--dirty"]
        return subprocess.run(argv, capture_output=True, text=True).stdout.strip() or "unknown"
    except FileNotFoundError:
        return "unknown"


def _spread(values, digits):
    """Formats the median (least–most)."""
    values = [v for v in values if v is not None]
    if not values:
        return "–"
    shown = [f"{v:,.{digits}f}" for v in (median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]}–{shown[2]})"


def _ratio(samples, name, key, better):
    """Returns the median over the rounds of this proxy's figure divided by the better rival's of the same round."""
    ratios = []
    for number, sample in enumerate(samples[name]):
        rivals = [samples[r][number][key] for r in RIVALS if r in samples and samples[r][number][key]]
        if rivals and sample[key]:
            ratios.append(sample[key] / better(rivals))
    return f"{median(ratios):.2f}" if ratios else "–"
