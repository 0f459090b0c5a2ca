//! Messages to systemd, on the socket named by `NOTIFY_SOCKET`; without it, nothing is sent.
//!
//! The messages are formatted by sd-notify but sent here, because that crate reads the environment
//! at every call, opens a socket each time, does not support abstract addresses, and would let a
//! line break in a status smuggle in another message. Sending never blocks for longer than a second
//! and never fails for the caller: a supervisor that does not listen is no reason to stop serving.
//!
//! The descriptor store is served here too: listening sockets are sent beside `FDSTORE=1` as
//! ancillary data, under the names of [`store_name`](crate::net::inherited::store_name), and come
//! back through [`Inherited`](crate::net::inherited::Inherited). systemd keeps them over a restart,
//! even after a crash, and closes them when the unit has stopped for good.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use sd_notify::NotifyState;

use crate::config::masked;

/// How long one message may wait for room in systemd's queue.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest status sent, in bytes: systemd drops a whole datagram above 4096.
const STATUS_LIMIT: usize = 1024;

/// Most descriptors in one message; the kernel allows 253.
const FDS_LIMIT: usize = 128;

/// A connection to the service manager.
#[derive(Debug, Default)]
pub struct Notifier {
    target: Option<Rc<Target>>,
    last_status: String,
    complained: bool,
}

#[derive(Debug)]
struct Target {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// Connects to the socket that the environment names. Returns a notifier that sends nothing
    /// when none is named, or when it cannot be used (which is logged).
    pub fn from_env() -> Self {
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => Self::to(&name).unwrap_or_else(|error| {
                tracing::warn!(%error, socket = ?name, "cannot notify the service manager");
                Self::default()
            }),
            _ => Self::default(),
        }
    }

    /// Makes a notifier for one socket: a path, or an abstract name written with a leading `@`.
    ///
    /// # Errors
    /// When the name is not a socket address. Nobody needs to listen there yet.
    pub fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self { target: Some(Rc::new(Target { socket, address })), ..Self::default() })
    }

    /// Returns another handle of the same connection.
    pub fn another(&self) -> Self {
        Self { target: self.target.clone(), ..Self::default() }
    }

    /// Reports that the start, or a reload, is complete.
    pub fn ready(&mut self) {
        self.send(&[NotifyState::Ready]);
    }

    /// Sends a one-line status, unless it equals the last one. Control characters become spaces,
    /// and text beyond 1024 bytes is cut.
    pub fn status(&mut self, text: &str) {
        let line = one_line(&masked(text));
        if line != self.last_status {
            self.send(&[NotifyState::Status(&line)]);
            self.last_status = line;
        }
    }

    /// Reports that a reload begins; [`ready`](Self::ready) must follow, even when it is refused.
    /// The time stamp is in the same datagram: without it, newer versions of systemd wait for ever.
    pub fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(stamp) => self.send(&[NotifyState::Reloading, stamp]),
            Err(error) => tracing::warn!(%error, "cannot read the monotonic clock"),
        }
    }

    /// Reports that the daemon is draining and will end.
    pub fn stopping(&mut self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// Prepares for a program that is to replace this process and uses neither the watchdog nor the
    /// stored descriptors, which `env` names: turns the watchdog off, has the descriptors removed
    /// from the store, and closes those that this process was given.
    pub fn hand_over(&mut self, env: &[(std::ffi::OsString, std::ffi::OsString)]) {
        self.send(&[NotifyState::WatchdogUsec(0)]);
        // The program may wait long for others before it is ready, and does not ask for more time
        // itself.
        self.extend_timeout(Duration::MAX);
        let variable = |name: &str| env.iter().find(|(key, _)| key == name)?.1.to_str();
        for name in variable("LISTEN_FDNAMES").unwrap_or_default().split(':') {
            if !name.is_empty() {
                let name = format!("FDNAME={name}");
                self.send(&[NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::Custom(&name)]);
            }
        }
        let ours = variable("LISTEN_PID").is_some_and(|pid| *pid == std::process::id().to_string());
        let count: i32 = variable("LISTEN_FDS").and_then(|count| count.parse().ok()).unwrap_or(0);
        for descriptor in (3..3 + count.clamp(0, 1024)).filter(|_| ours) {
            let _ = nix::unistd::close(descriptor);
        }
    }

    /// Feeds the watchdog.
    pub fn watchdog(&mut self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Asks for this much more time, from now on, for the start or stop under way.
    pub fn extend_timeout(&mut self, by: Duration) {
        // Not sd-notify's own message, whose 32 bits end at 71 minutes. Capped, because systemd
        // ignores the largest 64-bit number.
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX).min(u64::MAX / 4);
        self.send(&[NotifyState::Custom(&format!("EXTEND_TIMEOUT_USEC={micros}"))]);
    }

    /// Asks systemd to keep these sockets for the next run, under a name that several may share. A
    /// socket that is already in the store is not added again. Returns whether there is a service
    /// manager to ask; it does not confirm that it keeps them.
    pub fn store(&mut self, name: &str, sockets: &[impl AsFd]) -> bool {
        let fds: Vec<RawFd> = sockets.iter().map(|socket| socket.as_fd().as_raw_fd()).collect();
        for fds in fds.chunks(FDS_LIMIT) {
            let name = format!("FDNAME={name}");
            self.send_with(&[NotifyState::Custom("FDSTORE=1"), NotifyState::Custom(&name)], fds);
        }
        self.target.is_some()
    }

    /// Asks systemd to close the sockets of this name.
    pub fn forget(&mut self, name: &str) {
        let name = format!("FDNAME={name}");
        self.send(&[NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::Custom(&name)]);
    }

    fn send(&mut self, states: &[NotifyState<'_>]) {
        self.send_with(states, &[]);
    }

    fn send_with(&mut self, states: &[NotifyState<'_>], fds: &[RawFd]) {
        let Some(target) = &self.target else { return };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        match target.send(message.as_bytes(), fds) {
            Ok(_) => self.complained = false,
            Err(error) if self.complained => tracing::debug!(%error, "service manager unreachable"),
            Err(error) => {
                self.complained = true;
                tracing::warn!(%error, "cannot notify the service manager");
            }
        }
    }
}

impl Target {
    fn send(&self, message: &[u8], fds: &[RawFd]) -> io::Result<usize> {
        if fds.is_empty() {
            return self.socket.send_to_addr(message, &self.address);
        }
        let address = match self.address.as_abstract_name() {
            Some(name) => UnixAddr::new_abstract(name)?,
            None => UnixAddr::new(self.address.as_pathname().unwrap_or(Path::new("")))?,
        };
        let rights = [ControlMessage::ScmRights(fds)];
        let parts = [IoSlice::new(message)];
        let to = Some(&address);
        Ok(sendmsg(self.socket.as_raw_fd(), &parts, &rights, MsgFlags::empty(), to)?)
    }
}

/// Returns how often to feed the watchdog: half of `WATCHDOG_USEC`, or `None` when systemd does not
/// expect it.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|half| !half.is_zero())
}

fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.floor_char_boundary(STATUS_LIMIT));
    line
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{ControlMessageOwned, recvmsg};

    use super::*;

    struct Listener {
        socket: UnixDatagram,
        _dir: tempfile::TempDir,
    }

    impl Listener {
        fn next(&self) -> String {
            let mut buffer = [0; 4096];
            let n = self.socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..n].to_vec()).unwrap()
        }
    }

    fn pair() -> (Notifier, Listener) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (Notifier::to(path.as_os_str()).unwrap(), Listener { socket, _dir: dir })
    }

    #[test]
    fn each_message_is_one_datagram() {
        let (mut notifier, listener) = pair();
        notifier.ready();
        notifier.stopping();
        notifier.watchdog();
        notifier.extend_timeout(Duration::from_secs(30));
        notifier.extend_timeout(Duration::from_secs(7200));
        notifier.extend_timeout(Duration::MAX);
        for expected in [
            "READY=1\n",
            "STOPPING=1\n",
            "WATCHDOG=1\n",
            "EXTEND_TIMEOUT_USEC=30000000\n",
            "EXTEND_TIMEOUT_USEC=7200000000\n",
            "EXTEND_TIMEOUT_USEC=4611686018427387903\n",
        ] {
            assert_eq!(listener.next(), expected);
        }
    }

    #[test]
    fn a_reload_carries_its_time_stamp_in_the_same_datagram() {
        let (mut notifier, listener) = pair();
        notifier.reloading();
        let message = listener.next();
        let stamp = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("both in one");
        assert!(stamp.trim_end().parse::<u64>().unwrap() > 0);
    }

    #[test]
    fn sockets_travel_with_their_name() {
        let (mut notifier, listener) = pair();
        let sockets = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        assert!(notifier.store("listen-a", &sockets));
        notifier.forget("listen-a");

        let mut buffer = [0; 256];
        let mut space = nix::cmsg_space!([RawFd; 3]);
        let mut parts = [io::IoSliceMut::new(&mut buffer)];
        let fd = listener.socket.as_raw_fd();
        let got = recvmsg::<UnixAddr>(fd, &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
        let n = got.bytes;
        let Some(ControlMessageOwned::ScmRights(fds)) = got.cmsgs().unwrap().next() else {
            panic!("no descriptors came")
        };
        assert_eq!(fds.len(), 3);
        assert_eq!(&buffer[..n], b"FDSTORE=1\nFDNAME=listen-a\n");
        assert_eq!(listener.next(), "FDSTOREREMOVE=1\nFDNAME=listen-a\n");
        assert!(!Notifier::default().store("listen-a", &sockets));
    }

    #[test]
    fn an_equal_status_is_sent_once() {
        let (mut notifier, listener) = pair();
        notifier.status("a");
        notifier.status("a");
        notifier.status("b");
        assert_eq!(listener.next(), "STATUS=a\n");
        assert_eq!(listener.next(), "STATUS=b\n");
    }

    #[test]
    fn a_status_cannot_smuggle_in_a_message() {
        let (mut notifier, listener) = pair();
        notifier.status("member said \"\nSTOPPING=1\n\"");
        assert_eq!(listener.next(), "STATUS=member said \" STOPPING=1 \"\n");
    }

    #[test]
    fn a_long_status_is_cut_between_characters() {
        let (mut notifier, listener) = pair();
        notifier.status(&"ä".repeat(5000));
        assert_eq!(listener.next(), format!("STATUS={}\n", "ä".repeat(512)));
    }

    #[test]
    fn abstract_names_work() {
        let name = format!("etcd-proxy-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::to(OsStr::new(&format!("@{name}"))).unwrap().ready();
        let mut buffer = [0; 64];
        let n = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"READY=1\n");
    }

    #[test]
    fn nobody_listening_is_no_trouble() {
        let (mut notifier, listener) = pair();
        drop(listener);
        notifier.ready();
        notifier.ready();
        Notifier::default().ready();
    }

    #[test]
    fn a_deaf_listener_does_not_hang_us() {
        let (mut notifier, _listener) = pair();
        let limit = std::time::Instant::now() + 20 * SEND_TIMEOUT;
        while !notifier.complained {
            notifier.watchdog();
            assert!(std::time::Instant::now() < limit, "the queue never filled");
        }
    }
}
