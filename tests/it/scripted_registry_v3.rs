//! A scripted registry of v3 discovery: an etcd that answers as a test wants and records the
//! requests it gets.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};

use crate::support::members::http2::framed;
use crate::support::port;
use crate::support::rpc::{
    Event, Header, KeyValue, RANGE, RangeRequest, RangeResponse, WatchResponse,
};

/// A request to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// For the cluster's size.
    Size,
    /// For the registered members.
    Members,
    /// To watch for new members.
    Watch,
}

/// An answer of the registry.
#[derive(Debug, Clone)]
pub enum Said {
    /// These values, in descending order of their creation.
    Values(Vec<String>),
    /// Bytes that are not a message of the protocol.
    Junk,
    /// A gRPC status and its message.
    Status(&'static str, &'static str),
    /// No answer, ever.
    Nothing,
    /// A watch is created and goes on like this.
    Watched(Ending),
}

/// The course of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It stays open without an event.
    Waits,
    /// It has an event: a member was registered.
    Event,
    /// It is cancelled because its revision was compacted.
    Cancelled,
    /// The call ends with status 0.
    Over,
}

/// Answers with these values, given in the order of their creation.
pub fn values(values: &[&str]) -> Said {
    Said::Values(values.iter().rev().map(|value| (*value).to_owned()).collect())
}

type Script = Arc<dyn Fn(Asked) -> Said + Send + Sync>;

/// A running registry.
pub struct Registry {
    /// `HOST:PORT`.
    pub endpoint: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Registry {
    /// Starts a registry that answers by a script.
    pub fn start(script: impl Fn(Asked) -> Said + Send + Sync + 'static) -> Self {
        let endpoint = format!("127.0.0.1:{}", port::free());
        let listener = std::net::TcpListener::bind(&endpoint).expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let (script, seen): (Script, _) = (Arc::new(script), asked.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, script.clone(), seen.clone()));
                }
            });
        });
        Self { endpoint, asked }
    }

    /// Counts the requests of this kind.
    pub fn count(&self, what: Asked) -> usize {
        self.asked.lock().expect("asked").iter().filter(|asked| **asked == what).count()
    }
}

async fn serve(stream: TcpStream, script: Script, seen: Arc<Mutex<Vec<Asked>>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond, script.clone(), seen.clone()));
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    script: Script,
    seen: Arc<Mutex<Vec<Asked>>>,
) {
    let is_range = request.uri().path() == RANGE;
    let mut body = request.into_body();
    let mut sent = BytesMut::new();
    // The client sends its whole watch request at once and then leaves the call open.
    while let Some(Ok(data)) = body.data().await {
        sent.extend_from_slice(&data);
        if !is_range {
            break;
        }
    }
    let asked = match RangeRequest::decode(&sent[5..]) {
        _ if !is_range => Asked::Watch,
        Ok(range) if range.key.ends_with(b"/_config/size") => Asked::Size,
        _ => Asked::Members,
    };
    seen.lock().expect("asked").push(asked);
    let mut status = HeaderMap::new();
    status.insert("grpc-status", http::HeaderValue::from_static("0"));
    let message = match script(asked) {
        Said::Nothing => return std::future::pending().await,
        Said::Status(code, words) => {
            status.insert("grpc-status", http::HeaderValue::from_static(code));
            status.insert("grpc-message", http::HeaderValue::from_static(words));
            None
        }
        Said::Junk => Some(b"\xff\xff<html>".to_vec()),
        Said::Values(values) => Some(range(values).encode_to_vec()),
        Said::Watched(ending) => {
            let mut stream = respond.send_response(Response::new(()), false).expect("a stream");
            watch(&mut stream, ending);
            if ending == Ending::Over {
                stream.send_trailers(status).expect("an end");
                return;
            }
            // Dropping one of these would end the call.
            let _open = (stream, body);
            return std::future::pending().await;
        }
    };
    let Ok(mut stream) = respond.send_response(Response::new(()), false) else { return };
    if let Some(message) = message {
        let _ = stream.send_data(framed(&message), false);
    }
    let _ = stream.send_trailers(status);
}

fn range(values: Vec<String>) -> RangeResponse {
    let pair = |(at, value): (usize, String)| KeyValue {
        key: format!("/_etcd/registry/t/members/{at}").into_bytes(),
        create_revision: 100 - at as i64,
        value: value.into_bytes(),
        ..KeyValue::default()
    };
    let header = Some(Header { revision: 100, ..Header::default() });
    let kvs = values.into_iter().enumerate().map(pair).collect();
    RangeResponse { header, kvs, ..RangeResponse::default() }
}

fn watch(stream: &mut h2::SendStream<Bytes>, ending: Ending) {
    let created = WatchResponse { created: true, ..WatchResponse::default() };
    let then = match ending {
        Ending::Waits | Ending::Over => None,
        Ending::Event => Some(WatchResponse { events: vec![Event::default()], ..created.clone() }),
        Ending::Cancelled => Some(WatchResponse { canceled: true, ..WatchResponse::default() }),
    };
    for message in [Some(created), then].into_iter().flatten() {
        stream.send_data(framed(&message.encode_to_vec()), false).expect("a message");
    }
}
