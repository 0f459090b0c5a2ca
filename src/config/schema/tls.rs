//! The settings about TLS: what listeners show, what members and peers are shown, and what is
//! demanded of each.

use super::{Group, Kind, Setting, Support};

const fn tls(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    let (group, support) = (Group::Tls, Support::Works);
    Setting { name, kind, default, group, support, ours: false, doc }
}

const fn ours(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { ours: true, ..tls(name, kind, default, doc) }
}

/// For settings that only concern who serves peers, which a proxy does not.
const fn idle(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { support: Support::Idle, ..tls(name, kind, default, doc) }
}

const VERSIONS: Kind = Kind::Word(&["", "TLS1.2", "TLS1.3"]);

/// The settings of this group.
pub(super) const SETTINGS: &[Setting] = &[
    tls(
        "cert-file",
        Kind::Path,
        "",
        "Certificate (PEM, with those between it and its CA) shown to clients, and to members unless \
         upstream-cert-file is set.",
    ),
    tls("key-file", Kind::Path, "", "Private key of cert-file."),
    tls(
        "trusted-ca-file",
        Kind::Path,
        "",
        "CA that clients must show a certificate of when it is set, and that members' certificates must come from \
         unless upstream-trusted-ca-file is set.",
    ),
    tls(
        "client-cert-auth",
        Kind::Bool,
        "false",
        "Whether clients must show a certificate; needs trusted-ca-file, which demands one by itself.",
    ),
    tls(
        "client-crl-file",
        Kind::Path,
        "",
        "Revocation lists (PEM) that clients' certificates are held against.",
    ),
    tls(
        "client-cert-allowed-hostname",
        Kind::List,
        "",
        "Host names, one of which a client's certificate must carry; empty allows all.",
    ),
    tls(
        "auto-tls",
        Kind::Bool,
        "false",
        "Serve https with a self-made certificate kept below data-dir; members are then not verified unless \
         upstream-trusted-ca-file is set.",
    ),
    tls(
        "self-signed-cert-validity",
        Kind::Number(100),
        "1",
        "Years that a self-made certificate is valid.",
    ),
    ours(
        "upstream-cert-file",
        Kind::Path,
        "",
        "Certificate shown to members in place of cert-file.",
    ),
    ours("upstream-key-file", Kind::Path, "", "Private key of upstream-cert-file."),
    ours(
        "upstream-trusted-ca-file",
        Kind::Path,
        "",
        "CA that members' certificates must come from, in place of trusted-ca-file; without either, the machine's.",
    ),
    ours(
        "allow-upstream-cn",
        Kind::Bool,
        "false",
        "Whether members may be shown a certificate with a CN, which etcd's auth takes for a user name, on behalf of \
         clients that need not show one.",
    ),
    tls(
        "peer-cert-file",
        Kind::Path,
        "",
        "Certificate shown to peers, and to members when neither upstream-cert-file nor cert-file is set.",
    ),
    tls("peer-key-file", Kind::Path, "", "Private key of peer-cert-file."),
    tls(
        "peer-trusted-ca-file",
        Kind::Path,
        "",
        "CA that peers' certificates must come from; the machine's when not given.",
    ),
    idle("peer-client-cert-auth", Kind::Bool, "false", "Whether peers must show a certificate."),
    tls(
        "peer-crl-file",
        Kind::Path,
        "",
        "Revocation lists (PEM) that peers' certificates are held against.",
    ),
    tls(
        "peer-cert-allowed-cn",
        Kind::List,
        "",
        "Common names, one of which a peer's certificate must have; empty allows all.",
    ),
    tls(
        "peer-cert-allowed-hostname",
        Kind::List,
        "",
        "Host names, one of which a peer's certificate must carry; empty allows all.",
    ),
    tls(
        "peer-auto-tls",
        Kind::Bool,
        "false",
        "Talk TLS to peers without verifying them, unless peer-cert-file or peer-trusted-ca-file is set.",
    ),
    idle(
        "experimental-peer-skip-client-san-verification",
        Kind::Bool,
        "false",
        "Do not compare the names in a peer's certificate with its address.",
    ),
    tls(
        "cipher-suites",
        Kind::List,
        "",
        "Cipher suites by Go's or IANA's names, for clients, members and peers; empty means all. Those of TLS 1.3 are \
         only restricted when one is named.",
    ),
    tls("tls-min-version", VERSIONS, "", "Lowest version of TLS: TLS1.2 (the default) or TLS1.3."),
    tls("tls-max-version", VERSIONS, "", "Highest version of TLS: TLS1.2 or TLS1.3 (the default)."),
];
