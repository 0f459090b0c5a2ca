//! etcd's first discovery protocol: a directory of the v2 API, read over HTTP, usually from a
//! discovery service.
//!
//! `TOKEN/_config/size` holds the size; every other child of `TOKEN` is a member, in the order of
//! `createdIndex`. Changes are waited for with a long poll, and whatever ends it leads to another
//! fetch. So an event that is lost (etcd keeps the last thousand), a poll cut short by a load
//! balancer and a restarted service do no harm.

use std::time::Duration;

use serde::Deserialize;

use super::error::{Fault, RegistryError, excerpt};
use super::http::{Page, get};
use super::registered::{Registered, Registration, size};
use crate::config::RegistryUrl;
use crate::tls::Connector;

/// Limit for one request, as etcd's.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// etcd's error code for a key that does not exist.
const KEY_NOT_FOUND: u64 = 100;

/// etcd's error code for events that are too old to be reported.
const EVENT_INDEX_CLEARED: u64 = 401;

/// The key of the size, below the token.
const SIZE_KEY: &str = "/_config/size";

/// The query of a read, as etcd's client sends it.
const QUERY: &str = "?quorum=false&recursive=false&sorted=false";

/// Reads the size and the members.
pub(super) async fn fetch(
    registry: &RegistryUrl,
    tls: &Connector,
) -> Result<Registered, RegistryError> {
    read(registry, tls).await.map_err(|fault| error(registry, fault))
}

/// Waits for an event below the token.
pub(super) async fn changed(
    registry: &RegistryUrl,
    tls: &Connector,
    position: u64,
    limit: Duration,
) -> Result<(), RegistryError> {
    let next = position.saturating_add(1);
    let query = format!("?recursive=true&wait=true&waitIndex={next}");
    match get(registry, tls, &query, limit).await {
        // Either nobody has registered, or events were lost. In both cases the caller fetches
        // again.
        Err(Fault::NoAnswer(_)) => Ok(()),
        Err(fault) => Err(error(registry, fault)),
        Ok(page) if page.status == 200 => Ok(()),
        Ok(page) => match complaint(&page) {
            Fault::Etcd { code: EVENT_INDEX_CLEARED, .. } => Ok(()),
            fault => Err(error(registry, fault)),
        },
    }
}

fn error(registry: &RegistryUrl, fault: Fault) -> RegistryError {
    RegistryError { place: registry.url.to_string(), fault }
}

async fn read(registry: &RegistryUrl, tls: &Connector) -> Result<Registered, Fault> {
    let page = get(registry, tls, &format!("{SIZE_KEY}{QUERY}"), REQUEST_LIMIT).await?;
    let size_node = node(&page).map_err(|fault| match fault {
        Fault::Etcd { code: KEY_NOT_FOUND, .. } => {
            Fault::NoSize(format!("{}{SIZE_KEY}", registry.url.path))
        }
        fault => fault,
    })?;
    let size = size(size_node.value.as_deref().unwrap_or_default())?;
    let page = get(registry, tls, QUERY, REQUEST_LIMIT).await?;
    let mut nodes = node(&page)?.nodes.unwrap_or_default();
    nodes.retain(|node| !node.key.ends_with("/_config"));
    nodes.sort_by_key(|node| node.created_index);
    let entry =
        |node: &Node| Registration::new(&node.key, node.value.as_deref().unwrap_or_default());
    Ok(Registered {
        size,
        members: nodes.iter().map(entry).collect(),
        position: index(&page).unwrap_or_else(|| newest(&nodes)),
        names_are_unique: true,
        place: registry.url.to_string(),
    })
}

/// A node of the v2 API; fields that Go omits are empty.
#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    key: String,
    value: Option<String>,
    nodes: Option<Vec<Node>>,
    #[serde(default, rename = "createdIndex")]
    created_index: u64,
    #[serde(default, rename = "modifiedIndex")]
    modified_index: u64,
}

#[derive(Deserialize)]
struct Got {
    node: Node,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "errorCode")]
    code: u64,
    #[serde(default)]
    message: String,
}

fn node(page: &Page) -> Result<Node, Fault> {
    if !matches!(page.status, 200 | 201) {
        return Err(complaint(page));
    }
    let got: Result<Got, _> = serde_json::from_slice(&page.body);
    got.map(|got| got.node).map_err(|_| Fault::NotARegistry(page.status))
}

/// Turns an error page into a fault: of a service in trouble, of an etcd that refuses, or of
/// something that is not a registry.
fn complaint(page: &Page) -> Fault {
    if page.status / 100 == 5 {
        return Fault::Status(page.status);
    }
    match serde_json::from_slice::<Refusal>(&page.body) {
        Ok(refusal) => Fault::Etcd { code: refusal.code, message: excerpt(&refusal.message) },
        Err(_) => Fault::NotARegistry(page.status),
    }
}

/// Returns the index of the whole store.
fn index(page: &Page) -> Option<u64> {
    page.headers.get("x-etcd-index")?.to_str().ok()?.parse().ok()
}

fn newest(nodes: &[Node]) -> u64 {
    nodes.iter().map(|node| node.modified_index).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
