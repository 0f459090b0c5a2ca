//! Files that are no settings: what is said of them, how much, and how soon.

use super::*;

#[test]
fn a_file_that_is_too_long_is_refused_whoever_has_read_it() {
    let fixture = Fixture::new();
    let long = "# a line\n".repeat(200_000).into_bytes();
    fixture.write(&long);
    let sentence = ["etcd-proxy.toml: the settings file is larger than 1 MiB"];
    assert_eq!(fixture.complaints(), sentence);
    let problems = load_seen(&fixture.inputs(), Some(long)).unwrap_err();
    assert_eq!(problems.0[0].message, "the settings file is larger than 1 MiB");
}

/// Such a file must not hold up the daemon that reads it: systemd would end it.
#[test]
fn a_file_of_nothing_but_mistakes_is_refused_soon_and_in_few_words() {
    let begun = std::time::Instant::now();
    for line in ["abcdefgh = 1", "no toml", "snapshot-count = x", "\u{feff}"] {
        let lines = (0..60_000).map(|n| format!("{n}{line}\n")).take_while({
            let mut size = 0;
            move |line| {
                size += line.len();
                size < 1 << 20
            }
        });
        let fixture = Fixture::new().file(&lines.collect::<String>());
        let problems = load(&fixture.inputs()).unwrap_err();
        let lines = one_lines(&problems.0);
        let more = format!("and {} more", problems.0.len() - Problems::SHOWN);
        assert_eq!((lines.len(), lines.last()), (Problems::SHOWN + 1, Some(&more)), "{line}");
        assert!(problems.report(Style::Plain, "refused").lines().count() < 150);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_name_as_long_as_the_file_is_cut_in_messages() {
    let name = "x".repeat(300_000);
    for file in [
        format!("{name} = 1\n"),
        format!("experimental-{name} = 1\n"),
        format!("[initial-cluster]\nexperimental-{name} = 1\n"),
        format!("{name}\n"),
        format!("{name} = 1\n{name} = 2\n"),
    ] {
        let problems = load(&Fixture::new().file(&file).inputs()).unwrap_err();
        assert!(one_lines(&problems.0).join("\n").len() < 2000, "{}", &file[..40]);
        assert!(problems.report(Style::Plain, "refused").len() < 4000, "{}", &file[..40]);
    }
}

#[test]
fn of_many_problems_the_first_of_the_file_are_shown() {
    let lines = (0..30).rev().map(|n| format!("key{n} = 1\n"));
    let problems = load(&Fixture::new().file(&lines.collect::<String>()).inputs()).unwrap_err();
    let shown = one_lines(&problems.0);
    assert!(shown[0].ends_with(":1:1: unknown key `key29`"), "{shown:?}");
    assert!(shown[19].ends_with(":20:1: unknown key `key10`"), "{shown:?}");
    assert_eq!(shown[20], "and 10 more");
    assert!(
        problems.report(Style::Plain, "x").ends_with("and 10 more\n30 errors, 0 warnings; x\n")
    );
}

#[test]
fn a_setting_below_the_table_of_peers_is_no_peer() {
    let fixture = Fixture::new().file(
        "[initial-cluster]\na = \"http://h1:2380\"\nadvertise-client-urls = \"http://h2:2380\"\nproxy = \"readonly\"\n",
    );
    assert_eq!(
        fixture.complaints(),
        [
            "etcd-proxy.toml:3:1: `advertise-client-urls` stands below [initial-cluster]; move it above",
            "etcd-proxy.toml:4:1: `proxy` stands below [initial-cluster]; move it above",
        ]
    );
}

#[test]
fn what_is_no_text_in_a_list_hides_no_other_mistake() {
    let fixture = Fixture::new().file("initial-cluster = [1, \"x\", true]\ncors = [2, \"y\"]\n");
    let places: Vec<String> = fixture
        .complaints()
        .iter()
        .map(|line| line.split(": ").next().unwrap_or_default().replace("etcd-proxy.toml:", ""))
        .collect();
    assert_eq!(places, ["1:20", "1:23", "1:28", "2:9", "2:12"]);
}

#[test]
fn a_variable_with_the_prefix_twice_is_another_one() {
    let loaded = Fixture::new().variable("ETCD_ETCD_NAME", "x").load();
    assert_eq!((loaded.settings.name.as_str(), loaded.warnings.len()), ("default", 1));
}

#[test]
fn a_line_with_a_password_is_not_shown() {
    for line in [
        "discovery-password = 12345",
        "discovery-password = \"12345",
        "discovery-password = 12345 67",
        "discovery-user = \"root:12345",
    ] {
        let problems = load(&Fixture::new().file(line).inputs()).unwrap_err();
        let report = problems.report(Style::Plain, "refused");
        assert!(report.contains("etcd-proxy.toml:1:") && !report.contains("12345"), "{report}");
    }
    let file = "discovery = \"http://h/t\"\ndiscovery-proxy = \"http://bob:s3cret@h:1\"\n";
    let problems = load(&Fixture::new().file(file).inputs()).unwrap_err();
    let report = problems.report(Style::Plain, "refused") + &one_lines(&problems.0).join("\n");
    assert!(report.contains("discovery-proxy = \"http://**********@h:1\""), "{report}");
    assert!(!report.contains("s3cret"), "{report}");
}

#[test]
fn the_lines_of_an_unclosed_array_are_not_taken_for_its_elements() {
    let fixture =
        Fixture::new().file("listen-client-urls = [\"http://127.0.0.1:1\"\nproxy = \"on\"\n");
    assert_eq!(
        fixture.complaints(),
        ["etcd-proxy.toml:2:1: not TOML: missing comma between array elements, expected `,`"]
    );
}

#[test]
fn etcds_yaml_is_recognised() {
    let fixture = Fixture::new();
    let path = fixture.path().with_extension("yml");
    std::fs::write(&path, "proxy: on\nname: x\n").unwrap();
    let problems = fixture.flags(&format!("--config-file {}", path.display())).complaints();
    assert_eq!(
        problems,
        [
            "etcd-proxy.yml: the settings file is YAML by its name, and etcd-proxy reads TOML; write `key = \"value\"` in \
          place of `key: value`"
        ]
    );
}

#[test]
fn a_path_through_a_file_is_no_missing_default() {
    let fixture = Fixture::new().file("");
    let inputs = Inputs { default_file: fixture.path().join("x"), ..fixture.inputs() };
    let problems = load(&inputs).unwrap_err();
    assert!(problems.0[0].message.starts_with("the settings file cannot be read: "));
}

#[test]
fn a_named_file_must_exist_and_is_said_to_be_named() {
    let fixture = Fixture::new().variable("ETCD_CONFIG_FILE", "/nowhere/proxy.toml");
    assert_eq!(
        fixture.complaints(),
        ["/nowhere/proxy.toml: the settings file does not exist; `ETCD_CONFIG_FILE` names it"]
    );
}

#[test]
fn what_has_a_mistake_of_its_own_causes_no_further_ones() {
    for (file, mistakes) in [
        ("cert-file = 5\nkey-file = \"k\"\nlisten-client-urls = \"https://127.0.0.1:1\"\n", 1),
        ("cert-file = \"c\"\nkey-file = true\n", 1),
        ("trusted-ca-file = 1\nclient-cert-auth = true\n", 1),
        ("rewrite-members = true\nadvertise-client-urls = \"x\"\n", 1),
        ("discovery-token = \"t\"\ndiscovery-endpoints = 7\n", 1),
        ("discovery-token = 7\ndiscovery-endpoints = \"http://h:1\"\n", 1),
        ("proxy = \"off\"\ndiscovery = 1\n", 1),
        ("proxy = \"off\"\n", 1),
        ("cert-file = \"c\"\nclient-cert-auth = true\n", 2),
    ] {
        let complaints = Fixture::new().file(file).complaints();
        assert_eq!(complaints.len(), mistakes, "{file}{complaints:?}");
    }
}

#[test]
fn a_mark_of_the_encoding_moves_no_place() {
    let fixture = Fixture::new().file("\u{feff}proxxy = 1\n");
    assert_eq!(
        fixture.complaints(),
        ["etcd-proxy.toml:1:1: unknown key `proxxy`; did you mean `proxy`?"]
    );
}
