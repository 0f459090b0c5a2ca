//! etcd's discovery settings: read and checked; those that start a discovery are refused for now.

use super::{Group, Kind, Setting, Standing};

const fn source(name: &'static str, kind: Kind, doc: &'static str) -> Setting {
    let (group, standing) = (Group::Discovery, Standing::NotYet);
    Setting { name, kind, default: "", group, standing, ours: false, doc }
}

/// A detail changes nothing unless a discovery is started.
const fn detail(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    let (group, standing) = (Group::Discovery, Standing::Idle);
    Setting { name, kind, default, group, standing, ours: false, doc }
}

/// The settings of this group.
pub(super) const SETTINGS: &[Setting] = &[
    source("discovery", Kind::Text, "Discovery URL that the peers are read from (v2)."),
    source("discovery-token", Kind::Text, "Discovery token that the peers are read from (v3)."),
    source(
        "discovery-endpoints",
        Kind::List,
        "Client URLs of the etcd that serves discovery-token.",
    ),
    source("discovery-srv", Kind::Text, "Domain whose SRV records name the peers."),
    detail("discovery-srv-name", Kind::Text, "", "Suffix of the SRV records' name."),
    detail(
        "discovery-fallback",
        Kind::Word(&["proxy", "exit"]),
        "proxy",
        "What a member does when the cluster is full; a proxy has nothing to fall back from.",
    ),
    detail("discovery-proxy", Kind::Text, "", "HTTP proxy on the way to the discovery URL."),
    detail(
        "discovery-dial-timeout",
        Kind::Time,
        "2s",
        "Limit for connecting to a discovery endpoint.",
    ),
    detail("discovery-request-timeout", Kind::Time, "5s", "Limit for one discovery request."),
    detail(
        "discovery-keepalive-time",
        Kind::Time,
        "2s",
        "Time between keepalive pings to a discovery endpoint.",
    ),
    detail(
        "discovery-keepalive-timeout",
        Kind::Time,
        "6s",
        "How long such a ping may stay unanswered.",
    ),
    detail(
        "discovery-insecure-transport",
        Kind::Bool,
        "true",
        "Talk to discovery endpoints without TLS.",
    ),
    detail(
        "discovery-insecure-skip-tls-verify",
        Kind::Bool,
        "false",
        "Do not check their certificates.",
    ),
    detail("discovery-cert", Kind::Path, "", "Certificate towards discovery endpoints."),
    detail("discovery-key", Kind::Path, "", "Key of discovery-cert."),
    detail("discovery-cacert", Kind::Path, "", "CA that discovery endpoints must come from."),
    detail("discovery-user", Kind::Text, "", "User name at discovery endpoints."),
    detail("discovery-password", Kind::Secret, "", "Password at discovery endpoints."),
];
