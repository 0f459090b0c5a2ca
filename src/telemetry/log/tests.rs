use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use super::text::Colour;
use super::*;
use crate::config::{LogFormat, LogLevel, LogOutput};

const SOON: Duration = Duration::from_secs(10);

/// Collects the records that `write` logs, at any level.
pub fn records(write: impl FnOnce()) -> Vec<Record> {
    struct Collect(Arc<Mutex<Vec<Record>>>);
    impl Subscriber for Collect {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(Record::new(event));
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }
    let lines = Arc::<Mutex<Vec<Record>>>::default();
    tracing::subscriber::with_default(Collect(Arc::clone(&lines)), write);
    let mut lines = lines.lock().unwrap();
    lines.iter_mut().for_each(|line| line.at = UNIX_EPOCH);
    lines.drain(..).collect()
}

fn as_text(write: impl FnOnce()) -> String {
    let mut line = Vec::new();
    for record in records(write) {
        text::write(&record, Colour::Never, &mut line).unwrap();
    }
    String::from_utf8(line).unwrap()
}

fn settings(format: LogFormat, output: &Path) -> LogSettings {
    LogSettings {
        level: LogLevel::Info,
        package_levels: Vec::new(),
        format,
        outputs: vec![LogOutput::File(output.to_owned())],
    }
}

/// Runs `write` with its log lines going to `handle`.
fn logging(handle: &LogHandle, write: impl FnOnce()) {
    tracing::subscriber::with_default(Shared(Arc::clone(&handle.logger)), write);
}

fn log_to_pipe() -> (LogHandle, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    let [reader, writer] = [OwnedFd::from(reader), writer.into()].map(File::from);
    let filter = Filter::new(&settings(LogFormat::Text, Path::new("unused")));
    let outputs = vec![Output::Text(writer, Colour::Never)];
    (start(OpenLog { filter, outputs }).unwrap(), reader)
}

#[test]
fn a_text_line_has_time_level_message_and_fields() {
    let line = as_text(|| tracing::warn!(member = "infra0", attempt = 2, "no answer"));
    assert_eq!(line, "1970-01-01T00:00:00.000Z  WARN no answer member=infra0 attempt=2\n");
}

#[test]
fn nobody_can_forge_a_second_line_or_drive_the_terminal() {
    let line = as_text(|| {
        tracing::info!(path = "/a\nb\x1b[2J \"c\" d=\\", empty = "", "one\r\ntwo ø");
    });
    assert_eq!(
        line,
        "1970-01-01T00:00:00.000Z  INFO one\\r\\ntwo ø \
         path=\"/a\\nb\\u{1b}[2J \\\"c\\\" d=\\\\\" empty=\"\"\n"
    );
}

#[test]
fn an_error_brings_its_causes() {
    let cause = std::io::Error::other("connection refused");
    let error = LogError::File { path: "/x".into(), source: cause };
    let line = as_text(|| tracing::error!(error = &error as &dyn std::error::Error, "cannot log"));
    assert!(line.contains("connection refused: connection refused"), "{line}");
}

#[test]
fn a_huge_value_is_cut_off_between_characters() {
    let huge = "ø".repeat(100_000);
    let lines = records(|| tracing::info!(huge, more = "text", "message"));
    let length: usize = lines[0].fields.iter().map(|(_, value)| value.to_string().len()).sum();
    assert!((8000..=8192).contains(&(length + lines[0].message.len())), "{length}");
}

#[test]
fn a_json_line_has_the_keys_of_etcd_and_keeps_numbers() {
    let mut line = Vec::new();
    let lines =
        records(|| tracing::info!(level = 3_u64, ok = true, share = 0.5, n = -1, "it\n\"is\""));
    json::write(&lines[0], &mut line).unwrap();
    let text = String::from_utf8(line).unwrap();
    assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "{text}");
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let caller = json["caller"].take();
    assert!(caller.as_str().unwrap().starts_with("log/tests.rs:"), "{caller}");
    assert_eq!(
        json,
        serde_json::json!({
            "level": "info", "ts": "1970-01-01T00:00:00.000Z", "caller": null, "msg": "it\n\"is\"",
            "field_level": 3, "ok": true, "share": 0.5, "n": -1
        })
    );
}

#[test]
fn repeated_lines_are_held_back_and_summed_up_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let handle = start(OpenLog::open(&settings(LogFormat::Text, &path)).unwrap()).unwrap();
    logging(&handle, || {
        for attempt in 0..5 {
            tracing::warn!(endpoint = "http://a", attempt, "no answer");
            tracing::warn!(endpoint = "http://b", attempt, every = true, "no answer");
        }
    });
    drop(handle);
    let log = std::fs::read_to_string(path).unwrap();
    assert_eq!(log.matches("no answer endpoint=http://a").count(), 1, "{log}");
    assert_eq!(log.matches("no answer endpoint=http://b").count(), 5, "{log}");
    let summary = "no answer … and 4 more in the last minute, the last at ";
    let at = log.split_once(summary).expect(&log).1.split(' ').next().unwrap();
    assert!(log.contains(&format!("{at} endpoint=http://a attempt=4")), "{log}");
    let time = log.lines().rfind(|line| line.contains(summary)).unwrap();
    assert!(time.starts_with(at), "both places have the time of the event: {log}");
}

#[test]
fn the_last_line_about_a_state_is_true_however_often_it_changes() {
    let (handle, reader) = log_to_pipe();
    logging(&handle, || {
        for _ in 0..20 {
            tracing::info!(state = "health", member = "a", "well");
            tracing::warn!(state = "health", member = "a", "ill");
        }
        tracing::info!(state = "health", member = "b", "well");
    });
    drop(handle);
    let mut reader = reader;
    let mut text = vec![0; 65536];
    let length = reader.read(&mut text).unwrap();
    let log = String::from_utf8_lossy(&text[..length]).into_owned();
    let lines: Vec<&str> = log.lines().collect();
    let (first, last) = (lines[..6].join("\n"), lines[lines.len() - 1]);
    assert_eq!(first.matches("ill member=a").count(), 3, "{log}");
    assert!(last.contains("ill … and 34 more in the last minute, the last at "), "{log}");
    assert_eq!(lines.len(), 8, "{log}");
}

#[test]
fn a_change_loses_no_line_and_takes_its_place_among_them() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
    let handle = start(OpenLog::open(&settings(LogFormat::Text, &first)).unwrap()).unwrap();
    logging(&handle, || {
        for n in 0..100 {
            tracing::info!(n, every = true, "before");
        }
        let mut settings = settings(LogFormat::Json, &second);
        settings.level = LogLevel::Debug;
        tracing::debug!("not wanted");
        handle.apply(OpenLog::open(&settings).unwrap());
        tracing::debug!("wanted");
    });
    assert!(handle.flush(SOON));
    let [first, second] = [first, second].map(|path| std::fs::read_to_string(path).unwrap());
    assert_eq!(first.lines().count(), 100, "{first}");
    assert_eq!(second.lines().count(), 1, "{second}");
    assert!(second.contains(r#""msg":"wanted""#), "{second}");
}

#[test]
fn outputs_that_cannot_be_opened_are_named() {
    let mut settings = settings(LogFormat::Text, Path::new("/nowhere/log"));
    settings.outputs.push(LogOutput::File("/".into()));
    for errors in [OpenLog::open(&settings).unwrap_err(), OpenLog::check(&settings)] {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].starts_with("cannot open the log file /nowhere/log: "), "{errors:?}");
        assert!(errors[1].starts_with("cannot open the log file /: "), "{errors:?}");
    }
}

#[test]
fn a_check_makes_no_file_and_leaves_one_alone() {
    let dir = tempfile::tempdir().unwrap();
    let [new, old] = ["new", "old"].map(|name| dir.path().join(name));
    std::fs::write(&old, "line\n").unwrap();
    for path in [&new, &old] {
        assert!(OpenLog::check(&settings(LogFormat::Text, path)).is_empty());
    }
    // A start would create the target of a dangling link.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("new", &link).unwrap();
    assert!(OpenLog::check(&settings(LogFormat::Text, &link)).is_empty());
    assert!(!new.exists());
    assert_eq!(std::fs::read_to_string(old).unwrap(), "line\n");
}

#[test]
fn a_pipe_that_nobody_reads_is_refused_rather_than_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(OpenLog::open(&settings(LogFormat::Text, &path)).is_err());
}

#[test]
fn a_blocked_output_holds_up_nobody_and_the_loss_is_told() {
    let (handle, mut reader) = log_to_pipe();
    logging(&handle, || {
        for n in 0..20_000 {
            tracing::info!(n, every = true, "a line that nobody reads for now");
        }
    });
    assert!(!handle.flush(Duration::from_millis(10)), "the log thread is stuck in the pipe");
    let rest = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    assert!(handle.flush(SOON));
    // Replacing the outputs closes the writing end, which ends the text.
    let outputs = Vec::new();
    handle.logger.queue.order(Order::Outputs(outputs));
    let text = rest.join().unwrap().unwrap();
    let lost = |line: &str| line.split_once(" lost=")?.1.parse::<usize>().ok();
    let lost: usize = text.lines().filter_map(lost).sum();
    let written = text.lines().filter(|line| line.contains("nobody reads")).count();
    assert!(lost > 0);
    assert_eq!(lost + written, 20_000);
}

#[test]
fn a_panic_is_logged_with_its_place_and_thread() {
    let (handle, mut reader) = log_to_pipe();
    let queue = Arc::clone(&handle.logger.queue);
    let subscriber = Shared(Arc::clone(&handle.logger));
    // Other tests run in parallel, and their panics must stay visible.
    let (ours, others) = (panic::hook(queue, Box::new(|_| ())), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        let is_ours = std::thread::current().name() == Some("worker-7");
        if is_ours { ours(info) } else { others(info) }
    }));
    let result = std::thread::Builder::new().name("worker-7".into()).spawn(move || {
        tracing::subscriber::with_default(subscriber, || panic!("index out of everything"));
    });
    assert!(result.unwrap().join().is_err());
    assert!(handle.flush(SOON));
    let mut text = [0; 4096];
    let length = reader.read(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text[..length]);
    assert!(text.contains("ERROR panic: index out of everything place="), "{text}");
    assert!(text.contains("thread=worker-7"), "{text}");
}
