//! Resolves the TLS settings with etcd's fallbacks, and checks them against each other.

use std::path::{Path, PathBuf};

use super::listening;
use super::refuse::{refuse, warning};
use super::sources;
use crate::config::fields::{Field, Fields};
use crate::config::problem::Problems;
use crate::config::settings::zone::without_zone;
use crate::config::settings::{
    AutoTls, CipherSuite, ConnectTls, ListenAddress, ListenTls, TlsSettings, TlsVersion,
};
use crate::config::value;

/// Returns the TLS settings with etcd's fallbacks applied. A certificate without a key, or the
/// reverse, counts as none; [`check`] refuses it.
pub(super) fn resolve(fields: &Fields, data_dir: &Path) -> TlsSettings {
    let peer = peer(fields);
    TlsSettings {
        listener: listener(fields, data_dir),
        upstream: upstream(fields, &peer),
        peer,
        registry: sources::registry_tls(fields),
        min_version: version(&fields.tls_min_version.value),
        max_version: version(&fields.tls_max_version.value),
        cipher_suites: fields
            .cipher_suites
            .value
            .iter()
            .filter_map(|name| CipherSuite::named(name))
            .collect(),
        allow_upstream_cn: fields.allow_upstream_cn.value,
    }
}

fn listener(fields: &Fields, data_dir: &Path) -> ListenTls {
    let pair = fields.cert_file.pair(&fields.key_file);
    let speaks_tls =
        listening::lists(fields).iter().any(|list| list.value.iter().any(|url| url.tls));
    let makes_one = pair.is_none() && speaks_tls && fields.auto_tls.value;
    let auto_tls = makes_one.then(|| AutoTls {
        directory: data_dir.join("proxy/clientCerts"),
        years: years(fields.self_signed_cert_validity.value),
        names: own_names(fields),
    });
    let client_ca = fields.trusted_ca_file.file();
    ListenTls {
        pair,
        auto_tls,
        // Without a CA clients are asked for no certificate, as in etcd.
        client_crl: fields.client_crl_file.file().filter(|_| client_ca.is_some()),
        client_ca,
        allowed_hostnames: fields.client_cert_allowed_hostname.value.clone(),
    }
}

fn peer(fields: &Fields) -> ConnectTls {
    let pair = fields.peer_cert_file.pair(&fields.peer_key_file);
    let ca = fields.peer_trusted_ca_file.file();
    ConnectTls {
        verify: ca.is_some() || pair.is_some() || !fields.peer_auto_tls.value,
        server_name: srv_domain(fields).filter(|_| ca.is_none()),
        pair,
        crl: fields.peer_crl_file.file().filter(|_| ca.is_some()),
        ca,
        allowed_cns: fields.peer_cert_allowed_cn.value.clone(),
        allowed_hostnames: fields.peer_cert_allowed_hostname.value.clone(),
    }
}

/// Returns the TLS settings for members. etcd's proxy shows members the listeners' certificate, or
/// else the peers' one.
fn upstream(fields: &Fields, peer: &ConnectTls) -> ConnectTls {
    let own_pair = fields.upstream_cert_file.pair(&fields.upstream_key_file);
    let listeners_pair = fields.cert_file.pair(&fields.key_file);
    let own_ca = fields.upstream_trusted_ca_file.file();
    let ca = own_ca.or_else(|| fields.trusted_ca_file.file());
    // A certificate for the listeners switches auto-tls off, as in etcd; one for members, which is
    // our own setting, does not.
    let auto = fields.auto_tls.value && listeners_pair.is_none();
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

/// Returns the names and addresses by which clients may know this proxy.
fn own_names(fields: &Fields) -> Vec<String> {
    let listening = listening::client_urls(fields).into_iter().filter_map(|url| match url.at {
        ListenAddress::Tcp(address) if !address.ip().is_unspecified() => {
            Some(address.ip().to_string())
        }
        _ => None,
    });
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(listening);
    names.extend(fields.advertise_client_urls.value.iter().filter_map(|url| host_of(url)));
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

/// Refuses combinations that cannot work, and warns of settings that are ignored or dangerous. No
/// file is read.
pub(super) fn check(fields: &Fields, problems: &mut Problems) {
    let pairs = [
        (&fields.cert_file, &fields.key_file),
        (&fields.peer_cert_file, &fields.peer_key_file),
        (&fields.upstream_cert_file, &fields.upstream_key_file),
        (&fields.discovery_cert, &fields.discovery_key),
    ];
    for (cert, key) in pairs.into_iter().filter(|(cert, key)| cert.is_sound && key.is_sound) {
        for (there, missing) in [(cert, key), (key, cert)] {
            if there.value.is_some() && missing.value.is_none() {
                let message = format!("`{}` is set and `{}` is not", there.name, missing.name);
                refuse(problems, there, message, "set both, or neither");
            }
        }
    }
    check_listeners(fields, problems);
    check_clients(fields, problems);
    check_skipped(fields, problems);
    let (min, max) =
        (version(&fields.tls_min_version.value), version(&fields.tls_max_version.value));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let message = format!("`tls-min-version` is {min} and `tls-max-version` is {max}");
        let hint = "want a lowest version that is not above the highest";
        refuse(problems, &fields.tls_min_version, message, hint);
    }
    check_suites(fields, max, problems);
    check_cn(fields, problems);
}

fn check_listeners(fields: &Fields, problems: &mut Problems) {
    let Fields { cert_file, key_file, auto_tls, .. } = fields;
    let is_sound = cert_file.is_sound && key_file.is_sound && auto_tls.is_sound;
    let has_certificate = cert_file.value.is_some() || auto_tls.value;
    if !is_sound || has_certificate {
        return;
    }
    for list in listening::lists(fields) {
        if let Some(url) = list.value.iter().find(|url| url.tls) {
            let message =
                format!("`{}` has {url}, and there is no certificate to show there", list.name);
            refuse(problems, list, message, "set cert-file and key-file, or auto-tls = true");
        }
    }
}

fn check_clients(fields: &Fields, problems: &mut Problems) {
    let ca = &fields.trusted_ca_file;
    if !ca.is_sound {
        return;
    }
    if fields.client_cert_auth.value && ca.value.is_none() {
        // etcd would accept a certificate of any authority that the machine trusts.
        let message = "`client-cert-auth` is set, and `trusted-ca-file` is not";
        refuse(problems, &fields.client_cert_auth, message, "set trusted-ca-file");
    }
    warn_without_ca(&fields.client_crl_file, |file| file.is_some(), ca, problems);
    let hostnames = &fields.client_cert_allowed_hostname;
    warn_without_ca(hostnames, |names| !names.is_empty(), ca, problems);
    let peer_ca = &fields.peer_trusted_ca_file;
    warn_without_ca(&fields.peer_crl_file, |file| file.is_some(), peer_ca, problems);
}

/// Warns of a setting that restricts certificates while no authority for them is set.
fn warn_without_ca<T>(
    field: &Field<T>,
    is_set: impl Fn(&T) -> bool,
    ca: &Field<Option<PathBuf>>,
    problems: &mut Problems,
) {
    if is_set(&field.value) && ca.is_sound && ca.value.is_none() {
        let message = format!("`{}` has no effect without `{}`", field.name, ca.name);
        problems.push(warning(field, message).hint(format!("set {}, or leave it out", ca.name)));
    }
}

/// Warns when auto-tls is ignored, and when it switches verification off, as it does in etcd.
fn check_skipped(fields: &Fields, problems: &mut Problems) {
    let Fields { auto_tls, peer_auto_tls, .. } = fields;
    for (auto, cert) in [(auto_tls, &fields.cert_file), (peer_auto_tls, &fields.peer_cert_file)] {
        if auto.value && cert.value.is_some() {
            let message = format!("`{}` is ignored, because `{}` is set", auto.name, cert.name);
            problems.push(warning(auto, message).hint("leave it out"));
        }
    }
    let authorities =
        [&fields.trusted_ca_file, &fields.upstream_trusted_ca_file, &fields.peer_trusted_ca_file];
    if !authorities.iter().all(|authority| authority.is_sound) {
        return;
    }
    let peer = peer(fields);
    if auto_tls.value && !upstream(fields, &peer).verify {
        let message = "`auto-tls` is set, so members' certificates are not verified, as with etcd";
        let hint = "name their authority in upstream-trusted-ca-file";
        problems.push(warning(auto_tls, message).hint(hint));
    }
    if !peer.verify {
        let message =
            "`peer-auto-tls` is set, so peers' certificates are not verified, as with etcd";
        let hint = "name their authority in peer-trusted-ca-file";
        problems.push(warning(peer_auto_tls, message).hint(hint));
    }
}

/// Whether etcd knows the suite and it is too weak to be offered: without forward secrecy, or with
/// CBC, RC4 or 3DES.
fn is_outdated(name: &str) -> bool {
    name.starts_with("TLS_RSA_WITH_")
        || (name.starts_with("TLS_ECDHE_") && (name.contains("_CBC_") || name.contains("_RC4_")))
}

fn check_suites(fields: &Fields, max: Option<TlsVersion>, problems: &mut Problems) {
    let field = &fields.cipher_suites;
    let names = &field.value;
    let known = CipherSuite::ALL.map(|(name, _)| name).join(", ");
    for name in names {
        if CipherSuite::named(name).is_some() {
            continue;
        }
        if is_outdated(name) {
            let message = format!("`cipher-suites` has {name}, which is too weak to be offered");
            problems.push(warning(field, message).hint("leave it out"));
        } else {
            let message = format!("`cipher-suites` has {}", value::quoted(name));
            refuse(problems, field, message, format!("known are {known}"));
        }
    }
    let suites: Vec<_> = names.iter().filter_map(|name| CipherSuite::named(name)).collect();
    if !names.is_empty() && suites.is_empty() && names.iter().all(|name| is_outdated(name)) {
        let message = "`cipher-suites` has none that can be offered";
        refuse(problems, field, message, format!("known are {known}"));
    }
    let only_new = !suites.is_empty() && suites.iter().all(|suite| suite.is_tls13());
    if only_new && max == Some(TlsVersion::Tls12) {
        let message = "`cipher-suites` has only suites of TLS 1.3, and `tls-max-version` is TLS1.2";
        refuse(problems, field, message, "add a suite of TLS 1.2, or leave one of them out");
    }
}

fn check_cn(fields: &Fields, problems: &mut Problems) {
    let cns = &fields.peer_cert_allowed_cn;
    if !cns.value.is_empty() && !fields.peer_cert_allowed_hostname.value.is_empty() {
        let message = "`peer-cert-allowed-cn` and `peer-cert-allowed-hostname` are both set";
        refuse(problems, cns, message, "etcd allows one of them");
    }
}

/// Returns the validity of a self-made certificate in years, at least 1.
fn years(written: u64) -> u32 {
    u32::try_from(written).unwrap_or(u32::MAX).max(1)
}

/// Returns the domain of `discovery-srv` if the peers come from there.
fn srv_domain(fields: &Fields) -> Option<String> {
    let has_registry =
        sources::is_given(&fields.discovery) || sources::is_given(&fields.discovery_token);
    Some(fields.discovery_srv.value.clone()).filter(|domain| !domain.is_empty() && !has_registry)
}
