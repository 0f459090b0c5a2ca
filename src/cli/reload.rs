//! `etcd-proxy reload`: makes the running daemon reload its settings, waits, and fails if it
//! refuses.
//!
//! This is the unit's `ExecReload`: systemd gets the result from the exit status, people from the
//! lines in the journal.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use http::Method;

use super::ask::{AskError, ask};
use super::table::terminal_safe;
use crate::telemetry::snapshot::{ReloadRecord, ReloadResult};

/// Longest wait for the result. Longer than systemd's default limit of 90 s, so that systemd's
/// limit applies first.
const LIMIT: Duration = Duration::from_secs(120);

/// Exit status when the settings were refused: sysexits' EX_CONFIG.
const UNUSABLE: u8 = 78;

/// Reloads and reports: the result on `out`, warnings and reasons on `err`. Returns the exit
/// status: 0 applied or unchanged, 78 refused, 3 not running, 1 anything else.
pub fn run(socket: &Path, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match reload(socket) {
        Ok(record) => report(&record, out, err).unwrap_or(1),
        Err(error) => {
            // If stderr is closed, there is nowhere left to report to.
            let _ = writeln!(err, "error: {error}");
            error.exit_code()
        }
    }
}

fn reload(socket: &Path) -> Result<ReloadRecord, AskError> {
    let answer = ask(socket, Method::POST, "/reload", LIMIT)?;
    let record: ReloadRecord = answer.json(socket)?;
    if record.result == ReloadResult::Unknown {
        let reason = answer.complaint("no result in it");
        return Err(AskError::Failed { socket: socket.to_owned(), reason });
    }
    Ok(record)
}

fn report(record: &ReloadRecord, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let kind = if record.is_refused() { "error" } else { "warning" };
    for message in &record.messages {
        writeln!(err, "{kind}: {}", terminal_safe(message))?;
    }
    if record.is_refused() {
        writeln!(err, "refused: generation {} serves on", record.generation)?;
        return Ok(UNUSABLE);
    }
    writeln!(out, "{}", success(record))?;
    Ok(0)
}

fn success(record: &ReloadRecord) -> String {
    if record.result != ReloadResult::Applied {
        return record.result.to_string();
    }
    match record.changes.join(", ") {
        none if none.is_empty() => format!("applied: generation {}", record.generation),
        changes => {
            format!("applied: generation {} ({})", record.generation, terminal_safe(&changes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{daemon, http};
    use super::*;
    use crate::daemon::history::{History, Outcome, Trigger};
    use crate::server::admin::{AdminSocket, Answers};
    use crate::telemetry::snapshot::Snapshot;
    use std::sync::Arc;

    /// Runs against a daemon that answers this; returns the exit status and both outputs.
    fn run_against(answer: &str) -> (u8, String, String) {
        let (_dir, socket) = daemon(answer);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&socket, &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn record(result: ReloadResult, changes: &[&str], messages: &[&str]) -> String {
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
        let (changes, messages) = (words(changes), words(messages));
        let record =
            ReloadRecord { result, generation: 8, changes, messages, ..Default::default() };
        serde_json::to_string(&record).unwrap()
    }

    #[test]
    fn an_applied_reload_says_what_changed() {
        let (code, out, err) = run_against(&http(
            "200 OK",
            &record(ReloadResult::Applied, &["proxy: on -> readonly"], &[]),
        ));
        assert_eq!(out, "applied: generation 8 (proxy: on -> readonly)\n");
        assert_eq!((code, err.as_str()), (0, ""));
    }

    #[test]
    fn the_real_admin_socket_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let socket = AdminSocket::bind(&path).unwrap();
        let (reload, mut requests) = tokio::sync::mpsc::channel(1);
        let answers = Answers { snapshot: Arc::new(Snapshot::default), reload };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let code = std::thread::scope(|threads| {
            let command = threads.spawn(|| run(&path, &mut out, &mut err));
            runtime.block_on(async {
                let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
                let served = socket.serve(answers, async { drop(stopped.await) });
                let asked = async {
                    let request = requests.recv().await.unwrap();
                    let mut history = History::default();
                    let outcome = Outcome::Refused { reasons: vec!["no".to_owned()] };
                    request.answer.send(history.record(Trigger::Command, outcome, 7)).unwrap();
                    drop(stop);
                };
                tokio::join!(served, asked).0.unwrap();
            });
            command.join().unwrap()
        });
        assert_eq!(code, 78);
        assert_eq!(err, b"error: no\nrefused: generation 7 serves on\n");
    }

    #[test]
    fn unchanged_is_fine_and_warnings_are_told() {
        let (code, out, err) =
            run_against(&http("200 OK", &record(ReloadResult::Unchanged, &[], &["w"])));
        assert_eq!((code, out.as_str(), err.as_str()), (0, "unchanged\n", "warning: w\n"));
    }

    #[test]
    fn a_refusal_tells_every_reason_and_fails() {
        let body = record(ReloadResult::Refused, &[], &["/etc/p.toml:4:1: unknown key", "second"]);
        let (code, out, err) = run_against(&http("409 Conflict", &body));
        assert_eq!((code, out.as_str()), (78, ""));
        assert_eq!(
            err,
            "error: /etc/p.toml:4:1: unknown key\nerror: second\nrefused: generation 8 serves on\n"
        );
    }

    #[test]
    fn no_daemon_is_exit_3() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(run(Path::new("/nonexistent/admin.sock"), &mut out, &mut err), 3);
        let err = String::from_utf8(err).unwrap();
        assert!(err.starts_with("error: etcd-proxy is not running"), "{err}");
    }

    #[test]
    fn a_stopping_daemon_is_an_error_in_its_own_words() {
        let body = r#"{"message":"the daemon is stopping"}"#;
        let (code, _, err) = run_against(&http("503 Service Unavailable", body));
        assert_eq!(code, 1);
        assert!(err.ends_with(": the daemon is stopping\n"), "{err}");
    }
}
