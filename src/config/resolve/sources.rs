//! Where the peers come from: `discovery`, `discovery-token`, `discovery-srv`, `initial-cluster`;
//! the first that is set.

use super::{Values, refuse};
use crate::config::problem::{Problem, Problems};
use crate::config::settings::{
    ConnectTls, Discovery, Login, PeerSource, RegistryToken, RegistryUrl, SrvDomain, WebUrl,
};
use crate::config::value;
use crate::config::value::Value;

/// The places that peers may come from, in this order.
const SOURCES: [&str; 4] = ["discovery", "discovery-token", "discovery-srv", "initial-cluster"];

/// The TLS files of discovery-endpoints.
const TLS_FILES: [&str; 3] = ["discovery-cert", "discovery-key", "discovery-cacert"];

/// Returns how a registry is talked to in TLS. As with etcd, the files are for discovery-endpoints;
/// a discovery URL is held to the machine's authorities.
pub(super) fn registry_tls(values: &Values<'_>) -> ConnectTls {
    let [cert, key, ca] = TLS_FILES;
    if !values.text("discovery").is_empty() || values.text("discovery-token").is_empty() {
        return ConnectTls::default();
    }
    ConnectTls {
        pair: values.pair(cert, key),
        ca: values.file(ca),
        verify: !values.bool("discovery-insecure-skip-tls-verify"),
        ..ConnectTls::default()
    }
}

/// Returns the source; with a mistake in it, which is then in `problems`, any.
pub(super) fn peer_source(values: &Values<'_>, problems: &mut Problems) -> PeerSource {
    warn_of_ignored(values, problems);
    let set = |name: &str| !values.text(name).is_empty();
    let source = if set("discovery") {
        registry_url(values, problems).map(Discovery::V2).map(PeerSource::Discovery)
    } else if set("discovery-token") {
        registry_token(values, problems).map(Discovery::V3).map(PeerSource::Discovery)
    } else if set("discovery-srv") {
        srv_domain(values, problems).map(PeerSource::Srv)
    } else {
        None
    };
    source.unwrap_or_else(|| PeerSource::Static(values.peers()))
}

fn warn_of_ignored(values: &Values<'_>, problems: &mut Problems) {
    let origins = values.0;
    let mut set =
        SOURCES.iter().filter(|name| origins.is_set(name) && !origins.text(name).is_empty());
    let first = set.next();
    for name in set {
        let message = format!(
            "`{name}` is ignored, because `{}` is set and comes first",
            first.map_or("", |first| first)
        );
        problems.push(Problem::warning(message, origins.location(name).clone()));
    }
    if values.text("discovery-token").is_empty()
        && !values.list("discovery-endpoints").is_empty()
        && origins.are_sound(&["discovery-token"])
    {
        let message = "`discovery-endpoints` is ignored, because `discovery-token` is not set";
        let location = origins.location("discovery-endpoints").clone();
        problems.push(Problem::warning(message, location));
    }
}

fn registry_url(values: &Values<'_>, problems: &mut Problems) -> Option<RegistryUrl> {
    let url = web_url(values, "discovery", &values.text("discovery"), problems)?;
    if url.path.is_empty() {
        let message = format!("`discovery` is {}", value::quoted(&url.to_string()));
        let hint = "want the token as the URL's path, as in \"https://discovery.etcd.io/TOKEN\"";
        refuse(problems, &message, hint, values.0.location("discovery"));
        return None;
    }
    let proxy = match values.text("discovery-proxy") {
        text if text.is_empty() => None,
        text if text.contains("://") => Some(web_url(values, "discovery-proxy", &text, problems)?),
        // As etcd does, for the people who write only a host and a port.
        text => Some(web_url(values, "discovery-proxy", &format!("http://{text}"), problems)?),
    };
    Some(RegistryUrl { url, proxy })
}

fn registry_token(values: &Values<'_>, problems: &mut Problems) -> Option<RegistryToken> {
    let written = values.list("discovery-endpoints");
    if written.is_empty() {
        if !values.0.are_sound(&["discovery-endpoints"]) {
            return None;
        }
        let message = "`discovery-token` is set, and `discovery-endpoints` is not";
        let hint = "name the client URLs of the etcd that has the registry";
        refuse(problems, message, hint, values.0.location("discovery-token"));
        return None;
    }
    let secure = !values.bool("discovery-insecure-transport")
        || TLS_FILES.iter().any(|name| values.path(name).is_some());
    let endpoints = written.iter().map(|text| endpoint(values, text, secure, problems));
    let endpoints: Vec<_> = endpoints.collect();
    Some(RegistryToken {
        token: values.text("discovery-token"),
        endpoints: endpoints.into_iter().collect::<Option<_>>()?,
        dial_timeout: values.limit("discovery-dial-timeout"),
        request_timeout: values.time("discovery-request-timeout"),
        keepalive_time: values.limit("discovery-keepalive-time"),
        keepalive_timeout: values.time("discovery-keepalive-timeout"),
        login: login(values),
    })
}

/// Reads one endpoint. Without a scheme it is spoken to in TLS when any TLS setting of discovery
/// says so, as etcd's client does.
fn endpoint(
    values: &Values<'_>,
    text: &str,
    secure: bool,
    problems: &mut Problems,
) -> Option<WebUrl> {
    let scheme = if secure { "https" } else { "http" };
    let full = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
    let url = web_url(values, "discovery-endpoints", &full, problems)?;
    if url.path.is_empty() {
        return Some(url);
    }
    let message = format!("`discovery-endpoints` has {}", value::quoted(text));
    refuse(problems, &message, "leave out the path", values.0.location("discovery-endpoints"));
    None
}

/// Returns user and password; the user may be written as `user:password` when the password is not
/// set.
fn login(values: &Values<'_>) -> Option<Login> {
    let user = values.text("discovery-user");
    let password = match values.0.value("discovery-password") {
        Some(Value::Secret(password)) => password.clone(),
        _ => String::new(),
    };
    let (user, password) = match user.split_once(':') {
        Some((user, inline)) if password.is_empty() => (user.to_owned(), inline.to_owned()),
        _ => (user, password),
    };
    (!user.is_empty()).then_some(Login { user, password })
}

fn srv_domain(values: &Values<'_>, problems: &mut Problems) -> Option<SrvDomain> {
    let mut checked = |name: &str, dots: bool| {
        let text = values.text(name);
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || dots && c == '.';
        if text.len() > 200 || !text.chars().all(fits) {
            let message = format!("`{name}` is {}", value::quoted(&text));
            let hint = if dots { "want a domain such as \"example.com\"" } else { "want a word" };
            refuse(problems, &message, hint, values.0.location(name));
            return None;
        }
        Some(text)
    };
    let (domain, name) = (checked("discovery-srv", true), checked("discovery-srv-name", false));
    Some(SrvDomain { domain: domain?, name: name? })
}

fn web_url(values: &Values<'_>, name: &str, text: &str, problems: &mut Problems) -> Option<WebUrl> {
    let refused = |hint: &'static str| {
        let message = format!("`{name}` is {}", value::quoted(text));
        refuse(problems, &message, hint, values.0.location(name));
    };
    WebUrl::parse(text).map_err(refused).ok()
}
