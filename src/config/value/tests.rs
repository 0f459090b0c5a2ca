use super::*;
use crate::config::location::Location;
use crate::config::schema;

/// Reads `text` as the setting's value, as a variable would give it.
fn read(name: &str, text: &str) -> Result<String, String> {
    let Some(schema::Known::Setting(setting)) = schema::find(name) else { panic!("no {name}") };
    let raw = Raw { shape: Shape::Text(text.to_owned()), location: Location::Default };
    let mut problems = Vec::new();
    let value = parse(setting, &raw, Path::new("/cwd"), &mut problems);
    let sentences: Vec<String> = problems.iter().map(Problem::sentence).collect();
    value.map(|value| value.to_text()).ok_or(sentences.join("\n"))
}

fn reads(name: &str, text: &str, expected: &str) {
    assert_eq!(read(name, text).as_deref(), Ok(expected), "{text}");
}

fn refuses(name: &str, text: &str, sentence: &str) {
    assert_eq!(read(name, text), Err(sentence.to_owned()), "{text}");
}

#[test]
fn booleans_follow_go() {
    for text in ["1", "t", "T", "TRUE", "true", "True"] {
        reads("debug", text, "true");
    }
    for text in ["0", "f", "F", "FALSE", "false", "False"] {
        reads("debug", text, "false");
    }
    for text in ["yes", "on", "tRUE", "", " true", "2"] {
        refuses("debug", text, &format!("`debug` is \"{text}\"; want true or false"));
    }
}

#[test]
fn listen_urls_are_sorted_and_each_is_there_once() {
    reads(
        "listen-client-urls",
        " http://127.0.0.1:2380 ,http://localhost:2379,http://127.0.0.1:2379,",
        "http://127.0.0.1:2379,http://127.0.0.1:2380",
    );
    reads("listen-client-urls", "http://[::1]:0", "http://[::1]:0");
    reads("listen-client-urls", "HTTP://LocalHost:2379", "http://127.0.0.1:2379");
    reads("listen-client-urls", "HTTPS://[::A]:1", "https://[::a]:1");
    reads("listen-client-urls", "UNIX:///Run/P.sock", "unix:///Run/P.sock");
    reads("listen-client-urls", "unix:///run/p.sock", "unix:///run/p.sock");
    reads("listen-client-urls", "unix://localhost:2379", "unix:///cwd/localhost:2379");
}

#[test]
fn listen_urls_that_etcd_refuses_are_refused_with_what_to_write() {
    for (url, want) in [
        ("http://example.com:2379", "want an IP address or localhost to listen on"),
        ("http://:2379", "write \"http://0.0.0.0:2379\" to listen on every address"),
        ("http://127.0.0.1", "want a port, such as :2379"),
        ("http://127.0.0.1:", "want a port from 0 to 65535"),
        ("http://127.0.0.1:65536", "want a port from 0 to 65535"),
        ("http://127.0.0.1:+1", "want a port from 0 to 65535"),
        ("http://127.0.0.1:2379/", "leave out the slash after \"127.0.0.1:2379\""),
        ("http://127.0.0.1:2379/v3", "leave out the path after \"127.0.0.1:2379\""),
        ("http://::1:2379", "want brackets around an IPv6 address, such as [::1]:2379"),
        ("http://[::1:2379", "want a closing bracket"),
        ("http://[localhost]:2379", "want an IPv6 address in the brackets"),
        ("127.0.0.1:2379", "write \"http://127.0.0.1:2379\""),
        ("ftp://127.0.0.1:2379", "want http://, https://, unix:// or unixs:// before it"),
        ("unix://", "want a path behind unix://"),
        ("https://:2379", "write \"https://0.0.0.0:2379\" to listen on every address"),
        ("unixs://", "want a path behind unixs://"),
        ("http://[fe80::1%25nosuch0]:1", "this host has no network interface \"nosuch0\""),
        ("http://[fe80::1%lo]:1", "want the zone behind \"%25\", such as [fe80::1%25eth0]"),
    ] {
        let sentence = format!("`listen-client-urls` has \"{url}\"; {want}");
        refuses("listen-client-urls", url, &sentence);
    }
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    for url in ["http://bob:s3cret@h:2380", "http://bob:s3cret@h:2380/path"] {
        let sentence = read("initial-cluster", &format!("a={url}")).unwrap_err();
        let hidden = url.replace("bob:s3cret", "(hidden)");
        let expected =
            format!("`initial-cluster` has \"a={hidden}\"; want nothing but a host and a port");
        assert_eq!(sentence, expected);
    }
}

#[test]
fn peers_keep_their_order_and_lose_their_names() {
    reads(
        "initial-cluster",
        "b=http://h2:2380,a=http://h1:2380,b=http://h2:2380,http://[::1]:2380",
        "http://h2:2380,http://h1:2380,http://[::1]:2380",
    );
}

#[test]
fn schemes_and_hosts_are_read_in_any_case() {
    reads(
        "initial-cluster",
        "A=HTTP://LOCALHOST:2380,Https://H1:1",
        "http://localhost:2380,https://h1:1",
    );
    reads("initial-cluster", "http://H1:1,http://h1:1", "http://h1:1");
    reads("advertise-client-urls", "HTTP://Example.COM:1", "http://example.com:1");
    reads("initial-advertise-peer-urls", "HTTPS://[FD00::A]:1", "https://[fd00::a]:1");
}

#[test]
fn link_local_addresses_have_a_zone() {
    // Whether the interface is there is found out when it is dialled: it may come later.
    let peer = "http://[fe80::1%25nosuch0]:2380";
    reads("initial-cluster", &format!("a={peer}"), peer);
    reads("advertise-client-urls", peer, peer);
    let lo = super::super::settings::zone::scope_id("lo").unwrap();
    let listen = format!("http://[fe80::1%25{lo}]:1");
    reads("listen-client-urls", "http://[fe80::1%25lo]:1", &listen);
    reads("listen-client-urls", &listen, &listen);
}

#[test]
fn peers_that_cannot_be_asked_are_refused() {
    for (peer, want) in [
        ("a=h1:2380", "want NAME=URL or a URL, such as \"infra0=http://10.0.1.10:2380\""),
        ("a=unix://h1:2380", "want http:// or https:// before the peer's address"),
        ("a=http://h1", "want a port, such as :2380"),
        ("a=http://::1:2380", "want brackets around an IPv6 address, such as [::1]:2380"),
        ("a=http://:2380", "want a host before the port"),
        ("a=http://h1:0", "want the port of the peer, usually 2380"),
        ("a=http://h 1:2380", "want a host name or an IP address"),
        ("a=http://[fe80::1%eth0]:1", "want the zone behind \"%25\", such as [fe80::1%25eth0]"),
    ] {
        refuses("initial-cluster", peer, &format!("`initial-cluster` has \"{peer}\"; {want}"));
    }
}

#[test]
fn all_words_that_may_be_written_are_named() {
    refuses("proxy", "of", "`proxy` is \"of\"; want \"on\", \"readonly\" or \"off\"");
    let sentence = read("initial-advertise-peer-urls", "http://h").unwrap_err();
    assert!(sentence.ends_with("want a port, such as :2380"), "{sentence}");
}

#[test]
fn a_bare_number_that_was_meant_as_seconds_is_warned_of() {
    let warnings = |name: &str, text: &str| {
        let Some(schema::Known::Setting(setting)) = schema::find(name) else { panic!("no {name}") };
        let raw = Raw { shape: Shape::Text(text.to_owned()), location: Location::Default };
        let mut problems = Vec::new();
        parse(setting, &raw, Path::new("/cwd"), &mut problems).unwrap();
        problems.iter().map(Problem::sentence).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("proxy-refresh-interval", "300"),
        [
            "`proxy-refresh-interval` is 300 milliseconds; write \"300s\" if seconds are meant, or \"300ms\""
        ]
    );
    assert_eq!(warnings("drain-timeout", "30").len(), 1);
    for (name, text) in [
        ("health-interval", "0"),
        ("health-interval", "1ms"),
        ("proxy-refresh-interval", "300ms"),
        ("proxy-dial-timeout", "250"),
        ("proxy-refresh-interval", "30000"),
    ] {
        assert!(warnings(name, text).is_empty(), "{name} {text}");
    }
}

#[test]
fn times_are_milliseconds_or_durations() {
    reads("proxy-failure-wait", "5000", "5s");
    reads("proxy-failure-wait", "1m30s", "90s");
    reads("proxy-failure-wait", "0", "0s");
    let want = "want milliseconds (30000) or a duration (\"30s\")";
    refuses("proxy-failure-wait", "-1", &format!("`proxy-failure-wait` is \"-1\"; {want}"));
    refuses("proxy-failure-wait", "", &format!("`proxy-failure-wait` is \"\"; {want}"));
    refuses(
        "proxy-failure-wait",
        "9000h",
        "`proxy-failure-wait` is \"9000h\"; want less than a year",
    );
    refuses("health-timeout", "0s", "`health-timeout` is \"0s\"; want more than zero");
}

#[test]
fn cluster_ids_are_hex() {
    reads("accept-cluster-id", "cdf818194e3a8c32", "cdf818194e3a8c32");
    reads("accept-cluster-id", "0xCDF", "cdf");
    reads("accept-cluster-id", "", "");
    for text in ["xyz", "+1", "0x", "cdf818194e3a8c321"] {
        assert!(read("accept-cluster-id", text).is_err(), "{text}");
    }
}

#[test]
fn numbers_are_whole_and_bounded() {
    reads("workers", "8", "8");
    for text in ["-1", "+1", "1.5", "1025", ""] {
        let sentence = format!("`workers` is \"{text}\"; want a whole number from 0 to 1024");
        refuses("workers", text, &sentence);
    }
}

#[test]
fn origins_are_origins() {
    reads("cors", "*", "*");
    reads(
        "cors",
        "https://a.example, http://b.example:80",
        "https://a.example,http://b.example:80",
    );
    let want = "want an origin such as \"https://example.com\", or \"*\"";
    refuses("cors", "a.example", &format!("`cors` has \"a.example\"; {want}"));
    refuses("cors", "http://a/b", &format!("`cors` has \"http://a/b\"; {want}"));
}

#[test]
fn all_bad_pieces_of_a_list_are_named() {
    let sentences = read("log-package-levels", "a=loud,b=info,=debug").unwrap_err();
    assert_eq!(sentences.lines().count(), 2, "{sentences}");
}

#[test]
fn a_long_value_is_cut_in_messages() {
    let sentence = read("debug", &"x".repeat(1000)).unwrap_err();
    assert!(sentence.contains("xxx...\"; want"), "{sentence}");
    assert!(sentence.len() < 150);
}
