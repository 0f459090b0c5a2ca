//! etcd's TLS settings: read and checked, and refused for now when one is set.

use super::{Group, Kind, Setting, Standing};

const fn tls(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    let (group, standing) = (Group::Tls, Standing::NotYet);
    Setting { name, kind, default, group, standing, ours: false, doc }
}

const VERSIONS: Kind = Kind::Word(&["", "TLS1.2", "TLS1.3"]);

/// The settings of this group.
pub(super) const SETTINGS: &[Setting] = &[
    tls("cert-file", Kind::Path, "", "Certificate for clients, and towards members."),
    tls("key-file", Kind::Path, "", "Key of cert-file."),
    tls(
        "trusted-ca-file",
        Kind::Path,
        "",
        "CA that client certificates and members must come from.",
    ),
    tls("client-cert-auth", Kind::Bool, "false", "Whether clients must show a certificate."),
    tls("client-crl-file", Kind::Path, "", "Revocation list for client certificates."),
    tls(
        "client-cert-allowed-hostname",
        Kind::List,
        "",
        "Host names that client certificates must carry.",
    ),
    tls("auto-tls", Kind::Bool, "false", "Serve clients with a self-made certificate."),
    tls(
        "self-signed-cert-validity",
        Kind::Number(100),
        "1",
        "Years that a self-made certificate is valid.",
    ),
    tls("peer-cert-file", Kind::Path, "", "Certificate towards peers."),
    tls("peer-key-file", Kind::Path, "", "Key of peer-cert-file."),
    tls("peer-trusted-ca-file", Kind::Path, "", "CA that peers must come from."),
    tls("peer-client-cert-auth", Kind::Bool, "false", "Whether peers must show a certificate."),
    tls("peer-crl-file", Kind::Path, "", "Revocation list for peer certificates."),
    tls("peer-cert-allowed-cn", Kind::List, "", "Common names that peer certificates must carry."),
    tls(
        "peer-cert-allowed-hostname",
        Kind::List,
        "",
        "Host names that peer certificates must carry.",
    ),
    tls(
        "peer-auto-tls",
        Kind::Bool,
        "false",
        "Talk TLS to peers without checking their certificates.",
    ),
    tls(
        "experimental-peer-skip-client-san-verification",
        Kind::Bool,
        "false",
        "Do not compare the names in a peer's certificate with its address.",
    ),
    tls("cipher-suites", Kind::List, "", "Cipher suites, by their IANA names."),
    tls("tls-min-version", VERSIONS, "", "Lowest version of TLS: TLS1.2 or TLS1.3."),
    tls("tls-max-version", VERSIONS, "", "Highest version of TLS: TLS1.2 or TLS1.3."),
];
