//! The discovery protocol of etcd 3.6 and later: keys of any etcd with the v3 API, read over gRPC.
//!
//! `/_etcd/registry/TOKEN/_config/size` holds the size; every key below
//! `/_etcd/registry/TOKEN/members` is a member, in the order of its creation. Changes are waited
//! for with a watch, whose first event leads to another fetch. The endpoints are tried in the given
//! order until one answers.

use std::time::Duration;

use prost::Message;
use tokio::time::timeout;

use super::error::{Fault, RegistryError, excerpt};
use super::link::connect;
use super::registered::{Registered, Registration, size};
use super::rpc::{
    Answers, RangeRequest, RangeResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};
use crate::cluster::grpc::{CallError, Channel};
use crate::config::{Login, RegistryToken, WebUrl};
use crate::net::dial::{Authority, NamedBy};
use crate::tls::{Alpn, Connector};

/// Least time between two pings. etcd closes a connection that pings more often; Go's client keeps
/// to this minimum as well.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(10);

/// gRPC's code for a request that can never succeed: here, a wrong password.
const INVALID_ARGUMENT: u8 = 3;

/// gRPC's code for a request in the wrong state: here, a password where auth is not enabled.
const FAILED_PRECONDITION: u8 = 9;

/// Returns the registry's name in messages.
pub(super) fn place(registry: &RegistryToken) -> String {
    let endpoints: Vec<String> = registry.endpoints.iter().map(WebUrl::to_string).collect();
    format!("{} (token {})", endpoints.join(","), excerpt(&registry.token))
}

/// Reads the size and the members.
pub(super) async fn fetch(
    registry: &RegistryToken,
    tls: &Connector,
) -> Result<Registered, RegistryError> {
    let mut faults = Faults::of(registry);
    for endpoint in &registry.endpoints {
        match fetch_at(registry, tls, endpoint).await {
            Ok(registered) => return Ok(registered),
            Err(fault) => faults.note(endpoint, fault)?,
        }
    }
    Err(faults.all())
}

/// Waits for an event among the members.
pub(super) async fn changed(
    registry: &RegistryToken,
    tls: &Connector,
    position: u64,
    limit: Duration,
) -> Result<(), RegistryError> {
    let mut faults = Faults::of(registry);
    for endpoint in &registry.endpoints {
        match watch(registry, tls, endpoint, position, limit).await {
            Ok(()) => return Ok(()),
            Err(fault) => faults.note(endpoint, fault)?,
        }
    }
    Err(faults.all())
}

/// Why each endpoint failed.
struct Faults<'a> {
    registry: &'a RegistryToken,
    noted: Vec<(&'a WebUrl, Fault)>,
}

impl<'a> Faults<'a> {
    fn of(registry: &'a RegistryToken) -> Self {
        Self { registry, noted: Vec::new() }
    }

    /// Records why an endpoint failed. A fatal fault is returned at once: it is the registry's own,
    /// and the same at every endpoint.
    fn note(&mut self, endpoint: &'a WebUrl, fault: Fault) -> Result<(), RegistryError> {
        let error = RegistryError { place: place(self.registry), fault: fault.clone() };
        if error.is_fatal() {
            return Err(error);
        }
        self.noted.push((endpoint, fault));
        Ok(())
    }

    fn all(mut self) -> RegistryError {
        let fault = match self.noted.len() {
            1 => self.noted.remove(0).1,
            _ => {
                let told = self.noted.iter().map(|(endpoint, fault)| format!("{endpoint} {fault}"));
                Fault::NoEndpoint(told.collect())
            }
        };
        RegistryError { place: place(self.registry), fault }
    }
}

async fn open(
    registry: &RegistryToken,
    tls: &Connector,
    endpoint: &WebUrl,
) -> Result<Channel, Fault> {
    let limit = registry.dial_timeout.unwrap_or(registry.request_timeout);
    let opening = async {
        let to = (endpoint, NamedBy::Operator);
        let link = connect(to, registry.dial_timeout, tls, Alpn::H2).await?;
        let authority = Authority(&endpoint.host, endpoint.port).to_string();
        Ok(Channel::over(link, &authority, endpoint.tls).await?)
    };
    let mut channel = timeout(limit, opening).await.unwrap_or(Err(Fault::NoAnswer(limit)))?;
    let Some(Login { user, password }) = &registry.login else { return Ok(channel) };
    match channel.authenticate(user, password, registry.request_timeout).await {
        // An etcd without auth needs no login.
        Ok(()) | Err(CallError::Status(FAILED_PRECONDITION, _)) => Ok(channel),
        Err(CallError::Status(INVALID_ARGUMENT, words)) => Err(Fault::Login(excerpt(&words))),
        Err(error) => Err(error.into()),
    }
}

async fn fetch_at(
    registry: &RegistryToken,
    tls: &Connector,
    endpoint: &WebUrl,
) -> Result<Registered, Fault> {
    let channel = open(registry, tls, endpoint).await?;
    let limit = registry.request_timeout;
    let size_key = key(registry, "_config/size");
    let message = RangeRequest { key: size_key.clone().into(), range_end: Vec::new() };
    let got: RangeResponse = channel.call(RANGE, &message, limit).await?;
    let Some(size_pair) = got.kvs.first() else { return Err(Fault::NoSize(size_key)) };
    let size = size(&String::from_utf8_lossy(&size_pair.value))?;
    let (key, range_end) = members(registry);
    let message = RangeRequest { key, range_end };
    let mut got: RangeResponse = channel.call(RANGE, &message, limit).await?;
    got.kvs.sort_by_key(|pair| pair.create_revision);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    // As etcd does: anything that is not an entry is skipped here, while in v2 it makes the whole
    // registry unusable.
    let entries = got.kvs.iter().map(|pair| (text(&pair.key), text(&pair.value)));
    let members = entries.filter(|(_, value)| value.contains('='));
    Ok(Registered {
        size,
        members: members.map(|(key, value)| Registration::new(&key, &value)).collect(),
        position: got.header.map_or(0, |header| header.revision).try_into().unwrap_or(0),
        names_are_unique: false,
        place: place(registry),
    })
}

const RANGE: &str = "/etcdserverpb.KV/Range";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

async fn watch(
    registry: &RegistryToken,
    tls: &Connector,
    endpoint: &WebUrl,
    position: u64,
    limit: Duration,
) -> Result<(), Fault> {
    let mut channel = open(registry, tls, endpoint).await?;
    let (key, range_end) = members(registry);
    let start_revision = i64::try_from(position.saturating_add(1)).unwrap_or(i64::MAX);
    let create_request = Some(WatchCreateRequest { key, range_end, start_revision });
    let message = WatchRequest { create_request }.encode_to_vec();
    let opening = timeout(registry.request_timeout, channel.open(WATCH, &message, false));
    let opened = opening.await.map_err(|_| Fault::NoAnswer(registry.request_timeout))??;
    let mut answers = Answers::new(opened);
    let event = async {
        // The first answer confirms the watch, and has no event.
        while let Some(answer) = answers.next::<WatchResponse>().await? {
            if answer.canceled || !answer.events.is_empty() {
                break;
            }
        }
        Ok(())
    };
    let lost = async {
        match registry.keepalive_time {
            Some(time) => channel.lost(time.max(LEAST_KEEPALIVE), registry.keepalive_timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = event => result,
        error = lost => Err(error.into()),
        () = tokio::time::sleep(limit) => Ok(()),
    }
}

/// Returns the key `rest` below the token, which is cleaned as in etcd.
fn key(registry: &RegistryToken, rest: &str) -> String {
    let token: Vec<&str> = registry.token.split('/').filter(|part| !part.is_empty()).collect();
    format!("/_etcd/registry/{}/{rest}", token.join("/"))
}

/// Returns the range of keys that begin with `members`: its first key, and the first one after it.
fn members(registry: &RegistryToken) -> (Vec<u8>, Vec<u8>) {
    let first = key(registry, "members").into_bytes();
    let mut end = first.clone();
    if let Some(last) = end.last_mut() {
        // The last byte is an `s`, so this cannot overflow.
        *last += 1;
    }
    (first, end)
}
