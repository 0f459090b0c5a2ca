//! Finds the process that holds an address we want to bind: the answer to "port 2379 is taken, but
//! by whom?".
//!
//! Best effort, from `/proc`: the kernel's socket tables give the inode and the owner's user ID,
//! `/proc/*/fd` gives the process. Without root, processes of other users cannot be inspected, so
//! only the user's name is known; in a user namespace, such as the unit's, not even that. Nothing
//! here fails; the answer is only less precise.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Uid, User};

/// Advice for when the process cannot be seen.
const ROOT_SEES_IT: &str = "`ss -ltnp` as root names it";

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The process that holds an address, as far as known. Displays as text to follow "by ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortOwner {
    /// This very process.
    Ourselves,
    /// A process that could be seen.
    Process {
        /// Its process ID.
        pid: i32,
        /// Its program's name, at most 15 bytes (the kernel's `comm`).
        name: String,
    },
    /// A process that could not be seen, and its user's name (or number).
    User(String),
    /// A process that could not be seen, nor its user.
    Unseen,
    /// Nothing is known.
    Unknown,
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ourselves => f.write_str("this process itself"),
            Self::Process { pid, name } => write!(f, "pid {pid} ({name})"),
            Self::User(user) => write!(f, "another process of user {user}; {ROOT_SEES_IT}"),
            Self::Unseen => write!(f, "another process; {ROOT_SEES_IT}"),
            Self::Unknown => f.write_str("another process"),
        }
    }
}

/// Finds the process that listens on an address, or on a wildcard or other address that conflicts
/// with it.
pub fn of_tcp(wanted: SocketAddr) -> PortOwner {
    let Some(row) = listeners().find(|row| row.is_in_the_way_of(wanted)) else {
        return PortOwner::Unknown;
    };
    match pid_of_inode(row.inode) {
        Some(pid) => process(pid),
        None if is_known(
            row.uid,
            &fs::read_to_string("/proc/self/uid_map").unwrap_or_default(),
        ) =>
        {
            PortOwner::User(user_name(row.uid))
        }
        None => PortOwner::Unseen,
    }
}

/// Returns whether a user ID of the kernel's tables is covered by this process's `uid_map`. In a
/// user namespace (`PrivateUsers=yes`) every user outside of it is shown as `nobody`.
fn is_known(uid: u32, uid_map: &str) -> bool {
    let covers = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map_while(|word| word.parse::<u64>().ok());
        let (first, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some((first..first.saturating_add(count)).contains(&uid.into()))
    };
    uid_map.is_empty() || uid_map.lines().any(|line| covers(line) == Some(true))
}

/// Finds the process at the other end of a connected unix socket.
pub fn of_unix_peer(connected: &impl AsFd) -> PortOwner {
    match getsockopt(connected, PeerCredentials) {
        Ok(peer) if peer.pid() > 0 => process(peer.pid()),
        Ok(peer) => PortOwner::User(user_name(peer.uid())),
        Err(_) => PortOwner::Unknown,
    }
}

fn process(pid: i32) -> PortOwner {
    if u32::try_from(pid) == Ok(std::process::id()) {
        return PortOwner::Ourselves;
    }
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => PortOwner::Process { pid, name: name.trim_end().to_owned() },
        Err(_) => PortOwner::Process { pid, name: "unknown program".to_owned() },
    }
}

fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

/// One listening socket of the kernel's tables.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    local: SocketAddr,
    uid: u32,
    inode: u64,
}

impl Row {
    /// Returns whether binding `wanted` fails because of this socket (a dual-stack wildcard counts
    /// for both families).
    fn is_in_the_way_of(&self, wanted: SocketAddr) -> bool {
        self.local.port() == wanted.port()
            && (self.local.ip().is_unspecified()
                || wanted.ip().is_unspecified()
                || self.local.ip().to_canonical() == wanted.ip().to_canonical())
    }
}

fn listeners() -> impl Iterator<Item = Row> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(parse_row).collect::<Vec<_>>())
}

/// Reads one line of `/proc/net/tcp{,6}`; `None` when it is not a listening socket.
fn parse_row(line: &str) -> Option<Row> {
    let mut words = line.split_ascii_whitespace();
    let local = parse_address(words.nth(1)?)?;
    let state = words.nth(1)?;
    let uid = words.nth(3)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    (state == LISTEN).then_some(Row { local, uid, inode })
}

/// Reads the kernel's hex form: the address as 32-bit words in the machine's own byte order, the
/// port in plain hex.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<[u8; 4]> = (0..ip.len())
        .step_by(8)
        .map(|at| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes()))
        .collect::<Option<_>>()?;
    let ip = match words.as_slice() {
        [v4] => IpAddr::V4(Ipv4Addr::from(*v4)),
        [a, b, c, d] => {
            let mut bytes = [0; 16];
            for (to, from) in bytes.chunks_exact_mut(4).zip([a, b, c, d]) {
                to.copy_from_slice(from);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Searches the descriptors of every process that we may inspect. The lowest process ID wins,
/// because forked children share their parent's sockets.
fn pid_of_inode(inode: u64) -> Option<i32> {
    let wanted = format!("socket:[{inode}]");
    fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| holds(&format!("/proc/{pid}/fd"), &wanted))
        .min()
}

fn holds(fd_dir: &str, wanted: &str) -> bool {
    let Ok(entries) = fs::read_dir(fd_dir) else {
        return false;
    };
    entries.flatten().any(|entry| {
        fs::read_link(entry.path()).is_ok_and(|target| target.as_path() == Path::new(wanted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;

    #[test]
    fn our_own_listener_is_recognised() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        assert_eq!(of_tcp(addr), PortOwner::Ourselves);
    }

    #[test]
    fn a_wildcard_is_in_the_way_of_each_address() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(of_tcp(SocketAddr::from(([127, 0, 0, 1], port))), PortOwner::Ourselves);
    }

    #[test]
    fn a_free_port_has_no_known_owner() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let found = of_tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(found.to_string(), "another process");
    }

    #[test]
    fn the_peer_of_a_unix_socket_is_known() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(of_unix_peer(&ours), PortOwner::Ourselves);
    }

    #[test]
    fn a_user_from_outside_of_our_namespace_is_not_called_nobody() {
        let (whole, private) = (
            "0 0 4294967295\n",
            "         0          0          1\n       998        998          1\n",
        );
        assert!(is_known(65534, whole) && is_known(998, private) && is_known(65534, ""));
        assert!(!is_known(65534, private));
        assert_eq!(PortOwner::Unseen.to_string(), "another process; `ss -ltnp` as root names it");
        assert_eq!(
            PortOwner::User("etcd".to_owned()).to_string(),
            "another process of user etcd; `ss -ltnp` as root names it"
        );
    }

    #[test]
    fn pid_one_is_named() {
        match process(1) {
            PortOwner::Process { pid: 1, name } => assert!(!name.is_empty()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_the_kernel_is_read() {
        let line = "   0: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 18210 1 0 100 0 0 10 0";
        assert_eq!(
            parse_row(line),
            Some(Row { local: "127.0.0.1:2379".parse().unwrap(), uid: 105, inode: 18210 })
        );
        assert_eq!(parse_row(&line.replace(" 0A ", " 01 ")), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn an_ipv6_line_is_read() {
        let row = parse_address("00000000000000000000000001000000:094B").unwrap();
        assert_eq!(row, "[::1]:2379".parse().unwrap());
    }

    #[test]
    fn junk_lines_give_nothing() {
        for line in [
            "",
            "x",
            "0: zz:zz 0:0 0A",
            "0: 0100007F 00000000:0000 0A 0 0 0 0 0 0",
            "é é é é é é é é é é",
        ] {
            assert_eq!(parse_row(line), None, "{line}");
        }
    }
}
