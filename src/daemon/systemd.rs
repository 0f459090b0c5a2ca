//! What we tell systemd, on the socket named by `NOTIFY_SOCKET`; without that, nothing is sent.
//!
//! The words are sd-notify's; the sending is ours, because that crate reads the environment at
//! every call, opens a socket each time, knows no abstract addresses, and lets a line break in a
//! status smuggle in another message. Sending never blocks for longer than a second and never fails
//! for the caller: a supervisor that does not listen is no reason to stop serving.
//!
//! The descriptor store is told here too: the listening sockets travel beside `FDSTORE=1` as
//! ancillary data, under the names of [`store_name`](crate::net::inherited::store_name), and come
//! back through [`Inherited`](crate::net::inherited::Inherited). systemd keeps them over a restart,
//! also one after a crash, and closes them when the unit has stopped for good.

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

/// Descriptors in one message; the kernel takes 253.
const FDS_LIMIT: usize = 128;

/// The line to the service manager.
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
    /// Makes the line that the environment names; one that says nothing when there is none, or none
    /// that can be used (which is logged).
    pub fn from_env() -> Self {
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => Self::to(&name).unwrap_or_else(|error| {
                tracing::warn!(%error, socket = ?name, "cannot notify the service manager");
                Self::default()
            }),
            _ => Self::default(),
        }
    }

    /// Makes a line to one socket: a path, or an abstract name written with a leading `@`.
    ///
    /// # Errors
    /// When the name is no socket address; nobody needs to listen yet.
    pub fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self { target: Some(Rc::new(Target { socket, address })), ..Self::default() })
    }

    /// Makes another handle of the same line.
    pub fn another(&self) -> Self {
        Self { target: self.target.clone(), ..Self::default() }
    }

    /// Says that the start, or a reload, is over.
    pub fn ready(&mut self) {
        self.send(&[NotifyState::Ready]);
    }

    /// Says in one line what goes on; a line equal to the last is not sent again. Control
    /// characters become spaces, and what is longer than 1024 bytes is cut.
    pub fn status(&mut self, text: &str) {
        let line = one_line(&masked(text));
        if line != self.last_status {
            self.send(&[NotifyState::Status(&line)]);
            self.last_status = line;
        }
    }

    /// Says that a reload begins; [`ready`](Self::ready) must follow, also when it is refused. The
    /// time stamp goes in the same datagram, without which newer systemd waits for ever.
    pub fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(stamp) => self.send(&[NotifyState::Reloading, stamp]),
            Err(error) => tracing::warn!(%error, "cannot read the monotonic clock"),
        }
    }

    /// Says that the daemon is draining and will end.
    pub fn stopping(&mut self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// Leaves the line to a program that takes this process over and knows neither the watchdog nor
    /// the descriptors that are kept for us; `env` says which these are. Closes what of them this
    /// process was given.
    pub fn hand_over(&mut self, env: &[(std::ffi::OsString, std::ffi::OsString)]) {
        self.send(&[NotifyState::WatchdogUsec(0)]);
        // It may wait long for others before it is ready, and does not ask for more time itself.
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

    /// Asks that the start or stop under way may take this much longer from now on.
    pub fn extend_timeout(&mut self, by: Duration) {
        // sd-notify's own has 32 bits, which are 71 minutes; and systemd ignores the largest number
        // of 64 bits.
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX).min(u64::MAX / 4);
        self.send(&[NotifyState::Custom(&format!("EXTEND_TIMEOUT_USEC={micros}"))]);
    }

    /// Asks that these sockets be kept for the next run, under a name that more of them may have.
    /// One that is kept already is not kept twice. Returns whether there is anybody to keep them;
    /// whether it does, nobody tells.
    pub fn store(&mut self, name: &str, sockets: &[impl AsFd]) -> bool {
        let fds: Vec<RawFd> = sockets.iter().map(|socket| socket.as_fd().as_raw_fd()).collect();
        for fds in fds.chunks(FDS_LIMIT) {
            let name = format!("FDNAME={name}");
            self.send_with(&[NotifyState::Custom("FDSTORE=1"), NotifyState::Custom(&name)], fds);
        }
        self.target.is_some()
    }

    /// Asks that the sockets of this name be closed.
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

/// Returns how often to feed the watchdog: half of `WATCHDOG_USEC`; `None` when systemd expects
/// nothing of us.
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
