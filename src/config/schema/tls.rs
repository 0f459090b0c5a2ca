//! The TLS settings: the certificates shown to clients, members and peers, and what is required of
//! theirs.

use super::kind::{Kind, Store, Typed, boolean, list, number, path, word};
use super::setting::{Applies, Group, Setting, Support};
use crate::config::fields::Fields;

const fn tls(
    name: &'static str,
    Typed { kind, store }: Typed,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    let (group, support) = (Group::Tls, Support::Works);
    Setting { name, kind, store, default, group, support, applies: Applies::Live, ours: false, doc }
}

const fn ours(
    name: &'static str,
    typed: Typed,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { ours: true, ..tls(name, typed, default, doc) }
}

/// For settings that only concern a server of peers, which a proxy is not.
const fn idle(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    let typed = Typed { kind, store: Store::Nowhere };
    Setting { support: Support::Idle, applies: Applies::Never, ..tls(name, typed, default, doc) }
}

const VERSIONS: &[&str] = &["", "TLS1.2", "TLS1.3"];

/// The settings of this group.
pub(super) const SETTINGS: &[Setting] = &[
    tls(
        "cert-file",
        path(|fields, it| Fields { cert_file: it, ..fields }),
        "",
        "Certificate (PEM, with those between it and its CA) shown to clients, and to members unless \
         upstream-cert-file is set.",
    ),
    tls(
        "key-file",
        path(|fields, it| Fields { key_file: it, ..fields }),
        "",
        "Private key of cert-file.",
    ),
    tls(
        "trusted-ca-file",
        path(|fields, it| Fields { trusted_ca_file: it, ..fields }),
        "",
        "CA that clients must show a certificate of when it is set, and that members' certificates must come from \
         unless upstream-trusted-ca-file is set.",
    ),
    tls(
        "client-cert-auth",
        boolean(|fields, it| Fields { client_cert_auth: it, ..fields }),
        "false",
        "Whether clients must show a certificate; needs trusted-ca-file, which demands one by itself.",
    ),
    tls(
        "client-crl-file",
        path(|fields, it| Fields { client_crl_file: it, ..fields }),
        "",
        "Revocation lists (PEM) that clients' certificates are held against.",
    ),
    tls(
        "client-cert-allowed-hostname",
        list(|fields, it| Fields { client_cert_allowed_hostname: it, ..fields }),
        "",
        "Host names, one of which a client's certificate must carry; empty allows all.",
    ),
    tls(
        "auto-tls",
        boolean(|fields, it| Fields { auto_tls: it, ..fields }),
        "false",
        "Serve https with a self-made certificate kept below data-dir; members are then not verified unless \
         upstream-trusted-ca-file is set.",
    ),
    tls(
        "self-signed-cert-validity",
        number(100, |fields, it| Fields { self_signed_cert_validity: it, ..fields }),
        "1",
        "Years that a self-made certificate is valid.",
    ),
    ours(
        "upstream-cert-file",
        path(|fields, it| Fields { upstream_cert_file: it, ..fields }),
        "",
        "Certificate shown to members in place of cert-file.",
    ),
    ours(
        "upstream-key-file",
        path(|fields, it| Fields { upstream_key_file: it, ..fields }),
        "",
        "Private key of upstream-cert-file.",
    ),
    ours(
        "upstream-trusted-ca-file",
        path(|fields, it| Fields { upstream_trusted_ca_file: it, ..fields }),
        "",
        "CA that members' certificates must come from, in place of trusted-ca-file; without either, the machine's.",
    ),
    ours(
        "allow-upstream-cn",
        boolean(|fields, it| Fields { allow_upstream_cn: it, ..fields }),
        "false",
        "Whether members may be shown a certificate with a CN, which etcd's auth takes for a user name, on behalf of \
         clients that need not show one.",
    ),
    tls(
        "peer-cert-file",
        path(|fields, it| Fields { peer_cert_file: it, ..fields }),
        "",
        "Certificate shown to peers, and to members when neither upstream-cert-file nor cert-file is set.",
    ),
    tls(
        "peer-key-file",
        path(|fields, it| Fields { peer_key_file: it, ..fields }),
        "",
        "Private key of peer-cert-file.",
    ),
    tls(
        "peer-trusted-ca-file",
        path(|fields, it| Fields { peer_trusted_ca_file: it, ..fields }),
        "",
        "CA that peers' certificates must come from; the machine's when not given.",
    ),
    idle("peer-client-cert-auth", Kind::Bool, "false", "Whether peers must show a certificate."),
    tls(
        "peer-crl-file",
        path(|fields, it| Fields { peer_crl_file: it, ..fields }),
        "",
        "Revocation lists (PEM) that peers' certificates are held against.",
    ),
    tls(
        "peer-cert-allowed-cn",
        list(|fields, it| Fields { peer_cert_allowed_cn: it, ..fields }),
        "",
        "Common names, one of which a peer's certificate must have; empty allows all.",
    ),
    tls(
        "peer-cert-allowed-hostname",
        list(|fields, it| Fields { peer_cert_allowed_hostname: it, ..fields }),
        "",
        "Host names, one of which a peer's certificate must carry; empty allows all.",
    ),
    tls(
        "peer-auto-tls",
        boolean(|fields, it| Fields { peer_auto_tls: it, ..fields }),
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
        list(|fields, it| Fields { cipher_suites: it, ..fields }),
        "",
        "Cipher suites by Go's or IANA's names, for clients, members and peers; empty means all. Those of TLS 1.3 are \
         only restricted when one is named.",
    ),
    tls(
        "tls-min-version",
        word(VERSIONS, |fields, it| Fields { tls_min_version: it, ..fields }),
        "",
        "Lowest version of TLS: TLS1.2 (the default) or TLS1.3.",
    ),
    tls(
        "tls-max-version",
        word(VERSIONS, |fields, it| Fields { tls_max_version: it, ..fields }),
        "",
        "Highest version of TLS: TLS1.2 or TLS1.3 (the default).",
    ),
];
