//! The settings of the proxy, the listeners, the members, the process and the logs.
//!
//! One default differs from etcd's: `proxy` is "on" where etcd has "off". Serving as a proxy is
//! what this program is for, and so the shipped file works without a change.

use super::kind::{
    Kind, Store, Typed, boolean, id, levels, list, listen_urls, number, origins, path, peers,
    positive_time, text, time, urls, word,
};
use super::names;
use super::setting::{Applies, Group, Setting, Support};
use crate::config::fields::Fields;

const LEVELS: &[&str] = &["debug", "info", "warn", "error", "dpanic", "panic", "fatal"];

const fn etcd(
    group: Group,
    name: &'static str,
    Typed { kind, store }: Typed,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    let (support, applies) = (Support::Works, Applies::Live);
    Setting { name, kind, store, default, group, support, applies, ours: false, doc }
}

const fn ours(
    group: Group,
    name: &'static str,
    typed: Typed,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { ours: true, ..etcd(group, name, typed, default, doc) }
}

/// The settings of these groups.
pub(super) const SETTINGS: &[Setting] = &[
    etcd(
        Group::Proxy,
        names::PROXY,
        word(&["on", "readonly", "off"], |fields, it| Fields { proxy: it, ..fields }),
        "on",
        "Whether writes pass (on) or are refused (readonly). off, which is etcd's default, means being a member if \
         discovery has room for one, and a proxy if not.",
    ),
    ours(
        Group::Proxy,
        "member-binary",
        text(|fields, it| Fields { member_binary: it, ..fields }),
        "etcd",
        "With proxy = \"off\": the etcd that is run in place of this program when this host is a member.",
    )
    .at_start(),
    etcd(
        Group::Proxy,
        "proxy-failure-wait",
        time(|fields, it| Fields { proxy_failure_wait: it, ..fields }),
        "5000",
        "How long a failed endpoint is avoided; 0 means not at all.",
    ),
    etcd(
        Group::Proxy,
        names::PROXY_REFRESH_INTERVAL,
        positive_time(|fields, it| Fields { proxy_refresh_interval: it, ..fields }),
        "30000",
        "Time between two looks at the member list.",
    ),
    etcd(
        Group::Proxy,
        "proxy-dial-timeout",
        time(|fields, it| Fields { proxy_dial_timeout: it, ..fields }),
        "1000",
        "Limit for connecting to a member or peer, the lookup of its name (8s at most) not included; 0 means none, 10s while a member has not proved its cluster.",
    ),
    etcd(
        Group::Proxy,
        "proxy-write-timeout",
        time(|fields, it| Fields { proxy_write_timeout: it, ..fields }),
        "5000",
        "Limit for one write to a member to make progress; 0 means none.",
    ),
    etcd(
        Group::Proxy,
        "proxy-read-timeout",
        time(|fields, it| Fields { proxy_read_timeout: it, ..fields }),
        "0",
        "Limit for one read from a member to bring bytes; 0 means none, which watches need.",
    ),
    etcd(
        Group::Listening,
        "listen-client-urls",
        listen_urls(|fields, it| Fields { listen_client_urls: it, ..fields }),
        "http://localhost:2379",
        "Where clients are served: http://IP:PORT, http://localhost:PORT or unix://PATH (for every user of this machine); https:// and unixs:// with TLS.",
    ),
    etcd(
        Group::Listening,
        "listen-client-http-urls",
        listen_urls(|fields, it| Fields { listen_client_http_urls: it, ..fields }),
        "",
        "More URLs where clients are served (etcd 3.6 serves only HTTP on them; here everything is served on both).",
    ),
    etcd(
        Group::Listening,
        "listen-metrics-urls",
        listen_urls(|fields, it| Fields { listen_metrics_urls: it, ..fields }),
        "",
        "Where /metrics, /livez, /readyz and profiles are served beside the client URLs.",
    ),
    etcd(
        Group::Listening,
        "advertise-client-urls",
        urls(2379, |fields, it| Fields { advertise_client_urls: it, ..fields }),
        "",
        "The client URLs of this proxy as others should see them.",
    ),
    ours(
        Group::Listening,
        "rewrite-members",
        boolean(|fields, it| Fields { rewrite_members: it, ..fields }),
        "false",
        "Member lists name advertise-client-urls in place of the members' client URLs, so that clients which sync their \
         endpoints stay behind this proxy.",
    ),
    etcd(
        Group::Listening,
        "cors",
        origins(|fields, it| Fields { cors: it, ..fields }),
        "*",
        "Origins that browsers may call from; * leaves the headers to the members.",
    ),
    etcd(
        Group::Listening,
        "host-whitelist",
        list(|fields, it| Fields { host_whitelist: it, ..fields }),
        "*",
        "Host names accepted in plaintext HTTP requests; * or empty accepts all.",
    ),
    etcd(
        Group::Listening,
        "enable-pprof",
        boolean(|fields, it| Fields { enable_pprof: it, ..fields }),
        "false",
        "Serve a CPU profile at /debug/pprof/profile on the metrics URLs.",
    ),
    etcd(
        Group::Members,
        "initial-cluster",
        peers(|fields, it| Fields { initial_cluster: it, ..fields }),
        "http://localhost:2380,http://localhost:7001",
        "Peer URLs of the cluster, with or without NAME= before each; in the file also a table.",
    ),
    ours(
        Group::Members,
        "accept-cluster-id",
        id(|fields, it| Fields { accept_cluster_id: it, ..fields }),
        "",
        "A cluster ID (hex, as etcdctl prints it) that is accepted in place of the one seen first, after a cluster \
         was rebuilt.",
    ),
    ours(
        Group::Members,
        "balance",
        word(&["sticky", "p2c"], |fields, it| Fields { balance: it, ..fields }),
        "sticky",
        "How a member is chosen: sticky keeps a client connection on one member, p2c takes the less loaded of two \
         for each request.",
    ),
    ours(
        Group::Members,
        "health-interval",
        time(|fields, it| Fields { health_interval: it, ..fields }),
        "1s",
        "Time between two probes of an endpoint while a request waits for it or it fails; 0 means no probes. Members in use are probed each 5s to 10s.",
    ),
    ours(
        Group::Members,
        "health-timeout",
        positive_time(|fields, it| Fields { health_timeout: it, ..fields }),
        "1s",
        "How long a probe may take before the endpoint counts as unhealthy, and a new one to prove its cluster.",
    ),
    ours(
        Group::Members,
        "require-cluster-proof",
        boolean(|fields, it| Fields { require_cluster_proof: it, ..fields }),
        "true",
        "An address gets no requests if its answers name no cluster, as behind something that filters them; false lets \
         requests go there. One that names another cluster never gets any.",
    ),
    // The file cannot name another one: only another command line or environment can.
    etcd(
        Group::Process,
        names::CONFIG_FILE,
        Typed { kind: Kind::Path, store: Store::Nowhere },
        "",
        "The settings file, TOML; /etc/etcd-proxy.toml when not given.",
    )
    .fixed(),
    etcd(
        Group::Process,
        names::NAME,
        text(|fields, it| Fields { name: it, ..fields }),
        "default",
        "What this host is called; names the data directory.",
    )
    .at_start(),
    etcd(
        Group::Process,
        "initial-advertise-peer-urls",
        urls(2380, |fields, it| Fields { initial_advertise_peer_urls: it, ..fields }),
        "http://localhost:2380",
        "With proxy = \"off\": the peer URLs of this host as a member. A proxy has no peer port to announce.",
    )
    .at_start(),
    etcd(
        Group::Process,
        names::DATA_DIR,
        path(|fields, it| Fields { data_dir: it, ..fields }),
        "",
        "Where the member list is kept; NAME.etcd when not given, or $STATE_DIRECTORY under systemd.",
    )
    .fixed(),
    ours(
        Group::Process,
        "admin-socket",
        path(|fields, it| Fields { admin_socket: it, ..fields }),
        "",
        "Where status and reload ask; $RUNTIME_DIRECTORY/admin.sock when not given, else /run/etcd-proxy/admin.sock.",
    )
    .fixed(),
    ours(
        Group::Process,
        names::WORKERS,
        number(1024, |fields, it| Fields { workers: it, ..fields }),
        "0",
        "Threads that carry traffic; 0 means one for each core, at most 4.",
    )
    .fixed(),
    ours(
        Group::Process,
        "drain-timeout",
        time(|fields, it| Fields { drain_timeout: it, ..fields }),
        "10s",
        "How long open requests may go on after a stop; 0 means not at all.",
    ),
    etcd(
        Group::Logging,
        names::LOG_LEVEL,
        word(LEVELS, |fields, it| Fields { log_level: it, ..fields }),
        "info",
        "How much is logged: debug, info, warn or error (panic and fatal mean error).",
    ),
    etcd(
        Group::Logging,
        "log-package-levels",
        levels(|fields, it| Fields { log_package_levels: it, ..fields }),
        "",
        "Other levels for single modules, such as upstream=debug,cluster=warn.",
    ),
    etcd(
        Group::Logging,
        "log-outputs",
        list(|fields, it| Fields { log_outputs: it, ..fields }),
        "default",
        "Where log lines go: default, stderr, stdout, systemd/journal or file paths.",
    ),
    ours(
        Group::Logging,
        "log-format",
        word(&["auto", "text", "console", "json", "journald"], |fields, it| Fields {
            log_format: it,
            ..fields
        }),
        "auto",
        "The form of a log line: text (etcd's word is console), json, journald, or auto, which is journald when \
         standard error is the journal and else text.",
    ),
    etcd(
        Group::Logging,
        "debug",
        boolean(|fields, it| Fields { debug: it, ..fields }),
        "false",
        "The same as log-level = \"debug\".",
    ),
];
