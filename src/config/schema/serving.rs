//! The settings that work: what passes, where clients are served, where the members come from, the
//! process, logs.
//!
//! One default differs from etcd's: `proxy` is "on" where etcd says "off". This program does
//! nothing else, and with it the shipped file works as it is.

use super::{Group, Kind, Setting, Support};

const LEVELS: &[&str] = &["debug", "info", "warn", "error", "dpanic", "panic", "fatal"];

const fn etcd(
    group: Group,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { name, kind, default, group, support: Support::Works, ours: false, doc }
}

const fn ours(
    group: Group,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { name, kind, default, group, support: Support::Works, ours: true, doc }
}

/// The settings of these groups.
pub(super) const SETTINGS: &[Setting] = &[
    etcd(
        Group::Proxy,
        "proxy",
        Kind::Word(&["on", "readonly", "off"]),
        "on",
        "Whether writes pass (on) or are refused (readonly). off, which is etcd's default, means being a member if \
         discovery has room for one, and a proxy if not.",
    ),
    ours(
        Group::Proxy,
        "member-binary",
        Kind::Text,
        "etcd",
        "With proxy = \"off\": the etcd that is run in place of this program when this host is a member.",
    ),
    etcd(
        Group::Proxy,
        "proxy-failure-wait",
        Kind::Time,
        "5000",
        "How long a failed endpoint is avoided; 0 means not at all.",
    ),
    etcd(
        Group::Proxy,
        "proxy-refresh-interval",
        Kind::PositiveTime,
        "30000",
        "Time between two looks at the member list.",
    ),
    etcd(
        Group::Proxy,
        "proxy-dial-timeout",
        Kind::Time,
        "1000",
        "Limit for connecting to a member or peer, the lookup of its name (8s at most) not included; 0 means none, 10s while a member has not proved its cluster.",
    ),
    etcd(
        Group::Proxy,
        "proxy-write-timeout",
        Kind::Time,
        "5000",
        "Limit for one write to a member to make progress; 0 means none.",
    ),
    etcd(
        Group::Proxy,
        "proxy-read-timeout",
        Kind::Time,
        "0",
        "Limit for one read from a member to bring bytes; 0 means none, which watches need.",
    ),
    etcd(
        Group::Listening,
        "listen-client-urls",
        Kind::ListenUrls,
        "http://localhost:2379",
        "Where clients are served: http://IP:PORT, http://localhost:PORT or unix://PATH (for every user of this machine); https:// and unixs:// with TLS.",
    ),
    etcd(
        Group::Listening,
        "listen-client-http-urls",
        Kind::ListenUrls,
        "",
        "More URLs where clients are served (etcd 3.6 serves only HTTP on them; here everything is served on both).",
    ),
    etcd(
        Group::Listening,
        "listen-metrics-urls",
        Kind::ListenUrls,
        "",
        "Where /metrics, /livez, /readyz and profiles are served beside the client URLs.",
    ),
    etcd(
        Group::Listening,
        "advertise-client-urls",
        Kind::Urls,
        "",
        "The client URLs of this proxy as others should see them.",
    ),
    ours(
        Group::Listening,
        "rewrite-members",
        Kind::Bool,
        "false",
        "Member lists name advertise-client-urls in place of the members' client URLs, so that clients which sync their \
         endpoints stay behind this proxy.",
    ),
    etcd(
        Group::Listening,
        "cors",
        Kind::Origins,
        "*",
        "Origins that browsers may call from; * leaves the headers to the members.",
    ),
    etcd(
        Group::Listening,
        "host-whitelist",
        Kind::List,
        "*",
        "Host names accepted in plaintext HTTP requests; * or empty accepts all.",
    ),
    etcd(
        Group::Listening,
        "enable-pprof",
        Kind::Bool,
        "false",
        "Serve a CPU profile at /debug/pprof/profile on the metrics URLs.",
    ),
    etcd(
        Group::Members,
        "initial-cluster",
        Kind::Peers,
        "http://localhost:2380,http://localhost:7001",
        "Peer URLs of the cluster, with or without NAME= before each; in the file also a table.",
    ),
    ours(
        Group::Members,
        "accept-cluster-id",
        Kind::Id,
        "",
        "A cluster ID (hex, as etcdctl prints it) that is accepted in place of the one seen first, after a cluster \
         was rebuilt.",
    ),
    ours(
        Group::Members,
        "balance",
        Kind::Word(&["sticky", "p2c"]),
        "sticky",
        "How a member is chosen: sticky keeps a client connection on one member, p2c takes the less loaded of two \
         for each request.",
    ),
    ours(
        Group::Members,
        "health-interval",
        Kind::Time,
        "1s",
        "Time between two probes of an endpoint; 0 means no probes.",
    ),
    ours(
        Group::Members,
        "health-timeout",
        Kind::PositiveTime,
        "1s",
        "How long a probe may take before the endpoint counts as unhealthy, and a new one to prove its cluster.",
    ),
    ours(
        Group::Members,
        "require-cluster-proof",
        Kind::Bool,
        "true",
        "An address gets no requests if its answers name no cluster, as behind something that filters them; false lets \
         requests go there. One that names another cluster never gets any.",
    ),
    etcd(
        Group::Process,
        "config-file",
        Kind::Path,
        "",
        "The settings file, TOML; /etc/etcd-proxy.toml when not given.",
    ),
    etcd(
        Group::Process,
        "name",
        Kind::Text,
        "default",
        "What this host is called; names the data directory.",
    ),
    etcd(
        Group::Process,
        "initial-advertise-peer-urls",
        Kind::Urls,
        "http://localhost:2380",
        "With proxy = \"off\": the peer URLs of this host as a member. A proxy has no peer port to announce.",
    ),
    etcd(
        Group::Process,
        "data-dir",
        Kind::Path,
        "",
        "Where the member list is kept; NAME.etcd when not given, or $STATE_DIRECTORY under systemd.",
    ),
    ours(
        Group::Process,
        "admin-socket",
        Kind::Path,
        "",
        "Where status and reload ask; $RUNTIME_DIRECTORY/admin.sock when not given, else /run/etcd-proxy/admin.sock.",
    ),
    ours(
        Group::Process,
        "workers",
        Kind::Number(1024),
        "0",
        "Threads that carry traffic; 0 means one for each core.",
    ),
    ours(
        Group::Process,
        "drain-timeout",
        Kind::Time,
        "10s",
        "How long open requests may go on after a stop; 0 means not at all.",
    ),
    etcd(
        Group::Logging,
        "log-level",
        Kind::Word(LEVELS),
        "info",
        "How much is logged: debug, info, warn or error (panic and fatal mean error).",
    ),
    etcd(
        Group::Logging,
        "log-package-levels",
        Kind::Levels,
        "",
        "Other levels for single modules, such as upstream=debug,cluster=warn.",
    ),
    etcd(
        Group::Logging,
        "log-outputs",
        Kind::List,
        "default",
        "Where log lines go: default, stderr, stdout, systemd/journal or file paths.",
    ),
    ours(
        Group::Logging,
        "log-format",
        Kind::Word(&["auto", "text", "console", "json", "journald"]),
        "auto",
        "The form of a log line: text (etcd's word is console), json, journald, or auto, which is journald when \
         standard error is the journal and else text.",
    ),
    etcd(Group::Logging, "debug", Kind::Bool, "false", "The same as log-level = \"debug\"."),
];
