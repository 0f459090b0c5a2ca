//! Checks the addresses to listen on against each other.
//!
//! A running daemon could open overlapping addresses one after the other, but its next start could
//! not. So they are refused here, over all lists. One address with http and https is served on one
//! port, as etcd does.

use std::net::{IpAddr, SocketAddr};

use super::refuse::refuse;
use crate::config::fields::{Field, Fields};
use crate::config::problem::Problems;
use crate::config::settings::{ListenAddress, ListenUrl};

/// A setting that names addresses.
type List = Field<Vec<ListenUrl>>;

/// Returns the settings that name addresses; the last is for metrics.
pub(super) fn lists(fields: &Fields) -> [&List; 3] {
    [&fields.listen_client_urls, &fields.listen_client_http_urls, &fields.listen_metrics_urls]
}

/// Returns where clients are served, sorted, each once.
pub(super) fn client_urls(fields: &Fields) -> Vec<ListenUrl> {
    let mut urls = fields.listen_client_urls.value.clone();
    urls.extend(fields.listen_client_http_urls.value.iter().cloned());
    urls.sort();
    urls.dedup();
    urls
}

/// Refuses each URL that cannot be listened on beside an earlier one.
pub(super) fn check(fields: &Fields, problems: &mut Problems) {
    let is_metrics = |list: &List| list.name == fields.listen_metrics_urls.name;
    let lists = lists(fields).into_iter();
    let urls: Vec<(&List, &ListenUrl)> =
        lists.flat_map(|list| list.value.iter().map(move |url| (list, url))).collect();
    for (at, (list, url)) in urls.iter().enumerate() {
        let name = list.name;
        // The same URL in both lists of clients' URLs does no harm.
        let is_said_twice = |other: &List, other_url: &ListenUrl| {
            other.name != name && !is_metrics(list) && other_url == *url
        };
        let earlier = urls[..at].iter();
        let clash = earlier.filter(|(other_list, other)| !is_said_twice(other_list, other));
        let mut clash = clash.filter(|(other_list, other)| {
            let same_list = is_metrics(list) == is_metrics(other_list);
            match same_list && url.at == other.at {
                // With port 0 each scheme would get a port of its own, and later nothing could tell
                // the two apart.
                true => is_any_port(&url.at),
                false => overlap(&url.at, &other.at),
            }
        });
        let Some((other_list, other)) = clash.next() else { continue };
        if is_metrics(list) && !is_metrics(other_list) {
            let at = if url.at == other.at { String::new() } else { format!(" ({other})") };
            let message = format!("`{name}` has {url}, where clients are served{at}");
            let hint = "leave it out, clients' URLs serve /metrics too, or choose another port";
            refuse(problems, list, message, hint);
        } else if url.at == other.at {
            let message = format!("`{name}` has both {other} and {url}");
            refuse(problems, list, message, "name a port, which can serve both");
        } else {
            let (wide, narrow) =
                if covers(&url.at, &other.at) { (url, other) } else { (other, url) };
            let message = format!("`{name}` has {url} beside {other}");
            refuse(
                problems,
                list,
                message,
                format!("leave one of them out: {wide} is {narrow} too"),
            );
        }
    }
}

fn overlap(one: &ListenAddress, other: &ListenAddress) -> bool {
    !is_any_port(one) && (one == other || covers(one, other) || covers(other, one))
}

fn is_any_port(at: &ListenAddress) -> bool {
    matches!(at, ListenAddress::Tcp(at) if at.port() == 0)
}

/// Whether listening on `wide` includes `narrow`. `[::]` includes IPv4.
fn covers(wide: &ListenAddress, narrow: &ListenAddress) -> bool {
    let (ListenAddress::Tcp(wide), ListenAddress::Tcp(narrow)) = (wide, narrow) else {
        return false;
    };
    let [from, to] = [wide, narrow].map(|at: &SocketAddr| at.ip().to_canonical());
    let takes = match from {
        IpAddr::V6(ip) if ip.is_unspecified() => true,
        IpAddr::V4(ip) if ip.is_unspecified() => to.is_ipv4(),
        _ => from == to,
    };
    takes && wide.port() == narrow.port()
}

#[cfg(test)]
mod tests {
    use crate::config::tests::Fixture;

    /// What is said of these two lists, without the place.
    fn said(clients: &str, metrics: &str) -> Vec<String> {
        let fixture = Fixture::new().flags("--auto-tls --upstream-trusted-ca-file /ca");
        let fixture = fixture.flags(&format!("--listen-client-urls={clients}"));
        let complaints = fixture.flags(&format!("--listen-metrics-urls={metrics}")).complaints();
        let sentences = complaints.iter().filter_map(|line| Some(line.split_once("urls: ")?.1));
        sentences.map(str::to_owned).collect()
    }

    #[test]
    fn what_the_next_start_could_not_open_is_refused() {
        let include = |wide: &str, narrow: &str, first: &str, second: &str| {
            vec![format!(
                "`listen-client-urls` has {second} beside {first}; leave one of them out: {wide} is {narrow} too"
            )]
        };
        let (all, local) = ("http://0.0.0.0:23", "http://127.0.0.1:23");
        assert_eq!(said(&format!("{local},{all}"), ""), include(all, local, all, local));
        let dual = "http://[::]:23";
        assert_eq!(said(&format!("{local},{dual}"), ""), include(dual, local, local, dual));
        assert_eq!(said(&format!("{all},{dual}"), ""), include(dual, all, all, dual));
        let one = "http://[::1]:23";
        assert_eq!(said(&format!("{one},{dual}"), ""), include(dual, one, dual, one));
        assert_eq!(
            said("http://127.0.0.1:0,https://127.0.0.1:0", ""),
            [
                "`listen-client-urls` has both http://127.0.0.1:0 and https://127.0.0.1:0; name a port, which can serve \
                 both"
            ]
        );
    }

    #[test]
    fn metrics_cannot_share_an_address_with_clients() {
        assert_eq!(
            said("http://127.0.0.1:23", "http://0.0.0.0:23"),
            [
                "`listen-metrics-urls` has http://0.0.0.0:23, where clients are served (http://127.0.0.1:23); leave it \
                 out, clients' URLs serve /metrics too, or choose another port"
            ]
        );
        let tls = said("http://127.0.0.1:23", "https://127.0.0.1:23");
        assert!(tls[0].starts_with("`listen-metrics-urls` has "), "{tls:?}");
    }

    #[test]
    fn addresses_that_have_nothing_to_do_with_each_other_may_be_listened_on() {
        for (clients, metrics) in [
            ("http://127.0.0.1:23,http://127.0.0.2:23", "http://127.0.0.1:24"),
            ("http://127.0.0.1:23,http://[::1]:23", ""),
            ("http://0.0.0.0:23,http://[::1]:23", ""),
            ("http://127.0.0.1:0,http://0.0.0.0:0", "http://127.0.0.1:0"),
            ("unix:///a,unix:///b", "unix:///c"),
            (
                "http://127.0.0.1:23,https://127.0.0.1:23",
                "https://127.0.0.1:24,http://127.0.0.1:24",
            ),
            ("unix:///a,unixs:///a", ""),
        ] {
            assert_eq!(said(clients, metrics), Vec::<String>::new(), "{clients} {metrics}");
        }
        let twice = Fixture::new().flags("--listen-client-http-urls http://127.0.0.1:2379");
        assert!(twice.complaints().is_empty());
    }
}
