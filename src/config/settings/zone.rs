//! IPv6 literals of URLs, with or without a zone: `[fe80::1%25eth0]` (RFC 6874).
//!
//! A zone names the interface of a link-local address. In a URL the `%` before it is written `%25`;
//! a host that is stored or dialled has the bare `%`, as in `fe80::1%eth0`. A zone never leaves
//! this host: neither a `Host` header nor the name in a certificate has one.

use std::net::Ipv6Addr;

/// The hint for a zone behind a bare `%`, which Go's parser refuses too.
const BARE: &str = "want the zone behind \"%25\", such as [fe80::1%25eth0]";

/// Reads the text in the brackets of a URL. Returns it as it is dialled, in lower case except for
/// the zone.
///
/// # Errors
/// Returns a hint what to write.
pub fn read_literal(text: &str) -> Result<String, &'static str> {
    let (address, zone) = match text.split_once('%') {
        None => (text, None),
        Some((address, zone)) => (address, Some(zone.strip_prefix("25").ok_or(BARE)?)),
    };
    if address.parse::<Ipv6Addr>().is_err() {
        return Err("want an IPv6 address in the brackets");
    }
    let address = address.to_ascii_lowercase();
    match zone {
        None => Ok(address),
        Some(zone) if is_zone(zone) => Ok(format!("{address}%{zone}")),
        Some(_) => Err("want a network interface behind %25, such as [fe80::1%25eth0]"),
    }
}

/// Whether a zone may be an interface's name or number, in the characters that a URL may have
/// without further escapes.
fn is_zone(zone: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    // Linux's IFNAMSIZ is 16, including the terminating zero.
    (1..16).contains(&zone.len()) && zone.bytes().all(fits)
}

/// Returns a host without its zone, as other hosts know it.
pub fn without_zone(host: &str) -> &str {
    host.split_once('%').map_or(host, |(address, _)| address)
}

/// Splits an IPv6 literal with a zone; returns `None` for any other host.
pub fn with_zone(host: &str) -> Option<(Ipv6Addr, &str)> {
    let (address, zone) = host.split_once('%')?;
    Some((address.parse().ok()?, zone))
}

/// Returns the index of the interface that a zone names, by name or by number.
///
/// # Errors
/// Returns a sentence when this host has no such interface.
pub fn scope_id(zone: &str) -> Result<u32, String> {
    let missing = || format!("this host has no network interface \"{zone}\"");
    match zone.parse::<u32>() {
        Ok(number) if has_number(number) => Ok(number),
        Ok(_) => Err(missing()),
        Err(_) => nix::net::if_::if_nametoindex(zone).map_err(|_| missing()),
    }
}

/// Whether an interface has this index. Where that cannot be found out, the index is accepted.
fn has_number(number: u32) -> bool {
    let Ok(interfaces) = std::fs::read_dir("/sys/class/net") else { return number > 0 };
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path.join("ifindex")).ok();
    interfaces
        .flatten()
        .filter_map(|interface| read(interface.path()))
        .any(|text| text.trim().parse() == Ok(number))
}

/// Returns a host as it is written in a URL: an IPv6 literal in brackets, with the zone behind
/// `%25`.
pub fn in_url(host: &str) -> String {
    match host.split_once('%') {
        Some((address, zone)) => format!("[{address}%25{zone}]"),
        None if host.contains(':') => format!("[{host}]"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_kept_as_it_is_dialled_and_written_as_a_url_has_it() {
        for (url, host) in [
            ("fe80::1%25eth0", "fe80::1%eth0"),
            ("FE80::A%25Eth0.100", "fe80::a%Eth0.100"),
            ("fe80::1%253", "fe80::1%3"),
            ("::1", "::1"),
        ] {
            let read = read_literal(url).unwrap();
            assert_eq!(read, host);
            assert_eq!(in_url(&read).to_lowercase(), format!("[{}]", url.to_lowercase()));
            assert!(!without_zone(&read).contains('%'));
        }
        assert_eq!(in_url("infra0"), "infra0");
    }

    #[test]
    fn what_is_no_zone_says_what_to_write() {
        for bad in ["fe80::1%eth0", "fe80::1%", "fe80::1%3"] {
            assert_eq!(read_literal(bad), Err(BARE), "{bad}");
        }
        for bad in
            ["fe80::1%25", "fe80::1%25eth/0", "fe80::1%25a%25b", "fe80::1%250123456789abcdef"]
        {
            assert!(read_literal(bad).unwrap_err().starts_with("want a network"), "{bad}");
        }
        assert!(read_literal("localhost").is_err() && read_literal("").is_err());
    }

    #[test]
    fn an_interface_is_found_by_name_and_number() {
        let number = scope_id("lo").unwrap();
        assert_eq!(scope_id(&number.to_string()), Ok(number));
        let missing = "this host has no network interface \"nosuch0\"".to_owned();
        assert_eq!(scope_id("nosuch0"), Err(missing));
        assert!(scope_id("0").is_err());
    }
}
