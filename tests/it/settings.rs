//! The built binary's messages about settings, word for word.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with a settings file; the binary runs there with an empty environment.
struct Fixture {
    directory: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Fixture {
    fn new(file: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Self { directory, env: Vec::new() };
        std::fs::write(fixture.file(), file).unwrap();
        fixture
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("etcd-proxy.toml")
    }

    /// Runs a command line, in which `FILE` stands for the settings file.
    fn run(&self, line: &str) -> Said {
        let file = self.file().display().to_string();
        let args: Vec<String> =
            line.split_whitespace().map(|arg| arg.replace("FILE", &file)).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_etcd-proxy"));
        command.env_clear().envs(self.env.iter().cloned()).current_dir(self.directory.path());
        let Output { status, stdout, stderr } = command.args(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&file, "FILE");
        Said { status: status.code().unwrap(), out: text(stdout), err: text(stderr) }
    }
}

/// A command's output, in which `FILE` stands for the settings file.
struct Said {
    status: i32,
    out: String,
    err: String,
}

#[track_caller]
fn assert_text(said: &str, expected: &str) {
    assert!(said == expected, "--- said\n{said}--- expected\n{expected}");
}

/// Returns the path of a file that this repository ships.
fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn check_says_everything_at_once() {
    let file = r#"# edge
proxy = "readonly"
proxxy = 1
initial-clutser = "a=http://10.0.1.10:2380"
listen-client-urls = ["http://127.0.0.1:2379", "http://example.com:2379"]
proxy-dial-timeout = 1.5
snapshot-count = 4
"#;
    let fixture = Fixture::new(file)
        .variable("ETCD_PROXY_REFRESH_INTERVAL", "soon")
        .variable("ETCD_HEARTBEAT_INTERVAL", "100")
        .variable("ETCD_PROXXY", "on")
        .variable("ETCD_NAME", "");
    let said = fixture.run("check --config-file FILE");
    assert_text(
        &said.err,
        r#"error: unknown key `proxxy`
  --> FILE:3:1
   |
 3 | proxxy = 1
   | ^^^^^^ did you mean `proxy`?
error: unknown key `initial-clutser`
  --> FILE:4:1
   |
 4 | initial-clutser = "a=http://10.0.1.10:2380"
   | ^^^^^^^^^^^^^^^ did you mean `initial-cluster`?
error: `listen-client-urls` has "http://example.com:2379"
  --> FILE:5:48
   |
 5 | listen-client-urls = ["http://127.0.0.1:2379", "http://example.com:2379"]
   |                                                ^^^^^^^^^^^^^^^^^^^^^^^^^ want an IP address or localhost to listen on
error: `proxy-dial-timeout` is 1.5
  --> FILE:6:22
   |
 6 | proxy-dial-timeout = 1.5
   |                      ^^^ want milliseconds (30000) or a duration ("30s")
error: `snapshot-count` is for members of the cluster, not for a proxy
  --> FILE:7:1
   |
 7 | snapshot-count = 4
   | ^^^^^^^^^^^^^^ leave it out
error: `proxy-refresh-interval` is "soon"; want milliseconds (30000) or a duration ("30s")
  --> environment variable ETCD_PROXY_REFRESH_INTERVAL
warning: `ETCD_HEARTBEAT_INTERVAL` is ignored; only a member of the cluster needs it
  --> environment variable ETCD_HEARTBEAT_INTERVAL
warning: unknown variable `ETCD_PROXXY` is ignored; did you mean `ETCD_PROXY`?
  --> environment variable ETCD_PROXXY
6 errors, 2 warnings; nothing was changed
"#,
    );
    assert_eq!((said.status, said.out.as_str()), (78, ""));
}

#[test]
fn a_start_says_the_same_and_does_not_start() {
    let said = Fixture::new("proxxy = 1\n").run("--config-file FILE");
    assert_text(
        &said.err,
        "\
error: unknown key `proxxy`
  --> FILE:1:1
   |
 1 | proxxy = 1
   | ^^^^^^ did you mean `proxy`?
1 error, 0 warnings; not started
",
    );
    assert_eq!(said.status, 78);
}

#[test]
fn a_file_that_is_not_toml_is_reported_with_its_other_mistakes() {
    let said = Fixture::new("proxy = \"on\nbalance = \"best\"\n[x\nname = 1\n")
        .run("check --config-file FILE");
    assert_text(
        &said.err,
        r#"error: not TOML: invalid basic string, expected `"`
  --> FILE:1:12
   |
 1 | proxy = "on
   |            ^
error: `balance` is "best"
  --> FILE:2:11
   |
 2 | balance = "best"
   |           ^^^^^^ want "sticky" or "p2c"
error: not TOML: unclosed table, expected `]`
  --> FILE:3:3
   |
 3 | [x
   |   ^
3 errors, 0 warnings; nothing was changed
"#,
    );
    assert_eq!(said.status, 78);
}

#[test]
fn an_unusable_command_line_ends_with_64() {
    let line =
        "check --config-file FILE -proxxy=1 --snapshot-count 5 --debug false --workers many --name";
    let said = Fixture::new("").run(line);
    assert_text(
        &said.err,
        "\
error: unknown flag `--proxxy`; did you mean `--proxy`?
  --> command line: --proxxy
error: `--snapshot-count` is for members of the cluster, not for a proxy; leave it out
  --> command line: --snapshot-count
error: unexpected argument `false`; a value for `--debug` is written `--debug=false`
  --> command line: false
error: `--name` has no value; write `--name=VALUE`
  --> command line: --name
error: `workers` is \"many\"; want a whole number from 0 to 1024
  --> command line: --workers
5 errors, 0 warnings; nothing was changed
",
    );
    assert_eq!(said.status, 64);
}

#[test]
fn an_unknown_command_ends_with_64() {
    let said = Fixture::new("").run("chekc");
    assert_text(
        &said.err,
        "\
error: unknown command `chekc`; did you mean `check`?
  --> command line: chekc
1 error, 0 warnings; see `etcd-proxy help`
",
    );
    assert_eq!(said.status, 64);
}

#[test]
fn a_named_file_that_is_missing_or_a_directory_has_its_own_sentence() {
    let fixture = Fixture::new("");
    let said = fixture.run("check --config-file FILE.missing");
    assert_text(
        &said.err,
        "\
error: the settings file does not exist; `--config-file` names it
  --> FILE.missing
1 error, 0 warnings; nothing was changed
",
    );
    assert_eq!(said.status, 78);
    let said = fixture.run("check --config-file /");
    assert_text(
        &said.err,
        "\
error: the settings file is a directory; `--config-file` names it
  --> /
1 error, 0 warnings; nothing was changed
",
    );
}

#[test]
fn a_file_that_is_not_utf8_is_marked_at_the_first_bad_byte() {
    let fixture = Fixture::new("");
    std::fs::write(fixture.file(), b"# \xc3\xa4\nname = \"\xff\"\n").unwrap();
    assert_text(
        &fixture.run("check --config-file FILE").err,
        "\
error: the settings file is not valid UTF-8
  --> FILE:2:9
   |
 2 | name = \"\u{fffd}\"
   |         ^
1 error, 0 warnings; nothing was changed
",
    );
}

#[test]
fn check_is_content_with_usable_settings_and_names_the_file() {
    let said = Fixture::new("proxy = \"readonly\"\n").run("check --config-file FILE");
    assert_eq!((said.status, said.err.as_str()), (0, "0 errors, 0 warnings; FILE can be used\n"));
}

#[test]
fn warnings_fail_a_strict_check_only() {
    let fixture = Fixture::new("").variable("ETCD_SNAPSHOT_COUNT", "1");
    let said = fixture.run("check --config-file FILE");
    assert_text(
        &said.err,
        "\
warning: `ETCD_SNAPSHOT_COUNT` is ignored; only a member of the cluster needs it
  --> environment variable ETCD_SNAPSHOT_COUNT
0 errors, 1 warning; FILE can be used
",
    );
    assert_eq!(said.status, 0);
    assert_eq!(fixture.run("check --strict --config-file FILE").status, 78);
}

#[test]
fn check_looks_at_certificates_and_logs_beside_other_mistakes() {
    let file = "proxxy = 1\nlisten-client-urls = \"https://127.0.0.1:0\"\ncert-file = \"/nowhere/s.pem\"\n\
                key-file = \"/nowhere/s.key\"\nlog-outputs = [\"stderr\", \"/nowhere/x.log\", \"made.log\"]\n";
    let fixture = Fixture::new(file);
    let said = fixture.run("check --config-file FILE");
    for (sentence, place) in [
        ("unknown key `proxxy`", "FILE:1:1"),
        ("`cert-file`: /nowhere/s.pem does not exist", "FILE:3:1"),
        ("`key-file`: /nowhere/s.key does not exist", "FILE:4:1"),
        ("cannot open the log file /nowhere/x.log: ", "FILE:5:1"),
    ] {
        let at = said.err.find(sentence).unwrap_or_else(|| panic!("{sentence}: {}", said.err));
        assert!(said.err[at..].lines().nth(1).unwrap().ends_with(place), "{}", said.err);
    }
    assert!(said.err.ends_with("4 errors, 0 warnings; nothing was changed\n"), "{}", said.err);
    assert_eq!(said.status, 78);
    assert!(!fixture.directory.path().join("made.log").exists());
}

#[test]
fn a_start_reports_a_log_and_an_address_that_cannot_be_had_together() {
    let occupant = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = occupant.local_addr().unwrap();
    let fixture = Fixture::new(&format!(
        "listen-client-urls = \"http://{address}\"\nlog-outputs = \"/nowhere/x.log\"\n"
    ));
    let said = fixture.run("--config-file FILE");
    assert!(said.err.contains(&format!("error: cannot listen on http://{address}: in use by")));
    assert!(said.err.contains("--> FILE:1:1"), "{}", said.err);
    assert!(said.err.contains("error: cannot open the log file /nowhere/x.log: "), "{}", said.err);
    assert!(said.err.contains("--> FILE:2:1"), "{}", said.err);
    assert!(said.err.ends_with("2 errors, 0 warnings; not started\n"), "{}", said.err);
    assert_eq!(said.status, 78);
}

#[test]
fn status_and_reload_refuse_a_command_line_that_they_do_not_understand() {
    let fixture = Fixture::new("proxxy = 1\n").variable("ETCD_WORKERS", "many");
    for line in ["status --admin-soket FILE", "reload --strict junk", "reload junk"] {
        let said = fixture.run(&format!("{line} --config-file FILE"));
        assert_eq!((said.status, said.out.as_str()), (64, ""), "{line}: {}", said.err);
    }
    let said = fixture.run("reload --strict junk");
    assert_text(
        &said.err,
        "\
error: unknown flag `--strict`
  --> command line: --strict
1 error, 0 warnings; see `etcd-proxy help`
",
    );
    // Mistakes in other settings do not stop a command that only asks the daemon.
    for line in ["status -wjson", "status -w json", "reload"] {
        let said = fixture.run(&format!("{line} --config-file FILE --admin-socket nobody.sock"));
        assert_eq!(said.status, 3, "{line}: {}", said.err);
        assert!(said.err.contains("nobody.sock"), "{}", said.err);
    }
}

#[test]
fn check_speaks_json() {
    let said = Fixture::new("proxxy = 1\n").run("check --format json --config-file FILE");
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "version": 1,
            "errors": 1,
            "warnings": 0,
            "problems": [{
                "severity": "error",
                "message": "unknown key `proxxy`",
                "hint": "did you mean `proxy`?",
                "place": "FILE:1:1",
                "file": "FILE",
                "line": 1,
                "column": 1,
            }],
        })
    );
    assert_eq!((said.status, said.err.as_str()), (78, ""));
}

#[test]
fn print_config_says_where_every_value_was_written() {
    let fixture = Fixture::new("\nproxy = \"readonly\"\n").variable("ETCD_LOG_LEVEL", "debug");
    let said = fixture.run("print-config --config-file FILE -balance p2c -max-request-bytes 5");
    let row = |name: &str| {
        let line = said.out.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_default().split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("proxy"), "readonly FILE:2:1");
    assert_eq!(row("log-level"), "debug environment variable ETCD_LOG_LEVEL");
    assert_eq!(row("balance"), "p2c command line: --balance");
    assert_eq!(row("drain-timeout"), "10s default");
    assert_eq!(row("max-request-bytes"), "5 command line: --max-request-bytes (without effect)");
    assert_eq!((said.status, said.err.as_str()), (0, ""));
}

#[test]
fn print_config_speaks_json() {
    let said =
        Fixture::new("\nproxy = \"readonly\"\n").run("print-config -w json --config-file FILE");
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let rows = json["settings"].as_array().unwrap();
    let proxy = rows.iter().find(|row| row["name"] == "proxy").unwrap();
    assert_eq!(
        *proxy,
        serde_json::json!({
            "name": "proxy", "value": "readonly", "origin": "file", "origin_name": null,
            "line": 2, "column": 1, "effect": true,
        })
    );
}

#[test]
fn the_old_command_line_works_after_replacing_the_word() {
    let line = "--name infra-proxy1 --proxy=on --listen-client-urls http://127.0.0.1:2379 --initial-cluster \
                infra1=http://127.0.0.1:12380,infra2=http://127.0.0.1:22380,infra3=http://127.0.0.1:32380 \
                --enable-pprof";
    let said = Fixture::new("").run(&format!("check --strict --config-file FILE {line}"));
    assert_eq!((said.status, said.err.as_str()), (0, "0 errors, 0 warnings; FILE can be used\n"));
}

#[test]
fn help_and_version_are_asked_for_in_any_way() {
    let fixture = Fixture::new("");
    for line in ["help", "--help", "-h", "check -help"] {
        let said = fixture.run(line);
        assert!(said.out.contains("--proxy-failure-wait 5000") && said.status == 0, "{line}");
    }
    for line in ["version", "--version", "-version"] {
        assert_eq!(fixture.run(line).out, format!("etcd-proxy {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn the_shipped_file_works_as_it_is() {
    let file = shipped("etc/etcd-proxy.toml");
    let said = Fixture::new("").run(&format!("check --strict --config-file {}", file.display()));
    let expected = format!("0 errors, 0 warnings; {} can be used\n", file.display());
    assert_eq!((said.status, said.err), (0, expected));
}

/// Returns the file with every commented setting switched on.
fn uncommented(path: &str) -> String {
    let text = std::fs::read_to_string(shipped(path)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    lines.map(|line| line.strip_prefix('#').unwrap_or(line).to_owned() + "\n").collect()
}

#[test]
fn every_example_in_the_shipped_file_can_be_used() {
    let text = uncommented("etc/etcd-proxy.toml");
    assert!(text.contains("\nproxy = \"on\"\n"), "{text}");
    let said = Fixture::new(&text).run("check --strict --config-file FILE");
    assert_text(&said.err, "0 errors, 0 warnings; FILE can be used\n");
}

#[test]
fn no_key_stands_twice_in_the_shipped_file() {
    let text = std::fs::read_to_string(shipped("etc/etcd-proxy.toml")).unwrap();
    let key = |line: &str| {
        let (key, _) = line.strip_prefix('#')?.split_once(" = ")?;
        let key = key.trim().to_owned();
        key.chars().all(|c| c == '-' || c.is_ascii_lowercase()).then_some(key)
    };
    let mut keys: Vec<String> = text.lines().filter_map(key).collect();
    keys.sort();
    assert!(keys.len() > 15, "{keys:?}");
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "{keys:?}");
}

#[test]
fn every_example_in_the_shipped_environment_can_be_used() {
    let mut fixture = Fixture::new("");
    for line in uncommented("etc/default/etcd-proxy").lines() {
        if let Some((name, value)) = line.split_once('=') {
            fixture = fixture.variable(name, value);
        }
    }
    assert!(fixture.env.len() >= 4, "{:?}", fixture.env);
    let said = fixture.run("check --strict --config-file FILE");
    assert_text(&said.err, "0 errors, 0 warnings; FILE can be used\n");
}
