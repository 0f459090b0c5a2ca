//! Settings of etcd that are accepted from old proxy command lines and have no effect here: limits
//! that the members enforce, gRPC keepalive, the form of etcd's metrics, and the form of etcd's own
//! logs.

use super::kind::{Kind, Store};
use super::setting::{Applies, Group, Setting, Support};

const fn idle(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    let (group, support, applies) = (Group::Accepted, Support::Idle, Applies::Never);
    let store = Store::Nowhere;
    Setting { name, kind, store, default, group, support, applies, ours: false, doc }
}

/// Flags that etcd 3.4 takes without a value and ignores, for the sake of still older command
/// lines.
const IGNORED: &[&str] = &[
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-election-timeout",
    "peer-heartbeat-interval",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
];

/// Whether etcd takes a flag of this name and ignores it.
pub(super) fn is_ignored(flag: &str) -> bool {
    IGNORED.contains(&flag)
}

/// The settings of this group.
pub(super) const SETTINGS: &[Setting] = &[
    idle("metrics", Kind::Word(&["basic", "extensive"]), "basic", "All metrics are always served."),
    idle(
        "max-request-bytes",
        Kind::Number(u64::MAX),
        "1572864",
        "The members limit requests; the proxy does not.",
    ),
    idle(
        "max-concurrent-streams",
        Kind::Number(4_294_967_295),
        "4294967295",
        "The limit on streams is our own.",
    ),
    idle("grpc-keepalive-min-time", Kind::Time, "5s", "Clients may ping as often as they like."),
    idle("grpc-keepalive-interval", Kind::Time, "2h", "Time between pings to an idle client."),
    idle("grpc-keepalive-timeout", Kind::Time, "20s", "How long such a ping may stay unanswered."),
    idle("logger", Kind::Word(&["capnslog", "zap"]), "capnslog", "See log-format."),
    idle("enable-log-rotation", Kind::Bool, "false", "The journal or logrotate does this."),
    idle("log-rotation-config-json", Kind::Text, "", "The journal or logrotate does this."),
];
