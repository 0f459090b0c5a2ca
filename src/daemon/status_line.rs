//! The one line that `systemctl status` shows: first what matters most now, then the facts.
//!
//! It is made from the [`Snapshot`] alone, so that it never contradicts `etcd-proxy status` or the
//! metrics. Problems come first, because terminals cut the line on the right.

use crate::daemon::local_time::time_of_day;
use crate::telemetry::snapshot::{
    EndpointStatus, MemberStatus, ReloadRecord, ServingMode, Snapshot,
};

/// How many members or peers are named before "and N more".
const NAMED: usize = 3;

/// Describes the daemon's state in one line; `now_ms` decides which times need a date.
pub fn status_line(snapshot: &Snapshot, now_ms: u64) -> String {
    let line = if snapshot.draining {
        stopping(snapshot)
    } else if !snapshot.ready {
        waiting(snapshot)
    } else {
        serving(snapshot, now_ms)
    };
    match refused(snapshot) {
        Some(record) => format!("{}; {line}", refusal(record, now_ms)),
        None => line,
    }
}

fn stopping(snapshot: &Snapshot) -> String {
    match open_requests(snapshot) {
        Some(open) => format!("stopping: {open} still open"),
        None => "stopping".to_owned(),
    }
}

fn waiting(snapshot: &Snapshot) -> String {
    let tried = snapshot.peers.iter().filter_map(|peer| {
        peer.error.as_ref().map(|error| format!("{} {error}", short(&peer.url)))
    });
    let tried = some_of(tried.collect());
    let source = snapshot.source.as_ref().and_then(|source| source.trouble.as_deref());
    match (source, tried.is_empty()) {
        (None, true) if !snapshot.members.is_empty() => match snapshot.problems.first() {
            Some(problem) => {
                let what = problem.text.split(';').next().unwrap_or_default();
                format!("waiting for members: {what}")
            }
            None => "waiting for members to start".to_owned(),
        },
        (None, true) => match asked(snapshot) {
            asked if asked.is_empty() => "waiting for members".to_owned(),
            asked => format!("waiting for members: asking {asked}"),
        },
        (Some(source), true) => format!("waiting for members: {source}"),
        (None, false) => format!("waiting for members: {tried}, retry each second"),
        (Some(source), false) => {
            format!("waiting for members: {source}; {tried}, retry each second")
        }
    }
}

/// Returns who has not answered yet: the peers, or else the source that is to name them.
fn asked(snapshot: &Snapshot) -> String {
    let peers: Vec<String> =
        snapshot.peers.iter().map(|peer| short(&peer.url).to_owned()).collect();
    match (&snapshot.source, peers.is_empty()) {
        (Some(source), true) => source.name.clone(),
        _ => some_of(peers),
    }
}

fn serving(snapshot: &Snapshot, now_ms: u64) -> String {
    let ailing: Vec<_> = traffic_members(snapshot).filter(|member| !is_healthy(member)).collect();
    let members = match some_of(ailing.iter().map(|member| ailment(member, now_ms)).collect()) {
        why if why.is_empty() => health(snapshot, ailing.len()),
        why => format!("{} ({why})", health(snapshot, ailing.len())),
    };
    let facts = [
        Some(members),
        open_requests(snapshot),
        (snapshot.mode == ServingMode::Readonly).then(|| "readonly".to_owned()),
        Some(format!("generation {}", snapshot.generation)),
    ];
    let facts = facts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    match (other_problem(snapshot, &ailing), &snapshot.not_serving) {
        (Some(problem), None) => format!("{problem}; serving, {facts}"),
        (Some(problem), Some(_)) => format!("not serving: {problem}; {facts}"),
        (None, Some(_)) => format!("not serving, {facts}"),
        (None, None) => facts,
    }
}

fn health(snapshot: &Snapshot, ailing: usize) -> String {
    let all = traffic_members(snapshot).count();
    format!("{} of {all} members healthy", all - ailing)
}

/// Returns the members that should get traffic, without learners and members that have not started.
fn traffic_members(snapshot: &Snapshot) -> impl Iterator<Item = &MemberStatus> {
    snapshot.members.iter().filter(|member| member.left_out.is_none())
}

fn is_healthy(member: &MemberStatus) -> bool {
    member.endpoints.iter().any(|endpoint| endpoint.usable && endpoint.healthy)
}

/// Describes why a member is unhealthy: `infra2: no answer since 12:01`.
fn ailment(member: &MemberStatus, now_ms: u64) -> String {
    // The endpoint that changed last tells why the member as a whole is unhealthy.
    let Some(endpoint) = member.endpoints.iter().max_by_key(|e| (e.usable, e.since_ms)) else {
        return format!("{}: no client URL", called(member));
    };
    let reason = endpoint.reason.as_deref().unwrap_or("unhealthy");
    format!("{}: {reason}{}", called(member), since(endpoint, now_ms))
}

fn since(endpoint: &EndpointStatus, now_ms: u64) -> String {
    match endpoint.since_ms {
        0 => String::new(),
        at => format!(" since {}", time_of_day(at, now_ms)),
    }
}

/// Returns the name of a member, or its ID when it has none.
fn called(member: &MemberStatus) -> &str {
    if member.name.is_empty() { &member.id } else { &member.name }
}

fn open_requests(snapshot: &Snapshot) -> Option<String> {
    let traffic = &snapshot.traffic;
    let counted =
        [counted(traffic.requests_in_flight, "request"), counted(traffic.rpcs_in_flight, "stream")];
    let words: Vec<_> = counted.into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn counted(n: u64, thing: &str) -> Option<String> {
    match n {
        0 => None,
        1 => Some(format!("1 {thing}")),
        n => Some(format!("{n} {thing}s")),
    }
}

/// Returns the open refusal, settings before TLS files: what is on disk is not what is in force.
fn refused(snapshot: &Snapshot) -> Option<&ReloadRecord> {
    snapshot.refusals().next()
}

fn refusal(record: &ReloadRecord, now_ms: u64) -> String {
    let at = time_of_day(record.at_ms, now_ms);
    let reason = record.messages.first().map_or("unusable settings", String::as_str);
    let more = match record.messages.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    format!("config refused at {at}: {reason}{more}")
}

/// Returns the worst problem that is not already part of the refusal or of the ailing members.
fn other_problem<'a>(snapshot: &'a Snapshot, ailing: &[&MemberStatus]) -> Option<&'a str> {
    let refusal = refused(snapshot).and_then(|record| record.messages.first());
    let is_told = |text: &str| {
        refusal.is_some_and(|reason| text.contains(reason.as_str()))
            || ailing.iter().any(|member| names(text, member))
    };
    snapshot.problems.iter().map(|problem| problem.text.as_str()).find(|text| !is_told(text))
}

/// Returns whether a problem is about one of the member's URLs, as the status source words it.
fn names(text: &str, member: &MemberStatus) -> bool {
    let rest = text.strip_prefix("member ").and_then(|rest| rest.strip_prefix(called(member)));
    rest.is_some_and(|rest| rest.starts_with(" at "))
}

/// Drops the scheme, which adds nothing here.
fn short(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

/// Joins the first few and counts the rest.
fn some_of(mut words: Vec<String>) -> String {
    let more = words.len().saturating_sub(NAMED);
    words.truncate(NAMED);
    let named = words.join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::snapshot::{PeerStatus, Problem, ReloadResult, SourceStatus};

    const NOW: u64 = 1_795_000_000_000;

    fn clock() -> String {
        time_of_day(NOW, NOW)
    }

    fn member(name: &str, healthy: bool) -> MemberStatus {
        let reason = (!healthy).then(|| "no answer".to_owned());
        let url = format!("http://{name}:2379");
        let endpoint = EndpointStatus {
            url,
            usable: true,
            healthy,
            reason,
            since_ms: NOW,
            ..Default::default()
        };
        MemberStatus { name: name.to_owned(), endpoints: vec![endpoint], ..Default::default() }
    }

    fn serving_with(members: Vec<MemberStatus>) -> Snapshot {
        let mode = ServingMode::Readwrite;
        Snapshot { ready: true, generation: 7, mode, members, ..Default::default() }
    }

    fn three() -> Snapshot {
        serving_with(vec![member("infra0", true), member("infra1", true), member("infra2", false)])
    }

    #[test]
    fn an_ailing_member_is_named_with_reason_and_time() {
        let mut snapshot = three();
        snapshot.traffic.rpcs_in_flight = 310;
        assert_eq!(
            status_line(&snapshot, NOW),
            format!(
                "2 of 3 members healthy (infra2: no answer since {}), 310 streams, generation 7",
                clock()
            )
        );
    }

    #[test]
    fn all_well_is_short() {
        let snapshot = serving_with(vec![member("infra0", true)]);
        assert_eq!(status_line(&snapshot, NOW), "1 of 1 members healthy, generation 7");
    }

    #[test]
    fn readonly_is_said() {
        let mut snapshot = serving_with(vec![member("infra0", true)]);
        snapshot.mode = ServingMode::Readonly;
        snapshot.traffic.requests_in_flight = 1;
        assert_eq!(
            status_line(&snapshot, NOW),
            "1 of 1 members healthy, 1 request, readonly, generation 7"
        );
    }

    #[test]
    fn learners_are_not_counted() {
        let mut learner = member("infra3", false);
        learner.left_out = Some("learner".to_owned());
        let snapshot = serving_with(vec![member("infra0", true), learner]);
        assert_eq!(status_line(&snapshot, NOW), "1 of 1 members healthy, generation 7");
    }

    #[test]
    fn the_wait_for_members_says_why() {
        let peer = |url: &str, error: &str| PeerStatus {
            url: url.to_owned(),
            error: Some(error.to_owned()),
        };
        let peers = vec![
            peer("http://infra0:2380", "refused the connection"),
            peer("http://infra1:2380", "did not answer"),
        ];
        let mut snapshot = Snapshot { peers, ..Default::default() };
        assert_eq!(
            status_line(&snapshot, NOW),
            "waiting for members: infra0:2380 refused the connection, infra1:2380 did not answer, retry each second"
        );
        snapshot.peers.iter_mut().for_each(|peer| peer.error = None);
        assert_eq!(
            status_line(&snapshot, NOW),
            "waiting for members: asking infra0:2380, infra1:2380"
        );
        snapshot.peers.clear();
        assert_eq!(status_line(&snapshot, NOW), "waiting for members");
        let name = "SRV records of example.com".to_owned();
        snapshot.source = Some(SourceStatus { name, ..Default::default() });
        assert_eq!(
            status_line(&snapshot, NOW),
            "waiting for members: asking SRV records of example.com"
        );
    }

    #[test]
    fn a_refused_file_stands_first() {
        let mut snapshot = three();
        snapshot.members.pop();
        let reason = "/etc/etcd-proxy.toml:4:1: unknown key `initial-clutser`".to_owned();
        snapshot.problems = vec![Problem { since_ms: None, text: format!("refused: {reason}") }];
        snapshot.settings_refused = Some(ReloadRecord {
            at_ms: NOW,
            result: ReloadResult::Refused,
            messages: vec![reason, "more".to_owned()],
            ..Default::default()
        });
        assert_eq!(
            status_line(&snapshot, NOW),
            format!(
                "config refused at {}: /etc/etcd-proxy.toml:4:1: unknown key `initial-clutser` (and 1 more); \
                 2 of 2 members healthy, generation 7",
                clock()
            )
        );
    }

    #[test]
    fn a_problem_that_nothing_else_tells_stands_first() {
        let mut snapshot = three();
        let problem = |text: &str| Problem { since_ms: None, text: text.to_owned() };
        snapshot.problems = vec![
            problem("member infra2 at http://infra2:2379: no answer"),
            problem("the peer on infra2 is of another cluster"),
        ];
        assert!(status_line(&snapshot, NOW).starts_with(
            "the peer on infra2 is of another cluster; serving, 2 of 3 members healthy ("
        ));
    }

    #[test]
    fn many_ailing_members_are_counted() {
        let snapshot = serving_with((0..5).map(|n| member(&format!("m{n}"), false)).collect());
        let line = status_line(&snapshot, NOW);
        assert!(
            line.contains("m2: no answer") && line.contains(" and 2 more), generation"),
            "{line}"
        );
    }

    #[test]
    fn the_drain_says_what_is_left() {
        let mut snapshot = Snapshot { ready: true, draining: true, ..Default::default() };
        assert_eq!(status_line(&snapshot, NOW), "stopping");
        snapshot.traffic.rpcs_in_flight = 2;
        assert_eq!(status_line(&snapshot, NOW), "stopping: 2 streams still open");
    }
}
