//! Trust anchors, each used only while it is valid itself: rustls checks the validity of
//! certificates, but not that of their trust anchors.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::VerifierBuilderError;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificate::Certificate;

/// Trust anchors, including expired and not-yet-valid ones.
#[derive(Debug, Clone)]
pub(super) struct Anchors {
    roots: RootCertStore,
    /// The certificates of `roots`, in the same order.
    certificates: Vec<Certificate>,
    /// When the file was read.
    read_at: SystemTime,
    /// Their source for messages, such as `/etc/ca.crt (trusted-ca-file)`.
    pub(super) described: String,
}

impl Anchors {
    /// Creates an empty set.
    pub(super) fn new(described: String, read_at: SystemTime) -> Self {
        let roots = RootCertStore::empty();
        Self { roots, certificates: Vec::new(), read_at, described }
    }

    /// Adds an authority. Returns false if rustls cannot use it.
    pub(super) fn add(&mut self, der: CertificateDer<'_>, certificate: Certificate) -> bool {
        let added = self.roots.add(der).is_ok();
        if added {
            self.certificates.push(certificate);
        }
        added
    }

    /// Tells whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Returns all of them, whether valid or not.
    pub(super) fn roots(&self) -> &RootCertStore {
        &self.roots
    }

    /// Returns why an authority with this subject is not valid at `now`; `None` if there is no such
    /// one.
    pub(super) fn untimely(&self, subject: &str, now: UnixTime) -> Option<String> {
        let mut named = self.certificates.iter().filter(|it| it.subject == subject);
        named.find_map(|certificate| certificate.untimely(moment(now)))
    }

    /// Returns the size in bits of the RSA key of an authority with this subject, if that size is
    /// not supported.
    pub(super) fn unusable_rsa(&self, subject: &str) -> Option<usize> {
        let mut named = self.certificates.iter().filter(|it| it.subject == subject);
        named.find_map(Certificate::unusable_rsa)
    }

    /// Returns the authority that expires first, except those that had already expired when they
    /// were read.
    pub(super) fn first_to_expire(&self) -> Option<&Certificate> {
        let good = self.certificates.iter().filter(|it| it.not_after >= self.read_at);
        good.min_by_key(|certificate| certificate.not_after)
    }

    /// Returns the ones that are valid at `now`.
    fn timely(&self, now: SystemTime) -> RootCertStore {
        let pairs = self.roots.roots.iter().zip(&self.certificates);
        let timely = pairs.filter(|(_, certificate)| certificate.untimely(now).is_none());
        RootCertStore { roots: timely.map(|(root, _)| root.clone()).collect() }
    }

    /// Returns when the set of valid ones first changes after it was read.
    fn change(&self) -> Option<SystemTime> {
        let times = self.certificates.iter().flat_map(|it| [it.not_before, it.not_after]);
        times.filter(|time| *time > self.read_at).min()
    }
}

type Make<V> = fn(Arc<RootCertStore>, &Anchored<V>) -> Result<Arc<V>, VerifierBuilderError>;

/// A rustls verifier over the currently valid trust anchors.
pub(super) struct Anchored<V: ?Sized> {
    pub(super) anchors: Anchors,
    pub(super) provider: Arc<rustls::crypto::CryptoProvider>,
    make: Make<V>,
    /// The verifier over those that were valid when they were read; `None` if none were.
    first: Option<Arc<V>>,
    /// Until when `first` can be used; `None` for ever.
    first_until: Option<SystemTime>,
}

impl<V: ?Sized> Anchored<V> {
    /// Creates the first verifier with `make`.
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

    /// Returns the trust anchors that are valid at `now`.
    pub(super) fn roots_at(&self, now: UnixTime) -> RootCertStore {
        self.anchors.timely(moment(now))
    }

    /// Returns the verifier for `now`. Once an authority has expired or become valid since the file
    /// was read, a new verifier is built at each call, until the CA file changes.
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

/// Converts rustls' time to the standard library's.
pub(super) fn moment(time: UnixTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.as_secs())
}
