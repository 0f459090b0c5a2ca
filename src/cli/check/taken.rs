//! Finds addresses to listen on that are in use by another process. Those of the running daemon
//! with these settings do not count.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::ask::AskError;
use crate::cli::status;
use crate::config::{Loaded, Problem, Problems};
use crate::daemon::apply_errors;
use crate::net::listen::{BindError, taken};
use crate::net::port_owner::PortOwner;
use crate::telemetry::snapshot::Snapshot;

/// How long the running daemon may take to say what it listens on.
const DAEMON_LIMIT: Duration = Duration::from_secs(5);

/// The process ID of systemd, which holds the sockets of a `.socket` unit and those of a daemon
/// that is being restarted.
const SYSTEMD: i32 = 1;

/// Returns a problem for each address that a start could not bind. `daemon` finds the admin socket,
/// and is called only if an address is in use.
pub(super) fn addresses(
    loaded: &Loaded,
    daemon: impl FnOnce() -> Result<PathBuf, Problems>,
) -> Vec<Problem> {
    let settings = &loaded.settings;
    let urls = settings.listen_client_urls.iter().chain(&settings.listen_metrics_urls);
    let mut errors: Vec<BindError> = urls.filter_map(taken).collect();
    // An address may have a URL for each scheme.
    let mut seen = HashSet::new();
    errors.retain(|error| seen.insert(error.url.at.clone()));
    if !errors.is_empty() {
        let socket = daemon().unwrap_or_else(|_| settings.admin_socket.clone());
        let running = status::asked(&socket, DAEMON_LIMIT);
        errors.retain(|error| match &running {
            Ok((_, snapshot)) => !is_its(error, snapshot),
            Err(reason) => !may_be_its(error, reason),
        });
    }
    apply_errors::of_listeners(&errors, loaded)
}

fn is_its(error: &BindError, daemon: &Snapshot) -> bool {
    // Compare only the port (or file name): the scheme may change, and a wildcard may cover the
    // address.
    let last = |url: &str| url.rsplit(['/', ':']).next().map(str::to_owned);
    let wanted = last(&error.url.to_string());
    match error.owner {
        Some(PortOwner::Process { pid, .. }) => {
            pid == SYSTEMD || u32::try_from(pid) == Ok(daemon.pid)
        }
        // The process cannot be seen, but the daemon reports its own listeners.
        _ => {
            daemon.listeners.iter().chain(&daemon.metrics_listeners).any(|url| last(url) == wanted)
        }
    }
}

/// Returns whether an address may belong to a daemon that could not be asked.
fn may_be_its(error: &BindError, reason: &AskError) -> bool {
    let is_running = !matches!(reason, AskError::NotRunning { .. });
    match error.owner {
        Some(PortOwner::Process { pid: SYSTEMD, .. }) => true,
        Some(PortOwner::Process { ref name, .. }) => is_running && name == "etcd-proxy",
        _ => is_running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Inputs};
    use std::net::TcpListener;

    fn problems(flags: &[String]) -> Vec<Problem> {
        let args = flags.iter().map(Into::into).collect();
        let default_file = "/nonexistent".into();
        let loaded = config::load(&Inputs { args, env: Vec::new(), cwd: "/".into(), default_file });
        addresses(&loaded.unwrap(), || Ok("/nonexistent/admin.sock".into()))
    }

    #[test]
    fn an_address_that_somebody_listens_on_is_a_problem_where_it_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket").display().to_string();
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let flags = [
            format!("--listen-client-urls=http://{address},unix://{path}"),
            format!("--listen-metrics-urls=http://0.0.0.0:{}", address.port() ^ 1),
        ];
        let found = problems(&flags);
        let texts: Vec<_> = found.iter().map(|problem| problem.message.clone()).collect();
        assert_eq!(
            texts,
            [
                format!("cannot listen on http://{address}: in use by this process itself"),
                format!("cannot listen on unix://{path}: in use by this process itself"),
            ]
        );
        assert_eq!(found[0].location.to_string(), "command line: --listen-client-urls");
        drop((listener, unix));
        assert!(problems(&flags).is_empty(), "a file of a socket that nobody answers is replaced");
    }

    #[test]
    fn the_running_daemons_own_addresses_are_none() {
        let error = |owner| BindError {
            url: config::ListenUrl::tcp("127.0.0.1:2379".parse().unwrap()),
            source: std::io::ErrorKind::AddrInUse.into(),
            owner: Some(owner),
        };
        let process = |pid, name: &str| error(PortOwner::Process { pid, name: name.to_owned() });
        let user = error(PortOwner::User("etcd-proxy".to_owned()));
        let listeners = vec!["http://127.0.0.1:2379".to_owned()];
        let daemon = Snapshot { pid: 7, listeners, ..Snapshot::default() };
        assert!(is_its(&process(7, "etcd-proxy"), &daemon));
        assert!(is_its(&process(1, "systemd"), &daemon));
        assert!(!is_its(&process(8, "etcd-proxy"), &daemon));
        assert!(is_its(&user, &daemon));
        assert!(!is_its(&user, &Snapshot::default()));

        let denied = AskError::Denied { socket: "/s".into() };
        let gone = AskError::NotRunning {
            socket: "/s".into(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        assert!(may_be_its(&user, &denied) && !may_be_its(&user, &gone));
        assert!(may_be_its(&process(1, "systemd"), &gone));
        assert!(!may_be_its(&process(8, "etcd"), &denied));
    }
}
