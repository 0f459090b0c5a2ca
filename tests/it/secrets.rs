//! No message repeats a key, a password, or the text of a file that may hold one, however the file
//! is broken and whichever setting names it.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use etcd_proxy::config::{self, Inputs, Loaded, Problems, Style, one_lines, schema};
use etcd_proxy::tls::configs::{self, Purpose};
use nix::sys::signal::Signal;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::support::notify::Notify;
use crate::support::process::{self, Process};
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, Leaf};
use crate::support::{PATIENCE, port};

/// Length of a piece of a key's base64 that must not appear in any output.
const LEFT: usize = 12;

/// A key, and the ways in which its file gets damaged.
struct Key {
    pem: String,
    base64: String,
}

impl Key {
    fn new(pem: String) -> Self {
        let base64 = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        Self { pem, base64 }
    }

    /// Returns every damaged form with its name.
    fn forms(&self, certificate: &str) -> Vec<(&'static str, Vec<u8>)> {
        let Self { pem, base64 } = self;
        let lines: Vec<&str> = pem.lines().collect();
        let body = lines[1..lines.len() - 1].join("\n");
        let without_first = lines[1..].join("\n");
        let texts = [
            ("whole", pem.clone()),
            ("blanks for newlines", pem.replace('\n', " ")),
            ("no newlines", pem.replace('\n', "")),
            ("escaped newlines", pem.replace('\n', "\\n")),
            ("quoted", format!("\"{}\"", pem.replace('\n', "\\n"))),
            ("carriage returns", pem.replace('\n', "\r")),
            ("CRLF", pem.replace('\n', "\r\n")),
            ("a BOM", format!("\u{feff}{pem}")),
            ("a BOM on one line", format!("\u{feff}{}", pem.replace('\n', " "))),
            ("the first half", pem[..pem.len() / 2].to_owned()),
            ("the second half", pem[pem.len() / 2..].to_owned()),
            ("no first line", without_first),
            ("the body", body.clone()),
            ("base64 alone", base64.clone()),
            ("the wrong label", pem.replace("PRIVATE KEY", "CERTIFICATE").replace("RSA ", "")),
            ("a label of its own", pem.replace("PRIVATE KEY", base64)),
            ("two labels", pem.replacen("PRIVATE KEY", "RSA PRIVATE KEY", 1)),
            ("two files", format!("{}{pem}", certificate.trim_end())),
            ("two files of one line", format!("{certificate}{}", pem.replace('\n', " "))),
            ("the key first", format!("{}{certificate}", pem.trim_end())),
            ("no dashes", pem.replace("-----", "")),
            ("a setting", format!("key-file = \"{}\"\n", pem.replace('\n', "\\n"))),
            ("an indented block", format!("key: |\n  {}\n", lines.join("\n  "))),
            ("words", body.replace('\n', " = ")),
        ];
        let mut forms: Vec<_> = texts.into_iter().map(|(what, it)| (what, it.into())).collect();
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        forms.push(("DER", der.secret_der().to_vec()));
        let wide = format!("\u{feff}{pem}");
        forms.push(("UTF-16", wide.encode_utf16().flat_map(u16::to_le_bytes).collect()));
        forms
    }

    /// Panics if a piece of the key is in the output.
    #[track_caller]
    fn assert_untold(&self, told: &str, of: &str) {
        let words = told.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c));
        let mut pieces = words.flat_map(|word| word.as_bytes().windows(LEFT));
        let found = pieces
            .find(|piece| str::from_utf8(piece).is_ok_and(|piece| self.base64.contains(piece)));
        assert!(found.is_none(), "{of}: a piece of the key is in the output:\n{told}");
    }
}

fn inputs(directory: &Path, args: &[&str], env: &[(&str, &str)]) -> Inputs {
    Inputs {
        args: args.iter().map(Into::into).collect(),
        env: env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        cwd: directory.to_owned(),
        default_file: directory.join("p.toml"),
    }
}

/// Returns all output of a load: about the settings, the files, the effective values, and the
/// difference to the settings before.
fn told(inputs: &Inputs) -> String {
    let (loaded, mut problems) = config::draft(inputs, None);
    if !loaded.settings.tls.files().is_empty() {
        let tls = configs::load(&loaded.settings, &loaded.origins, None, Purpose::Check);
        problems.0.extend(tls.map_or_else(|problems| problems.0, |(_, warnings)| warnings));
    }
    let mut told = problems.report(Style::Plain, "refused");
    told += &one_lines(&problems.0).join("\n");
    told += &problems.to_json().to_string();
    static BEFORE: LazyLock<Loaded> = LazyLock::new(|| {
        let nothing = Inputs {
            args: Vec::new(),
            env: Vec::new(),
            cwd: "/none".into(),
            default_file: "/none/p.toml".into(),
        };
        config::draft(&nothing, None).0
    });
    let changes = config::change::changes(&BEFORE, &loaded);
    told += &changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let restarts = Problems(config::change::needs_restart(&changes));
    told + &restarts.report(Style::Plain, "refused")
}

#[test]
fn a_key_that_stands_where_a_value_is_wanted_is_not_told() {
    let authority = Authority::new("ca");
    let key = Key::new(authority.issue(&Leaf::loopback()).key);
    let scratch = Scratch::new("secrets");
    let forms = key.forms("");
    let texts: Vec<_> = forms
        .iter()
        .filter_map(|(what, form)| Some((*what, str::from_utf8(form).ok()?)))
        .filter(|(_, form)| !form.contains('\0'))
        .collect();
    std::fs::write(scratch.join("p.toml"), "").unwrap();
    for (what, form) in &texts {
        for (at, setting) in schema::all().enumerate() {
            let of = format!("{what} as {}", setting.name);
            let variable = setting.variable();
            let flag = format!("--{}={form}", setting.name);
            let inputs = match at % 2 {
                0 => inputs(scratch.path(), &[], &[(&variable, form)]),
                _ => inputs(scratch.path(), &[&flag], &[]),
            };
            key.assert_untold(&told(&inputs), &of);
        }
        for args in [
            vec![*form],
            vec!["--proxy", "on", form],
            vec!["--discovery-password", "", form],
            vec!["--no-such-flag", form],
            vec!["--key-file", form],
            vec!["--name", "x", "--snapshot-count", form],
        ] {
            key.assert_untold(
                &told(&inputs(scratch.path(), &args, &[])),
                &format!("{what}: {args:?}"),
            );
        }
        let name = format!("ETCD_{form}");
        if !name.contains('=') {
            let named = inputs(scratch.path(), &[], &[(&name, "x"), ("ETCD_SNAPSHOT_COUNT", form)]);
            key.assert_untold(&told(&named), what);
        }
    }
}

#[test]
fn a_key_that_stands_in_the_settings_file_is_not_told() {
    let authority = Authority::new("ca");
    let identity = authority.issue(&Leaf::loopback());
    let key = Key::new(identity.key.clone());
    let long = Key::new(include_str!("tls/files_of_openssl/rsa.key").to_owned());
    let scratch = Scratch::new("secrets");
    let file = scratch.join("p.toml");
    let forms = [&key, &long]
        .map(|key| key.forms(&identity.certificate).into_iter().map(move |form| (key, form)));
    for (key, (what, form)) in forms.into_iter().flatten() {
        let text = String::from_utf8_lossy(&form).into_owned();
        for text in [
            form.clone(),
            [b"proxy = \"on\"\n", &form[..], b"\nname = \"x\"\n"].concat(),
            format!("key-file = \"\"\"\n{text}\"\"\"\n").into(),
            format!("key-file = {text}\n").into(),
            format!("listen-client-urls = [\"{text}\"]\n").into(),
            format!("[initial-cluster]\na = '{text}'\n").into(),
            format!("\"{}\" = 1\n", text.replace('\n', "")).into(),
        ] {
            std::fs::write(&file, &text).unwrap();
            key.assert_untold(&told(&inputs(scratch.path(), &[], &[])), what);
            let named = [("ETCD_CONFIG_FILE", file.to_str().unwrap())];
            key.assert_untold(&told(&inputs(scratch.path(), &[], &named)), what);
        }
    }
}

/// A daemon whose files can be damaged one by one, and all its output.
struct Fixture {
    scratch: Scratch,
    process: Process,
    notify: Notify,
    address: String,
}

const FILES: [(&str, &str); 10] = [
    ("cert-file", "server.pem"),
    ("key-file", "server.key"),
    ("trusted-ca-file", "ca.pem"),
    ("client-crl-file", "crl.pem"),
    ("upstream-cert-file", "up.pem"),
    ("upstream-key-file", "up.key"),
    ("upstream-trusted-ca-file", "up-ca.pem"),
    ("peer-cert-file", "peer.pem"),
    ("peer-key-file", "peer.key"),
    ("peer-trusted-ca-file", "peer-ca.pem"),
];

impl Fixture {
    fn start(authority: &Authority, key: &Key, certificate: &str) -> Self {
        let scratch = Scratch::new("secrets");
        let address = format!("127.0.0.1:{}", port::free());
        let mut settings = format!(
            "listen-client-urls = \"http://{address}\"\ninitial-cluster = \"http://127.0.0.1:1\"\nworkers = 1\n"
        );
        for (setting, file) in FILES {
            let path = scratch.join(file);
            settings += &format!("{setting} = \"{}\"\n", path.display());
            let text = match Path::new(file).extension().and_then(|end| end.to_str()) {
                Some("key") => key.pem.clone(),
                _ if file.contains("ca.pem") => authority.pem().to_owned(),
                _ if file.contains("crl") => authority.revoke(&[]),
                _ => certificate.to_owned(),
            };
            std::fs::write(path, text).unwrap();
        }
        std::fs::write(scratch.join("p.toml"), settings).unwrap();
        let notify = Notify::listen(scratch.path());
        let mut command = process::command(env!("CARGO_BIN_EXE_etcd-proxy"));
        command.current_dir(scratch.path()).env("NOTIFY_SOCKET", notify.path());
        command.env("ETCD_LOG_LEVEL", "debug");
        command.args(["--config-file", "p.toml", "--admin-socket", "a.sock", "--data-dir", "d"]);
        let process = Process::start("etcd-proxy", command);
        let open = process.wait_for_line("serving clients", PATIENCE);
        assert!(open.is_some(), "{}", process.tail());
        Self { scratch, process, notify, address }
    }

    /// Returns the output of a command about the settings in this file.
    fn command(&self, args: &[&str], file: &Path) -> String {
        let mut command = process::command(env!("CARGO_BIN_EXE_etcd-proxy"));
        command.current_dir(self.scratch.path()).args(args);
        command.arg("--config-file").arg(file).args(["--data-dir", "d"]);
        command.args(["--admin-socket", "a.sock"]);
        let output = process::output(command);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Returns the running daemon's output about a reload.
    fn reload(&self) -> String {
        let file = self.scratch.join("p.toml");
        let commands = [&["reload"][..], &["status"], &["status", "-w", "json"]];
        let said: String = commands.iter().map(|args| self.command(args, &file)).collect();
        said + &self.page("/proxy/status") + &self.page("/metrics")
    }

    fn page(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn a_key_in_any_file_is_told_by_no_command_page_or_log() {
    let authority = Authority::new("ca");
    let identity = authority.issue(&Leaf::loopback());
    let key = Key::new(identity.key.clone());
    let fixture = Fixture::start(&authority, &key, &identity.certificate);
    let settings = fixture.scratch.join("p.toml");
    for (at, (what, form)) in key.forms(&identity.certificate).into_iter().enumerate() {
        // Over all forms, each file of each kind gets its turn.
        for (setting, file) in FILES.into_iter().skip(at % 5).step_by(5) {
            let path = fixture.scratch.join(file);
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, &form).unwrap();
            let of = format!("{what} in {setting}");
            key.assert_untold(&fixture.reload(), &of);
            if setting == "key-file" {
                key.assert_untold(&fixture.command(&["check"], &settings), &of);
                key.assert_untold(&fixture.command(&["check", "--format", "json"], &settings), &of);
                key.assert_untold(&fixture.command(&[], &settings), &of);
            }
            std::fs::write(&path, &whole).unwrap();
        }
        // The settings file is a key, or names one as its path.
        let wrong = fixture.scratch.join("wrong");
        std::fs::write(&wrong, &form).unwrap();
        key.assert_untold(&fixture.command(&["check"], &wrong), what);
        key.assert_untold(&fixture.command(&["print-config"], &wrong), what);
        let Ok(text) = String::from_utf8(form.clone()) else { continue };
        if text.contains('\0') {
            continue;
        }
        for args in [&["print-config", "-w", "json"][..], &["print-config"], &["check"]] {
            let args = [args, &["--name", &text, "--key-file", &text]].concat();
            key.assert_untold(&fixture.command(&args, &settings), what);
        }
        let whole = std::fs::read(&settings).unwrap();
        std::fs::write(&settings, &form).unwrap();
        key.assert_untold(&fixture.reload(), what);
        std::fs::write(&settings, &whole).unwrap();
    }
    fixture.process.signal(Signal::SIGTERM);
    assert!(fixture.process.wait(PATIENCE).is_some());
    key.assert_untold(&fixture.process.lines().join("\n"), "the log");
    key.assert_untold(&fixture.notify.heard().join("\n"), "STATUS");
}

#[test]
fn a_key_on_one_line_is_said_to_have_lost_its_newlines() {
    let authority = Authority::new("ca");
    let identity = authority.issue(&Leaf::loopback());
    let key = Key::new(identity.key.clone());
    let fixture = Fixture::start(&authority, &key, &identity.certificate);
    std::fs::write(fixture.scratch.join("server.key"), key.pem.replace('\n', " ")).unwrap();
    let said = fixture.reload();
    let sentence = "the whole PRIVATE KEY is on one line: its newlines were lost";
    assert!(said.contains(sentence), "{said}");
}

#[test]
fn passwords_are_told_by_nothing_that_is_wrong_around_them() {
    const PASSWORD: &str = "hunter2";
    let scratch = Scratch::new("secrets");
    let file: PathBuf = scratch.join("p.toml");
    for text in [
        "discovery-password = hunter2\n",
        "discovery-password =\n\"hunter2\"\n",
        "discovery-password = \"\"\"\nhunter2\nx = [\n",
        "discovery-pasword = \"hunter2\"\n",
        "discovery-passwd = \"hunter2\"\n",
        "password = \"hunter2\"\n",
        "discovery-usr = \"root:hunter2\"\n",
        "client-secret = \"hunter2\"\n",
        "initial-cluster = \"a=http://root:hunter2@h:2380\"\n",
        "initial-cluster = [\n  \"http://root:hunter2@h:2380\",\n]\n",
        "discovery = \"http://root:hunter2@h/token\"\ndiscovery-proxy = \"http://root:hunter2@h:1\"\n",
        "discovery = \"http://root:hunter2@h/token\n",
        "advertise-client-urls = \"http://root:a/'hunter2@h:1\"\n",
        "cors = \"http://root:hunter2@h\"\n",
        "listen-client-urls = \"http://root:hunter2@127.0.0.1:1\"\n",
        "log-outputs = \"http://root:hunter2@h/x\"\n",
    ] {
        std::fs::write(&file, text).unwrap();
        let told = told(&inputs(scratch.path(), &[], &[]));
        assert!(!told.contains(PASSWORD), "{text}\n{told}");
    }
    std::fs::write(&file, "").unwrap();
    for args in [
        vec!["--discovery-password=", PASSWORD],
        vec!["--discovery-pasword=hunter2"],
        vec!["--discovery-pasword", PASSWORD],
        vec!["--initial-cluster", "a=http://root:hunter2@h:2380"],
    ] {
        let told = told(&inputs(scratch.path(), &args, &[]));
        assert!(!told.contains(PASSWORD), "{args:?}\n{told}");
    }
}
