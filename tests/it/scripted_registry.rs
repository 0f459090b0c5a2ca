//! A scripted registry of v2 discovery, which records the requests it gets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::port;

/// Maps a target to the registry's answer; `None` means that it never answers.
type Script = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A running registry.
pub struct Registry {
    /// A token's URL.
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// Starts a registry that answers each target by a script.
    pub fn start(script: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port::free())).expect("a port");
        let url = format!("http://{}/t", listener.local_addr().expect("an address"));
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let (script, seen): (Script, _) = (Arc::new(script), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, seen) = (script.clone(), seen.clone());
                std::thread::spawn(move || serve(stream, &script, &seen));
            }
        });
        Self { url, asked }
    }

    /// Counts the requests whose target begins like this.
    pub fn count(&self, target: &str) -> usize {
        let asked = self.asked.lock().expect("asked");
        asked.iter().filter(|asked| asked.starts_with(target)).count()
    }
}

fn serve(mut stream: TcpStream, script: &Script, asked: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().expect("asked").push(target.clone());
    match script(&target) {
        Some(answer) => drop(stream.write_all(answer.as_bytes())),
        None => std::thread::sleep(Duration::from_secs(120)),
    }
}

/// Builds a whole HTTP answer.
pub fn page(status: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\nX-Etcd-Index: 7\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

/// Answers the request for the cluster's size.
pub fn size(size: &str) -> Option<String> {
    page("200 OK", &format!(r#"{{"node":{{"value":"{size}"}}}}"#))
}

/// Answers the request for the members.
pub fn entries(entries: &[&str]) -> Option<String> {
    let nodes: Vec<String> = entries
        .iter()
        .enumerate()
        .map(|(at, value)| {
            format!(r#"{{"key":"/r/t/{at}","value":"{value}","createdIndex":{at}}}"#)
        })
        .collect();
    page("200 OK", &format!(r#"{{"node":{{"key":"/r/t","nodes":[{}]}}}}"#, nodes.join(",")))
}
