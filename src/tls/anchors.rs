//! The authorities that vouch for certificates, each for as long as it is valid itself: rustls
//! looks at the times of what they have signed, and never at their own.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::VerifierBuilderError;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificate::Certificate;

/// Some authorities, also such as are not valid at the moment.
#[derive(Debug, Clone)]
pub(super) struct Anchors {
    roots: RootCertStore,
    /// The certificate of each root, in the same order.
    certificates: Vec<Certificate>,
    /// When they were read.
    read_at: SystemTime,
    /// Where they were read, in words: `/etc/ca.crt (trusted-ca-file)`.
    pub(super) described: String,
}

impl Anchors {
    /// Nobody yet.
    pub(super) fn new(described: String, read_at: SystemTime) -> Self {
        let roots = RootCertStore::empty();
        Self { roots, certificates: Vec::new(), read_at, described }
    }

    /// Adds an authority. Returns whether rustls can use it.
    pub(super) fn add(&mut self, der: CertificateDer<'_>, certificate: Certificate) -> bool {
        let added = self.roots.add(der).is_ok();
        if added {
            self.certificates.push(certificate);
        }
        added
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// All of them.
    pub(super) fn roots(&self) -> &RootCertStore {
        &self.roots
    }

    /// Says that the authority of this name is not valid at `now`, if that is so of one.
    pub(super) fn untimely(&self, subject: &str, now: UnixTime) -> Option<String> {
        let mut named = self.certificates.iter().filter(|it| it.subject == subject);
        named.find_map(|certificate| certificate.untimely(moment(now)))
    }

    /// Returns the bits of the RSA key of the authority of this name, if it is of a size that
    /// nothing can be checked with.
    pub(super) fn unusable_rsa(&self, subject: &str) -> Option<usize> {
        let mut named = self.certificates.iter().filter(|it| it.subject == subject);
        named.find_map(Certificate::unusable_rsa)
    }

    /// The first to expire of those that had not when they were read.
    pub(super) fn first_to_expire(&self) -> Option<&Certificate> {
        let good = self.certificates.iter().filter(|it| it.not_after >= self.read_at);
        good.min_by_key(|certificate| certificate.not_after)
    }

    /// Those that are valid.
    fn timely(&self, now: SystemTime) -> RootCertStore {
        let pairs = self.roots.roots.iter().zip(&self.certificates);
        let timely = pairs.filter(|(_, certificate)| certificate.untimely(now).is_none());
        RootCertStore { roots: timely.map(|(root, _)| root.clone()).collect() }
    }

    /// When these become others for the first time, because one begins or ends to be valid.
    fn change(&self) -> Option<SystemTime> {
        let times = self.certificates.iter().flat_map(|it| [it.not_before, it.not_after]);
        times.filter(|time| *time > self.read_at).min()
    }
}

type Make<V> = fn(Arc<RootCertStore>, &Anchored<V>) -> Result<Arc<V>, VerifierBuilderError>;

/// A verifier of rustls over those of its authorities that are valid.
pub(super) struct Anchored<V: ?Sized> {
    pub(super) anchors: Anchors,
    pub(super) provider: Arc<rustls::crypto::CryptoProvider>,
    make: Make<V>,
    /// Over those that were valid when they were read; `None` when there was none.
    first: Option<Arc<V>>,
    /// Until when that holds.
    first_until: Option<SystemTime>,
}

impl<V: ?Sized> Anchored<V> {
    /// Has `make` make it.
    pub(super) fn new(
        anchors: Anchors,
        provider: Arc<rustls::crypto::CryptoProvider>,
        make: Make<V>,
    ) -> Result<Self, VerifierBuilderError> {
        let first_until = anchors.change();
        let mut anchored = Self { anchors, provider, make, first: None, first_until };
        anchored.first = anchored.made_at(anchored.anchors.read_at)?;
        Ok(anchored)
    }

    /// The authorities that are valid at `now`.
    pub(super) fn roots_at(&self, now: UnixTime) -> RootCertStore {
        self.anchors.timely(moment(now))
    }

    /// Returns it as it is at `now`. At first it is at hand; once an authority has expired it is
    /// made each time, until somebody takes the old one out of its file.
    pub(super) fn at(&self, now: UnixTime) -> Result<Arc<V>, Error> {
        let nobody = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let now = moment(now);
        if self.first_until.is_none_or(|until| now < until) {
            return self.first.clone().ok_or_else(nobody);
        }
        self.made_at(now).ok().flatten().ok_or_else(nobody)
    }

    fn made_at(&self, now: SystemTime) -> Result<Option<Arc<V>>, VerifierBuilderError> {
        let timely = self.anchors.timely(now);
        if timely.is_empty() { Ok(None) } else { (self.make)(Arc::new(timely), self).map(Some) }
    }
}

impl<V: ?Sized> fmt::Debug for Anchored<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchored").field("anchors", &self.anchors).finish_non_exhaustive()
    }
}

/// rustls' time as everybody else's.
pub(super) fn moment(time: UnixTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.as_secs())
}
