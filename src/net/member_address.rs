//! Addresses that no listed member can have.
//!
//! Member lists, registries and the DNS come from the network, and this host connects to what they
//! name. A link-local address means a different machine on every host (169.254.169.254 is a cloud's
//! metadata service), an unspecified one means this host, and a multicast or broadcast one means no
//! single host. So none of these is dialled when the network named it, however it is written: the
//! check applies to the address that a host resolves to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns the kind of address of `ip` if no listed member can have it, and `None` if one can.
pub fn refusal(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => refusal_v4(ip),
        IpAddr::V6(ip) => refusal_v6(ip).or_else(|| embedded(ip).and_then(refusal_v4)),
    }
}

fn refusal_v4(ip: Ipv4Addr) -> Option<&'static str> {
    // All of 0.0.0.0/8 is "this network" (RFC 1122, 3.2.1.3).
    if ip.octets()[0] == 0 {
        Some("an unspecified address")
    } else if ip.is_link_local() {
        Some("a link-local address")
    } else if ip.is_multicast() {
        Some("a multicast address")
    } else if ip.is_broadcast() {
        Some("the broadcast address")
    } else {
        None
    }
}

fn refusal_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if ip.is_unspecified() {
        Some("an unspecified address")
    } else if ip.is_unicast_link_local() {
        Some("a link-local address")
    } else if ip.is_multicast() {
        Some("a multicast address")
    } else {
        None
    }
}

/// Returns the embedded IPv4 address that packets for `ip` finally go to, if there is one.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = ip.to_bits();
    let at = |shift: u32| Some(Ipv4Addr::from_bits((bits >> shift) as u32));
    match ip.segments() {
        // Mapped, translated by NAT64 (RFC 6052), and 6to4 (RFC 3056).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => at(0),
        [0x2002, ..] => at(80),
        // IPv4-compatible (RFC 4291, 2.5.5.1), except ::1, which has the same form.
        [0, 0, 0, 0, 0, 0, ..] if !ip.is_loopback() => at(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ip: &str) -> Option<&'static str> {
        refusal(ip.parse().unwrap())
    }

    #[test]
    fn what_no_member_can_have_is_refused_in_every_spelling() {
        for (ip, words) in [
            ("0.0.0.0", "an unspecified address"),
            ("0.1.2.3", "an unspecified address"),
            ("::", "an unspecified address"),
            ("::ffff:0.0.0.0", "an unspecified address"),
            ("169.254.169.254", "a link-local address"),
            ("::ffff:169.254.169.254", "a link-local address"),
            ("::ffff:a9fe:a9fe", "a link-local address"),
            ("::169.254.169.254", "a link-local address"),
            ("64:ff9b::169.254.169.254", "a link-local address"),
            ("2002:a9fe:a9fe::", "a link-local address"),
            ("fe80::1", "a link-local address"),
            ("febf::1", "a link-local address"),
            ("224.0.0.1", "a multicast address"),
            ("::ffff:239.1.1.1", "a multicast address"),
            ("ff02::1", "a multicast address"),
            ("255.255.255.255", "the broadcast address"),
            ("::ffff:255.255.255.255", "the broadcast address"),
        ] {
            assert_eq!(said(ip), Some(words), "{ip}");
        }
    }

    #[test]
    fn what_a_member_may_have_is_not() {
        for ip in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "10.0.0.1",
            "10.0.0.255",
            "192.168.1.1",
            "169.253.1.1",
            "203.0.113.7",
            "fd00::1",
            "2001:db8::1",
            "64:ff9b::10.0.0.1",
        ] {
            assert_eq!(said(ip), None, "{ip}");
        }
    }
}
