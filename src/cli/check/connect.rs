//! `check --connect`: what a start with these settings would find. The peers are asked and the members probed as the
//! daemon does it; nothing is bound, kept or changed.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::uri::Scheme;
use serde_json::{Value as Json, json};

use crate::cli::ask::{AskError, ask};
use crate::cli::table::{Table, printable};
use crate::cluster::member::hex_id;
use crate::cluster::survey::Survey;
use crate::cluster::tracker::Setup;
use crate::cluster::usable::{Listed, ListedMember, ListedUrl, judge};
use crate::config::{ListenAddress, Mode, Settings};
use crate::telemetry::snapshot::Snapshot;
use crate::tls::Material;
use crate::upstream::endpoint::{Endpoint, Finding};
use crate::upstream::health::{self, Probing};
use crate::upstream::link::Timeouts;

/// How long the running daemon may take to answer.
const DAEMON_LIMIT: Duration = Duration::from_secs(5);

/// What was found.
pub(super) struct Found {
    survey: Survey,
    members: Vec<Looked>,
    /// What would change in the daemon that runs; empty when none does, or nothing would.
    changes: Vec<String>,
}

/// A member's client URL, or a member without one, and what came of looking at it.
struct Looked {
    id: u64,
    name: String,
    url: String,
    state: State,
}

enum State {
    Healthy,
    /// It would get traffic if it were well.
    Unhealthy(String),
    /// It gets none whatever its health.
    LeftOut(String),
}

/// Asks and probes. Takes half a minute at most.
///
/// # Errors
/// When there can be no runtime.
pub(super) fn look(settings: &Settings, material: &Material, daemon: &Path) -> io::Result<Found> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let (survey, members) = runtime.block_on(async {
        let survey = Survey::take(&Setup::new(settings, material)).await;
        let listed = match survey.list() {
            Some(list) => judge(list, &own_addresses(settings)).await,
            None => Listed::default(),
        };
        (survey, look_at_all(listed, &probing(settings, material)).await)
    });
    // A name lookup that hangs must not keep us from ending.
    runtime.shutdown_background();
    let mut found = Found { survey, members, changes: Vec::new() };
    found.changes = match running(daemon) {
        Ok(Some(snapshot)) => found.compare(settings.mode, &snapshot),
        Ok(None) => Vec::new(),
        Err(error) => vec![format!("the running daemon cannot be compared: {error}")],
    };
    Ok(found)
}

fn own_addresses(settings: &Settings) -> Vec<SocketAddr> {
    let address = |at: &ListenAddress| match at {
        ListenAddress::Tcp(address) => Some(*address),
        ListenAddress::Unix(_) => None,
    };
    settings.listen_client_urls.iter().filter_map(|url| address(&url.at)).collect()
}

fn probing(settings: &Settings, material: &Material) -> Probing {
    Probing {
        interval: Duration::ZERO,
        deadline: settings.health_timeout,
        timeouts: Timeouts {
            dial: settings.dial_timeout,
            read: settings.read_timeout,
            write: settings.write_timeout,
        },
        connector: Some(material.upstream.clone()),
    }
}

/// Probes all URLs that would get traffic, at once.
async fn look_at_all(listed: Listed, probing: &Probing) -> Vec<Looked> {
    let mut looking = Vec::new();
    for member in listed.members {
        if member.urls.is_empty() {
            let state = State::LeftOut(reason(member.left_out.as_deref()));
            looking.push((Looked::at(&member, "", state), None));
        }
        for url in &member.urls {
            let kept_out = member.left_out.as_ref().or(url.left_out.as_ref());
            let state = State::LeftOut(reason(kept_out.map(String::as_str)));
            let probe = kept_out
                .is_none()
                .then(|| tokio::task::spawn_local(probe(member.id, url.clone(), probing.clone())));
            looking.push((Looked::at(&member, &url.url, state), probe));
        }
    }
    let mut all = Vec::new();
    for (mut looked, probe) in looking {
        if let Some(probe) = probe {
            let lost = |error: tokio::task::JoinError| State::Unhealthy(error.to_string());
            looked.state = probe.await.unwrap_or_else(lost);
        }
        all.push(looked);
    }
    all
}

fn reason(left_out: Option<&str>) -> String {
    left_out.unwrap_or("no client URL").to_owned()
}

async fn probe(id: u64, url: ListedUrl, probing: Probing) -> State {
    let scheme = if url.tls { Scheme::HTTPS } else { Scheme::HTTP };
    let endpoint = match Endpoint::new(&url.url, "", id, scheme, &url.host, url.port, 0) {
        Ok(endpoint) => Arc::new(endpoint),
        Err(error) => return State::LeftOut(error.to_string()),
    };
    match health::look(endpoint, &probing).await {
        Some(Finding::Well) => State::Healthy,
        Some(Finding::Unwell(reason) | Finding::Silent(reason)) => State::Unhealthy(reason),
        None => State::Unhealthy("this host is out of descriptors or ports".to_owned()),
    }
}

/// The snapshot of the daemon that runs; `None` when none does.
fn running(daemon: &Path) -> Result<Option<Snapshot>, AskError> {
    match ask(daemon, Method::GET, "/status", DAEMON_LIMIT) {
        Ok(answer) => answer.json(daemon).map(Some),
        Err(AskError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Looked {
    fn at(member: &ListedMember, url: &str, state: State) -> Self {
        Self { id: member.id, name: member.name.clone(), url: url.to_owned(), state }
    }

    fn gets_traffic(&self) -> bool {
        !matches!(self.state, State::LeftOut(_))
    }

    fn reason(&self) -> Option<&str> {
        match &self.state {
            State::Healthy => None,
            State::Unhealthy(reason) | State::LeftOut(reason) => Some(reason),
        }
    }

    fn state(&self) -> String {
        match &self.state {
            State::Healthy => "healthy".to_owned(),
            State::Unhealthy(reason) => format!("unhealthy: {reason}"),
            State::LeftOut(reason) => reason.clone(),
        }
    }
}

impl Found {
    /// Whether requests would be answered.
    pub(super) fn serves(&self) -> bool {
        self.members.iter().any(|looked| matches!(looked.state, State::Healthy))
    }

    /// Whether all peers answer and all members that get traffic are well.
    pub(super) fn is_perfect(&self) -> bool {
        let well = |looked: &Looked| !matches!(looked.state, State::Unhealthy(_));
        self.serves()
            && self.members.iter().all(well)
            && self.survey.peers.iter().all(|(_, answer)| answer.is_ok())
    }

    /// What would be other than in the running daemon.
    fn compare(&self, mode: Mode, running: &Snapshot) -> Vec<String> {
        let mut changes = Vec::new();
        let mode = mode.name();
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
            .filter(|looked| looked.gets_traffic())
            .map(|it| it.url.as_str())
            .collect();
        let added = new.iter().filter(|url| !old.contains(url));
        changes.extend(added.map(|url| format!("{url} would be added")));
        // Without a list the daemon keeps the one that it has.
        let dropped = old.iter().filter(|url| cluster.is_some() && !new.contains(url));
        changes.extend(dropped.map(|url| format!("{url} would get no requests any more")));
        changes
    }

    /// Shows all of it as tables and lines.
    pub(super) fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(source) = &self.survey.source {
            let trouble = source.trouble.as_deref().unwrap_or("answers");
            writeln!(out, "{}", printable(&format!("{}: {trouble}", source.name)))?;
        }
        for table in [self.peer_table(), self.member_table()] {
            if !table.is_empty() {
                table.write_boxed(out)?;
            }
        }
        for change in &self.changes {
            writeln!(out, "running daemon: {}", printable(change))?;
        }
        writeln!(out, "{}", self.verdict())
    }

    fn peer_table(&self) -> Table {
        let mut table = Table::new(&["PEER", "CLUSTER ID", "MEMBERS", "ANSWER"]);
        for (peer, answer) in &self.survey.peers {
            let (cluster, members, word) = match answer {
                Ok(list) => {
                    (hex_id(list.cluster_id), list.members.len().to_string(), "good".to_owned())
                }
                Err(error) => (String::new(), String::new(), error.to_string()),
            };
            table.row([peer.to_string(), cluster, members, word]);
        }
        table
    }

    fn member_table(&self) -> Table {
        let mut table = Table::new(&["ID", "NAME", "CLIENT ADDR", "HEALTH"]);
        for looked in &self.members {
            table.row([hex_id(looked.id), looked.name.clone(), looked.url.clone(), looked.state()]);
        }
        table
    }

    fn verdict(&self) -> String {
        let traffic = self.members.iter().filter(|looked| looked.gets_traffic()).count();
        let healthy = self.members.iter().filter(|it| matches!(it.state, State::Healthy)).count();
        match (self.survey.list(), healthy) {
            (None, _) if self.survey.peers.is_empty() => "would wait: no peer is known".to_owned(),
            (None, _) => "would wait: no peer gives a member list".to_owned(),
            (Some(_), 0) => format!("would serve nobody: 0 of {traffic} client URLs are healthy"),
            (Some(_), _) => format!("would serve: {healthy} of {traffic} client URLs are healthy"),
        }
    }

    /// The same for programs.
    pub(super) fn to_json(&self) -> Json {
        let peers = self.survey.peers.iter().map(|(peer, answer)| {
            let list = answer.as_ref().ok();
            json!({
                "url": peer.to_string(),
                "cluster_id": list.map(|list| hex_id(list.cluster_id)),
                "members": list.map(|list| list.members.len()),
                "error": answer.as_ref().err().map(ToString::to_string),
            })
        });
        let members = self.members.iter().map(|looked| {
            json!({
                "id": hex_id(looked.id),
                "name": looked.name,
                "url": looked.url,
                "usable": looked.gets_traffic(),
                "healthy": matches!(looked.state, State::Healthy),
                "reason": looked.reason(),
            })
        });
        json!({
            "source": self.survey.source,
            "peers": peers.collect::<Vec<_>>(),
            "members": members.collect::<Vec<_>>(),
            "changes": self.changes,
            "serves": self.serves(),
        })
    }
}
