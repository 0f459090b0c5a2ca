//! etcd's discovery settings: the first of `discovery`, `discovery-token` and `discovery-srv` that
//! is set is where the peers come from; the rest are details of these.

use super::{Group, Kind, Setting, Support};

const fn works(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    let (group, support) = (Group::Discovery, Support::Works);
    Setting { name, kind, default, group, support, ours: false, doc }
}

/// The settings of this group.
pub(super) const SETTINGS: &[Setting] = &[
    works("discovery", Kind::Text, "", "Discovery URL that the peers are read from (v2)."),
    works("discovery-token", Kind::Text, "", "Discovery token that the peers are read from (v3)."),
    works(
        "discovery-endpoints",
        Kind::List,
        "",
        "Client URLs of the etcd that serves discovery-token.",
    ),
    works("discovery-srv", Kind::Text, "", "Domain whose SRV records name the peers."),
    works("discovery-srv-name", Kind::Text, "", "Suffix of the SRV records' service names."),
    works(
        "discovery-fallback",
        Kind::Word(&["proxy", "exit"]),
        "proxy",
        "With proxy = \"off\" and a full cluster: serve as a proxy, or end with status 69.",
    ),
    works("discovery-proxy", Kind::Text, "", "HTTP proxy on the way to the discovery URL."),
    works(
        "discovery-dial-timeout",
        Kind::Time,
        "2s",
        "Limit for connecting to a discovery endpoint.",
    ),
    works(
        "discovery-request-timeout",
        Kind::PositiveTime,
        "5s",
        "Limit for one discovery request.",
    ),
    works(
        "discovery-keepalive-time",
        Kind::Time,
        "2s",
        "Time between keepalive pings to a discovery endpoint.",
    ),
    works(
        "discovery-keepalive-timeout",
        Kind::Time,
        "6s",
        "How long such a ping may stay unanswered.",
    ),
    works(
        "discovery-insecure-transport",
        Kind::Bool,
        "true",
        "Talk to discovery endpoints without TLS.",
    ),
    works(
        "discovery-insecure-skip-tls-verify",
        Kind::Bool,
        "false",
        "Do not check their certificates.",
    ),
    works("discovery-cert", Kind::Path, "", "Certificate towards discovery endpoints."),
    works("discovery-key", Kind::Path, "", "Key of discovery-cert."),
    works("discovery-cacert", Kind::Path, "", "CA that discovery endpoints must come from."),
    works("discovery-user", Kind::Login, "", "User name at discovery endpoints."),
    works("discovery-password", Kind::Secret, "", "Password at discovery endpoints."),
];
