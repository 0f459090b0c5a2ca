//! Waits for the first of several new members to prove its cluster.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::upstream::connect_error::ConnectError;
use crate::upstream::worker_endpoint::WorkerEndpoint;

/// Pause before a member that broke the connection or gave no answer is asked for its proof again.
/// One that refuses the connection, or answers without a proof, is not asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// Asks all of `upstreams` for their proof at once, and returns as soon as one has it, or at
/// `deadline`.
///
/// # Errors
/// The last error of each member; members that have not answered are left out.
pub async fn first_proof(
    upstreams: &[Rc<WorkerEndpoint>],
    deadline: Instant,
) -> Result<(), Vec<(Rc<WorkerEndpoint>, ConnectError)>> {
    let mut proving = JoinSet::new();
    let begin = |proving: &mut JoinSet<_>, upstream: Rc<WorkerEndpoint>, pause: Duration| {
        proving.spawn_local(async move {
            sleep(pause).await;
            let proved = upstream.prove_new().await;
            (upstream, proved)
        });
    };
    upstreams.iter().for_each(|upstream| begin(&mut proving, upstream.clone(), Duration::ZERO));
    let mut failed: Vec<(Rc<WorkerEndpoint>, ConnectError)> = Vec::new();
    while let Ok(Some(ended)) = timeout_at(deadline, proving.join_next()).await {
        match ended {
            Ok((_, Ok(()))) => return Ok(()),
            Ok((upstream, Err(error))) => {
                if error.is_passing() {
                    begin(&mut proving, upstream.clone(), AGAIN);
                }
                failed.retain(|(other, _)| !Rc::ptr_eq(other, &upstream));
                failed.push((upstream, error));
            }
            Err(_) => {} // Tasks do not panic, and only dropping the set cancels one.
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::upstream::endpoint::Endpoint;
    use crate::upstream::scripted::{CLUSTER, Member};
    use crate::upstream::worker_endpoint::Timeouts;

    #[tokio::test]
    async fn a_member_whose_connections_break_is_asked_again_until_the_deadline() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let member = Member::start().await;
                member.close_at_once(usize::MAX);
                let (url, http) = ("http://127.0.0.1:1", http::uri::Scheme::HTTP);
                let port = member.at.port();
                let endpoint = Endpoint::new(url, CLUSTER, "m", 1, http, "127.0.0.1", port, 1);
                let timeouts = Timeouts { proof: Duration::from_secs(10), ..Timeouts::default() };
                let endpoint = Arc::new(endpoint.unwrap());
                let upstreams =
                    [Rc::new(WorkerEndpoint::new(endpoint, 0, timeouts, Arc::default()))];
                let failed = first_proof(&upstreams, Instant::now() + AGAIN).await.unwrap_err();
                assert_eq!(failed.len(), 1);
                let (waiting, ()) = tokio::join!(
                    first_proof(&upstreams, Instant::now() + Duration::from_secs(10)),
                    async {
                        sleep(AGAIN).await;
                        member.close_at_once(0);
                    }
                );
                assert!(waiting.is_ok());
                assert!(upstreams[0].endpoint.is_trusted());
            })
            .await;
    }
}
