//! Scripted peers for tests: they answer every connection with the same bytes, or not at all.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::config::{Inputs, PeerUrl};
use crate::tls::Connector;
use crate::tls::configs::{self, Purpose};

/// What a scripted peer does once it has read a request head.
#[derive(Clone)]
pub(super) enum Script {
    /// Sends these bytes and closes.
    Say(Vec<u8>),
    /// Keeps the connection open and sends nothing.
    Hang,
}

/// A listener on loopback that follows its script until it is dropped.
pub(super) struct ScriptedPeer {
    pub(super) url: PeerUrl,
    script: Arc<Mutex<Script>>,
    asked: watch::Sender<usize>,
    accepting: tokio::task::JoinHandle<()>,
}

impl ScriptedPeer {
    pub(super) async fn new(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = PeerUrl { tls: false, host: "127.0.0.1".to_owned(), port };
        let script = Arc::new(Mutex::new(script));
        let asked = watch::Sender::new(0);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&script), asked.clone()));
        Self { url, script, asked, accepting }
    }

    pub(super) async fn saying(answer: impl AsRef<[u8]>) -> Self {
        Self::new(Script::Say(answer.as_ref().to_vec())).await
    }

    pub(super) async fn with_list(cluster_id: &str, json: &str) -> Self {
        Self::saying(members(cluster_id, json)).await
    }

    pub(super) fn set(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    pub(super) fn say(&self, answer: impl AsRef<[u8]>) {
        self.set(Script::Say(answer.as_ref().to_vec()));
    }

    /// Returns the number of requests received.
    pub(super) fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits until a request has come.
    pub(super) async fn wait_asked(&self) {
        let _ = self.asked.subscribe().wait_for(|asked| *asked > 0).await;
    }

    /// Stops listening; connections are refused from now on.
    pub(super) async fn stop(mut self) -> PeerUrl {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
        self.url.clone()
    }
}

impl Drop for ScriptedPeer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Returns a peer URL that refuses connections.
pub(super) async fn refusing() -> PeerUrl {
    ScriptedPeer::new(Script::Hang).await.stop().await
}

/// Makes a good answer: a member list of a cluster.
pub(super) fn members(cluster_id: &str, json: &str) -> String {
    answer(
        "200 OK",
        &format!("X-Etcd-Cluster-ID: {cluster_id}\r\nContent-Type: application/json\r\n"),
        json,
    )
}

/// Makes an HTTP answer of a status line, header lines and a body.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

async fn accept(listener: TcpListener, script: Arc<Mutex<Script>>, asked: watch::Sender<usize>) {
    let mut open = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        open.spawn(follow(stream, Arc::clone(&script), asked.clone()));
    }
}

async fn follow(mut stream: TcpStream, script: Arc<Mutex<Script>>, asked: watch::Sender<usize>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    assert!(head.starts_with(b"GET /members HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
    asked.send_modify(|asked| *asked += 1);
    let script = script.lock().unwrap().clone();
    match script {
        Script::Say(bytes) => drop(stream.write_all(&bytes).await),
        Script::Hang => drop(stream.read_buf(&mut head).await),
    }
}

/// Returns a connector that trusts the machine's authorities and presents no certificate.
pub(super) fn connector() -> Connector {
    let inputs = Inputs {
        args: Vec::new(),
        env: Vec::new(),
        cwd: "/".into(),
        default_file: "/nonexistent/etcd-proxy.toml".into(),
    };
    let loaded = crate::config::load(&inputs).unwrap();
    let tls_configs = configs::load(&loaded.settings, &loaded.origins, None, Purpose::Check);
    tls_configs.unwrap().0.registry
}
