//! Requests to a member whose windows the test controls.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use super::*;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::worker_endpoint::{Timeouts, WorkerEndpoint};

/// Bytes in a piece of a request's body.
const PIECE: usize = 1000;

/// Runs a test with a connection to a member whose streams begin with a closed window. Each value
/// that the test sends to the channel becomes the initial window, which applies to open streams
/// too.
fn with_closed_windows<T: Future>(
    test: impl FnOnce(Rc<Connection>, mpsc::UnboundedSender<u32>) -> T,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (set_window, windows) = mpsc::unbounded_channel();
        spawn_local(serve(listener, windows));
        let (url, scheme) = (format!("http://127.0.0.1:{port}"), http::uri::Scheme::HTTP);
        let endpoint = Endpoint::new(&url, 1, "m", 1, scheme, "127.0.0.1", port, 1).unwrap();
        endpoint.exempt();
        let upstream =
            WorkerEndpoint::new(Arc::new(endpoint), 0, Timeouts::default(), Arc::default());
        let connection = upstream.http2(PoolKind::Unary).await.unwrap();
        // Once a request is answered, the member's SETTINGS have arrived.
        connection.send(head(), ReplayBody::empty()).await.unwrap();
        test(connection, set_window).await;
    });
}

/// Answers a request once its body has arrived.
async fn serve(listener: TcpListener, mut windows: mpsc::UnboundedReceiver<u32>) {
    let stream = listener.accept().await.unwrap().0;
    let mut builder = h2::server::Builder::new();
    let mut connection =
        builder.initial_window_size(0).handshake::<_, Bytes>(stream).await.unwrap();
    loop {
        tokio::select! {
            Some(window) = windows.recv() => connection.set_initial_window_size(window).unwrap(),
            Some(Ok((request, mut respond))) = connection.accept() => {
                spawn_local(async move {
                    let mut body = request.into_body();
                    while let Some(Ok(data)) = body.data().await {
                        // Releases no capacity of the stream: the test controls its window.
                        drop(data);
                    }
                    let _ = respond.send_response(Response::default(), true);
                });
            }
            else => return,
        }
    }
}

fn head() -> Request<()> {
    Request::post("http://member/").body(()).unwrap()
}

fn body(pieces: usize) -> ReplayBody {
    ReplayBody::pieces(vec![Bytes::from_static(&[0; PIECE]); pieces])
}

#[test]
fn an_upload_that_a_member_takes_slowly_and_steadily_is_not_stuck() {
    with_closed_windows(|connection, set_window| async move {
        let sent = connection.send(head(), body(20));
        // Twice as long as an upload may stand still.
        let opened = async {
            for pieces in 1..=20 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                set_window.send(pieces * PIECE as u32).unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = sent => assert!(answer.is_ok(), "{:?}", answer.err()),
            () = opened => {}
        }
        assert!(!connection.movement.is_stuck());
    });
}

#[test]
fn what_was_sent_while_it_waited_is_never_said_to_be_unsent() {
    with_closed_windows(|connection, set_window| async move {
        let sent = connection.send(head(), body(2));
        let opened = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            set_window.send(PIECE as u32).unwrap();
            std::future::pending::<()>().await;
        };
        let error = tokio::select! {
            answer = sent => answer.err().expect("half of it cannot be sent"),
            () = opened => unreachable!(),
        };
        assert_eq!(was_stuck(&error), Some(false));
    });
}

#[test]
fn what_never_got_a_window_was_not_sent() {
    with_closed_windows(|connection, _set_window| async move {
        let error = connection.send(head(), body(2)).await.err().expect("nothing can be sent");
        assert_eq!(was_stuck(&error), Some(true));
        assert!(connection.movement.is_stuck());
    });
}
