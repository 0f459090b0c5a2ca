//! Which certificates members are shown on behalf of clients.
//!
//! A member whose auth is on takes whoever shows it a certificate for the user that its CN names;
//! through us that would be every client, also those that showed nothing. Listeners' certificates
//! have a CN more often than not (kubeadm, easy-rsa), and the one for listeners or peers is shown
//! to members only for want of another: so one with a CN is then not shown. The one that was named
//! for members is, or is refused.

use super::connector::Connector;
use super::identity::Identity;
use crate::config::{KeyPair, ListenTls, ListenUrl, Origins, Problem, Settings};

/// A certificate that members are not shown.
pub(super) struct Withheld {
    /// The setting that names it.
    pub(super) setting: &'static str,
    /// What is said of it at load.
    pub(super) message: String,
    /// What is said to whom a member refuses for want of a certificate.
    pub(super) advice: String,
}

/// What to do in place of lending the user.
pub(super) const HINT: &str = "show members one without a CN (upstream-cert-file), serve only https with trusted-ca-file, or \
                               set allow-upstream-cn = true";

/// The first listener whose clients would be lent a user: they need not show a certificate. None
/// when that is meant.
pub(super) fn open_listener(settings: &Settings) -> Option<&ListenUrl> {
    let asks = ListenTls::asks_for_certificates(&settings.tls.listener);
    let mut urls = settings.listen_client_urls.iter();
    urls.find(|url| !(url.tls && asks)).filter(|_| !settings.tls.allow_upstream_cn)
}

/// Says that members are not shown this pair, which was not named for them, since clients of `open`
/// would get its user.
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

/// Refuses a certificate that was named for members and would lend its user.
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
