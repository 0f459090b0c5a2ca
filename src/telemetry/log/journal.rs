//! Records as structured entries of the systemd journal, through `tracing-journald`.
//!
//! That crate is a layer over live events, and its sends block when journald hangs. So it is never
//! part of the process's subscriber: it sits on a registry of its own, which the log thread feeds
//! with recorded events. Workers cannot be blocked by journald, and a change of format at a reload
//! needs no change of subscriber.
//!
//! Entries have the `PRIORITY` that operators expect (info is 6, not `tracing-journald`'s default
//! 5, notice), `SYSLOG_IDENTIFIER=etcd-proxy`, and each field as `ETCD_PROXY_<NAME>`.

use std::io;
use std::os::unix::fs::MetadataExt;

use tracing::field::Value as Recorded;
use tracing::{Event, Subscriber};
use tracing_journald::{Layer, Priority, PriorityMappings};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Layered, SubscriberExt};

use super::record::{Record, Value};

/// The environment variable in which systemd passes the device and inode of the stream that it
/// connected to the journal.
pub const STREAM_VARIABLE: &str = "JOURNAL_STREAM";

/// A connection to the journal.
pub struct Journal(Layered<Layer, Registry>);

impl Journal {
    /// Connects to the journal. Fails if its socket is missing or nobody listens on it.
    pub fn open() -> io::Result<Self> {
        let layer = tracing_journald::layer()?
            .with_syslog_identifier("etcd-proxy".to_owned())
            .with_field_prefix(Some("ETCD_PROXY".to_owned()))
            .with_priority_mappings(PriorityMappings {
                error: Priority::Error,
                warn: Priority::Warning,
                info: Priority::Informational,
                debug: Priority::Debug,
                trace: Priority::Debug,
            });
        Ok(Self(Registry::default().with(layer)))
    }

    /// Sends one record. Blocks while the journal's queue is full. An entry that cannot be sent is
    /// lost.
    pub fn write(&self, record: &Record) {
        let names = record.metadata.fields();
        let mut values: Vec<Option<&dyn Recorded>> = vec![None; names.len()];
        let message = names.iter().zip(&mut values).find(|(name, _)| name.name() == "message");
        if let Some((_, value)) = message {
            *value = Some(&record.message);
        }
        for (field, value) in &record.fields {
            if let Some(slot) = values.get_mut(field.index()) {
                *slot = Some(recorded(value));
            }
        }
        let values = names.value_set_all(&values);
        self.0.event(&Event::new(record.metadata, &values));
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Journal")
    }
}

fn recorded(value: &Value) -> &dyn Recorded {
    match value {
        Value::Text(text) => text,
        Value::Int(number) => number,
        Value::Uint(number) => number,
        Value::Float(number) => number,
        Value::Bool(value) => value,
    }
}

/// Tells whether `file` is the stream that systemd connected to the journal, by the value of
/// [`STREAM_VARIABLE`]. The variable's presence alone proves nothing: children inherit it even if
/// their output goes elsewhere.
pub fn is_journal(stream: Option<&str>, file: &std::fs::Metadata) -> bool {
    let numbers = stream.and_then(|stream| stream.split_once(':'));
    numbers.is_some_and(|(device, inode)| {
        device.parse() == Ok(file.dev()) && inode.parse() == Ok(file.ino())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;
    use crate::telemetry::log::tests::records;

    const SOCKET: &str = "/run/systemd/journal/socket";
    const INSIDE: &str = "ETCD_PROXY_TEST_INSIDE_NAMESPACE";

    /// Re-runs the test in a mount namespace with an empty `/run`, because `tracing-journald` has
    /// its socket path built in; the test listens on that path there. Returns whether this is the
    /// second run.
    fn is_inside_namespace(test: &str) -> bool {
        if std::env::var_os(INSIDE).is_some() {
            return true;
        }
        let this = std::env::current_exe().unwrap();
        let script =
            r#"mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && exec "$0" "$@""#;
        let again = Command::new("unshare")
            .args(["--mount", "--map-root-user", "sh", "-c", script])
            .arg(this)
            .args(["--exact", "--nocapture", test])
            .env(INSIDE, "1")
            .output();
        let output = match again {
            Ok(output) => format!("{}{}", text(&output.stdout), text(&output.stderr)),
            Err(error) => error.to_string(),
        };
        if !output.contains("test result: ok. 1 passed") {
            let missing = !output.contains("test result:") && std::env::var_os("CI").is_none();
            assert!(missing, "{output}");
            eprintln!("skipped, because no mount namespace could be created: {output}");
        }
        false
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Reads one entry in journald's native form: `NAME=value`, or `NAME`, a length, and the value.
    fn entry(socket: &UnixDatagram) -> HashMap<String, String> {
        let mut buffer = [0; 65_536];
        let length = socket.recv(&mut buffer).unwrap();
        let (mut rest, mut fields) = (&buffer[..length], HashMap::new());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = text(&rest[..end]);
            rest = &rest[end + 1..];
            if let Some((name, value)) = line.split_once('=') {
                fields.insert(name.to_owned(), value.to_owned());
                continue;
            }
            let (length, value) = rest.split_first_chunk().unwrap();
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
            fields.insert(line, text(&value[..length]));
            rest = &value[length + 1..];
        }
        fields
    }

    #[test]
    fn entries_have_our_fields_and_the_priorities_people_expect() {
        let name = "entries_have_our_fields_and_the_priorities_people_expect";
        if !is_inside_namespace(&format!("telemetry::log::journal::tests::{name}")) {
            return;
        }
        let socket = UnixDatagram::bind(SOCKET).unwrap();
        let journal = Journal::open().unwrap();
        assert_eq!(entry(&socket), HashMap::new(), "the first datagram only tries the socket");

        let lines = records(|| {
            let endpoint = "http://10.0.1.10:2379";
            tracing::info!(member = "infra0", endpoint, attempt = 2, every = true, "first\nsecond");
            tracing::warn!("warned");
            tracing::error!("failed");
            tracing::debug!("seen");
        });
        for line in &lines {
            journal.write(line);
        }
        let first = entry(&socket);
        for (name, value) in [
            ("MESSAGE", "first\nsecond"),
            ("PRIORITY", "6"),
            ("SYSLOG_IDENTIFIER", "etcd-proxy"),
            ("ETCD_PROXY_MEMBER", "infra0"),
            ("ETCD_PROXY_ENDPOINT", "http://10.0.1.10:2379"),
            ("ETCD_PROXY_ATTEMPT", "2"),
            ("TARGET", "etcd_proxy::telemetry::log::journal::tests"),
        ] {
            assert_eq!(first.get(name).map(String::as_str), Some(value), "{name} in {first:?}");
        }
        assert!(!first.contains_key("ETCD_PROXY_EVERY"));
        for priority in ["4", "3", "7"] {
            assert_eq!(entry(&socket)["PRIORITY"], priority);
        }
    }

    #[test]
    fn a_stream_is_the_journal_only_if_both_numbers_match() {
        let file = tempfile::tempfile().unwrap().metadata().unwrap();
        let (device, inode) = (file.dev(), file.ino());
        assert!(is_journal(Some(&format!("{device}:{inode}")), &file));
        for stream in
            [format!("{device}:{}", inode + 1), format!("{}:{inode}", device + 1), "x:".into()]
        {
            assert!(!is_journal(Some(&stream), &file), "{stream}");
        }
        assert!(!is_journal(None, &file));
    }
}
