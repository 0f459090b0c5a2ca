//! Requests of the commands to the running daemon: one HTTP request on its admin socket.
//!
//! Blocking, because commands have nothing else to do. Must not be called from within a runtime.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::sleep;

use crate::net::http_client;

/// Exit status of a command when no daemon runs, as in systemctl.
pub const NOT_RUNNING: u8 = 3;

/// Largest answer that is read, in bytes; a snapshot takes a few kilobytes.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Pause between two attempts while the socket's queue is full.
const FULL_QUEUE: Duration = Duration::from_millis(20);

/// An answer of the daemon.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The whole body, usually JSON.
    pub body: Bytes,
}

/// Why there is no answer. Displays as one line.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No process listens on the socket.
    #[error("etcd-proxy is not running, or its admin socket is not {}: {source}", socket.display())]
    NotRunning {
        /// Where we asked.
        socket: PathBuf,
        /// The connect error: the file is missing, or no process listens on it.
        source: io::Error,
    },
    /// The socket exists, but we may not connect.
    #[error("permission denied on {}: run this as root or as a member of the socket's group", socket.display())]
    Denied {
        /// Where we asked.
        socket: PathBuf,
    },
    /// The daemon did not answer in time.
    #[error("no answer from {} within {} s", socket.display(), limit.as_secs())]
    TimedOut {
        /// Where we asked.
        socket: PathBuf,
        /// How long we waited.
        limit: Duration,
    },
    /// The connection broke, or the answer is not from our daemon.
    #[error("cannot ask {}: {reason}", socket.display())]
    Failed {
        /// Where we asked.
        socket: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

impl AskError {
    /// Returns the exit status of a command that fails with this error: 3 when no daemon runs, else
    /// 1.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::NotRunning { .. }) { NOT_RUNNING } else { 1 }
    }
}

/// Asks the daemon and waits at most `limit` for the whole answer.
///
/// # Errors
/// When there is no answer. An answer with an error status is not an error.
pub fn ask(socket: &Path, method: Method, path: &str, limit: Duration) -> Result<Answer, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(socket, error))?;
    runtime.block_on(async {
        let exchange = exchange(socket, method, path);
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| Err(AskError::TimedOut { socket: socket.to_owned(), limit }))
    })
}

async fn exchange(socket: &Path, method: Method, path: &str) -> Result<Answer, AskError> {
    let stream = connect(socket).await.map_err(|error| unconnected(socket, error))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "etcd-proxy")
        .body(Full::default())
        .map_err(|error| failed(socket, error))?;
    let reply = http_client::send(stream, request).await;
    let mut reply = reply.map_err(|error| failed(socket, error))?;
    let body = reply.read_body(LARGEST_ANSWER).await;
    Ok(Answer { status: reply.head.status, body: body.map_err(|error| failed(socket, error))? })
}

/// Connects, and waits while the socket's queue is full.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(FULL_QUEUE).await,
            done => return done,
        }
    }
}

fn unconnected(socket: &Path, source: io::Error) -> AskError {
    let socket = socket.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => AskError::Denied { socket },
        io::ErrorKind::NotFound
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::NotADirectory => AskError::NotRunning { socket, source },
        _ => AskError::Failed { socket, reason: source.to_string() },
    }
}

fn failed(socket: &Path, reason: impl ToString) -> AskError {
    AskError::Failed { socket: socket.to_owned(), reason: reason.to_string() }
}

impl Answer {
    /// Parses the body as JSON.
    ///
    /// # Errors
    /// When the body is something else. The message is the daemon's own if it sent one.
    pub fn json<'a, T: Deserialize<'a>>(&'a self, socket: &Path) -> Result<T, AskError> {
        serde_json::from_slice(&self.body).map_err(|error| failed(socket, self.complaint(error)))
    }

    /// Returns why this is not the expected answer: the daemon's own message if there is one, else
    /// `reason`.
    pub fn complaint(&self, reason: impl ToString) -> String {
        #[derive(Deserialize)]
        struct Complaint {
            message: String,
        }
        match serde_json::from_slice::<Complaint>(&self.body) {
            Ok(complaint) => complaint.message,
            Err(_) => format!("unusable answer ({}): {}", self.status, reason.to_string()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    /// Starts a daemon that answers one request with these bytes.
    pub(in crate::cli) fn daemon(answer: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let answer = answer.to_owned();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = client.read(&mut request);
            let _ = client.write_all(answer.as_bytes());
        });
        (dir, path)
    }

    /// Returns the bytes of an HTTP response with a body.
    pub(in crate::cli) fn http(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    fn status_of(socket: &Path) -> Result<Answer, AskError> {
        ask(socket, Method::GET, "/status", Duration::from_secs(10))
    }

    #[test]
    fn an_answer_comes_whole() {
        let (_dir, socket) = daemon(&http("409 Conflict", "{}"));
        let answer = status_of(&socket).unwrap();
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::CONFLICT, &b"{}"[..]));
    }

    #[test]
    fn no_file_and_nobody_behind_it_both_mean_not_running() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        let error = status_of(&socket).unwrap_err();
        assert_eq!(error.exit_code(), NOT_RUNNING, "{error}");
        drop(UnixListener::bind(&socket).unwrap());
        let error = status_of(&socket).unwrap_err();
        assert_eq!(error.exit_code(), NOT_RUNNING, "{error}");
    }

    #[test]
    fn a_denied_socket_says_what_to_do() {
        let error = unconnected(Path::new("/s"), io::ErrorKind::PermissionDenied.into());
        assert_eq!(
            error.to_string(),
            "permission denied on /s: run this as root or as a member of the socket's group"
        );
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn a_daemon_that_hangs_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        let _hanging = UnixListener::bind(&socket).unwrap();
        let error = ask(&socket, Method::GET, "/status", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, AskError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        for broken in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"] {
            let (_dir, socket) = daemon(broken);
            let error = status_of(&socket).unwrap_err();
            assert!(matches!(error, AskError::Failed { .. }), "{error}");
        }
    }

    #[test]
    fn the_daemons_own_complaint_is_passed_on() {
        let body = r#"{"message":"the daemon is stopping"}"#;
        let (_dir, socket) = daemon(&http("503 Service Unavailable", body));
        let answer = status_of(&socket).unwrap();
        let error = answer.json::<Vec<u8>>(Path::new("/s")).unwrap_err();
        assert_eq!(error.to_string(), "cannot ask /s: the daemon is stopping");
    }
}
