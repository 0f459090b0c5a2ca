//! Counts of HTTP requests, by the labels of etcd's own proxy.

use std::time::Duration;

use super::buckets::{Buckets, HTTP_BOUNDS};
use super::count::Count;

/// An HTTP method in the metrics. Unusual methods are `Other`, so that clients cannot create label
/// values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMethod {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Other,
}

impl HttpMethod {
    /// Every method, in the order of its discriminant.
    pub const ALL: [Self; 8] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Options,
        Self::Patch,
        Self::Other,
    ];

    /// Returns the value of the `method` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Other => "other",
        }
    }
}

impl From<&http::Method> for HttpMethod {
    fn from(method: &http::Method) -> Self {
        use http::Method;
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::DELETE => Self::Delete,
            Method::OPTIONS => Self::Options,
            Method::PATCH => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// Why a request was not handled: etcd's `proxying_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// There was no endpoint to send it to (503).
    ZeroEndpoints,
    /// One attempt failed; another may have followed.
    FailedSendingRequest,
    /// Every attempt failed (502).
    FailedGettingResponse,
}

impl Dropped {
    /// Every reason, in the order of its discriminant.
    pub const ALL: [Self; 3] =
        [Self::ZeroEndpoints, Self::FailedSendingRequest, Self::FailedGettingResponse];

    /// Returns the value of the `proxying_error` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::ZeroEndpoints => "zero_endpoints",
            Self::FailedSendingRequest => "failed_sending_request",
            Self::FailedGettingResponse => "failed_getting_response",
        }
    }
}

const FIRST_STATUS: u16 = 100;
const STATUSES: usize = 500;

/// One worker's counts of one HTTP method.
#[derive(Debug)]
pub struct MethodCounters {
    pub(super) started: Count,
    pub(super) dropped: [Count; Dropped::ALL.len()],
    /// One for each status from 100 to 599, and one for all others.
    statuses: [Count; STATUSES + 1],
    duration: Buckets<{ HTTP_BOUNDS.len() }>,
}

impl MethodCounters {
    pub(super) const fn new() -> Self {
        Self {
            started: Count::new(),
            dropped: [const { Count::new() }; Dropped::ALL.len()],
            statuses: [const { Count::new() }; STATUSES + 1],
            duration: Buckets::new(),
        }
    }

    #[inline]
    pub(super) fn finished(&self, status: u16, took: Duration) {
        let slot = usize::from(status.wrapping_sub(FIRST_STATUS)).min(STATUSES);
        self.statuses[slot].add(1);
        self.duration.observe(&HTTP_BOUNDS, took);
    }

    /// Returns how many requests came in.
    pub fn started(&self) -> u64 {
        self.started.value()
    }

    /// Returns how many were dropped for `reason`.
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize].value()
    }

    /// Returns the statuses that are counted separately; the last, `None`, stands for all outside
    /// of 100 to 599.
    pub fn statuses() -> impl Iterator<Item = Option<u16>> {
        (FIRST_STATUS..).take(STATUSES).map(Some).chain([None])
    }

    /// Returns how often members answered with each status, in the order of [`Self::statuses`].
    pub fn status_counts(&self) -> impl Iterator<Item = u64> {
        self.statuses.iter().map(Count::value)
    }

    /// Returns the distribution of the times that members took to answer.
    pub fn duration(&self) -> &Buckets<{ HTTP_BOUNDS.len() }> {
        &self.duration
    }
}
