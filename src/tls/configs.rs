//! The TLS configuration of one generation, built from the settings and the files that they name.
//!
//! An acceptor or a connector whose files and settings have not changed is taken over from the
//! previous generation: its session tickets stay valid, its connections to members stay open, and a
//! certificate that has expired in use is no reason to refuse a change of something else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::ServerName;

use super::acceptor::{self, Acceptor};
use super::authorities::{self, Authorities};
use super::certificate::{Certificate, day};
use super::connector::{self, Connector, Sources, server_name};
use super::crl::Crl;
use super::expiry::{Expiring, Kind};
use super::files::Files;
use super::identity::{self, Identity};
use super::protocol::Protocol;
use super::{auto_tls, crl_file, lending, system_roots};
use crate::config::{
    ConnectTls, KeyPair, ListenUrl, Origins, Problem, Problems, Settings, TlsFile, TlsSettings,
};

/// The acceptor and the connectors of one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfigs {
    /// The acceptor for listeners; `None` if the settings name no certificate for them.
    pub acceptor: Option<Acceptor>,
    /// The connector for members' client ports.
    pub upstream: Connector,
    /// The connector for peer ports.
    pub peer: Connector,
    /// The connector for discovery services.
    pub registry: Connector,
    /// Everything that may expire in use: our own certificates, authorities and revocation lists.
    pub certificates: Vec<Expiring>,
}

impl TlsConfigs {
    /// Describes the files whose content differs from `before`, one line each, with a certificate's
    /// new title and expiry.
    pub fn changed_files(&self, before: &Self) -> Vec<String> {
        let connectors = [
            (&self.upstream, &before.upstream),
            (&self.peer, &before.peer),
            (&self.registry, &before.registry),
        ];
        let connectors = connectors.map(|(now, then)| (now.sources(), then.sources()));
        let acceptors = self.acceptor.iter().zip(&before.acceptor);
        let acceptors = acceptors.map(|(now, then)| (now.sources(), then.sources()));
        let changed = acceptors.chain(connectors).flat_map(|(now, then)| now.changed(then));
        let mut changed_files = Vec::new();
        for setting in changed {
            let line = match self.certificates.iter().find(|shown| shown.setting == setting) {
                Some(Expiring { kind: Kind::Certificate, title, not_after, .. }) => {
                    format!("{setting}: {title}, valid until {}", day(*not_after))
                }
                _ => format!("{setting}: new content"),
            };
            if !changed_files.contains(&line) {
                changed_files.push(line);
            }
        }
        changed_files
    }
}

/// The purpose of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To use the result: the files of `auto-tls` are written.
    Use,
    /// To validate only: nothing is written.
    Check,
}

/// Loads the TLS configuration, reading every file once. `before` is the one in force. Returns it
/// with warnings and notices.
///
/// # Errors
/// All problems, warnings included. Each points to the setting that names the file.
pub fn load(
    settings: &Settings,
    origins: &Origins,
    before: Option<&TlsConfigs>,
    purpose: Purpose,
) -> Result<(TlsConfigs, Vec<Problem>), Problems> {
    load_at(SystemTime::now(), settings, origins, before, purpose)
}

/// Like [`load`], at a time that tests choose.
pub(super) fn load_at(
    now: SystemTime,
    settings: &Settings,
    origins: &Origins,
    before: Option<&TlsConfigs>,
    purpose: Purpose,
) -> Result<(TlsConfigs, Vec<Problem>), Problems> {
    let mut loading = Loading {
        files: Files::new(origins, now),
        protocol: Protocol::allowed(&settings.tls),
        tls: &settings.tls,
        open: lending::open_listener(settings),
        before,
        purpose,
        certificates: Vec::new(),
        machine: None,
    };
    let acceptor = loading.acceptor();
    let upstream = loading.connector("upstream", &settings.tls.upstream);
    let peer = loading.connector("peer", &settings.tls.peer);
    let registry = loading.connector("registry", &settings.tls.registry);
    let certificates = loading.certificates;
    let mut problems = loading.files.problems;
    if let Some(upstream) = &upstream {
        problems.0.extend(lending::refusal(settings, origins, upstream));
    }
    problems.sort();
    match (upstream, peer, registry) {
        (Some(upstream), Some(peer), Some(registry)) if problems.errors() == 0 => {
            Ok((TlsConfigs { acceptor, upstream, peer, registry, certificates }, problems.0))
        }
        _ => Err(problems),
    }
}

struct Loading<'a> {
    files: Files<'a>,
    protocol: Protocol,
    tls: &'a TlsSettings,
    /// A listener whose clients must not be lent the user of a CN; see [`lending`].
    open: Option<&'a ListenUrl>,
    before: Option<&'a TlsConfigs>,
    purpose: Purpose,
    certificates: Vec<Expiring>,
    /// The machine's bundle, once it has been read; the inner `None` means that there is none.
    machine: Option<Option<Arc<[u8]>>>,
}

impl Loading<'_> {
    fn acceptor(&mut self) -> Option<Acceptor> {
        let wanted = &self.tls.listener;
        let made = wanted.auto_tls.as_ref().and_then(|auto_tls| {
            let may_write = self.purpose == Purpose::Use;
            let made = auto_tls::read_or_make(&mut self.files, auto_tls, &self.protocol, may_write);
            Some((made?, auto_tls::pair(auto_tls)))
        });
        let pair = made.as_ref().map(|(_, pair)| pair.clone()).or_else(|| wanted.pair.clone())?;
        let named = [
            Some(&pair.cert),
            Some(&pair.key),
            wanted.client_ca.as_ref(),
            wanted.client_crl.as_ref(),
        ];
        let sources = self.sources(format!("{wanted:?}"), &named);
        let kept =
            self.before.and_then(|it| it.acceptor.as_ref()).filter(|it| *it.sources() == sources);
        if let Some(kept) = kept {
            self.keep("listener");
            return Some(kept.clone());
        }
        let before = self.before.and_then(|it| it.acceptor.as_ref()).map(Acceptor::sources);
        let identity = match made {
            Some((identity, _)) => Some(identity),
            None => self.identity(&pair, before),
        };
        let (ca, crl) = (wanted.client_ca.as_ref(), wanted.client_crl.as_ref());
        let (clients, crls) = self.trusted("listener", ca, crl, before);
        let allowed_hostnames =
            self.names("client-cert-allowed-hostname", &wanted.allowed_hostnames);
        let identity = self.show("listener", &pair, identity?);
        let parts = acceptor::Parts { identity, clients, crls: crls?, allowed_hostnames, sources };
        self.whole(pair.cert.setting, Acceptor::new(parts, &self.protocol))
    }

    fn connector(&mut self, role: &'static str, wanted: &ConnectTls) -> Option<Connector> {
        let pair = wanted.pair.as_ref();
        let named = [
            pair.map(|pair| &pair.cert),
            pair.map(|pair| &pair.key),
            wanted.ca.as_ref(),
            wanted.crl.as_ref(),
        ];
        let is_open = role == "upstream" && self.open.is_some();
        let words = format!("{role} {wanted:?}{}", if is_open { " for anybody" } else { "" });
        let mut sources = self.sources(words, &named);
        if wanted.ca.is_none() {
            sources.files.push((MACHINE, self.machine()));
        }
        let before = self.before.map(|it| match role {
            "peer" => &it.peer,
            "registry" => &it.registry,
            _ => &it.upstream,
        });
        if let Some(kept) = before.filter(|it| *it.sources() == sources) {
            self.keep(role);
            return Some(kept.clone());
        }
        if let Some(kept) = before.filter(|it| sources.has_lost(MACHINE, it.sources())) {
            let setting = ca_setting(role);
            let message = "the machine's bundle of authorities is empty or gone; its last content stays in use";
            self.files.warning(setting, message, &format!("set {setting} to trust others"));
            self.keep(role);
            return Some(kept.clone());
        }
        let cert_setting = match role {
            "peer" => "peer-cert-file",
            "registry" => "discovery-cert",
            _ => "upstream-cert-file",
        };
        let mut advice = format!("set {cert_setting}");
        let identity = match pair {
            None => Some(None),
            Some(pair) => {
                let identity = self.identity(pair, before.map(Connector::sources));
                let open = self.open.filter(|_| is_open);
                let withheld = identity.as_ref().and_then(|it| lending::withheld(pair, it, open));
                match withheld {
                    Some(withheld) => {
                        self.files.warning(withheld.setting, withheld.message, lending::HINT);
                        advice = withheld.advice;
                        Some(None)
                    }
                    None => identity.map(|identity| Some(self.show(role, pair, identity))),
                }
            }
        };
        let (ca, crl) = (wanted.ca.as_ref(), wanted.crl.as_ref());
        let before = before.map(Connector::sources);
        let (authorities, crls) = self.trusted(role, ca, crl, before);
        let allowed_hostnames = self.names("peer-cert-allowed-hostname", &wanted.allowed_hostnames);
        let domain = wanted.server_name.as_slice();
        let server_name = self.names("discovery-srv", domain).pop();
        let parts = connector::Parts {
            identity: identity?,
            authorities: match (&wanted.ca, authorities) {
                (None, _) => {
                    let bundle = self.machine();
                    authorities::of_machine(&self.files, bundle.as_deref(), ca_setting(role))
                }
                (Some(_), authorities) => authorities?,
            },
            crls: crls?,
            verify: wanted.verify,
            server_name,
            allowed_cns: wanted.allowed_cns.clone(),
            allowed_hostnames,
            advice,
            sources,
        };
        self.whole(cert_setting, Connector::new(parts, &self.protocol))
    }

    fn identity(&mut self, pair: &KeyPair, before: Option<&Sources>) -> Option<Identity> {
        let is_in_force = [&pair.cert, &pair.key].iter().all(|it| self.is_in_force(it, before));
        identity::read(&mut self.files, pair, &self.protocol.provider, is_in_force)
    }

    /// Tells whether `before` has the same content of this file.
    fn is_in_force(&mut self, file: &TlsFile, before: Option<&Sources>) -> bool {
        let content = self.files.content(file);
        content.zip(before).is_some_and(|(content, before)| before.has(file.setting, &content))
    }

    /// Returns the content of the machine's bundle, which is read once.
    fn machine(&mut self) -> Option<Arc<[u8]>> {
        self.machine.get_or_insert_with(|| system_roots::bundle().map(Into::into)).clone()
    }

    /// Reads a CA file and the revocation lists for its authorities. Without a CA file, returns no
    /// authorities and no lists.
    fn trusted(
        &mut self,
        identity: &'static str,
        ca: Option<&TlsFile>,
        crl: Option<&TlsFile>,
        before: Option<&Sources>,
    ) -> (Option<Authorities>, Option<Crls>) {
        let Some(ca) = ca else { return (None, Some(Vec::new())) };
        let is_in_force = self.is_in_force(ca, before);
        let authorities = authorities::read(&mut self.files, ca, is_in_force);
        let crls = match (&authorities, crl) {
            (_, None) => Some(Vec::new()),
            (None, Some(_)) => None,
            (Some(authorities), Some(crl)) => {
                crl_file::read(&mut self.files, crl, authorities, &self.protocol)
            }
        };
        if let Some(first) = authorities.as_ref().and_then(|it| it.anchors.first_to_expire()) {
            self.limit(Kind::Authority, identity, ca, first);
        }
        let dated = crls.iter().flatten().filter_map(|list| Some((list.next_update?, list)));
        if let (Some((end, list)), Some(crl)) = (dated.min_by_key(|(end, _)| *end), crl) {
            self.certificates.push(Expiring {
                kind: Kind::List,
                identity,
                setting: crl.setting,
                file: crl.path.clone(),
                title: list.title.clone(),
                not_after: end,
                lifetime: Duration::ZERO,
            });
        }
        let both = authorities.filter(|_| crls.is_some());
        (both, crls)
    }

    fn names(&mut self, setting: &str, hosts: &[String]) -> Vec<ServerName<'static>> {
        let mut names = Vec::new();
        for host in hosts {
            match server_name(host) {
                Ok(name) => names.push(name),
                Err(error) => self.files.error(setting, format!("`{setting}`: {error}"), ""),
            }
        }
        names
    }

    fn show(&mut self, identity: &'static str, pair: &KeyPair, it: Identity) -> Identity {
        let (now, mut behind) = (self.files.now, it.chain.iter());
        let leaf = behind.next();
        // Skip intermediates that had already expired; they were reported at load.
        let behind = behind.filter(|certificate| certificate.not_after > now);
        let first = leaf.into_iter().chain(behind).min_by_key(|certificate| certificate.not_after);
        if let (Some(leaf), Some(first)) = (it.leaf(), first) {
            let as_leaf = Certificate { subject: leaf.title(), ..first.clone() };
            self.limit(Kind::Certificate, identity, &pair.cert, &as_leaf);
        }
        it
    }

    fn limit(&mut self, kind: Kind, identity: &'static str, file: &TlsFile, it: &Certificate) {
        self.certificates.push(Expiring {
            kind,
            identity,
            setting: file.setting,
            file: file.path.clone(),
            title: it.title(),
            lifetime: it.not_after.duration_since(it.not_before).unwrap_or_default(),
            not_after: it.not_after,
        });
    }

    fn keep(&mut self, identity: &str) {
        let known = self.before.into_iter().flat_map(|before| &before.certificates);
        self.certificates.extend(known.filter(|shown| shown.identity == identity).cloned());
    }

    fn sources(&mut self, words: String, named: &[Option<&TlsFile>]) -> Sources {
        let tls = self.tls;
        let protocol =
            format!("{:?} {:?} {:?}", tls.min_version, tls.max_version, tls.cipher_suites);
        let files = named.iter().flatten();
        let files = files.map(|file| (file.setting, self.files.content(file))).collect();
        Sources { words: format!("{words} {protocol}"), files }
    }

    fn whole<T>(&mut self, setting: &'static str, made: Result<T, String>) -> Option<T> {
        made.map_err(|error| self.files.error(setting, format!("`{setting}`: {error}"), "")).ok()
    }
}

type Crls = Vec<Crl>;

/// Returns the setting that names the CA file for connections in this role.
fn ca_setting(role: &str) -> &'static str {
    match role {
        "peer" => "peer-trusted-ca-file",
        "registry" => "discovery-cacert",
        _ => "upstream-trusted-ca-file",
    }
}

/// The name of the machine's bundle among [`Sources::files`].
const MACHINE: &str = "the machine's authorities";
