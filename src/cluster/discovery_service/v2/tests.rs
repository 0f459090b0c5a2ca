use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::cluster::discovery_service::{changed as wait_at, fetch as fetch_at};
use crate::cluster::scripted::{answer, connector};
use crate::config::{Discovery, WebUrl};

/// A registry that answers each path by its script; paths that are not in it are never answered.
struct Scripted {
    url: String,
    answers: Arc<Mutex<Vec<(String, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Scripted {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (answers, asked) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let accepting = tokio::spawn(accept(listener, answers.clone(), asked.clone()));
        Self { url, answers, asked, accepting }
    }

    /// Sets the answer to requests whose targets begin like this; later calls take precedence.
    fn say(&self, target: &str, answer: String) {
        self.answers.lock().unwrap().insert(0, (target.to_owned(), answer));
    }

    /// A registry with this size and these entries, at `/t`.
    async fn with(size: &str, entries: &[&str]) -> Self {
        let registry = Self::new().await;
        let nodes: Vec<String> = entries
            .iter()
            .enumerate()
            .map(|(index, value)| {
                // The latest first, to check that they are sorted.
                let created = 100 - index;
                format!(
                    r#"{{"key":"/r/t/{created:x}","value":"{value}","createdIndex":{created}}}"#
                )
            })
            .collect();
        let nodes = nodes.join(",");
        registry.say(
            "/t?",
            page("200 OK", &format!(r#"{{"node":{{"key":"/r/t","dir":true,"nodes":[{nodes}]}}}}"#)),
        );
        registry
            .say("/t/_config/size", page("200 OK", &format!(r#"{{"node":{{"value":"{size}"}}}}"#)));
        registry
    }

    fn discovery(&self) -> Discovery {
        Discovery::V2(RegistryUrl {
            url: WebUrl::parse(&format!("{}/t", self.url)).unwrap(),
            proxy: None,
        })
    }

    async fn fetch(&self) -> Result<Registered, RegistryError> {
        fetch_at(&self.discovery(), &connector()).await
    }

    /// Returns the registry's error, and whether etcd would give up.
    async fn fault(&self) -> (String, bool) {
        let error = self.fetch().await.unwrap_err();
        (error.to_string().replace(&self.url, "URL"), error.is_fatal())
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn page(status: &str, body: &str) -> String {
    answer(status, "X-Etcd-Index: 7\r\nConnection: close\r\n", body)
}

async fn accept(
    listener: TcpListener,
    answers: Arc<Mutex<Vec<(String, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut open = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        open.spawn(serve(stream, answers.clone(), asked.clone()));
    }
}

async fn serve(
    mut stream: TcpStream,
    answers: Arc<Mutex<Vec<(String, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(target.clone());
    let found =
        answers.lock().unwrap().iter().find(|(start, _)| target.starts_with(start)).cloned();
    match found {
        Some((_, answer)) => drop(stream.write_all(answer.as_bytes()).await),
        None => std::future::pending().await,
    }
}

fn names(registered: &Registered) -> Vec<&str> {
    registered.cluster().iter().map(|member| member.name.as_str()).collect()
}

#[tokio::test]
async fn members_are_those_that_were_created_first() {
    let registry =
        Scripted::with("2", &["c=http://c:1", "b=http://b:1,b=http://bb:1", "a=http://a:1"]).await;
    let registered = registry.fetch().await.unwrap();
    assert_eq!(names(&registered), ["a", "b"]);
    assert_eq!(registered.cluster()[0].id, "62");
    assert_eq!(registered.position, 7);
    let asked = registry.asked.lock().unwrap().clone();
    let query = "?quorum=false&recursive=false&sorted=false";
    assert_eq!(asked, [format!("/t/_config/size{query}"), format!("/t{query}")]);
}

#[tokio::test]
async fn the_size_is_no_member() {
    let registry = Scripted::with("1", &[]).await;
    let body = r#"{"node":{"nodes":[{"key":"/r/t/_config","dir":true},{"key":"/r/t/1","value":"a=http://a:1"}]}}"#;
    registry.say("/t?", page("200 OK", body));
    assert_eq!(names(&registry.fetch().await.unwrap()), ["a"]);
}

#[tokio::test]
async fn what_etcd_ends_at_is_told_apart_from_what_it_tries_again() {
    let no_size = r#"{"errorCode":100,"message":"Key not found","cause":"/r/t","index":4}"#;
    let denied =
        r#"{"errorCode":110,"message":"The request requires user\nauthentication","index":4}"#;
    let fatal = [
        (
            page("404 Not Found", no_size),
            "URL/t: no size is set there, so the token is unknown; make it first, with the cluster's size in `/t/_config/size`",
        ),
        (
            page("404 Not Found", "404 page not found"),
            "URL/t: its answer is not that of an etcd registry (status 404); is `discovery` the whole URL of a token?",
        ),
        (
            page("200 OK", "<html>"),
            "URL/t: its answer is not that of an etcd registry (status 200); is `discovery` the whole URL of a token?",
        ),
        (
            page("200 OK", "{}"),
            "URL/t: its answer is not that of an etcd registry (status 200); is `discovery` the whole URL of a token?",
        ),
        (
            page("200 OK", r#"{"node":{"value":"three"}}"#),
            "URL/t: the cluster's size there is \"three\", which is not a number above zero",
        ),
        (
            page("200 OK", r#"{"node":{}}"#),
            "URL/t: the cluster's size there is \"\", which is not a number above zero",
        ),
        (
            page("401 Unauthorized", denied),
            "URL/t: it answered \"The request requires user\\nauthentication\" (etcd error 110)",
        ),
        (page("200 OK", &"x".repeat(2 << 20)), "URL/t: its answer is larger than any registry"),
    ];
    let retried = [
        (page("503 Service Unavailable", ""), "URL/t: it answered status 503"),
        (page("500 Internal Server Error", no_size), "URL/t: it answered status 500"),
        ("junk\r\n\r\n".to_owned(), "URL/t: it does not answer in HTTP"),
        (String::new(), "URL/t: the connection broke before its answer"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_owned(),
            "URL/t: the connection broke in the middle of its answer",
        ),
        (answer("302 Found", "", ""), "URL/t: it redirects to nowhere"),
        (answer("302 Found", "Location: ftp://x/\r\n", ""), "URL/t: it redirects to nowhere"),
        (
            answer("302 Found", "Location: http://169.254.169.254/latest\r\n", ""),
            "URL/t: it leads to 169.254.169.254, and no listed member can have a link-local address",
        ),
        (
            answer("302 Found", "Location: /t/_config/size\r\nConnection: close\r\n", ""),
            "URL/t: it redirects more than ten times",
        ),
    ];
    let registry = Scripted::with("1", &["a=http://a:1"]).await;
    for (cases, is_fatal) in [(&fatal[..], true), (&retried[..], false)] {
        for (answer, words) in cases {
            registry.say("/t/_config/size", answer.clone());
            assert_eq!(registry.fault().await, ((*words).to_owned(), is_fatal));
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_away_or_hangs_is_tried_again() {
    let registry = Scripted::new().await;
    assert_eq!(registry.fault().await, ("URL/t: no answer within 5s".to_owned(), false));
    registry.accepting.abort();
    while !registry.accepting.is_finished() {
        tokio::task::yield_now().await;
    }
    assert_eq!(registry.fault().await, ("URL/t: connection refused".to_owned(), false));
}

#[tokio::test]
async fn redirects_are_followed_to_another_host() {
    let (front, back) = (Scripted::new().await, Scripted::with("1", &["a=http://a:1"]).await);
    for path in ["/t/_config/size", "/t?"] {
        let to = format!("Location: {}{path}\r\n", back.url);
        front.say(path, answer("307 Temporary Redirect", &to, ""));
    }
    assert_eq!(names(&front.fetch().await.unwrap()), ["a"]);
}

#[tokio::test]
async fn an_http_proxy_gets_the_whole_url() {
    let proxy = Scripted::new().await;
    proxy.say(
        "http://registry.invalid:8087/t?",
        page("200 OK", r#"{"node":{"nodes":[{"key":"1","value":"a=http://a:1"}]}}"#),
    );
    proxy.say(
        "http://registry.invalid:8087/t/_config/size",
        page("200 OK", r#"{"node":{"value":"1"}}"#),
    );
    let url = WebUrl::parse("http://registry.invalid:8087/t").unwrap();
    let through = Some(WebUrl::parse(&proxy.url).unwrap());
    let discovery = Discovery::V2(RegistryUrl { url, proxy: through.clone() });
    assert_eq!(names(&fetch_at(&discovery, &connector()).await.unwrap()), ["a"]);
    // For https the proxy is asked for a tunnel, and may refuse.
    proxy.say("registry.invalid:443", page("403 Forbidden", ""));
    let url = WebUrl::parse("https://registry.invalid/t").unwrap();
    let discovery = Discovery::V2(RegistryUrl { url, proxy: through });
    let error = fetch_at(&discovery, &connector()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "https://registry.invalid/t: the HTTP proxy {} answered status 403 to CONNECT",
            proxy.url
        )
    );
}

/// Returns how a wait ends when the registry answers it like this.
async fn wait(answer: Option<String>) -> Result<(), String> {
    let registry = Scripted::with("2", &["a=http://a:1"]).await;
    let seen = registry.fetch().await.unwrap();
    registry.answers.lock().unwrap().clear();
    if let Some(answer) = answer {
        registry.say("/t?recursive=true&wait=true&waitIndex=8", answer);
    }
    let limit = Duration::from_millis(200);
    let result = wait_at(&registry.discovery(), &connector(), &seen, limit).await;
    result.map_err(|error| error.to_string().replace(&registry.url, "URL"))
}

#[tokio::test]
async fn a_wait_ends_well_with_an_event_without_one_and_when_history_is_gone() {
    assert_eq!(wait(Some(page("200 OK", r#"{"action":"set","node":{}}"#))).await, Ok(()));
    assert_eq!(wait(Some(page("200 OK", ""))).await, Ok(()));
    assert_eq!(wait(None).await, Ok(()));
    let cleared = r#"{"errorCode":401,"message":"The event in requested index is outdated and cleared","index":9}"#;
    assert_eq!(wait(Some(page("400 Bad Request", cleared))).await, Ok(()));
}

#[tokio::test]
async fn a_wait_that_breaks_is_told() {
    assert_eq!(
        wait(Some(String::new())).await.unwrap_err(),
        "URL/t: the connection broke before its answer"
    );
    assert_eq!(
        wait(Some(page("502 Bad Gateway", ""))).await.unwrap_err(),
        "URL/t: it answered status 502"
    );
}
