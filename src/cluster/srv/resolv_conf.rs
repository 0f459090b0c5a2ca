//! Which DNS servers to ask, and how: `/etc/resolv.conf`, `LOCALDOMAIN` and `RES_OPTIONS`, read as
//! glibc reads them (resolv/res_init.c, resolv.conf(5)).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use crate::config::zone;

const PATH: &str = "/etc/resolv.conf";
/// The port that glibc's resolver uses.
const PORT: u16 = 53;
/// Most bytes that are read of the file.
const SIZE_LIMIT: u64 = 64 * 1024;

/// glibc's limits of nameservers, dots, seconds and tries (MAXNS, RES_MAXNDOTS, RES_MAXRETRANS,
/// RES_MAXRETRY).
const MOST_SERVERS: usize = 3;
const MOST_DOTS: usize = 15;
const MOST_SECONDS: u64 = 30;
const MOST_TRIES: u32 = 5;

/// The configuration of name lookups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// The servers, in the order in which to ask them; never empty.
    pub(super) servers: Vec<SocketAddr>,
    /// Domains to append to a name.
    pub(super) search: Vec<String>,
    /// A name with at least this many dots is tried as it is before any domain is appended
    /// (`ndots`).
    pub(super) dots: usize,
    /// How long the first try of a server may take.
    pub(super) timeout: Duration,
    /// How many times each server is tried.
    pub(super) tries: u32,
    /// Whether each lookup starts with another server.
    pub(super) rotate: bool,
    /// Whether TCP is used from the start (`use-vc`).
    pub(super) by_tcp: bool,
    /// Whether answers by UDP may exceed 512 bytes.
    pub(super) edns: bool,
}

impl Default for ResolvConf {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
            timeout: Duration::from_secs(5),
            tries: 2,
            rotate: false,
            by_tcp: false,
            edns: false,
        }
    }
}

impl ResolvConf {
    /// Reads the current configuration. Without a file, the only server is this host.
    ///
    /// # Errors
    /// When the file exists but cannot be read.
    pub(super) async fn read() -> io::Result<Self> {
        let text = match read_file().await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(io::Error::other(format!("{PATH}: {error}"))),
        };
        let variable = |name: &str| std::env::var(name).ok();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let (domain, options) = (variable("LOCALDOMAIN"), variable("RES_OPTIONS"));
        Ok(Self::parse(&text, domain.as_deref(), options.as_deref(), host.trim()))
    }

    /// Parses `text`, together with the environment's settings (`domain`, `options`) and this
    /// host's name.
    fn parse(text: &str, domain: Option<&str>, options: Option<&str>, host: &str) -> Self {
        let mut conf = Self::default();
        let mut search: Option<Vec<String>> = domain.map(words);
        // A keyword stands at the beginning of its line, and so does a comment's mark.
        for line in text.lines() {
            let Some((keyword, rest)) = line.split_once([' ', '\t']) else { continue };
            match keyword {
                "nameserver" => conf.servers.extend(server(rest)),
                // The last one of `domain` and `search` counts.
                "domain" if domain.is_none() => {
                    search = Some(words(rest).into_iter().take(1).collect());
                }
                "search" if domain.is_none() => search = Some(words(rest)),
                "options" => conf.set_options(rest),
                _ => {}
            }
        }
        conf.set_options(options.unwrap_or_default());
        conf.servers.truncate(MOST_SERVERS);
        if conf.servers.is_empty() {
            conf.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        let of_host = || host.split_once('.').map(|(_, domain)| domain.to_owned());
        conf.search = search.unwrap_or_else(|| of_host().into_iter().collect());
        conf
    }

    fn set_options(&mut self, text: &str) {
        for option in text.split_whitespace() {
            let (name, value) = option.split_once(':').unwrap_or((option, ""));
            match name {
                "ndots" => self.dots = number(value).min(MOST_DOTS),
                "timeout" => {
                    let seconds = (number(value) as u64).clamp(1, MOST_SECONDS);
                    self.timeout = Duration::from_secs(seconds);
                }
                "attempts" => self.tries = (number(value) as u32).clamp(1, MOST_TRIES),
                "rotate" => self.rotate = true,
                "use-vc" => self.by_tcp = true,
                "edns0" => self.edns = true,
                // The rest (trust-ad, no-aaaa, single-request, ...) concerns lookups or features
                // that are not used here.
                _ => {}
            }
        }
    }

    /// Returns how long the nth try of one server may take: twice as long each time, divided among
    /// the servers, and at least 1 s.
    pub(super) fn patience(&self, nth: u32) -> Duration {
        if nth == 0 {
            return self.timeout;
        }
        let shared = self.timeout * (1 << nth) / self.servers.len().max(1) as u32;
        shared.max(Duration::from_secs(1))
    }

    /// Returns the names to look up for `name`, in order, until one has an answer.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let mut names: Vec<_> = self
            .search
            .iter()
            .map(|domain| format!("{name}.{}.", domain.trim_matches('.')))
            .collect();
        let has_dots = name.matches('.').count() >= self.dots;
        let at = if has_dots { 0 } else { names.len() };
        names.insert(at, format!("{name}."));
        names
    }
}

async fn read_file() -> io::Result<String> {
    use tokio::task::spawn_blocking;
    let reading = spawn_blocking(|| {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(PATH)?;
        io::Read::read_to_end(&mut io::Read::take(file, SIZE_LIMIT), &mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    });
    reading.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Parses an address; anything after it is a comment.
fn server(text: &str) -> Option<SocketAddr> {
    let address = text.split([' ', '\t', ';', '#']).find(|word| !word.is_empty())?;
    if let Some((ip, zone)) = zone::with_zone(address) {
        return Some(SocketAddrV6::new(ip, PORT, 0, zone::scope_id(zone).ok()?).into());
    }
    Some((address.parse::<IpAddr>().ok()?, PORT).into())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace()
        .take_while(|word| !word.starts_with(['#', ';']))
        .map(Into::into)
        .collect()
}

/// Parses a number like C's `atoi`: the leading digits, 0 without any.
fn number(text: &str) -> usize {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    // A number with more digits than fit exceeds every bound.
    if digits == 0 { 0 } else { text[..digits].parse().unwrap_or(usize::from(u16::MAX)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ResolvConf {
        ResolvConf::parse(text, None, None, "host.example.net")
    }

    fn servers(text: &str) -> Vec<String> {
        parse(text).servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_at_most_three_and_this_host_without_any() {
        let text = "nameserver 10.0.0.1\nnameserver\t10.0.0.2 # the other\nnameserver junk\n\
                    nameserver fd00::1;x\nnameserver 10.0.0.4\n";
        assert_eq!(servers(text), ["10.0.0.1:53", "10.0.0.2:53", "[fd00::1]:53"]);
        for text in ["", "# nameserver 10.0.0.1\n", "; x\n nameserver 10.0.0.1\n", "nameserver\n"] {
            assert_eq!(servers(text), ["127.0.0.1:53"], "{text:?}");
        }
        let lo = zone::scope_id("lo").unwrap();
        assert_eq!(servers("nameserver fe80::1%lo"), [format!("[fe80::1%{lo}]:53")]);
        assert_eq!(servers("nameserver fe80::1%nosuch0\nnameserver 10.0.0.1"), ["10.0.0.1:53"]);
    }

    #[test]
    fn of_domain_and_search_the_last_counts_and_the_environment_more() {
        let names = |text: &str, domain| {
            ResolvConf::parse(text, domain, None, "host.example.net").candidates("a.b")[1..]
                .join(" ")
        };
        assert_eq!(names("search one two\ndomain three four\n", None), "a.b.three.");
        assert_eq!(names("domain three\nsearch one two. # x\n", None), "a.b.one. a.b.two.");
        assert_eq!(names("", None), "a.b.example.net.");
        assert_eq!(names("search one\n", Some("five six")), "a.b.five. a.b.six.");
    }

    #[test]
    fn options_have_glibcs_bounds_and_those_of_the_environment_come_last() {
        let conf =
            parse("options ndots:99 timeout:99 attempts:99 rotate use-vc edns0 trust-ad x:y\n");
        assert_eq!((conf.dots, conf.timeout.as_secs(), conf.tries), (15, 30, 5));
        assert!(conf.rotate && conf.by_tcp && conf.edns);
        let conf = parse("options timeout:0 attempts:0 ndots:0\noptions ndots:2x\n");
        assert_eq!((conf.dots, conf.timeout.as_secs(), conf.tries), (2, 1, 1));
        let text = "options timeout:3\n";
        let conf = ResolvConf::parse(text, None, Some("timeout:1 attempts:4 rotate"), "host");
        assert_eq!((conf.timeout.as_secs(), conf.tries, conf.rotate), (1, 4, true));
        assert!(conf.search.is_empty(), "this host's name has no domain");
        assert_eq!((parse("").dots, parse("").timeout.as_secs(), parse("").tries), (1, 5, 2));
    }

    #[test]
    fn a_name_with_few_dots_is_tried_in_the_domains_first() {
        let conf = parse("search one two\noptions ndots:3\n");
        assert_eq!(conf.candidates("a.b"), ["a.b.one.", "a.b.two.", "a.b."]);
        assert_eq!(conf.candidates("a.b.c.d"), ["a.b.c.d.", "a.b.c.d.one.", "a.b.c.d.two."]);
        assert_eq!(conf.candidates("a.b."), ["a.b."]);
    }

    #[test]
    fn later_tries_are_longer_and_shared() {
        let conf = parse("nameserver 10.0.0.1\nnameserver 10.0.0.2\noptions timeout:3\n");
        let seconds = |nth| conf.patience(nth).as_secs();
        assert_eq!([seconds(0), seconds(1), seconds(2)], [3, 3, 6]);
    }
}
