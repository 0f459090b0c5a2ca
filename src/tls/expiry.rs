//! Certificates and revocation lists that may expire in use, and the warnings about them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::certificate::day;

/// The kind of object that may expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A certificate of our own.
    Certificate,
    /// The authority of a CA file that expires first.
    Authority,
    /// A revocation list. It stays in use, but may lack the newest revocations.
    List,
}

/// A certificate or revocation list with its expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// Its kind.
    pub kind: Kind,
    /// The identity that uses it: `listener`, `upstream`, `peer` or `registry`.
    pub identity: &'static str,
    /// The setting that names its file.
    pub setting: &'static str,
    /// The path of its file.
    pub file: PathBuf,
    /// Its title for messages; for a revocation list, the issuer's name.
    pub title: String,
    /// When it expires; for a certificate, when it or an intermediate does, whichever is first.
    pub not_after: SystemTime,
    /// The whole period of validity of the certificate that expires first; zero for a list.
    pub lifetime: Duration,
}

impl Expiring {
    /// Returns a warning if it expires soon or has expired; `None` otherwise. Soon means within 30
    /// days, or within a third of its lifetime if that is less, so that certificates that are
    /// renewed every week cause no warnings. A revocation list is warned of only once it is
    /// overdue.
    pub fn warning(&self, now: SystemTime) -> Option<String> {
        const SOON: Duration = Duration::from_secs(30 * 24 * 3600);
        let Self { kind, title, setting, file, not_after, lifetime, .. } = self;
        let (at, end) = (format!("`{setting}`: {}", file.display()), day(*not_after));
        let left = not_after.duration_since(now).unwrap_or_default();
        if *kind == Kind::List {
            let is_overdue = left.is_zero();
            return is_overdue.then(|| format!("{at}: the revocation list of {title} should have been replaced by {end}; fetch the newest"));
        }
        let when = match left.as_secs() / (24 * 3600) {
            _ if left.is_zero() => format!("expired on {end}"),
            _ if left > SOON.min(*lifetime / 3) => return None,
            0 => format!("expires on {end}, today or tomorrow"),
            days => format!("expires on {end}, in {days} days"),
        };
        let what = if *kind == Kind::Authority { "authority" } else { "certificate" };
        Some(format!("{at}: the {what} {title} {when}; renew it"))
    }
}
