//! Signals as a stream: SIGHUP reloads, SIGTERM and SIGINT stop, and a second one of those stops at
//! once.

use std::io;

use tokio::signal::unix::{Signal as Source, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: reload the settings.
    Reload,
    /// The first SIGTERM or SIGINT: drain, then end.
    Stop,
    /// A further SIGTERM or SIGINT: end at once.
    StopNow,
}

/// The signals sent to this process since this was created. Equal ones that arrive together count
/// once.
#[derive(Debug)]
pub struct Signals {
    hangup: Source,
    terminate: Source,
    interrupt: Source,
    stopping: bool,
}

impl Signals {
    /// Takes over the three signals. Dropping this does not restore their default effect.
    ///
    /// # Errors
    /// When the kernel refuses the handlers. Must be called inside a runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            stopping: false,
        })
    }

    /// Waits for the next signal. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Signal {
        // A stop takes precedence over a reload that came with it.
        tokio::select! {
            biased;
            _ = self.terminate.recv() => self.stop(),
            _ = self.interrupt.recv() => self.stop(),
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    /// Waits for the next stop signal; hangups are left for [`Self::next`]. Dropping the future
    /// loses nothing.
    pub async fn next_stop(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => self.stop(),
            _ = self.interrupt.recv() => self.stop(),
        }
    }

    fn stop(&mut self) -> Signal {
        if std::mem::replace(&mut self.stopping, true) { Signal::StopNow } else { Signal::Stop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal as Nix, raise};

    // One test for everything: signals belong to the process, so two tests would see each other's.
    #[tokio::test]
    async fn hangups_reload_and_a_second_stop_is_told_from_the_first() {
        let mut signals = Signals::new().unwrap();
        for (sent, heard) in [
            (Nix::SIGHUP, Signal::Reload),
            (Nix::SIGTERM, Signal::Stop),
            (Nix::SIGHUP, Signal::Reload),
            (Nix::SIGINT, Signal::StopNow),
            (Nix::SIGTERM, Signal::StopNow),
        ] {
            raise(sent).unwrap();
            assert_eq!(signals.next().await, heard);
        }
        raise(Nix::SIGHUP).unwrap();
        raise(Nix::SIGTERM).unwrap();
        assert_eq!(signals.next_stop().await, Signal::StopNow);
        assert_eq!(signals.next().await, Signal::Reload);
    }
}
