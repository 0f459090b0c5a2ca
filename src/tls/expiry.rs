//! What may expire while it is used, and when people are told.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::certificate::day;

/// What may expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A certificate that we show.
    Certificate,
    /// The first of the authorities that vouch for others.
    Authority,
    /// A revocation list, which is used on, but may be missing the newest.
    List,
}

/// Something whose time is limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// What it is.
    pub kind: Kind,
    /// Whom it is for: `listener`, `upstream`, `peer` or `registry`.
    pub identity: &'static str,
    /// The setting that names its file.
    pub setting: &'static str,
    /// Its file.
    pub file: PathBuf,
    /// What it is known by.
    pub title: String,
    /// When it expires; of a certificate, when the first of it and those between it and its
    /// authority does.
    pub not_after: SystemTime,
    /// How long that one is valid altogether.
    pub lifetime: Duration,
}

impl Expiring {
    /// Says that it expires soon, or that it has; `None` while there is time. Soon is 30 days, or a
    /// third of its lifetime if that is less: certificates that are renewed each week are no news,
    /// nor is a list before its day.
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
