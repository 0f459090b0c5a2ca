//! The authorities that vouch for certificates, each for as long as it is valid itself: rustls looks at the times of what
//! they have signed, and never at their own.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::VerifierBuilderError;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificate::Certificate;

/// Some authorities.
#[derive(Debug, Clone)]
pub(super) struct Anchors {
    roots: RootCertStore,
    /// The certificate of each root, in the same order.
    certificates: Vec<Certificate>,
    /// Those that were not valid when they were read.
    untimely: Vec<Certificate>,
    /// Where they were read, in words: `/etc/ca.crt (trusted-ca-file)`.
    pub(super) described: String,
}

impl Anchors {
    /// Nobody yet.
    pub(super) fn new(described: String) -> Self {
        let (certificates, untimely) = (Vec::new(), Vec::new());
        Self { roots: RootCertStore::empty(), certificates, untimely, described }
    }

    /// Adds an authority, which vouches for nobody when it is not valid at `now`. Returns whether rustls can use it.
    pub(super) fn add(
        &mut self,
        der: CertificateDer<'_>,
        certificate: Certificate,
        now: SystemTime,
    ) -> bool {
        if certificate.untimely(now).is_some() {
            self.untimely.push(certificate);
            return true;
        }
        let added = self.roots.add(der).is_ok();
        if added {
            self.certificates.push(certificate);
        }
        added
    }

    /// Whether nobody vouches for anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The names of those that vouch.
    pub(super) fn roots(&self) -> &RootCertStore {
        &self.roots
    }

    /// Says that the authority of this name is not valid at `now`, if that is so of one.
    pub(super) fn untimely(&self, subject: &str, now: UnixTime) -> Option<String> {
        let all = self.certificates.iter().chain(&self.untimely);
        let mut named = all.filter(|certificate| certificate.subject == subject);
        named.find_map(|certificate| certificate.untimely(moment(now)))
    }

    /// The first of those that vouch to expire.
    pub(super) fn first_to_expire(&self) -> Option<&Certificate> {
        self.certificates.iter().min_by_key(|certificate| certificate.not_after)
    }

    fn left(&self, now: SystemTime) -> RootCertStore {
        let pairs = self.roots.roots.iter().zip(&self.certificates);
        let timely = pairs.filter(|(_, certificate)| certificate.untimely(now).is_none());
        RootCertStore { roots: timely.map(|(root, _)| root.clone()).collect() }
    }
}

type Make<V> = fn(Arc<RootCertStore>, &Anchored<V>) -> Result<Arc<V>, VerifierBuilderError>;

/// A verifier of rustls over those of its authorities that are valid.
pub(super) struct Anchored<V: ?Sized> {
    pub(super) anchors: Anchors,
    pub(super) provider: Arc<rustls::crypto::CryptoProvider>,
    make: Make<V>,
    /// Over all of them; `None` when there is none.
    whole: Option<Arc<V>>,
    /// When the first of them ends to be valid.
    whole_until: Option<SystemTime>,
}

impl<V: ?Sized> Anchored<V> {
    /// Has `make` make it.
    pub(super) fn new(
        anchors: Anchors,
        provider: Arc<rustls::crypto::CryptoProvider>,
        make: Make<V>,
    ) -> Result<Self, VerifierBuilderError> {
        let whole_until = anchors.first_to_expire().map(|first| first.not_after);
        let mut anchored = Self { anchors, provider, make, whole: None, whole_until };
        if !anchored.anchors.is_empty() {
            let roots = Arc::new(anchored.anchors.roots.clone());
            anchored.whole = Some(make(roots, &anchored)?);
        }
        Ok(anchored)
    }

    /// Returns it as it is at `now`. That of all authorities is at hand; once one has expired, the one of the others is
    /// made each time, until somebody takes the old authority out of its file.
    pub(super) fn at(&self, now: UnixTime) -> Result<Arc<V>, Error> {
        let nobody = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let now = moment(now);
        if self.whole_until.is_none_or(|end| now <= end) {
            return self.whole.clone().ok_or_else(nobody);
        }
        let left = self.anchors.left(now);
        if left.is_empty() {
            return Err(nobody());
        }
        (self.make)(Arc::new(left), self).map_err(|_| nobody())
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
