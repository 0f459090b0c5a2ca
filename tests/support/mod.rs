//! The fixtures of the tests: real etcd clusters, the daemon as a process, and small clients of our
//! own.
//!
//! Nothing here uses the crate's internals; the daemon is its binary and its command line. Every
//! process that a test starts is killed when the test process ends, however that ends, and its
//! files are removed.
#![allow(dead_code, reason = "each test binary uses its part of the fixtures")]

pub mod cluster;
pub mod dns;
pub mod etcdctl;
pub mod generation;
pub mod grpc;
pub mod http1;
pub mod http2;
pub mod load;
pub mod members;
pub mod meter;
pub mod notify;
pub mod peer;
pub mod port;
pub mod process;
pub mod proxy;
pub mod raw_http2;
pub mod registry;
pub mod rpc;
pub mod scratch;
pub mod settings_file;
pub mod systemd;
pub mod tls;
pub mod tools;

use std::future::Future;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// A generous limit for anything that should be quick, since the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs an async test body on a single-threaded runtime and panics if it takes longer than two
/// minutes.
pub fn run<T>(body: impl Future<Output = T>) -> T {
    run_within(Duration::from_secs(120), body)
}

/// Like [`run`], with another limit.
pub fn run_within<T>(limit: Duration, body: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(limit, Box::pin(body)).await.expect("the test hangs")
    })
}

static MACHINE: RwLock<()> = RwLock::new(());

/// Held by ordinary tests: they run beside each other, but not beside one that holds [`exclusive`].
pub fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Held by tests that measure time or memory: nothing else runs meanwhile.
pub fn exclusive() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Waits until the condition holds and checks it every few milliseconds. For states that no event
/// announces.
pub async fn eventually(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Like [`eventually`], outside of async code.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
