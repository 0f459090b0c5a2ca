//! `etcd-proxy status`: shows the state of the running daemon, problems first.
//!
//! Everything comes from one [`Snapshot`]. JSON output is what the daemon sent (the documented
//! form, `"version": 1`), so that fields of a newer daemon are not lost.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use http::Method;

use super::ask::{Answer, AskError, ask};
use super::table::{Table, terminal_safe};
use crate::daemon::local_time::time_of_day;
use crate::telemetry::snapshot::{
    CertificateKind, EndpointStatus, EvidenceKind, MemberStatus, ReloadRecord, Snapshot,
};
use crate::telemetry::time::now_ms;
use crate::tls::certificate::day;

/// How long the daemon may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Exit status when the daemon serves but something is wrong.
const TROUBLED: u8 = 4;

/// Exit status when the daemon runs but cannot serve.
const NOT_SERVING: u8 = 5;

/// Number of reloads shown; JSON has all that the daemon keeps.
const RELOADS_SHOWN: usize = 5;

/// The output format, as in etcdctl.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WriteOut {
    /// Comma-separated rows, for scripts.
    Simple,
    /// Boxed tables, for people.
    #[default]
    Table,
    /// The snapshot as one line of JSON.
    Json,
}

impl WriteOut {
    /// Returns the format with this name; tables for an unknown name.
    pub fn named(name: &str) -> Self {
        match name {
            "simple" => Self::Simple,
            "json" => Self::Json,
            _ => Self::Table,
        }
    }
}

/// Writes the status to `out` (nothing when `quiet`) and failures to `err`. Returns the exit
/// status: 0 all well, 3 not running, 4 serving with a problem, 5 not serving, 1 any other failure.
pub fn run(
    socket: &Path,
    write_out: WriteOut,
    quiet: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    match asked(socket, LIMIT) {
        Ok((answer, snapshot)) => {
            let shown = if quiet { Ok(()) } else { show(&answer, &snapshot, write_out, out) };
            if shown.is_err() { 1 } else { exit_code(&snapshot) }
        }
        Err(error) => {
            // If stderr is closed, there is nowhere left to report to.
            let _ = writeln!(err, "error: {error}");
            error.exit_code()
        }
    }
}

/// Asks the daemon for its snapshot.
///
/// # Errors
/// When there is no answer, or the answer is not from our daemon.
pub(super) fn asked(socket: &Path, limit: Duration) -> Result<(Answer, Snapshot), AskError> {
    let answer = ask(socket, Method::GET, "/status", limit)?;
    let snapshot: Snapshot = answer.json(socket)?;
    // Every field has a default, so any JSON object parses as a snapshot. The version tells ours
    // from others.
    if snapshot.version == 0 {
        let reason = answer.complaint("no version in it");
        return Err(AskError::Failed { socket: socket.to_owned(), reason });
    }
    Ok((answer, snapshot))
}

fn exit_code(snapshot: &Snapshot) -> u8 {
    let is_refused = snapshot.refusals().next().is_some();
    // An older daemon without `not_serving` reports this with the other fields.
    if snapshot.not_serving.is_some() || !snapshot.ready || snapshot.draining {
        NOT_SERVING
    } else if is_refused || !snapshot.problems.is_empty() {
        TROUBLED
    } else {
        0
    }
}

fn show(
    answer: &Answer,
    snapshot: &Snapshot,
    write_out: WriteOut,
    out: &mut dyn Write,
) -> io::Result<()> {
    if write_out == WriteOut::Json {
        out.write_all(&answer.body)?;
        return writeln!(out);
    }
    let now = now_ms();
    for line in problems(snapshot, now).into_iter().chain(facts(snapshot, now)) {
        writeln!(out, "{}", terminal_safe(&line))?;
    }
    for table in [members(snapshot, now), reloads(snapshot, now)] {
        match write_out {
            _ if table.is_empty() => {}
            WriteOut::Simple => table.write_simple(out)?,
            WriteOut::Table | WriteOut::Json => table.write_boxed(out)?,
        }
    }
    Ok(())
}

fn problems(snapshot: &Snapshot, now: u64) -> Vec<String> {
    let told = snapshot.problems.iter().map(|problem| match problem.since_ms {
        Some(at) => format!("PROBLEM since {}: {}", time_of_day(at, now), problem.text),
        None => format!("PROBLEM: {}", problem.text),
    });
    told.collect()
}

fn facts(snapshot: &Snapshot, now: u64) -> Vec<String> {
    let s = snapshot;
    let started = time_of_day(s.started_ms, now);
    let lines = [
        Some(format!("etcd-proxy {}, pid {}, up since {started}", s.daemon_version, s.pid)),
        Some(format!("{}, {}, generation {}", state(s), s.mode, s.generation)),
        Some(format!("clients:  {} ({} workers)", listed(&s.listeners), s.workers)),
        (!s.metrics_listeners.is_empty())
            .then(|| format!("metrics:  {}", listed(&s.metrics_listeners))),
        Some(certificates(s)).filter(|it| !it.is_empty()).map(|it| format!("TLS:      {it}")),
        Some(format!("cluster:  {}", cluster(s, now))),
        s.source.as_ref().map(|source| format!("peers:    {}", source.name)),
        Some(format!("traffic:  {}", traffic(s))),
    ];
    lines.into_iter().flatten().collect()
}

fn state(snapshot: &Snapshot) -> &str {
    match snapshot {
        Snapshot { not_serving: Some(why), .. } => why,
        Snapshot { draining: true, .. } => "stopping",
        Snapshot { ready: false, .. } => "waiting for members",
        _ => "serving",
    }
}

fn listed(urls: &[String]) -> String {
    if urls.is_empty() { "none".to_owned() } else { urls.join(", ") }
}

/// Returns the certificates presented to clients, members and peers, with their expiry.
fn certificates(snapshot: &Snapshot) -> String {
    let day = |ms| day(UNIX_EPOCH + Duration::from_millis(ms));
    let shown = snapshot.certificates.iter().filter(|it| it.kind == CertificateKind::Certificate);
    let shown =
        shown.map(|it| format!("{} {} until {}", it.identity, it.title, day(it.not_after_ms)));
    shown.collect::<Vec<_>>().join("; ")
}

fn cluster(snapshot: &Snapshot, now: u64) -> String {
    let refresh = &snapshot.refresh;
    let id = snapshot.cluster_id.as_deref().unwrap_or("not known yet");
    let source = if refresh.from_cluster_file { " (peers from the cluster file)" } else { "" };
    let age = match refresh.last_success_ms {
        Some(at) => format!("member list of {} s ago", now.saturating_sub(at) / 1000),
        None => "no member list yet".to_owned(),
    };
    match &refresh.last_error {
        Some(error) => format!("{id}, {age}{source}, last refresh failed: {error}"),
        None => format!("{id}, {age}{source}"),
    }
}

fn traffic(snapshot: &Snapshot) -> String {
    let t = &snapshot.traffic;
    let limit = match t.connections_limit {
        0 => String::new(),
        limit => format!(" of at most {limit}"),
    };
    format!(
        "{} connections{limit}, {} requests, {} gRPC calls",
        t.connections, t.requests_in_flight, t.rpcs_in_flight
    )
}

fn members(snapshot: &Snapshot, now: u64) -> Table {
    let mut table = Table::new(&[
        "ID",
        "NAME",
        "CLIENT ADDR",
        "HEALTH",
        "SINCE",
        "IN FLIGHT",
        "FAILURES",
        "EVIDENCE",
    ]);
    for member in &snapshot.members {
        if member.endpoints.is_empty() {
            table.row(member_cells(member, String::new(), left_out(member)));
        }
        for endpoint in &member.endpoints {
            let cells = member_cells(member, endpoint.url.clone(), health(member, endpoint));
            table.row(cells.into_iter().chain([
                since(endpoint, now),
                endpoint.in_flight.to_string(),
                endpoint.failures.to_string(),
                evidence(endpoint, now),
            ]));
        }
    }
    table
}

/// Returns when an endpoint entered its state; empty if it was never probed.
fn since(endpoint: &EndpointStatus, now: u64) -> String {
    if endpoint.since_ms == 0 { String::new() } else { time_of_day(endpoint.since_ms, now) }
}

/// Returns how its health is known, and how long ago that was; nothing if it was never asked.
fn evidence(endpoint: &EndpointStatus, now: u64) -> String {
    match endpoint.evidence {
        EvidenceKind::Unknown => String::new(),
        kind => format!("{kind} {} s ago", now.saturating_sub(endpoint.evidence_ms) / 1000),
    }
}

fn member_cells(member: &MemberStatus, url: String, health: String) -> [String; 4] {
    [member.id.clone(), member.name.clone(), url, health]
}

fn left_out(member: &MemberStatus) -> String {
    member.left_out.clone().unwrap_or_else(|| "no client URL".to_owned())
}

fn health(member: &MemberStatus, endpoint: &EndpointStatus) -> String {
    if member.left_out.is_some() {
        return left_out(member);
    }
    let word = match (endpoint.usable, endpoint.healthy) {
        (false, _) => "unusable",
        (true, true) => return "healthy".to_owned(),
        (true, false) => "unhealthy",
    };
    match &endpoint.reason {
        Some(reason) => format!("{word}: {reason}"),
        None => word.to_owned(),
    }
}

fn reloads(snapshot: &Snapshot, now: u64) -> Table {
    let mut table = Table::new(&["RELOAD", "ASKED BY", "RESULT", "GENERATION", "WHAT"]);
    for record in snapshot.reloads.iter().take(RELOADS_SHOWN) {
        table.row([
            time_of_day(record.at_ms, now),
            record.trigger.clone(),
            record.result.to_string(),
            record.generation.to_string(),
            what(record),
        ]);
    }
    table
}

fn what(record: &ReloadRecord) -> String {
    let words = if record.changes.is_empty() { &record.messages } else { &record.changes };
    match words.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

#[cfg(test)]
mod tests;
