//! Real discovery registries: a plain etcd, and Debian's discovery service in front of one.

use std::sync::{LazyLock, Mutex};

use super::cluster::Cluster;
use super::generation::Generation;
use super::process::{self, Process};
use super::{PATIENCE, eventually, http1, port, run, tools};

/// Returns the etcd 3.4 that holds all v2 registries.
pub fn etcd() -> &'static Cluster {
    static ETCD: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(Generation::V3_4, 1));
    &ETCD
}

/// Makes a token for a cluster of this size in the plain etcd and returns its URL.
pub fn plain(size: &str) -> String {
    let token =
        format!("http://{}/v2/keys/_etcd/registry/{:032x}", etcd().client(0), fastrand::u128(..));
    put(&format!("{token}/_config/size"), size);
    token
}

/// Sets a key of the v2 API, by its URL.
pub fn put(url: &str, value: &str) {
    let (address, path) = split(url);
    let form = format!("value={}", encoded(value));
    let answer = run(http1::form(&address, "PUT", &path, &form));
    assert!(matches!(answer.status, 200 | 201), "{url}: {}", answer.text());
}

fn split(url: &str) -> (String, String) {
    let (address, path) =
        url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a URL");
    (address.to_owned(), format!("/{path}"))
}

fn encoded(value: &str) -> String {
    value.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Debian's discovery service.
pub struct Service {
    address: String,
    running: Mutex<Option<Process>>,
}

impl Service {
    /// Starts the service in front of [`etcd`]; `None` if it is not installed.
    pub fn start() -> Option<Self> {
        tools::find("discovery.etcd.io")?;
        let service =
            Self { address: format!("127.0.0.1:{}", port::free()), running: Mutex::new(None) };
        service.restart();
        Some(service)
    }

    /// Makes a token for a cluster of this size and returns its URL.
    pub fn token(&self, size: usize) -> String {
        let answer = run(http1::get(&self.address, &format!("/new?size={size}")));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().trim().to_owned()
    }

    /// Returns the URL of a token that does not exist.
    pub fn unknown_token(&self) -> String {
        format!("http://{}/{:032x}", self.address, fastrand::u128(..))
    }

    /// Kills the service if it runs.
    pub fn stop(&self) {
        *self.running.lock().expect("service") = None;
    }

    /// Kills the service if it runs, and starts it at the same address.
    pub fn restart(&self) {
        self.stop();
        let program = tools::find("discovery.etcd.io").expect("it was there");
        let url = format!("http://{}", self.address);
        let mut command = process::command(program);
        command.args(["--addr", &self.address, "--host", &url]);
        command.args(["--etcd", &format!("http://{}", etcd().client(0))]);
        *self.running.lock().expect("service") = Some(Process::start("discovery.etcd.io", command));
        run(eventually("the service listens", PATIENCE, async || {
            http1::Connection::open(&self.address).await.is_ok()
        }));
    }
}
