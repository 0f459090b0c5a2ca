//! Decides whether members may be shown a certificate with a CN.
//!
//! A member with auth enabled treats whoever shows a certificate as the user that its CN names.
//! Through this proxy, that would be every client, even one that showed no certificate.
//! Certificates for listeners usually have a CN (kubeadm, easy-rsa), and a certificate for
//! listeners or peers is shown to members only as a fallback. So if some clients need no
//! certificate, a fallback with a CN is withheld, and a certificate with a CN that is named for
//! members is refused.

use super::connector::Connector;
use super::identity::Identity;
use crate::config::{KeyPair, ListenTls, ListenUrl, Origins, Problem, Settings};

/// A fallback certificate that is withheld from members.
pub(super) struct Withheld {
    /// The setting that names it.
    pub(super) setting: &'static str,
    /// The warning at load.
    pub(super) message: String,
    /// The advice if a member refuses a connection for lack of a certificate.
    pub(super) advice: String,
}

/// The hint that goes with both problems.
pub(super) const HINT: &str = "show members one without a CN (upstream-cert-file), serve only https with trusted-ca-file, or \
                               set allow-upstream-cn = true";

/// Returns the first listener whose clients need no certificate and so would be lent the CN's user;
/// `None` if every listener demands one or `allow-upstream-cn` is set.
pub(super) fn open_listener(settings: &Settings) -> Option<&ListenUrl> {
    let asks = ListenTls::asks_for_certificates(&settings.tls.listener);
    let mut urls = settings.listen_client_urls.iter();
    urls.find(|url| !(url.tls && asks)).filter(|_| !settings.tls.allow_upstream_cn)
}

/// Returns why a pair that is not named for members is withheld: it has a CN, and the clients of
/// `open` would be lent its user. `None` if the pair may be shown.
pub(super) fn withheld(
    pair: &KeyPair,
    identity: &Identity,
    open: Option<&ListenUrl>,
) -> Option<Withheld> {
    let setting = pair.cert.setting;
    let (cn, open) = (identity.leaf()?.common_name.as_ref()?, open?);
    (setting != OWN).then(|| Withheld {
        setting,
        message: format!(
            "`{setting}`: members are not shown this certificate, since with auth enabled they would treat every client \
             of {open} as the user \"{cn}\" (its CN)"
        ),
        advice: format!(
            "the one in {setting} is not shown, since it has a CN (\"{cn}\"): set upstream-cert-file to one without, or \
             allow-upstream-cn = true"
        ),
    })
}

/// The setting that names a certificate for members.
const OWN: &str = "upstream-cert-file";

/// Returns the error for a certificate that is named for members and would lend its user to
/// clients.
pub(super) fn refusal(
    settings: &Settings,
    origins: &Origins,
    upstream: &Connector,
) -> Option<Problem> {
    let cn = upstream.leaf()?.common_name.clone()?;
    let setting = settings.tls.upstream.pair.as_ref()?.cert.setting;
    let open = open_listener(settings).filter(|_| setting == OWN)?;
    let message = format!(
        "`{setting}`: members with auth enabled treat whoever shows this certificate as the user \"{cn}\" (its CN), \
         and that would be every client of {open}, which need not show a certificate"
    );
    Some(Problem::error(message, origins.location(setting).clone()).hint(HINT))
}
