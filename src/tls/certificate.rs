//! The fields of a certificate that messages and checks need.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::asn1_rs::Tag;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use crate::config::printable;

/// Maximum number of names kept of a certificate. A stranger's certificate may have thousands, and
/// a message about it is kept for the status.
const NAMES_MOST: usize = 20;

/// A parsed certificate, with its text made printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its subject, such as `CN=infra0, O=etcd`; may be empty.
    pub subject: String,
    /// The last CN of its subject, which is the one that Go uses; never empty.
    pub common_name: Option<String>,
    /// Its issuer.
    pub issuer: String,
    /// The DNS names and IP addresses that it is valid for, at most twenty.
    pub names: Vec<String>,
    /// The start of its validity.
    pub not_before: SystemTime,
    /// The end of its validity.
    pub not_after: SystemTime,
    /// Whether it may sign others: it is marked as a CA certificate, or it is self-issued and of a
    /// version before 3, which has no such mark.
    pub can_sign: bool,
    /// Whether its subject and issuer are the same.
    pub is_self_issued: bool,
    /// Whether it is of version 3. Older versions are accepted for authorities only.
    pub is_v3: bool,
    /// The size of its key in bits, if that is RSA.
    pub rsa_bits: Option<usize>,
    /// IP addresses that it has as DNS names, which no verifier accepts.
    pub misplaced: Vec<String>,
}

impl Certificate {
    /// Parses a certificate; `None` if `der` is not one.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let (subject, issuer) = (certificate.subject(), certificate.issuer());
        let is_v3 = certificate.version() == X509Version::V3;
        let is_self_issued = subject.as_raw() == issuer.as_raw();
        Some(Self {
            common_name: common_name(subject),
            names: names(&certificate, told),
            not_before: moment(certificate.validity().not_before),
            not_after: moment(certificate.validity().not_after),
            can_sign: certificate.is_ca() || (is_self_issued && !is_v3),
            is_self_issued,
            is_v3,
            rsa_bits: rsa_bits(&certificate),
            misplaced: misplaced(&certificate),
            subject: clipped(&subject.to_string()),
            issuer: clipped(&issuer.to_string()),
        })
    }

    /// Returns its title for messages: its subject, else its names.
    pub fn title(&self) -> String {
        match (self.subject.as_str(), self.names.as_slice()) {
            ("", []) => "(no subject)".to_owned(),
            ("", names) => names.join(", "),
            (subject, _) => subject.to_owned(),
        }
    }

    /// Returns the size of its RSA key in bits, if that is outside of the supported 2048 to 8192.
    pub fn unusable_rsa(&self) -> Option<usize> {
        self.rsa_bits.filter(|bits| !(2048..=8192).contains(bits))
    }

    /// Returns why it is not valid at `now`, with the date; `None` if it is valid.
    pub fn untimely(&self, now: SystemTime) -> Option<String> {
        if now > self.not_after {
            Some(format!("expired on {}", day(self.not_after)))
        } else if now < self.not_before {
            Some(format!("is not valid before {}", moment_text(self.not_before)))
        } else {
            None
        }
    }
}

fn common_name(subject: &X509Name<'_>) -> Option<String> {
    let name = subject.iter_common_name().last()?.attr_value();
    let bytes = name.data;
    let text = match name.tag() {
        Tag::BmpString => {
            let pairs = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(pairs).map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        // Read as Latin-1, as in Go; real T.61 is not in use.
        Tag::T61String => bytes.iter().copied().map(char::from).collect(),
        // A CN that is not valid UTF-8 still counts as one, because members may be able to read it.
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    Some(clipped(&text)).filter(|name| !name.is_empty())
}

/// Returns the subject alternative names that `choose` selects, as text.
fn names(
    certificate: &X509Certificate<'_>,
    choose: fn(&GeneralName<'_>) -> Option<String>,
) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(choose).take(NAMES_MOST).collect()
}

fn told(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(clipped(name)),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    }
}

fn rsa_bits(certificate: &X509Certificate<'_>) -> Option<usize> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => {
            let modulus = key.modulus.iter().skip_while(|byte| **byte == 0);
            let mut bytes = modulus.copied();
            let first = bytes.next()?;
            Some(8 * (bytes.count() + 1) - usize::try_from(first.leading_zeros()).ok()?)
        }
        _ => None,
    }
}

fn misplaced(certificate: &X509Certificate<'_>) -> Vec<String> {
    names(certificate, |name| match name {
        GeneralName::DNSName(name) => {
            name.parse::<IpAddr>().ok().map(|address| address.to_string())
        }
        _ => None,
    })
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string())
}

/// Converts a time. Times before 1970 become 1970.
pub(super) fn moment(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

fn date_time(time: SystemTime) -> Option<ASN1Time> {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    ASN1Time::from_timestamp(i64::try_from(seconds).ok()?).ok()
}

/// Returns the day of `time` in UTC, such as `2026-11-22`.
pub fn day(time: SystemTime) -> String {
    date_time(time).map_or_else(String::new, |time| time.to_datetime().date().to_string())
}

fn moment_text(time: SystemTime) -> String {
    let Some(time) = date_time(time) else { return String::new() };
    let time = time.to_datetime();
    format!("{} {:02}:{:02} UTC", time.date(), time.hour(), time.minute())
}

/// Returns at most 200 characters of a name, without control characters: certificates come from
/// strangers too.
fn clipped(name: &str) -> String {
    const LONGEST: usize = 200;
    printable(&name.chars().take(LONGEST).collect::<String>())
}
