use super::*;
use crate::config::tests::Fixture;

/// Loads `before` and then `after`, with these flags.
fn reload(before: &str, after: &str, flags: &str) -> (Loaded, Loaded) {
    let fixture = Fixture::new().file(before).flags(flags);
    let old = fixture.load();
    fixture.write(after.as_bytes());
    (old, fixture.load())
}

fn texts(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn changes_name_the_key_and_both_values() {
    let before = "proxy = \"on\"\nlisten-metrics-urls = \"http://127.0.0.1:2381\"\n";
    let (old, new) = reload(before, "proxy = \"readonly\"\n", "");
    assert_eq!(
        texts(&changes(&old, &new)),
        ["proxy: on -> readonly", "listen-metrics-urls: http://127.0.0.1:2381 -> \"\""]
    );
}

#[test]
fn another_way_to_write_the_same_is_no_change() {
    let before = "proxy-failure-wait = 7000\ninitial-cluster = \"a=http://h1:2380\"\n";
    let after = "# moved\ninitial-cluster = [\"http://h1:2380\"]\nproxy-failure-wait = \"7s\"\n";
    let (old, new) = reload(before, after, "");
    assert_eq!(changes(&old, &new), []);
}

#[test]
fn a_changed_secret_is_a_change_that_hides_both_values() {
    let (old, new) = reload("discovery-password = \"a\"", "discovery-password = \"b\"", "");
    assert_eq!(texts(&changes(&old, &new)), ["discovery-password: (hidden) -> (hidden)"]);
}

#[test]
fn what_needs_a_restart_is_refused_with_its_place() {
    let (old, new) = reload("", "proxy = \"on\"\nworkers = 700\n", "");
    let problems = needs_restart(&changes(&old, &new));
    assert_eq!(problems.len(), 1);
    let line = problems[0].one_line();
    let cores = old.settings.workers;
    let sentence = format!(
        "etcd-proxy.toml:2:1: `workers` cannot change in a running daemon (from \"{cores}\" to \"700\"); put it back, \
         or restart"
    );
    assert!(line.ends_with(&sentence), "{line}");
}

/// As after a change of the CPU affinity while the daemon runs.
#[test]
fn other_cores_than_at_the_start_are_no_change() {
    let (mut old, mut new) = reload("", "proxy = \"readonly\"\n", "");
    old.settings.workers = std::num::NonZeroUsize::new(77).unwrap();
    old.origins.compute("workers", 77);
    assert_eq!(texts(&changes(&old, &new)), ["proxy: on -> readonly"]);
    keep_running(&old, &mut new);
    assert_eq!((new.settings.workers.get(), new.origins.text("workers").as_str()), (77, "77"));

    let (_, written) = reload("", "workers = 77\n", "");
    assert!(changes(&new, &written).iter().all(|change| change.setting.name != "workers"));
    let (_, other) = reload("", "workers = 76\n", "");
    // Each of the two has a file of its own, which a reload never has.
    let restarts = needs_restart(&changes(&new, &other));
    let of_workers = restarts.iter().filter(|problem| problem.message.starts_with("`workers`"));
    assert_eq!(of_workers.count(), 1);
}

#[test]
fn a_huge_value_is_cut_in_the_account_of_a_change() {
    let peers: Vec<String> = (1..9000).map(|n| format!("\"http://h{n}:2380\"")).collect();
    let (old, new) = reload("", &format!("initial-cluster = [{}]\n", peers.join(",")), "");
    let text = changes(&old, &new)[0].to_string();
    assert!(text.len() < 700 && text.ends_with("..."), "{text}");
}

#[test]
fn the_same_number_of_workers_needs_no_restart() {
    let cores = std::thread::available_parallelism().unwrap().get().min(4);
    let (old, new) = reload("", &format!("workers = {cores}\n"), "");
    assert_eq!(changes(&old, &new), []);
}

#[test]
fn a_name_that_would_move_the_data_directory_is_blamed() {
    let (old, new) = reload("", "name = \"edge\"\n", "");
    let problems = needs_restart(&changes(&old, &new));
    assert!(problems[0].one_line().contains("toml:1:1: `data-dir` cannot change"));
}

#[test]
fn a_changed_key_that_a_flag_overrides_is_noticed() {
    let (old, new) = reload(
        "proxy = \"on\"\nname = \"a\"",
        "proxy = \"readonly\"\nname = \"a\"",
        "--proxy on --name b",
    );
    assert_eq!(changes(&old, &new), []);
    let notices = overridden(&old, &new);
    assert_eq!(notices.len(), 1);
    let line = notices[0].one_line();
    let sentence = "toml:1:1: `proxy` was changed here, but `--proxy` overrides it";
    assert!(line.ends_with(sentence), "{line}");
}

#[test]
fn an_unchanged_key_that_a_flag_overrides_is_not_noticed() {
    let (old, new) = reload("proxy = \"readonly\"\n", "\nproxy = \"readonly\"\n", "--proxy on");
    assert_eq!(overridden(&old, &new), []);
}

#[test]
fn a_file_that_becomes_empty_or_goes_away_is_refused() {
    let fixture = Fixture::new().file("proxy = \"readonly\"\n");
    let old = fixture.load();
    fixture.write(b" \n");
    let sentence = |loaded: &Loaded| vanished(&old, loaded).map(|problem| problem.sentence());
    let empty = Some("the settings file is empty; the settings in force stay".to_owned());
    assert_eq!(sentence(&fixture.load()), empty);
    std::fs::remove_file(fixture.path()).unwrap();
    let gone = Some("the settings file is gone; the settings in force stay".to_owned());
    assert_eq!(sentence(&fixture.load()), gone);
}

#[test]
fn a_file_of_comments_is_not_empty() {
    let (old, new) = reload("proxy = \"readonly\"\n", "# defaults\n", "");
    assert_eq!(vanished(&old, &new), None);
    assert_eq!(vanished(&new, &old), None);
}

#[test]
fn a_running_daemon_does_not_become_a_member() {
    let off = "proxy = \"off\"\ndiscovery = \"http://h1:2379/v2/keys/t\"\n";
    let on = "proxy = \"on\"\ndiscovery = \"http://h1:2379/v2/keys/t\"\n";
    let (old, new) = reload(on, off, "");
    let problems = needs_restart(&changes(&old, &new));
    assert!(problems[0].one_line().contains("`proxy` cannot change in a running daemon"));
    let (old, new) = reload(off, on, "");
    assert_eq!(needs_restart(&changes(&old, &new)), []);
}
