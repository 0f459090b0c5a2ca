//! `check --connect`: reports what a start with these settings would find, and which members,
//! cluster and mode the running daemon would change to. Peers are queried and members probed as by
//! the daemon. Nothing is stored or changed.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use serde_json::{Value as Json, json};

use crate::cli::ask::AskError;
use crate::cli::status;
use crate::cli::table::{Table, terminal_safe};
use crate::cluster::eligibility::{EvaluatedMember, EvaluatedMembers, EvaluatedUrl, evaluate};
use crate::cluster::member::hex_id;
use crate::cluster::survey::Survey;
use crate::cluster::tracker::Setup;
use crate::config::{ListenUrl, Mode, Settings};
use crate::daemon::generations::timeouts;
use crate::telemetry::snapshot::{ServingMode, Snapshot, SourceStatus};
use crate::tls::TlsConfigs;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::evidence::ProbeResult;
use crate::upstream::health::{self, ProbeConfig};

/// How long the running daemon may take to answer.
const DAEMON_LIMIT: Duration = Duration::from_secs(5);

/// The result of the check.
pub(super) struct Found {
    survey: Survey,
    members: Vec<Probed>,
    /// The changes of members, cluster and mode for the running daemon; empty when none runs.
    changes: Vec<String>,
    /// Why the running daemon could not be compared.
    daemon_trouble: Option<String>,
    /// `proxy = "off"`: a start may make a member of this host.
    may_become_member: bool,
}

/// A member's client URL, or a member without one, and its state.
struct Probed {
    id: u64,
    name: String,
    url: String,
    state: State,
}

enum State {
    Healthy,
    /// It gets no traffic only because it is unhealthy.
    Unhealthy(String),
    /// It gets no traffic, whatever its health: the URL cannot be used.
    Unusable(String),
    /// It gets no traffic, as expected: a learner, or a member that has not started.
    LeftOut(String),
}

/// Queries the peers and probes the members. Source, peers and members have time limits, by default
/// about half a minute in total.
///
/// # Errors
/// When the runtime cannot be created.
pub(super) fn run(
    settings: &Settings,
    tls_configs: &TlsConfigs,
    daemon: &Path,
) -> io::Result<Found> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let (survey, members) = runtime.block_on(async {
        let survey = Survey::take(&Setup::new(settings, tls_configs)).await;
        let (listed, cluster) = match survey.list() {
            Some(list) => (evaluate(list, &own_addresses(settings)).await, list.cluster_id),
            None => (EvaluatedMembers::default(), 0),
        };
        (survey, probe_members(listed, cluster, &probe_config(settings, tls_configs)).await)
    });
    // A name lookup that hangs must not delay the exit.
    runtime.shutdown_background();
    let mut found = Found {
        survey,
        members,
        changes: Vec::new(),
        daemon_trouble: None,
        may_become_member: settings.member.is_some(),
    };
    match status::asked(daemon, DAEMON_LIMIT) {
        Ok((_, snapshot)) => found.changes = found.compare(settings.mode, &snapshot),
        Err(AskError::NotRunning { .. }) => {}
        Err(error) => found.daemon_trouble = Some(error.to_string()),
    }
    Ok(found)
}

fn own_addresses(settings: &Settings) -> Vec<SocketAddr> {
    settings.listen_client_urls.iter().filter_map(ListenUrl::tcp_address).collect()
}

fn probe_config(settings: &Settings, tls_configs: &TlsConfigs) -> ProbeConfig {
    ProbeConfig {
        interval: None,
        refresh: settings.refresh_interval,
        deadline: settings.health_timeout,
        timeouts: timeouts(settings),
        connector: Some(tls_configs.upstream.clone()),
    }
}

/// Probes all URLs that would get traffic, concurrently.
async fn probe_members(
    listed: EvaluatedMembers,
    cluster: u64,
    probe_config: &ProbeConfig,
) -> Vec<Probed> {
    let mut looking = Vec::new();
    for member in listed.members {
        if member.urls.is_empty() {
            let reason = member.left_out.as_deref().unwrap_or("no client URL");
            let state = State::LeftOut(reason.to_owned());
            looking.push((Probed::at(&member, "", state), None));
        }
        for url in &member.urls {
            let kept_out = match (&member.left_out, &url.left_out) {
                (Some(reason), _) => Some(State::LeftOut(reason.clone())),
                (None, Some(reason)) => Some(State::Unusable(reason.clone())),
                (None, None) => None,
            };
            let probe = kept_out.is_none().then(|| {
                tokio::task::spawn_local(probe(
                    cluster,
                    member.id,
                    url.clone(),
                    probe_config.clone(),
                ))
            });
            let state = kept_out.unwrap_or(State::Healthy);
            looking.push((Probed::at(&member, &url.url, state), probe));
        }
    }
    let mut all = Vec::new();
    for (mut probed, probe) in looking {
        if let Some(probe) = probe {
            let lost = |error: tokio::task::JoinError| State::Unhealthy(error.to_string());
            probed.state = probe.await.unwrap_or_else(lost);
        }
        all.push(probed);
    }
    all
}

async fn probe(cluster: u64, id: u64, url: EvaluatedUrl, probe_config: ProbeConfig) -> State {
    let scheme = if url.tls { Scheme::HTTPS } else { Scheme::HTTP };
    let endpoint = match Endpoint::new(&url.url, cluster, "", id, scheme, &url.host, url.port, 0) {
        Ok(endpoint) => Arc::new(endpoint),
        Err(error) => return State::Unusable(error.to_string()),
    };
    match health::probe_once(endpoint.clone(), &probe_config).await {
        Some(ProbeResult::Healthy) => State::Healthy,
        Some(
            ProbeResult::Unhealthy(reason)
            | ProbeResult::NoQuorum(reason)
            | ProbeResult::Unresponsive(reason)
            | ProbeResult::Unproved(reason),
        ) => State::Unhealthy(reason),
        None => {
            let hindrance = endpoint.hindrance().and_then(|state| state.reason);
            State::Unhealthy(hindrance.unwrap_or_default())
        }
    }
}

impl Probed {
    fn at(member: &EvaluatedMember, url: &str, state: State) -> Self {
        Self { id: member.id, name: member.name.clone(), url: url.to_owned(), state }
    }

    fn gets_traffic(&self) -> bool {
        matches!(self.state, State::Healthy | State::Unhealthy(_))
    }

    fn is_healthy(&self) -> bool {
        matches!(self.state, State::Healthy)
    }

    fn reason(&self) -> Option<&str> {
        match &self.state {
            State::Healthy => None,
            State::Unhealthy(reason) | State::Unusable(reason) | State::LeftOut(reason) => {
                Some(reason)
            }
        }
    }

    fn state(&self) -> String {
        match &self.state {
            State::Healthy => "healthy".to_owned(),
            State::Unhealthy(reason) => format!("unhealthy: {reason}"),
            State::Unusable(reason) => format!("unusable: {reason}"),
            State::LeftOut(reason) => reason.clone(),
        }
    }
}

impl Found {
    /// Returns whether a member is healthy, so that all requests would be answered.
    fn serves(&self) -> bool {
        self.members.iter().any(Probed::is_healthy)
    }

    /// Returns whether a start would serve, or may make this host a member.
    pub(super) fn is_usable(&self) -> bool {
        self.serves() || self.may_become_member
    }

    /// Returns whether all peers have good answers, and every started voting member has a healthy
    /// URL and no unhealthy one.
    pub(super) fn is_perfect(&self) -> bool {
        let has_a_way =
            |id| self.members.iter().any(|other| other.id == id && other.gets_traffic());
        let well = |probed: &Probed| match probed.state {
            State::Healthy | State::LeftOut(_) => true,
            State::Unhealthy(_) => false,
            State::Unusable(_) => has_a_way(probed.id),
        };
        self.serves()
            && self.members.iter().all(well)
            && self.survey.answers().all(|(_, answer)| answer.is_ok())
    }

    /// Returns the differences from the running daemon.
    fn compare(&self, mode: Mode, running: &Snapshot) -> Vec<String> {
        let mut changes = Vec::new();
        let mode = ServingMode::from(mode);
        if running.mode != mode {
            changes.push(format!("mode would change from {} to {mode}", running.mode));
        }
        let cluster = self.survey.list().map(|list| hex_id(list.cluster_id));
        if let (Some(new), Some(old)) = (&cluster, &running.cluster_id)
            && new != old
        {
            changes.push(format!("cluster would change from {old} to {new}"));
        }
        let usable = running.members.iter().filter(|member| member.left_out.is_none());
        let usable = usable.flat_map(|member| &member.endpoints).filter(|at| at.usable);
        let old: Vec<&str> = usable.map(|endpoint| endpoint.url.as_str()).collect();
        let new: Vec<&str> = self
            .members
            .iter()
            .filter(|probed| probed.gets_traffic())
            .map(|it| it.url.as_str())
            .collect();
        let added = new.iter().filter(|url| !old.contains(url));
        changes.extend(added.map(|url| format!("{url} would be added")));
        // Without a list, or with one of the same cluster in which no URL is usable, the daemon
        // keeps its endpoints.
        let replaces = cluster.is_some() && (!new.is_empty() || cluster != running.cluster_id);
        let dropped = old.iter().filter(|url| replaces && !new.contains(url));
        changes.extend(dropped.map(|url| format!("{url} would get no requests any more")));
        changes
    }

    /// Writes the result as lines and tables.
    pub(super) fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        for line in self.remarks() {
            writeln!(out, "{}", terminal_safe(&line))?;
        }
        for table in [self.peer_table(), self.member_table()] {
            if !table.is_empty() {
                table.write_boxed(out)?;
            }
        }
        let trouble = self.daemon_trouble.iter().map(|why| format!("cannot be compared: {why}"));
        for line in self.changes.iter().cloned().chain(trouble) {
            writeln!(out, "running daemon: {}", terminal_safe(&line))?;
        }
        writeln!(out, "{}", self.verdict())
    }

    /// Returns the lines to print before the tables.
    fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.may_become_member {
            let remark = "a start may make this host a member (proxy = \"off\"); the rest assumes that it is a proxy";
            lines.push(remark.to_owned());
        }
        match &self.survey.source {
            Some(SourceStatus { name, trouble: Some(trouble) }) => {
                lines.push(match trouble.contains(name) {
                    true => trouble.clone(),
                    false => format!("{name}: {trouble}"),
                })
            }
            Some(SourceStatus { name, trouble: None }) => lines.push(format!("{name}: answers")),
            None => {}
        }
        let file = self.survey.file_trouble.iter();
        lines.extend(file.map(|trouble| format!("the cluster file cannot be used: {trouble}")));
        lines
    }

    fn peer_table(&self) -> Table {
        let mut table = Table::new(&["PEER", "CLUSTER ID", "MEMBERS", "ANSWER"]);
        for (at, (peer, answer)) in self.survey.answers().enumerate() {
            let (cluster, members, word) = match answer {
                Ok(list) => {
                    (hex_id(list.cluster_id), list.members.len().to_string(), "good".to_owned())
                }
                Err(error) => (String::new(), String::new(), error.to_string()),
            };
            let is_kept = at >= self.survey.peers.len();
            let word = if is_kept { format!("{word} (from the cluster file)") } else { word };
            table.row([peer.to_string(), cluster, members, word]);
        }
        table
    }

    fn member_table(&self) -> Table {
        let mut table = Table::new(&["ID", "NAME", "CLIENT ADDR", "HEALTH"]);
        for probed in &self.members {
            table.row([hex_id(probed.id), probed.name.clone(), probed.url.clone(), probed.state()]);
        }
        table
    }

    fn verdict(&self) -> String {
        let traffic = self.members.iter().filter(|probed| probed.gets_traffic()).count();
        let healthy = self.members.iter().filter(|probed| probed.is_healthy()).count();
        match (self.survey.list(), healthy) {
            (None, _) if self.survey.answers().next().is_none() => {
                "would wait: no peer is known".to_owned()
            }
            (None, _) => "would wait: no peer gives a member list".to_owned(),
            (Some(_), 0) => format!("would not serve well: 0 of {traffic} client URLs are healthy"),
            (Some(_), _) => format!("would serve: {healthy} of {traffic} client URLs are healthy"),
        }
    }

    /// Returns the result as JSON.
    pub(super) fn to_json(&self) -> Json {
        let configured = self.survey.peers.len();
        let peers = self.survey.answers().enumerate().map(|(at, (peer, answer))| {
            let list = answer.as_ref().ok();
            json!({
                "url": peer.to_string(),
                "cluster_id": list.map(|list| hex_id(list.cluster_id)),
                "members": list.map(|list| list.members.len()),
                "error": answer.as_ref().err().map(ToString::to_string),
                "from_cluster_file": at >= configured,
            })
        });
        let members = self.members.iter().map(|probed| {
            json!({
                "id": hex_id(probed.id),
                "name": probed.name,
                "url": probed.url,
                "usable": probed.gets_traffic(),
                "healthy": probed.is_healthy(),
                "reason": probed.reason(),
            })
        });
        json!({
            "source": self.survey.source,
            "peers": peers.collect::<Vec<_>>(),
            "members": members.collect::<Vec<_>>(),
            "cluster_file_error": self.survey.file_trouble,
            "changes": self.changes,
            "daemon_error": self.daemon_trouble,
            "may_become_member": self.may_become_member,
            "serves": self.serves(),
        })
    }
}

#[cfg(test)]
mod tests;
