//! The source of the peers: the first of `discovery`, `discovery-token`, `discovery-srv` and
//! `initial-cluster` that is set.

use super::refuse::{refuse, warning};
use crate::config::fields::{Field, Fields};
use crate::config::problem::{Problem, Problems};
use crate::config::settings::{
    ConnectTls, Discovery, Login, PeerSource, PeerUrl, RegistryToken, RegistryUrl, SrvDomain,
    WebUrl,
};
use crate::config::value;

/// Returns the TLS settings for a registry. As in etcd, the files are for discovery-endpoints only;
/// a discovery URL is verified against the machine's authorities.
pub(super) fn registry_tls(fields: &Fields) -> ConnectTls {
    if !fields.discovery.value.is_empty() || fields.discovery_token.value.is_empty() {
        return ConnectTls::default();
    }
    ConnectTls {
        pair: fields.discovery_cert.pair(&fields.discovery_key),
        ca: fields.discovery_cacert.file(),
        verify: !fields.discovery_insecure_skip_tls_verify.value,
        ..ConnectTls::default()
    }
}

/// Returns the source of the peers. With a mistake in it, which is added to `problems`, the source
/// returned has no meaning.
pub(super) fn peer_source(fields: &Fields, problems: &mut Problems) -> PeerSource {
    warn_of_ignored(fields, problems);
    let source = if !fields.discovery.value.is_empty() {
        registry_url(fields, problems).map(Discovery::V2).map(PeerSource::Discovery)
    } else if !fields.discovery_token.value.is_empty() {
        registry_token(fields, problems).map(Discovery::V3).map(PeerSource::Discovery)
    } else if !fields.discovery_srv.value.is_empty() {
        srv_domain(fields, problems).map(PeerSource::Srv)
    } else {
        None
    };
    source.unwrap_or_else(|| PeerSource::Static(peers(fields)))
}

/// Returns the peers of `initial-cluster`; an empty list means etcd's default pair, as if it were
/// not set.
fn peers(fields: &Fields) -> Vec<PeerUrl> {
    let peers = &fields.initial_cluster.value;
    if !peers.is_empty() {
        return peers.clone();
    }
    let local = |port| PeerUrl { tls: false, host: "localhost".to_owned(), port };
    [2380, 7001].map(local).to_vec()
}

/// Whether a source has a value for this setting that is not empty.
pub(super) fn is_given(field: &Field<String>) -> bool {
    field.is_set() && !field.value.is_empty()
}

fn warn_of_ignored(fields: &Fields, problems: &mut Problems) {
    let Fields { discovery, discovery_token, discovery_srv, initial_cluster, .. } = fields;
    let texts = [discovery, discovery_token, discovery_srv];
    let mut given: Vec<_> = texts
        .into_iter()
        .filter(|field| is_given(field))
        .map(|field| (field.name, &field.location))
        .collect();
    if initial_cluster.is_set() && !initial_cluster.value.is_empty() {
        given.push((initial_cluster.name, &initial_cluster.location));
    }
    if let [(first, _), ignored @ ..] = given.as_slice() {
        for (name, location) in ignored {
            let message = format!("`{name}` is ignored, because `{first}` is set and comes first");
            problems.push(Problem::warning(message, (*location).clone()));
        }
    }
    let endpoints = &fields.discovery_endpoints;
    if discovery_token.value.is_empty() && !endpoints.value.is_empty() && discovery_token.is_sound {
        let message = "`discovery-endpoints` is ignored, because `discovery-token` is not set";
        problems.push(warning(endpoints, message));
    }
}

fn registry_url(fields: &Fields, problems: &mut Problems) -> Option<RegistryUrl> {
    let Fields { discovery, discovery_proxy, .. } = fields;
    let url = web_url(discovery, &discovery.value, problems)?;
    if url.path.is_empty() {
        let message = format!("`discovery` is {}", value::quoted(&url.to_string()));
        let hint = "want the token as the URL's path, as in \"https://discovery.etcd.io/TOKEN\"";
        refuse(problems, discovery, message, hint);
        return None;
    }
    let proxy = match discovery_proxy.value.as_str() {
        "" => None,
        text if text.contains("://") => Some(web_url(discovery_proxy, text, problems)?),
        // etcd allows a host and a port alone, too.
        text => Some(web_url(discovery_proxy, &format!("http://{text}"), problems)?),
    };
    Some(RegistryUrl { url, proxy })
}

fn registry_token(fields: &Fields, problems: &mut Problems) -> Option<RegistryToken> {
    let written = &fields.discovery_endpoints;
    if written.value.is_empty() {
        if !written.is_sound {
            return None;
        }
        let message = "`discovery-token` is set, and `discovery-endpoints` is not";
        let hint = "name the client URLs of the etcd that has the registry";
        refuse(problems, &fields.discovery_token, message, hint);
        return None;
    }
    let files = [&fields.discovery_cert, &fields.discovery_key, &fields.discovery_cacert];
    let secure =
        !fields.discovery_insecure_transport.value || files.iter().any(|file| file.value.is_some());
    let endpoints = written.value.iter().map(|text| endpoint(written, text, secure, problems));
    let endpoints: Vec<_> = endpoints.collect();
    Some(RegistryToken {
        token: fields.discovery_token.value.clone(),
        endpoints: endpoints.into_iter().collect::<Option<_>>()?,
        dial_timeout: fields.discovery_dial_timeout.limit(),
        request_timeout: fields.discovery_request_timeout.value,
        keepalive_time: fields.discovery_keepalive_time.limit(),
        keepalive_timeout: fields.discovery_keepalive_timeout.value,
        login: login(fields),
    })
}

/// Reads one endpoint. Without a scheme it gets https if any TLS setting of discovery asks for TLS,
/// as in etcd's client.
fn endpoint(
    endpoints: &Field<Vec<String>>,
    text: &str,
    secure: bool,
    problems: &mut Problems,
) -> Option<WebUrl> {
    let scheme = if secure { "https" } else { "http" };
    let full = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
    let url = web_url(endpoints, &full, problems)?;
    if url.path.is_empty() {
        return Some(url);
    }
    let message = format!("`discovery-endpoints` has {}", value::quoted(text));
    refuse(problems, endpoints, message, "leave out the path");
    None
}

/// Returns user and password. `discovery-user` may be `user:password` when the password is not set.
fn login(fields: &Fields) -> Option<Login> {
    let (user, password) = (&fields.discovery_user.value, &fields.discovery_password.value);
    let (user, password) = match user.split_once(':') {
        Some((user, inline)) if password.is_empty() => (user, inline),
        _ => (user.as_str(), password.as_str()),
    };
    let login = || Login { user: user.to_owned(), password: password.to_owned() };
    (!user.is_empty()).then(login)
}

fn srv_domain(fields: &Fields, problems: &mut Problems) -> Option<SrvDomain> {
    let mut checked = |field: &Field<String>, dots: bool| {
        let text = &field.value;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || dots && c == '.';
        if text.len() > 200 || !text.chars().all(fits) {
            let message = format!("`{}` is {}", field.name, value::quoted(text));
            let hint = if dots { "want a domain such as \"example.com\"" } else { "want a word" };
            refuse(problems, field, message, hint);
            return None;
        }
        Some(text.clone())
    };
    let domain = checked(&fields.discovery_srv, true);
    let name = checked(&fields.discovery_srv_name, false);
    Some(SrvDomain { domain: domain?, name: name? })
}

fn web_url<T>(field: &Field<T>, text: &str, problems: &mut Problems) -> Option<WebUrl> {
    let refused = |hint: &'static str| {
        let message = format!("`{}` is {}", field.name, value::quoted(text));
        refuse(problems, field, message, hint);
    };
    WebUrl::parse(text).map_err(refused).ok()
}
