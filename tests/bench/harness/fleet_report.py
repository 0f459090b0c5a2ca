"""Formats the figures of a fleet as plain tables, and computes what one proxy costs."""

from statistics import mean, median

LABELS = {
    "none": "no proxy",
    "ours": "etcd-proxy",
    "gateway": "etcd gateway",
    "v2-proxy": "etcd --proxy on",
    "haproxy": "HAProxy",
}
COLUMNS = [
    "proxies", "number", "state", "members µs/s", "per proxy", "calls/s", "per proxy",
    "client conns", "peer conns", "members MiB", "goroutines", "proxy µs/s", "most", "wake-ups/s",
    "proxy MiB",
]  # fmt: skip


def table(rows):
    """Aligns rows of texts. The first three columns are words and stand left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return lines


def measured(figures):
    """Returns the table of all measured states. The first figure is the cluster without proxies."""
    base = figures[0]
    rows = [COLUMNS]
    for one in figures:
        count = one["count"]
        calls = all_calls(one)
        rows.append([
            LABELS[one["kind"]], str(count), one["state"],
            number(one["members_us"], 0),
            number(per_proxy(one, base), 1),
            number(calls, 2),
            number((calls - all_calls(base)) / count, 3) if count else "–",
            str(one["client_connections"]), str(one["peer_connections"]),
            number(one["members_rss_kib"] / 1024, 0), str(one["goroutines"]),
            number(one["proxy_us"], 0), number(one["proxy_us_most"], 0),
            number(one["proxy_switches"], 2),
            number(one["proxy_rss_kib"] and one["proxy_rss_kib"] / 1024, 1),
        ])  # fmt: skip
    return table(rows)


def all_calls(one):
    """Returns the calls a second of every kind."""
    return sum(kind["per_second"] for kind in one["requests"].values())


def per_proxy(one, base):
    """Returns the members' CPU in µs a second that each proxy costs, or None."""
    return (one["members_us"] - base["members_us"]) / one["count"] if one["count"] else None


def slope(points):
    """Returns the slope of the least-squares line through (x, y), or None for a single x."""
    x_mean, y_mean = mean(x for x, _ in points), mean(y for _, y in points)
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / spread if spread else None


def slopes(figures):
    """Returns what each state of each kind costs per proxy: {"kind state": {...}}."""
    base = figures[0] if figures else None
    found = {}
    for kind, state in dict.fromkeys((one["kind"], one["state"]) for one in figures[1:]):
        same = [one for one in figures if (one["kind"], one["state"]) == (kind, state)]
        points = [base, *same]
        found[f"{kind} {state}"] = {
            "numbers": [one["count"] for one in points],
            "members_us_per_proxy": slope([(one["count"], one["members_us"]) for one in points]),
            "calls_per_proxy": slope([(one["count"], all_calls(one)) for one in points]),
            "rss_kib_per_proxy": slope([(one["count"], one["members_rss_kib"]) for one in points]),
            "goroutines_per_proxy": slope([(one["count"], one["goroutines"]) for one in points]),
        }
    return found


def slope_lines(found):
    """Returns the table of the slopes."""
    rows = [["proxies", "state", "numbers", "members µs/s", "calls/s", "members KiB", "goroutines"]]
    for name, one in found.items():
        kind, state = name.split(" ")
        rows.append([
            LABELS[kind], state, ",".join(map(str, one["numbers"])),
            number(one["members_us_per_proxy"], 1), number(one["calls_per_proxy"], 3),
            number(one["rss_kib_per_proxy"], 0), number(one["goroutines_per_proxy"], 2),
        ])  # fmt: skip
    return ["One more proxy costs the members (least squares):", *table(rows)]


def requests(figures):
    """Returns a line for each state with the requests at the members by kind."""
    lines = ["Requests that the members counted, a second (and for each proxy):"]
    for one in figures:
        kinds = []
        for name, seen in one["requests"].items():
            each = f" ({seen['per_second'] / one['count']:.3f})" if one["count"] else ""
            kinds.append(f"{name} {seen['per_second']:.2f}{each}")
        what = f"{one['count']} {LABELS[one['kind']]}, {one['state']}"
        lines.append(f"  {what}: {', '.join(kinds) or 'none'}")
    return lines


def wake_ups(figures):
    """Returns a line for each state of ours with the wake-ups of a proxy by thread."""
    lines = []
    for one in figures:
        if one["kind"] == "ours":
            threads = one["proxy_switches_by_thread"].items()
            each = ", ".join(f"{name} {rate:.2f}" for name, rate in threads if rate >= 0.005)
            lines.append(f"  {one['count']} {LABELS['ours']}, {one['state']}: {each or 'none'}")
    return ["Wake-ups of one proxy a second by thread:", *lines] if lines else []


def detections(found):
    """Returns a line for each run of each fault."""
    lines = []
    for run in found["idle"]:
        times = ", ".join(f"{seconds:.2f}" for seconds in run["seconds"]) or "never"
        lines.append(
            f"  {run['role']} {run['fault']}, {run['watches']} idle watches: ended after {times} s"
            f" ({'; '.join(run['how']) or 'none'}); {run['not_ended']} did not end,"
            f" {run['others_ended']} of other members ended"
        )
    for run in found["load"]:
        lines.append(
            f"  {run['role']} {run['fault']} under load: slowest of {run['answered']:,} reads"
            f" {run['slowest']:.2f} s, {run['failed']} failed{reasons(run)}"
        )
    return ["How soon faults are noticed:", *lines]


def restarts(found):
    """Returns the lines of both restarts."""
    one, member = found["proxies"], found["member"]
    seen = member["reads"]
    asked = seen["answered"] + seen["failed"]
    return [
        f"{one['proxies']} proxies restarted at once: all ended in {one['stopped']:.1f} s;"
        f" half of them serve {median(one['serving']):.1f} s after the start,"
        f" all {one['serving'][-1]:.1f} s",
        f"  members: {one['members_cpu_seconds']:.2f} s of CPU, {moved(one)}; {calls(one)}",
        f"A follower restarted under {member['proxies']} proxies,"
        " each with a watch and a read a second:",
        f"  {member['watches_ended']} watches ended, it carried {member['carried']};"
        f" {seen['failed']} of {asked} reads failed{reasons(seen)},"
        f" the slowest took {seen['slowest']:.2f} s",
        f"  client connections afterwards: {member['connections']},"
        f" the restarted member is number {member['victim']} from 0",
        f"  other members: {member['others_cpu_seconds']:.2f} s of CPU, {moved(member)};"
        f" {calls(member)}",
    ]


def calls(one):
    """Returns the number of requests of each kind."""
    return ", ".join(f"{name} {n['calls']}" for name, n in one["requests"].items()) or "no calls"


def moved(one):
    """Returns whether the leader has changed meanwhile."""
    if one["leader_moved"] or one["leader_changes"]:
        return f"the leader changed ({one['leader_changes']} changes seen by all members together)"
    return "the leader stayed"


def reasons(run):
    """Returns the reasons of failed reads with their numbers, in brackets, or nothing."""
    parts = [f"{count} × {reason}" for reason, count in run["reasons"].items()]
    return f" ({'; '.join(parts)})" if parts else ""


def number(value, digits):
    """Formats a number, or its absence."""
    return "–" if value is None else f"{value:,.{digits}f}"
