//! etcd's discovery settings. The peers come from the first of `discovery`, `discovery-token` and
//! `discovery-srv` that is set; the other settings are details of these three.

use super::kind::{Typed, boolean, list, login, path, positive_time, secret, text, time, word};
use super::setting::{Applies, Group, Setting, Support};
use crate::config::fields::Fields;

const fn works(
    name: &'static str,
    Typed { kind, store }: Typed,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    let (group, support) = (Group::Discovery, Support::Works);
    Setting { name, kind, store, default, group, support, applies: Applies::Live, ours: false, doc }
}

/// The settings of this group.
pub(super) const SETTINGS: &[Setting] = &[
    works(
        "discovery",
        text(|fields, it| Fields { discovery: it, ..fields }),
        "",
        "Discovery URL that the peers are read from (v2).",
    ),
    works(
        "discovery-token",
        text(|fields, it| Fields { discovery_token: it, ..fields }),
        "",
        "Discovery token that the peers are read from (v3).",
    ),
    works(
        "discovery-endpoints",
        list(|fields, it| Fields { discovery_endpoints: it, ..fields }),
        "",
        "Client URLs of the etcd that serves discovery-token.",
    ),
    works(
        "discovery-srv",
        text(|fields, it| Fields { discovery_srv: it, ..fields }),
        "",
        "Domain whose SRV records name the peers.",
    ),
    works(
        "discovery-srv-name",
        text(|fields, it| Fields { discovery_srv_name: it, ..fields }),
        "",
        "Suffix of the SRV records' service names.",
    ),
    works(
        "discovery-fallback",
        word(&["proxy", "exit"], |fields, it| Fields { discovery_fallback: it, ..fields }),
        "proxy",
        "With proxy = \"off\" and a full cluster: serve as a proxy, or end with status 69.",
    )
    .at_start(),
    works(
        "discovery-proxy",
        text(|fields, it| Fields { discovery_proxy: it, ..fields }),
        "",
        "HTTP proxy on the way to the discovery URL.",
    ),
    works(
        "discovery-dial-timeout",
        time(|fields, it| Fields { discovery_dial_timeout: it, ..fields }),
        "2s",
        "Limit for connecting to a discovery endpoint.",
    ),
    works(
        "discovery-request-timeout",
        positive_time(|fields, it| Fields { discovery_request_timeout: it, ..fields }),
        "5s",
        "Limit for one discovery request.",
    ),
    works(
        "discovery-keepalive-time",
        time(|fields, it| Fields { discovery_keepalive_time: it, ..fields }),
        "2s",
        "Time between keepalive pings to a discovery endpoint.",
    ),
    works(
        "discovery-keepalive-timeout",
        time(|fields, it| Fields { discovery_keepalive_timeout: it, ..fields }),
        "6s",
        "How long such a ping may stay unanswered.",
    ),
    works(
        "discovery-insecure-transport",
        boolean(|fields, it| Fields { discovery_insecure_transport: it, ..fields }),
        "true",
        "Talk to discovery endpoints without TLS.",
    ),
    works(
        "discovery-insecure-skip-tls-verify",
        boolean(|fields, it| Fields { discovery_insecure_skip_tls_verify: it, ..fields }),
        "false",
        "Do not check their certificates.",
    ),
    works(
        "discovery-cert",
        path(|fields, it| Fields { discovery_cert: it, ..fields }),
        "",
        "Certificate towards discovery endpoints.",
    ),
    works(
        "discovery-key",
        path(|fields, it| Fields { discovery_key: it, ..fields }),
        "",
        "Key of discovery-cert.",
    ),
    works(
        "discovery-cacert",
        path(|fields, it| Fields { discovery_cacert: it, ..fields }),
        "",
        "CA that discovery endpoints must come from.",
    ),
    works(
        "discovery-user",
        login(|fields, it| Fields { discovery_user: it, ..fields }),
        "",
        "User name at discovery endpoints.",
    ),
    works(
        "discovery-password",
        secret(|fields, it| Fields { discovery_password: it, ..fields }),
        "",
        "Password at discovery endpoints.",
    ),
];
