//! A scripted peer: answers `GET /members` as it is told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the peer does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// This status, cluster ID header and body.
    Answer {
        /// Status code.
        status: u16,
        /// Value of `X-Etcd-Cluster-ID`; none when empty.
        cluster_id: String,
        /// The body.
        body: String,
    },
    /// Closes the connection.
    Hangup,
    /// Keeps the connection and says nothing.
    Never,
}

impl Reply {
    /// A good list under a cluster ID.
    pub fn members(cluster_id: &str, body: &str) -> Self {
        Self::Answer { status: 200, cluster_id: cluster_id.to_owned(), body: body.to_owned() }
    }
}

/// A listening peer; it stops answering when dropped.
pub struct Peer {
    /// Its URL.
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    reply: Mutex<Option<Reply>>,
    asked: AtomicUsize,
}

impl Peer {
    /// Starts it with its first reply.
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

    /// Changes what it does from now on.
    pub fn set(&self, reply: Reply) {
        *self.shared.reply.lock().expect("reply") = Some(reply);
    }

    /// How often it was asked.
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
            // Not in the match itself, which would hold the lock until its end.
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
