//! systemd's end of the notification socket.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The messages that a process sent to its notification socket, with the time of each.
#[derive(Clone)]
pub struct Notify {
    path: PathBuf,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    messages: Mutex<Vec<(Instant, String)>>,
    more: Condvar,
}

impl Notify {
    /// Listens on a socket in the directory. The listening thread ends when the socket's file is
    /// removed.
    pub fn listen(directory: &Path) -> Self {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a notification socket");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a read timeout");
        let heard = Arc::new(Heard::default());
        let notify = Self { path, heard };
        let listener = notify.clone();
        std::thread::spawn(move || listener.listen_on(&socket));
        notify
    }

    fn listen_on(&self, socket: &UnixDatagram) {
        let mut buffer = [0; 8192];
        while self.path.exists() {
            let Ok(length) = socket.recv(&mut buffer) else { continue };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            self.heard.messages.lock().expect("messages").push((Instant::now(), text));
            self.heard.more.notify_all();
        }
    }

    /// Returns the value for `NOTIFY_SOCKET`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns all assignments received so far, such as `READY=1`, one per element.
    pub fn heard(&self) -> Vec<String> {
        let messages = self.heard.messages.lock().expect("messages");
        messages.iter().flat_map(|(_, text)| text.lines().map(str::to_owned)).collect()
    }

    /// Returns the texts of all `STATUS=` assignments so far.
    pub fn statuses(&self) -> Vec<String> {
        self.heard()
            .iter()
            .filter_map(|line| line.strip_prefix("STATUS=").map(str::to_owned))
            .collect()
    }

    /// Waits for an assignment and returns the time of the first message with it; `None` if it does
    /// not arrive in time.
    pub fn wait_for(&self, assignment: &str, within: Duration) -> Option<Instant> {
        self.wait_for_nth(assignment, 1, within)
    }

    /// Like [`Self::wait_for`], for the assignment's `count`th occurrence.
    pub fn wait_for_nth(
        &self,
        assignment: &str,
        count: usize,
        within: Duration,
    ) -> Option<Instant> {
        let find = |messages: &[(Instant, String)]| {
            let mut with_it =
                messages.iter().filter(|(_, text)| text.lines().any(|line| line == assignment));
            with_it.nth(count - 1).map(|(at, _)| *at)
        };
        let messages = self.heard.messages.lock().expect("messages");
        let waited = self
            .heard
            .more
            .wait_timeout_while(messages, within, |messages| find(messages).is_none());
        find(&waited.expect("messages").0)
    }
}
