use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod mistakes;
mod sources;

/// A directory with a settings file, an environment and a command line.
pub(super) struct Fixture {
    directory: tempfile::TempDir,
    env: Vec<(OsString, OsString)>,
    args: Vec<OsString>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, env: Vec::new(), args: Vec::new() }
    }

    pub(super) fn file(self, text: &str) -> Self {
        self.write(text.as_bytes());
        self
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub(super) fn flags(mut self, flags: &str) -> Self {
        self.args.extend(flags.split_whitespace().map(OsString::from));
        self
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("etcd-proxy.toml")
    }

    pub(super) fn write(&self, bytes: &[u8]) {
        std::fs::write(self.path(), bytes).unwrap();
    }

    pub(super) fn inputs(&self) -> Inputs {
        let cwd = PathBuf::from("/work-directory");
        Inputs { args: self.args.clone(), env: self.env.clone(), cwd, default_file: self.path() }
    }

    pub(super) fn load(&self) -> Loaded {
        load(&self.inputs()).unwrap_or_else(|problems| panic!("{}", lines(&problems.0).join("\n")))
    }

    fn settings(&self) -> Settings {
        self.load().settings
    }

    /// Everything that is said about the settings, one line each, without the directory's name.
    pub(super) fn complaints(&self) -> Vec<String> {
        let problems = match load(&self.inputs()) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems.0,
        };
        let directory = format!("{}/", self.directory.path().display());
        lines(&problems).iter().map(|line| line.replace(&directory, "")).collect()
    }
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::one_line).collect()
}

fn peers(settings: &Settings) -> Vec<String> {
    let PeerSource::Static(peers) = &settings.peers else { panic!("another source") };
    peers.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_written_gives_the_documented_defaults() {
    let settings = Fixture::new().settings();
    let cores = std::thread::available_parallelism().unwrap().min(4.try_into().unwrap());
    let peer = |port| PeerUrl { tls: false, host: "localhost".to_owned(), port };
    assert_eq!(
        settings,
        Settings {
            name: "default".to_owned(),
            mode: Mode::Readwrite,
            listen_client_urls: vec![ListenUrl::tcp("127.0.0.1:2379".parse().unwrap())],
            listen_metrics_urls: Vec::new(),
            member: None,
            rewrite_members: false,
            advertise_client_urls: Vec::new(),
            data_dir: PathBuf::from("/work-directory/default.etcd"),
            admin_socket: PathBuf::from("/run/etcd-proxy/admin.sock"),
            peers: PeerSource::Static(vec![peer(2380), peer(7001)]),
            accept_cluster_id: None,
            refresh_interval: Duration::from_secs(30),
            failure_wait: Duration::from_secs(5),
            dial_timeout: Some(Duration::from_secs(1)),
            write_timeout: Some(Duration::from_secs(5)),
            read_timeout: None,
            balance: Balance::Sticky,
            health_interval: Some(Duration::from_secs(1)),
            health_timeout: Duration::from_secs(1),
            require_cluster_proof: true,
            drain_timeout: Duration::from_secs(10),
            workers: cores,
            cors: vec!["*".to_owned()],
            host_whitelist: vec!["*".to_owned()],
            enable_pprof: false,
            tls: TlsSettings::default(),
            log: LogSettings {
                level: LogLevel::Info,
                package_levels: Vec::new(),
                format: LogFormat::Auto,
                outputs: vec![LogOutput::Stderr],
            },
        }
    );
}

#[test]
fn every_value_that_is_written_arrives() {
    let settings = Fixture::new()
        .file(
            r#"
            name = "edge"
            proxy = "readonly"
            listen-client-urls = "http://[::1]:2379,unix:///run/edge.sock"
            listen-metrics-urls = ["http://127.0.0.1:2381"]
            advertise-client-urls = ["http://edge.example:2379"]
            data-dir = "state"
            admin-socket = "/tmp/edge.sock"
            accept-cluster-id = "cdf818194e3a8c32"
            proxy-refresh-interval = 60000
            proxy-failure-wait = 0
            proxy-dial-timeout = "0"
            proxy-write-timeout = "250ms"
            proxy-read-timeout = "1m"
            balance = "p2c"
            health-interval = 0
            health-timeout = "3s"
            drain-timeout = 0
            workers = 3
            cors = "https://a.example,http://b.example:8080"
            host-whitelist = ["edge", "localhost"]
            enable-pprof = true
            log-level = "WARN"
            log-package-levels = "upstream=DEBUG"
            log-format = "json"
            log-outputs = ["stdout", "proxy.log"]
            "#,
        )
        .settings();
    let urls: Vec<String> = settings.listen_client_urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["http://[::1]:2379", "unix:///run/edge.sock"]);
    assert_eq!((settings.name.as_str(), settings.mode), ("edge", Mode::Readonly));
    assert_eq!(settings.listen_metrics_urls.len(), 1);
    assert_eq!(settings.advertise_client_urls, ["http://edge.example:2379"]);
    assert_eq!(settings.data_dir, PathBuf::from("/work-directory/state"));
    assert_eq!(settings.admin_socket, PathBuf::from("/tmp/edge.sock"));
    assert_eq!(settings.accept_cluster_id, Some(0xcdf8_1819_4e3a_8c32));
    assert_eq!(settings.refresh_interval, Duration::from_secs(60));
    assert_eq!((settings.failure_wait, settings.dial_timeout), (Duration::ZERO, None));
    assert_eq!(settings.write_timeout, Some(Duration::from_millis(250)));
    assert_eq!(settings.read_timeout, Some(Duration::from_secs(60)));
    assert_eq!((settings.balance, settings.health_interval), (Balance::P2c, None));
    assert_eq!(settings.health_timeout, Duration::from_secs(3));
    assert_eq!(settings.drain_timeout, Duration::ZERO);
    assert_eq!(settings.workers, NonZeroUsize::new(3).unwrap());
    assert_eq!(settings.cors, ["https://a.example", "http://b.example:8080"]);
    assert_eq!(settings.host_whitelist, ["edge", "localhost"]);
    assert!(settings.enable_pprof);
    assert_eq!(settings.log.level, LogLevel::Warn);
    assert_eq!(settings.log.package_levels, [("upstream".to_owned(), LogLevel::Debug)]);
    assert_eq!(settings.log.format, LogFormat::Json);
    let log = LogOutput::File(PathBuf::from("/work-directory/proxy.log"));
    assert_eq!(settings.log.outputs, [LogOutput::Stdout, log]);
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let fixture = Fixture::new().file("name = \"file\"\nproxy = \"readonly\"\nworkers = 1\n");
    let fixture = fixture.variable("ETCD_NAME", "variable").variable("ETCD_WORKERS", "2");
    let loaded = fixture.flags("--name flag").load();
    assert_eq!(loaded.settings.name, "flag");
    assert_eq!(loaded.settings.workers.get(), 2);
    assert_eq!(loaded.settings.mode, Mode::Readonly);
    let location = |name| loaded.origins.location(name).to_string();
    assert_eq!(location("name"), "command line: --name");
    assert_eq!(location("workers"), "environment variable ETCD_WORKERS");
    assert!(location("proxy").ends_with("etcd-proxy.toml:2:1"));
    assert_eq!(location("balance"), "default");
}

#[test]
fn an_empty_variable_is_unset() {
    let fixture = Fixture::new().file("proxy = \"readonly\"\n").variable("ETCD_PROXY", "");
    assert_eq!(fixture.settings().mode, Mode::Readonly);
}

#[test]
fn flags_are_read_as_go_reads_them() {
    for flags in ["-proxy readonly", "-proxy=readonly", "--proxy readonly", "--proxy=readonly"] {
        assert_eq!(Fixture::new().flags(flags).settings().mode, Mode::Readonly, "{flags}");
    }
    let debug = |flags| Fixture::new().flags(flags).settings().log.level == LogLevel::Debug;
    assert!(debug("--debug") && debug("-debug=T") && debug("--debug=1"));
    assert!(!debug("--debug=false") && !debug("--debug --debug=F"));
}

#[test]
fn peers_may_be_a_string_an_array_or_a_table() {
    let expected = ["http://10.0.1.10:2380", "http://infra1:2380"];
    for text in [
        r#"initial-cluster = "a=http://10.0.1.10:2380, b=http://infra1:2380,""#,
        r#"initial-cluster = ["a=http://10.0.1.10:2380", "http://infra1:2380"]"#,
        "[initial-cluster]\nz = \"http://10.0.1.10:2380\"\na = [\"http://infra1:2380\"]",
        r#"initial-cluster = { z = "http://10.0.1.10:2380", a = "http://infra1:2380" }"#,
    ] {
        assert_eq!(peers(&Fixture::new().file(text).settings()), expected, "{text}");
    }
}

#[test]
fn an_empty_list_of_peers_means_the_default_pair() {
    let fixture = Fixture::new().file("initial-cluster = []\n");
    assert_eq!(peers(&fixture.settings()), ["http://localhost:2380", "http://localhost:7001"]);
}

#[test]
fn a_client_port_among_the_peers_is_warned_of() {
    let fixture = Fixture::new().flags("--initial-cluster a=http://h1:2380,b=http://h2:2379");
    assert_eq!(
        fixture.complaints(),
        [
            "command line: --initial-cluster: `initial-cluster` has http://h2:2379, and 2379 is the usual port for \
          clients; peers are asked on their peer port, usually 2380"
        ]
    );
}

#[test]
fn the_data_directory_follows_the_name_and_systemd() {
    let directory = |fixture: Fixture| fixture.settings().data_dir;
    let edge = || Fixture::new().flags("--name edge");
    assert_eq!(directory(edge()), PathBuf::from("/work-directory/edge.etcd"));
    let systemd = edge().variable("STATE_DIRECTORY", "/var/lib/etcd-proxy:/var/lib/more");
    assert_eq!(directory(systemd), PathBuf::from("/var/lib/etcd-proxy"));
    let set = edge().variable("STATE_DIRECTORY", "/var/lib/etcd-proxy").flags("--data-dir /d");
    assert_eq!(directory(set), PathBuf::from("/d"));
}

#[test]
fn what_follows_from_other_settings_names_them_as_its_origin() {
    let fixture =
        Fixture::new().variable("STATE_DIRECTORY", "/s").variable("RUNTIME_DIRECTORY", "/r");
    let loaded = fixture.flags("--debug").load();
    let row = |name: &str| {
        let row = loaded.origins.iter().find(|row| row.setting.name == name).unwrap();
        format!("{} {}", row.value, row.location)
    };
    assert_eq!(row("data-dir"), "/s environment variable STATE_DIRECTORY");
    assert_eq!(row("admin-socket"), "/r/admin.sock environment variable RUNTIME_DIRECTORY");
    assert_eq!(row("log-level"), "debug command line: --debug");
}

#[test]
fn old_names_and_flags_of_etcd_are_taken_with_a_warning() {
    let fixture = Fixture::new().flags("-v --snapshot -log-output stdout --vv=3 --proxy readonly");
    let loaded = fixture.load();
    assert_eq!(loaded.settings.log.outputs, [LogOutput::Stdout]);
    assert_eq!(loaded.settings.mode, Mode::Readonly);
    assert_eq!(
        lines(&loaded.warnings),
        [
            "command line: --v: `--v` is ignored, as etcd ignores it; leave it out",
            "command line: --snapshot: `--snapshot` is ignored, as etcd ignores it; leave it out",
            "command line: --log-output: `log-output` is an old name; write `log-outputs`",
            "command line: --vv: `--vv` is ignored, as etcd ignores it; leave it out",
        ]
    );
    let fixture =
        Fixture::new().file("log-output = \"stdout\"\n").variable("ETCD_LOG_OUTPUT", "stderr");
    let loaded = fixture.load();
    assert_eq!(loaded.settings.log.outputs, [LogOutput::Stderr]);
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
}

#[test]
fn the_admin_socket_is_found_beside_a_broken_file() {
    let fixture = Fixture::new().file("proxxy = 1\n[").variable("RUNTIME_DIRECTORY", "/run/edge");
    assert_eq!(admin_socket(&fixture.inputs()), Ok(PathBuf::from("/run/edge/admin.sock")));
    let fixture =
        fixture.file("admin-socket = \"/a.sock\"\nproxxy = 1\n").variable("ETCD_WORKERS", "x");
    assert_eq!(admin_socket(&fixture.inputs()), Ok(PathBuf::from("/a.sock")));
    let fixture = fixture.flags("--admin-soket /b.sock");
    assert_eq!(admin_socket(&fixture.inputs()).unwrap_err().exit_status(), 64);
}

#[test]
fn a_mistake_in_the_file_is_found_while_a_flag_hides_it() {
    let fixture = Fixture::new().file("proxy = \"offf\"\n").flags("--proxy on");
    assert_eq!(
        fixture.complaints(),
        ["etcd-proxy.toml:1:9: `proxy` is \"offf\"; want \"on\", \"readonly\" or \"off\""]
    );
}

#[test]
fn a_hidden_value_warns_of_nothing() {
    let fixture = Fixture::new().file("initial-cluster = \"http://h2:2379\"\n");
    assert!(fixture.flags("--initial-cluster http://h1:2380").complaints().is_empty());
}

#[test]
fn a_member_needs_a_registry() {
    let fixture = Fixture::new().file("proxy = \"off\"\ndiscovery-srv = \"example.com\"\n");
    assert_eq!(
        fixture.flags("--initial-cluster http://h1:2380").complaints(),
        [
            "etcd-proxy.toml:1:1: `proxy` is \"off\", which makes this host a member if the cluster has room, and no \
             registry is set; want `discovery` or `discovery-token`, or \"on\" or \"readonly\"",
            "command line: --initial-cluster: `initial-cluster` is ignored, because `discovery-srv` is set and comes \
             first",
        ]
    );
}

#[test]
fn lists_cannot_be_rewritten_to_nothing() {
    let fixture = Fixture::new().file("rewrite-members = true\n");
    assert_eq!(
        fixture.complaints(),
        [
            "etcd-proxy.toml:1:1: `rewrite-members` is set, and `advertise-client-urls` is not; want the URLs by which \
             clients reach this proxy in `advertise-client-urls`"
        ]
    );
    assert!(fixture.flags("--advertise-client-urls http://h1:2379").complaints().is_empty());
}

#[test]
fn settings_that_are_off_are_not_refused() {
    let fixture = Fixture::new().file("discovery = \"\"\ncert-file = \"\"\nauto-tls = false\n");
    assert!(fixture.complaints().is_empty());
}

#[test]
fn metrics_and_clients_cannot_share_an_address() {
    let fixture = Fixture::new().flags("--listen-metrics-urls http://localhost:2379");
    assert_eq!(
        fixture.complaints(),
        [
            "command line: --listen-metrics-urls: `listen-metrics-urls` has http://127.0.0.1:2379, where clients are \
          served; leave it out, clients' URLs serve /metrics too, or choose another port"
        ]
    );
}

#[test]
fn a_password_is_never_shown() {
    let loaded = Fixture::new().flags("--discovery-password hunter2").load();
    assert!(loaded.origins.iter().all(|row| !row.value.contains("hunter2")));
}

#[test]
fn the_path_to_watch_is_known_before_the_file_exists() {
    let fixture = Fixture::new();
    let loaded = fixture.load();
    assert_eq!((loaded.file, loaded.text), (Some(fixture.path()), None));
}

#[test]
fn every_default_is_what_its_kind_accepts() {
    let mut problems = Problems::default();
    Layer::defaults(std::path::Path::new("/"), &mut problems);
    assert_eq!(problems, Problems::default());
}

/// Text that looks like a settings file more often than chance would have it.
fn file_text() -> impl Strategy<Value = Vec<u8>> {
    let names: Vec<&str> = schema::all().map(|setting| setting.name).collect();
    let line =
        (prop::sample::select(names), odd_value(), prop::sample::select(vec![" = ", "=", "."]));
    let lines = prop::collection::vec(line, 0..6).prop_map(|lines| {
        let lines = lines.iter().map(|(name, value, middle)| format!("{name}{middle}{value}\n"));
        lines.collect::<String>().into_bytes()
    });
    prop_oneof![
        lines,
        prop::collection::vec(any::<u8>(), 0..80),
        "\\PC{0,60}".prop_map(String::into_bytes)
    ]
}

fn odd_value() -> impl Strategy<Value = String> {
    prop_oneof![
        "\"\\PC{0,20}\"",
        "\"(http|unix|https)://[\\[\\]:a-z0-9./,=@]{0,20}\"",
        "\"[0-9.]{0,25}(ns|ms|s|m|h|)\"",
        "[0-9.e_-]{0,25}",
        "\\[[\",a-z\n]{0,12}\\]?",
        "\\{[ =\",a-z]{0,12}\\}?",
        "\\PC{0,20}",
    ]
}

proptest! {
    #[test]
    fn no_file_variable_or_flag_makes_loading_panic(
        file in file_text(),
        variable in prop::sample::select(schema::all().map(schema::Setting::variable).collect::<Vec<_>>()),
        value in odd_value(),
        args in prop::collection::vec(prop_oneof![
            odd_value(),
            prop::sample::select(schema::all().map(|setting| format!("-{}", setting.name)).collect::<Vec<_>>()),
        ], 0..4),
    ) {
        let fixture = Fixture::new().variable(&variable, value.trim_matches('"'));
        fixture.write(&file);
        let inputs = Inputs { args: args.iter().map(OsString::from).collect(), ..fixture.inputs() };
        match load(&inputs) {
            Ok(loaded) => {
                prop_assert!(change::changes(&loaded, &loaded).is_empty());
                prop_assert!(loaded.origins.iter().all(|row| row.location.to_string().len() < 1000));
            }
            Err(problems) => {
                prop_assert!(problems.errors() > 0 && problems.exit_status() != 0);
                let report = problems.report(Style::Plain, "not started");
                prop_assert!(!report.chars().any(|c| c.is_control() && c != '\n'), "{report:?}");
                prop_assert!(problems.0.iter().all(|problem| !problem.one_line().contains('\n')));
            }
        }
    }

    #[test]
    fn every_effective_value_can_be_written_as_a_flag(file in file_text()) {
        let fixture = Fixture::new();
        fixture.write(&file);
        if let Ok(loaded) = load(&fixture.inputs()) {
            let flags = loaded.origins.iter().filter(|row| !["config-file", "discovery-password", "discovery-user"].contains(&row.setting.name));
            let args = flags.map(|row| format!("--{}={}", row.setting.name, row.value).into()).collect();
            let again = load(&Inputs { args, ..fixture.inputs() });
            prop_assert!(again.is_ok_and(|again| again.settings == loaded.settings));
        }
    }
}

#[test]
fn what_only_a_member_needs_is_kept_for_a_host_that_may_be_one() {
    let fixture = Fixture::new()
        .file("proxy = \"off\"\ndiscovery = \"http://h1:2379/v2/keys/t\"\nlisten-peer-urls = [\"http://h2:2380\", \"http://h3:2380\"]\n")
        .flags("--pre-vote --heartbeat-interval=200");
    assert!(fixture.complaints().is_empty(), "{:?}", fixture.complaints());
    let said: Vec<String> = fixture
        .load()
        .member_only
        .iter()
        .map(|setting| format!("{}={} {}", setting.name, setting.value, setting.is_flag))
        .collect();
    assert_eq!(
        said,
        [
            "listen-peer-urls=http://h2:2380,http://h3:2380 false",
            "pre-vote=true true",
            "heartbeat-interval=200 true"
        ]
    );
    let proxy = Fixture::new().flags("--pre-vote --heartbeat-interval=200");
    assert_eq!(proxy.complaints().len(), 2, "{:?}", proxy.complaints());
}

/// etcd's proxy takes `auto-tls` for its members and `peer-auto-tls` for its peers, and neither for
/// both.
#[test]
fn peer_auto_tls_leaves_members_verified() {
    let tls = |text: &str| Fixture::new().file(text).load().settings.tls;
    let peers = tls("peer-auto-tls = true\n");
    assert!(peers.upstream.verify && !peers.peer.verify);
    let members = tls("auto-tls = true\n");
    assert!(!members.upstream.verify && members.peer.verify);
}
