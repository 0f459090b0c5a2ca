"""Faults of members and restarts: how soon proxies notice, and what clients see meanwhile.

Every run of a detection has a cluster and proxies of its own: none depends on the one before.
"""

import random
import time

from harness import usage
from harness.fleet import Fleet
from harness.grpc_watch import GrpcWatches
from harness.process import Trouble
from harness.reads import Reads

FAULTS = {"killed": "kill", "hung": "freeze"}
# Proxies with an idle watch each, and connections that read at once.
WATCHING, READING = 5, 4
# A watch that has not ended after so long counts as not detected.
LONGEST = 60.0
BEFORE, UNDER_LOAD = 5.0, 20.0
DOWN_FOR, AFTERWARDS = 2.0, 30.0


def idle_watches(start_cluster, tools, fault, settle):
    """Faults the member that carries most of the idle watches. Returns when its watches ended."""
    cluster = start_cluster()
    fleet = watches = None
    try:
        fleet = Fleet("ours", WATCHING, cluster, tools)
        fleet.wait_serving()
        watches = GrpcWatches(fleet.ports)
        # Whatever runs at an interval must not be in step with the fault.
        time.sleep(settle + random.uniform(0.0, 10.0))
        if watches.ended():
            raise Trouble(f"a watch ended before the fault: {watches.ended()[0].end()}")
        victim = most_used(cluster, [watch.member for watch in watches.watches])
        touched = [watch for watch in watches.watches if watch.member == cluster.ids[victim]]
        role = role_of(cluster, victim)
        begin = time.monotonic()
        getattr(cluster, FAULTS[fault])(victim)
        watches.wait(lambda: all(watch.ended for watch in touched), LONGEST)
        ended = [watch for watch in touched if watch.ended]
        return {
            "role": role,
            "watches": len(touched),
            "seconds": sorted(watch.ended - begin for watch in ended),
            "how": sorted({watch.end() for watch in ended}),
            "not_ended": len(touched) - len(ended),
            "others_ended": len(watches.ended()) - len(ended),
        }
    finally:
        tear_down(watches, fleet, cluster)


def under_load(start_cluster, tools, fault, role):
    """Faults the member that answers most of the reads. Returns what the reads saw."""
    cluster = start_cluster()
    fleet = reads = None
    try:
        fleet = Fleet("ours", 1, cluster, tools)
        fleet.wait_serving()
        reads = Reads(fleet.ports * READING)
        time.sleep(BEFORE)
        victim = most_used(cluster, reads.members())
        cluster.move_leader(victim if role == "leader" else (victim + 1) % len(cluster.ids))
        time.sleep(1.0)
        reads.forget()  # what the leader's move has done to them
        time.sleep(BEFORE)
        if (now := most_used(cluster, reads.members())) != victim:
            raise Trouble(f"the reads moved from m{victim} to m{now} before the fault")
        getattr(cluster, FAULTS[fault])(victim)
        time.sleep(UNDER_LOAD - BEFORE)
        seen, reads = reads.stop(), None
        return {**seen, "role": role}
    finally:
        if reads:
            reads.stop()
        tear_down(None, fleet, cluster)


def restart_proxies(cluster, fleet):
    """Ends all proxies and starts them at once. Returns how long it took and cost the members."""
    changes, leader = sum(cluster.leader_changes()), cluster.leader()
    counted = usage.Counted(cluster)
    cpu = usage.Clock(cluster.pids())
    stopped = fleet.stop(15.0)
    fleet.start_at_once()
    serving = fleet.wait_serving()
    later = usage.Clock(cluster.pids())
    now = usage.Counted(cluster)
    return {
        "proxies": fleet.count,
        "stopped": stopped,
        "serving": sorted(serving),
        "members_cpu_seconds": sum(later.since(cpu)) / 1e6 * (later.at - cpu.at),
        "requests": now.since(counted),
        "leader_changes": sum(cluster.leader_changes()) - changes,
        "leader_moved": cluster.leader() != leader,
    }


def restart_member(cluster, fleet):
    """Restarts a follower while each proxy has an idle watch and passes a read a second."""
    victim = next(i for i in range(len(cluster.ids)) if i != cluster.leader())
    rest = [i for i in range(len(cluster.ids)) if i != victim]
    watches, reads = GrpcWatches(fleet.ports), Reads(fleet.ports, 1.0)
    try:
        time.sleep(BEFORE)
        if early := reads.failed:
            raise Trouble(f"a read failed before the restart: {early[0][1]}")
        changes, leader = cluster.leader_changes(), cluster.leader()
        carried = sum(watch.member == cluster.ids[victim] for watch in watches.watches)
        counted, cpu = usage.Counted(cluster), usage.Clock(cluster.pids())
        cluster.terminate(victim)
        time.sleep(DOWN_FOR)
        cluster.restart(victim)
        cluster.wait_healthy(victim)
        time.sleep(AFTERWARDS)
        later, now = usage.Clock(cluster.pids()), usage.Counted(cluster)
        seen, reads = reads.stop(), None
        survivors = {pid: cpu.seconds[pid] for pid in cpu.seconds if pid in later.seconds}
        return {
            "proxies": fleet.count,
            "carried": carried,
            "watches_ended": len(watches.ended()),
            "reads": seen,
            "others_cpu_seconds": sum(later.seconds[pid] - old for pid, old in survivors.items()),
            "requests": now.since(counted, restarted=victim),
            "connections": [usage.established([port]) for port in cluster.clients],
            "victim": victim,
            "leader_changes": sum(cluster.leader_changes()[i] - changes[i] for i in rest),
            "leader_moved": cluster.leader() != leader,
        }
    finally:
        if reads:
            reads.stop()
        watches.close()


def most_used(cluster, members):
    """Returns the number of the member whose ID is the most frequent in `members`."""
    if not members:
        raise Trouble("no member has answered")
    return cluster.ids.index(max(sorted(set(members)), key=members.count))


def role_of(cluster, member):
    """Returns whether a member is the leader or a follower."""
    return "leader" if cluster.leader() == member else "follower"


def tear_down(watches, fleet, cluster):
    """Ends what a run has started, as far as it has."""
    if watches:
        watches.close()
    if fleet:
        fleet.stop()
    cluster.stop()
