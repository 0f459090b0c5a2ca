//! etcd's discovery protocol of 3.6 and later: keys of any etcd with the v3 API, read over gRPC.
//!
//! `/_etcd/registry/TOKEN/_config/size` has the size; every key below `/_etcd/registry/TOKEN/members` is a member, in the
//! order of its creation. Changes are waited for with a watch, whose first event leads to another look. The endpoints are
//! tried in the order given until one answers.

use std::time::Duration;

use tokio::time::timeout;

use super::error::{Fault, RegistryError};
use super::link::connect;
use super::rpc::{
    AuthenticateRequest, AuthenticateResponse, Channel, RangeRequest, RangeResponse,
    WatchCreateRequest, WatchRequest, WatchResponse,
};
use super::{Registered, Registration, size};
use crate::config::{RegistryToken, WebUrl};

/// etcd forbids more frequent pings, and ends the connection; Go's client keeps to this minimum as well.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(10);

/// gRPC's code for a request that can never be right.
const INVALID_ARGUMENT: u32 = 3;

/// What people call the registry.
pub(super) fn place(registry: &RegistryToken) -> String {
    let endpoints: Vec<String> = registry.endpoints.iter().map(WebUrl::to_string).collect();
    format!("{} (token {})", endpoints.join(","), super::printable(&registry.token))
}

/// Asks for the size and the members.
pub(super) async fn look(registry: &RegistryToken) -> Result<Registered, RegistryError> {
    let mut faults = Faults::of(registry);
    for endpoint in &registry.endpoints {
        match look_at(registry, endpoint).await {
            Ok(registered) => return Ok(registered),
            Err(fault) => faults.note(endpoint, fault)?,
        }
    }
    Err(faults.all())
}

/// Waits for an event among the members.
pub(super) async fn changed(
    registry: &RegistryToken,
    position: u64,
    limit: Duration,
) -> Result<(), RegistryError> {
    let mut faults = Faults::of(registry);
    for endpoint in &registry.endpoints {
        match watch(registry, endpoint, position, limit).await {
            Ok(()) => return Ok(()),
            Err(fault) => faults.note(endpoint, fault)?,
        }
    }
    Err(faults.all())
}

/// Why each endpoint was of no use.
struct Faults<'a> {
    registry: &'a RegistryToken,
    noted: Vec<(&'a WebUrl, Fault)>,
}

impl<'a> Faults<'a> {
    fn of(registry: &'a RegistryToken) -> Self {
        Self { registry, noted: Vec::new() }
    }

    /// Notes why an endpoint was of no use. What is wrong with the registry itself is the same everywhere.
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

async fn open(registry: &RegistryToken, endpoint: &WebUrl) -> Result<Channel, Fault> {
    let limit = registry.dial_timeout.unwrap_or(registry.request_timeout);
    let opening = async {
        let link = connect(endpoint, registry.dial_timeout).await?;
        Channel::begin(link, endpoint).await
    };
    let mut channel = timeout(limit, opening).await.unwrap_or(Err(Fault::NoAnswer(limit)))?;
    if let Some(login) = &registry.login {
        let message =
            AuthenticateRequest { name: login.user.clone(), password: login.password.clone() };
        let answer: Result<AuthenticateResponse, Fault> =
            call(registry, &mut channel, "/etcdserverpb.Auth/Authenticate", &message).await;
        match answer {
            Ok(answer) => channel.authenticate(answer.token),
            // A registry that asks for no password takes everybody.
            Err(Fault::Rpc { message, .. })
                if message.contains("authentication is not enabled") => {}
            Err(Fault::Rpc { code: INVALID_ARGUMENT, message }) => {
                return Err(Fault::Login(message));
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(channel)
}

async fn call<A: prost::Message + Default>(
    registry: &RegistryToken,
    channel: &mut Channel,
    method: &str,
    message: &impl prost::Message,
) -> Result<A, Fault> {
    let limit = registry.request_timeout;
    let calling = channel.call(method, message);
    timeout(limit, calling).await.unwrap_or(Err(Fault::NoAnswer(limit)))
}

async fn look_at(registry: &RegistryToken, endpoint: &WebUrl) -> Result<Registered, Fault> {
    let channel = &mut open(registry, endpoint).await?;
    let size_key = key(registry, "_config/size");
    let message = RangeRequest { key: size_key.clone().into(), range_end: Vec::new() };
    let got: RangeResponse = call(registry, channel, RANGE, &message).await?;
    let Some(size_pair) = got.kvs.first() else { return Err(Fault::NoSize(size_key)) };
    let size = size(&String::from_utf8_lossy(&size_pair.value))?;
    let (key, range_end) = members(registry);
    let message = RangeRequest { key, range_end };
    let mut got: RangeResponse = call(registry, channel, RANGE, &message).await?;
    got.kvs.sort_by_key(|pair| pair.create_revision);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    // As etcd does: what is no entry is left out here, and in v2 makes the whole registry unusable.
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
    endpoint: &WebUrl,
    position: u64,
    limit: Duration,
) -> Result<(), Fault> {
    let mut channel = open(registry, endpoint).await?;
    let (key, range_end) = members(registry);
    let start_revision = i64::try_from(position.saturating_add(1)).unwrap_or(i64::MAX);
    let create_request = Some(WatchCreateRequest { key, range_end, start_revision });
    let message = WatchRequest { create_request };
    let opening = timeout(registry.request_timeout, channel.stream(WATCH, &message));
    let mut answers = opening.await.unwrap_or(Err(Fault::NoAnswer(registry.request_timeout)))?;
    let event = async {
        // The first answer says that the watch was created, and has no event.
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
        fault = lost => Err(fault),
        () = tokio::time::sleep(limit) => Ok(()),
    }
}

/// The key below the token, cleaned as etcd cleans it.
fn key(registry: &RegistryToken, rest: &str) -> String {
    let token: Vec<&str> = registry.token.split('/').filter(|part| !part.is_empty()).collect();
    format!("/_etcd/registry/{}/{rest}", token.join("/"))
}

/// The keys that begin like the members': the first, and the first behind the last.
fn members(registry: &RegistryToken) -> (Vec<u8>, Vec<u8>) {
    let first = key(registry, "members").into_bytes();
    let mut end = first.clone();
    if let Some(last) = end.last_mut() {
        // An `s`, so that it cannot overflow.
        *last += 1;
    }
    (first, end)
}
