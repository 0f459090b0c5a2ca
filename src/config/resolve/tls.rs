//! What the settings about TLS mean together: etcd's fallbacks, and what cannot work.

use std::path::Path;

use super::{Values, refuse};
use crate::config::origins::Origins;
use crate::config::problem::{Problem, Problems};
use crate::config::settings::zone::without_zone;
use crate::config::settings::{
    AutoTls, CipherSuite, ConnectTls, KeyPair, ListenAddress, ListenTls, TlsFile, TlsSettings,
    TlsVersion,
};
use crate::config::value::Value;

/// Returns the settings about TLS, with etcd's fallbacks applied. A certificate without a key, or
/// the reverse, counts as none; [`check`] refuses it.
pub(super) fn resolve(values: &Values<'_>, data_dir: &Path) -> TlsSettings {
    let peer = peer(values);
    TlsSettings {
        listener: listener(values, data_dir),
        upstream: upstream(values, &peer),
        peer,
        registry: super::sources::registry_tls(values),
        min_version: version(&values.text("tls-min-version")),
        max_version: version(&values.text("tls-max-version")),
        cipher_suites: values
            .list("cipher-suites")
            .iter()
            .filter_map(|name| CipherSuite::named(name))
            .collect(),
        allow_upstream_cn: values.bool("allow-upstream-cn"),
    }
}

fn listener(values: &Values<'_>, data_dir: &Path) -> ListenTls {
    let pair = values.pair("cert-file", "key-file");
    let speaks_tls = ["listen-client-urls", "listen-client-http-urls", "listen-metrics-urls"]
        .iter()
        .any(|name| values.listen(name).iter().any(|url| url.tls));
    let makes_one = pair.is_none() && speaks_tls && values.bool("auto-tls");
    let auto_tls = makes_one.then(|| AutoTls {
        directory: data_dir.join("proxy/clientCerts"),
        years: values.number("self-signed-cert-validity"),
        names: own_names(values),
    });
    let client_ca = values.file("trusted-ca-file");
    ListenTls {
        pair,
        auto_tls,
        // As with etcd, clients are asked for no certificate without it.
        client_crl: values.file("client-crl-file").filter(|_| client_ca.is_some()),
        client_ca,
        allowed_hostnames: values.list("client-cert-allowed-hostname"),
    }
}

fn peer(values: &Values<'_>) -> ConnectTls {
    let pair = values.pair("peer-cert-file", "peer-key-file");
    let ca = values.file("peer-trusted-ca-file");
    ConnectTls {
        verify: ca.is_some() || pair.is_some() || !values.bool("peer-auto-tls"),
        server_name: values.srv_domain().filter(|_| ca.is_none()),
        pair,
        crl: values.file("peer-crl-file").filter(|_| ca.is_some()),
        ca,
        allowed_cns: values.list("peer-cert-allowed-cn"),
        allowed_hostnames: values.list("peer-cert-allowed-hostname"),
    }
}

/// etcd's proxy shows members the listeners' certificate, or the peers' one when there is none.
fn upstream(values: &Values<'_>, peer: &ConnectTls) -> ConnectTls {
    let own_pair = values.pair("upstream-cert-file", "upstream-key-file");
    let listeners_pair = values.pair("cert-file", "key-file");
    let own_ca = values.file("upstream-trusted-ca-file");
    let ca = own_ca.or_else(|| values.file("trusted-ca-file"));
    // A listeners' certificate switches auto-tls off, as with etcd; one of ours for members does
    // not.
    let auto = values.bool("auto-tls") && listeners_pair.is_none();
    let pair = own_pair.or(listeners_pair);
    if pair.is_some() || auto {
        let verify = !auto || ca.is_some();
        return ConnectTls { pair, ca, verify, ..ConnectTls::default() };
    }
    let ca = ca.or_else(|| peer.ca.clone());
    ConnectTls {
        server_name: peer.server_name.clone().filter(|_| ca.is_none()),
        pair: peer.pair.clone(),
        ca,
        ..ConnectTls::default()
    }
}

fn version(word: &str) -> Option<TlsVersion> {
    match word {
        "TLS1.2" => Some(TlsVersion::Tls12),
        "TLS1.3" => Some(TlsVersion::Tls13),
        _ => None,
    }
}

/// The hosts that clients may know this proxy by.
fn own_names(values: &Values<'_>) -> Vec<String> {
    let listening = values.client_urls().into_iter().filter_map(|url| match url.at {
        ListenAddress::Tcp(address) if !address.ip().is_unspecified() => {
            Some(address.ip().to_string())
        }
        _ => None,
    });
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(listening);
    names.extend(values.list("advertise-client-urls").iter().filter_map(|url| host_of(url)));
    names.sort();
    names.dedup();
    names
}

fn host_of(url: &str) -> Option<String> {
    let (_, authority) = url.split_once("://").filter(|(scheme, _)| scheme.starts_with("http"))?;
    let (host, _) = authority.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(without_zone(host).to_owned())
}

/// A certificate's setting and its key's.
const PAIRS: [(&str, &str); 4] = [
    ("cert-file", "key-file"),
    ("peer-cert-file", "peer-key-file"),
    ("upstream-cert-file", "upstream-key-file"),
    ("discovery-cert", "discovery-key"),
];

/// What others are verified by.
const AUTHORITIES: [&str; 3] =
    ["trusted-ca-file", "upstream-trusted-ca-file", "peer-trusted-ca-file"];

/// Refuses what cannot work, and warns of what is ignored or dangerous. Files are not looked at.
pub(super) fn check(values: &Values<'_>, problems: &mut Problems) {
    let origins = values.0;
    for (cert, key) in PAIRS.into_iter().filter(|(cert, key)| origins.are_sound(&[cert, key])) {
        for (there, missing) in [(cert, key), (key, cert)] {
            if values.path(there).is_some() && values.path(missing).is_none() {
                let message = format!("`{there}` is set and `{missing}` is not");
                refuse(problems, &message, "set both, or neither", origins.location(there));
            }
        }
    }
    check_listeners(values, problems);
    check_clients(values, problems);
    check_skipped(values, problems);
    let (min, max) =
        (version(&values.text("tls-min-version")), version(&values.text("tls-max-version")));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let message = format!("`tls-min-version` is {min} and `tls-max-version` is {max}");
        let hint = "want a lowest version that is not above the highest";
        refuse(problems, &message, hint, origins.location("tls-min-version"));
    }
    check_suites(values, max, problems);
    check_cn(values, problems);
}

fn check_listeners(values: &Values<'_>, problems: &mut Problems) {
    if !values.0.are_sound(&["cert-file", "key-file", "auto-tls"]) {
        return;
    }
    let has_certificate = values.path("cert-file").is_some() || values.bool("auto-tls");
    for name in ["listen-client-urls", "listen-client-http-urls", "listen-metrics-urls"] {
        let urls = values.listen(name);
        let location = values.0.location(name);
        if let Some(url) = urls.iter().find(|url| url.tls && !has_certificate) {
            let message = format!("`{name}` has {url}, and there is no certificate to show there");
            refuse(problems, &message, "set cert-file and key-file, or auto-tls = true", location);
        }
    }
}

fn check_clients(values: &Values<'_>, problems: &mut Problems) {
    let origins = values.0;
    if !origins.are_sound(&["trusted-ca-file"]) {
        return;
    }
    let has_ca = values.path("trusted-ca-file").is_some();
    if values.bool("client-cert-auth") && !has_ca {
        // etcd would let in whoever has a certificate of any authority that the machine trusts.
        let message =
            "`client-cert-auth` is set, and no authority that clients' certificates must come from";
        refuse(problems, message, "set trusted-ca-file", origins.location("client-cert-auth"));
    }
    let needy = [
        ("client-crl-file", values.path("client-crl-file").is_some(), "trusted-ca-file"),
        (
            "client-cert-allowed-hostname",
            !values.list("client-cert-allowed-hostname").is_empty(),
            "trusted-ca-file",
        ),
        ("peer-crl-file", values.path("peer-crl-file").is_some(), "peer-trusted-ca-file"),
    ];
    for (name, is_set, ca) in needy {
        if is_set && origins.are_sound(&[ca]) && values.path(ca).is_none() {
            let message = format!("`{name}` has no effect without `{ca}`");
            let problem = Problem::warning(message, origins.location(name).clone());
            problems.push(problem.hint(format!("set {ca}, or leave it out")));
        }
    }
}

/// auto-tls in etcd also means that the other side is not verified; it is said out loud.
fn check_skipped(values: &Values<'_>, problems: &mut Problems) {
    let origins = values.0;
    let mut warn = |name: &str, message: String, hint: &str| {
        problems.push(Problem::warning(message, origins.location(name).clone()).hint(hint));
    };
    let ignored = |name: &str, cert: &str| values.bool(name) && values.path(cert).is_some();
    for (name, cert) in [("auto-tls", "cert-file"), ("peer-auto-tls", "peer-cert-file")] {
        if ignored(name, cert) {
            warn(name, format!("`{name}` is ignored, because `{cert}` is set"), "leave it out");
        }
    }
    if !origins.are_sound(&AUTHORITIES) {
        return;
    }
    let peer = peer(values);
    if values.bool("auto-tls") && !upstream(values, &peer).verify {
        let message = "`auto-tls` is set, so members' certificates are not verified, as with etcd";
        warn("auto-tls", message.to_owned(), "name their authority in upstream-trusted-ca-file");
    }
    if !peer.verify {
        let message =
            "`peer-auto-tls` is set, so peers' certificates are not verified, as with etcd";
        warn("peer-auto-tls", message.to_owned(), "name their authority in peer-trusted-ca-file");
    }
}

/// Suites that etcd knows and that nobody should offer any more: no forward secrecy, CBC, RC4 or
/// 3DES.
fn is_outdated(name: &str) -> bool {
    name.starts_with("TLS_RSA_WITH_")
        || (name.starts_with("TLS_ECDHE_") && (name.contains("_CBC_") || name.contains("_RC4_")))
}

fn check_suites(values: &Values<'_>, max: Option<TlsVersion>, problems: &mut Problems) {
    let names = values.list("cipher-suites");
    let location = values.0.location("cipher-suites");
    let known = CipherSuite::ALL.map(|(name, _)| name).join(", ");
    for name in &names {
        if CipherSuite::named(name).is_some() {
            continue;
        }
        if is_outdated(name) {
            let message = format!("`cipher-suites` has {name}, which is too weak to be offered");
            problems.push(Problem::warning(message, location.clone()).hint("leave it out"));
        } else {
            let message = format!("`cipher-suites` has {}", super::value::quoted(name));
            refuse(problems, &message, &format!("known are {known}"), location);
        }
    }
    let suites: Vec<_> = names.iter().filter_map(|name| CipherSuite::named(name)).collect();
    if !names.is_empty() && suites.is_empty() && names.iter().all(|name| is_outdated(name)) {
        let message = "`cipher-suites` has none that can be offered";
        refuse(problems, message, &format!("known are {known}"), location);
    }
    let only_new = !suites.is_empty() && suites.iter().all(|suite| suite.is_tls13());
    if only_new && max == Some(TlsVersion::Tls12) {
        let message = "`cipher-suites` has only suites of TLS 1.3, and `tls-max-version` is TLS1.2";
        refuse(problems, message, "add a suite of TLS 1.2, or leave one of them out", location);
    }
}

fn check_cn(values: &Values<'_>, problems: &mut Problems) {
    let origins = values.0;
    let both = !values.list("peer-cert-allowed-cn").is_empty()
        && !values.list("peer-cert-allowed-hostname").is_empty();
    if both {
        let message = "`peer-cert-allowed-cn` and `peer-cert-allowed-hostname` are both set";
        refuse(
            problems,
            message,
            "etcd allows one of them",
            origins.location("peer-cert-allowed-cn"),
        );
    }
}

impl Values<'_> {
    pub(super) fn file(&self, setting: &'static str) -> Option<TlsFile> {
        Some(TlsFile { setting, path: self.path(setting)? })
    }

    pub(super) fn pair(&self, cert: &'static str, key: &'static str) -> Option<KeyPair> {
        Some(KeyPair { cert: self.file(cert)?, key: self.file(key)? })
    }

    fn number(&self, name: &str) -> u32 {
        match self.0.value(name) {
            Some(Value::Number(number)) => u32::try_from(*number).unwrap_or(u32::MAX).max(1),
            _ => 1,
        }
    }

    /// The domain of `discovery-srv`, when that is where the peers come from.
    fn srv_domain(&self) -> Option<String> {
        let earlier = ["discovery", "discovery-token"].iter().any(|name| is_given(self.0, name));
        Some(self.text("discovery-srv")).filter(|domain| !domain.is_empty() && !earlier)
    }
}

fn is_given(origins: &Origins, name: &str) -> bool {
    origins.is_set(name) && !origins.text(name).is_empty()
}
