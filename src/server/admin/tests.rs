use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::telemetry::snapshot::ReloadResult;

const DEADLINE: Duration = Duration::from_secs(20);

/// A served admin socket, and the receiver of its reload requests.
struct Fixture {
    path: PathBuf,
    requests: mpsc::Receiver<ReloadRequest>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<io::Result<()>>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn start() -> Self {
        Self::start_with(|| Snapshot { version: 1, generation: 7, ..Default::default() })
    }

    fn start_with(snapshot: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/admin.sock");
        let socket = AdminSocket::bind(&path).unwrap();
        let (reload, requests) = mpsc::channel(MOST_RELOADS);
        let answers = Answers { snapshot: Arc::new(snapshot), reload };
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(socket.serve(answers, async {
            let _ = stopped.await;
        }));
        Self { path, requests, stop: Some(stop), served, _dir: dir }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    /// Sends raw bytes and returns everything that is answered until the end.
    async fn say(&self, bytes: &str) -> String {
        let mut client = self.connect().await;
        client.write_all(bytes.as_bytes()).await.unwrap();
        answer(client).await
    }

    /// Requests a reload, answers it as the daemon would, and returns the response.
    async fn reload(&mut self, result: ReloadResult) -> String {
        let mut client = self.connect().await;
        client.write_all(b"POST /reload HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let request = self.requests.recv().await.unwrap();
        request.answer.send(record(result)).unwrap();
        answer(client).await
    }
}

fn record(result: ReloadResult) -> ReloadRecord {
    ReloadRecord { result, generation: 8, ..Default::default() }
}

async fn answer(mut client: UnixStream) -> String {
    let mut text = String::new();
    timeout(DEADLINE, client.read_to_string(&mut text)).await.expect("the end comes").unwrap();
    text
}

fn body<T: serde::de::DeserializeOwned>(response: &str) -> T {
    let (_, body) = response.split_once("\r\n\r\n").expect(response);
    serde_json::from_str(body).expect(response)
}

#[tokio::test]
async fn status_is_the_snapshot() {
    let fixture = Fixture::start();
    let response = fixture.say("GET /status HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    let snapshot: Snapshot = body(&response);
    assert_eq!((snapshot.version, snapshot.generation), (1, 7));
}

#[tokio::test]
async fn a_reload_answers_what_became_of_it() {
    let mut fixture = Fixture::start();
    for (result, status) in [
        (ReloadResult::Applied, "200 OK"),
        (ReloadResult::Unchanged, "200 OK"),
        (ReloadResult::Refused, "409 Conflict"),
    ] {
        let response = fixture.reload(result).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{response}");
        assert_eq!(body::<ReloadRecord>(&response), record(result));
    }
}

#[tokio::test]
async fn a_daemon_that_stops_says_so() {
    let mut fixture = Fixture::start();
    fixture.requests.close();
    let response = fixture.say("POST /reload HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
}

#[tokio::test]
async fn other_requests_change_nothing() {
    let mut fixture = Fixture::start();
    for (request, status) in [
        ("GET /reload", "405"),
        ("POST /status", "405"),
        ("GET /", "404"),
        ("POST /reload/", "404"),
        ("POST http://x/quitquitquit", "404"),
    ] {
        let response = fixture.say(&format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {response}");
    }
    assert!(fixture.requests.try_recv().is_err());
}

#[tokio::test]
async fn junk_does_no_harm() {
    let fixture = Fixture::start();
    for junk in ["\0\u{1}\u{2}\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let response = fixture.say(junk).await;
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 400 "), "{response}");
    }
    fixture.say("GET /status HTTP/1.1\r\nHost: x\r\n\r\n").await;
}

#[tokio::test]
async fn silent_clients_are_sent_away_and_the_next_is_served() {
    let fixture = Fixture::start();
    let mut silent = Vec::new();
    for _ in 0..MOST {
        silent.push(fixture.connect().await);
    }
    let response = fixture.say("GET /status HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[tokio::test]
async fn many_half_requests_block_nobody() {
    let fixture = Fixture::start();
    let mut halves = Vec::new();
    for _ in 0..6 * MOST {
        let mut half = fixture.connect().await;
        half.write_all(b"GET /status HTTP/1.1\r\n").await.unwrap();
        halves.push(half);
    }
    let begin = Instant::now();
    let response = fixture.say("GET /status HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    // With the time limit alone, they would leave 64 at a time.
    assert!(begin.elapsed() < 4 * HEAD_LIMIT, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn many_reloads_leave_room_for_questions() {
    let mut fixture = Fixture::start();
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = fixture.connect().await;
        client.write_all(b"POST /reload HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        clients.push(client);
    }
    let begin = Instant::now();
    let response = fixture.say("GET /status HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    // No reload has begun, so the queue is full.
    let mut requests = Vec::new();
    assert_eq!(fixture.requests.recv_many(&mut requests, 200).await, MOST_RELOADS);
    requests
        .into_iter()
        .for_each(|request| request.answer.send(record(ReloadResult::Applied)).unwrap());
    let mut applied = 0;
    for client in clients {
        let response = answer(client).await;
        match response.starts_with("HTTP/1.1 200 ") {
            true => applied += 1,
            false => assert!(
                response.contains("reloads already wait for the one under way"),
                "{response}"
            ),
        }
    }
    assert_eq!(applied, MOST_RELOADS);
}

#[tokio::test]
async fn answers_that_nobody_takes_block_nobody() {
    let fixture = Fixture::start_with(|| Snapshot {
        daemon_version: "m".repeat(1 << 22),
        ..Default::default()
    });
    let mut deaf = Vec::new();
    for _ in 0..MOST {
        let mut client = fixture.connect().await;
        client.write_all(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        deaf.push(client);
    }
    let begin = Instant::now();
    let response = fixture.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
    assert!(begin.elapsed() < ANSWER_LIMIT / 2, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_its_reload() {
    let mut fixture = Fixture::start();
    let mut client = fixture.connect().await;
    client.write_all(b"POST /reload HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let request = fixture.requests.recv().await.unwrap();
    drop(client);
    let _ = request.answer.send(record(ReloadResult::Applied));
    fixture.reload(ReloadResult::Unchanged).await;
}

#[tokio::test]
async fn the_stop_removes_the_file_and_lets_a_reload_be_answered() {
    let mut fixture = Fixture::start();
    let mut client = fixture.connect().await;
    client.write_all(b"POST /reload HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let request = fixture.requests.recv().await.unwrap();
    fixture.stop.take().unwrap().send(()).unwrap();
    request.answer.send(record(ReloadResult::Applied)).unwrap();
    assert!(answer(client).await.starts_with("HTTP/1.1 200 "));
    timeout(DEADLINE, fixture.served).await.unwrap().unwrap().unwrap();
    assert!(!fixture.path.exists());
}

#[tokio::test]
async fn only_owner_and_group_may_connect() {
    let fixture = Fixture::start();
    let mode = std::fs::metadata(&fixture.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn a_path_that_cannot_be_made_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    AdminSocket::bind(&file.path().join("admin.sock")).unwrap_err();
}
