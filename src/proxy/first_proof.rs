//! Waiting for the first of several new members that proves its cluster.

use std::rc::Rc;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::upstream::link::{ConnectError, Link};

/// Has all of `links` prove their cluster at once, and returns as soon as one has, or at `deadline`.
///
/// # Errors
/// Why each has not; those that have not answered are not in it.
pub async fn first_proof(
    links: &[Rc<Link>],
    deadline: Instant,
) -> Result<(), Vec<(Rc<Link>, ConnectError)>> {
    let mut proving = JoinSet::new();
    for link in links.iter().cloned() {
        proving.spawn_local(async move {
            let proved = link.prove_new().await;
            (link, proved)
        });
    }
    let mut failed = Vec::new();
    while let Ok(Some(ended)) = timeout_at(deadline, proving.join_next()).await {
        match ended {
            Ok((_, Ok(()))) => return Ok(()),
            Ok((link, Err(error))) => failed.push((link, error)),
            Err(_) => {} // It does not panic, and only dropping the set cancels one.
        }
    }
    Err(failed)
}
