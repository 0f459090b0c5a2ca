//! A scripted peer that answers `GET /members`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the peer treats a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Answers with this status, cluster ID header and body.
    Answer {
        status: u16,
        /// Value of `X-Etcd-Cluster-ID`; the header is left out when this is empty.
        cluster_id: String,
        body: String,
    },
    /// Closes the connection.
    Hangup,
    /// Keeps the connection open and sends nothing.
    Never,
}

impl Reply {
    /// Answers 200 with this list and cluster ID.
    pub fn members(cluster_id: &str, body: &str) -> Self {
        Self::Answer { status: 200, cluster_id: cluster_id.to_owned(), body: body.to_owned() }
    }
}

/// A listening peer; dropping it stops it.
pub struct Peer {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    reply: Mutex<Option<Reply>>,
    asked: AtomicUsize,
}

impl Peer {
    /// Starts a peer with its first reply.
    pub fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", super::port::free())).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared =
            Arc::new(Shared { reply: Mutex::new(Some(reply)), asked: AtomicUsize::new(0) });
        let server = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        Self { url, shared }
    }

    /// Changes the reply to all later requests.
    pub fn set(&self, reply: Reply) {
        *self.shared.reply.lock().expect("reply") = Some(reply);
    }

    /// Returns how many requests it has received.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let mut buffer = [0; 4096];
        while let Ok(length) = stream.read(&mut buffer) {
            if length == 0 {
                return;
            }
            self.asked.fetch_add(1, Ordering::Relaxed);
            // A statement of its own: in the `match` itself the lock would be held until its end.
            let reply = self.reply.lock().expect("reply").clone();
            match reply {
                Some(Reply::Answer { status, cluster_id, body }) => {
                    if stream.write_all(answer(status, &cluster_id, &body).as_bytes()).is_err() {
                        return;
                    }
                }
                Some(Reply::Never) => std::thread::sleep(Duration::from_secs(60)),
                Some(Reply::Hangup) | None => return,
            }
        }
    }
}

fn answer(status: u16, cluster_id: &str, body: &str) -> String {
    let id = if cluster_id.is_empty() {
        String::new()
    } else {
        format!("X-Etcd-Cluster-ID: {cluster_id}\r\n")
    };
    format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\n{id}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl Drop for Peer {
    fn drop(&mut self) {
        *self.shared.reply.lock().expect("reply") = None;
    }
}
