//! Feeds systemd's watchdog, but only after every worker has answered: a healthy control plane must
//! not mask a hung worker.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::systemd::{Notifier, watchdog_interval};
use super::task::finished;
use super::workers::WorkerNotifier;

/// How long the watchdog is fed during work that the control loop waits for. After that the work
/// counts as hung. The limits of a reload's steps add up to less.
const LONGEST_WORK: Duration = Duration::from_secs(60);

/// Pings the workers periodically, and feeds systemd's watchdog when all have answered.
pub(super) struct Watchdog {
    /// The time between two feeds; `None` when systemd expects none.
    every: Option<Duration>,
    next: Instant,
    answers: Option<JoinHandle<bool>>,
    workers: WorkerNotifier,
    notifier: Notifier,
}

impl Watchdog {
    /// Makes a watchdog with the interval that systemd asks for.
    pub(super) fn new(notifier: &Notifier, workers: WorkerNotifier) -> Self {
        Self::with(watchdog_interval(), notifier, workers)
    }

    fn with(every: Option<Duration>, notifier: &Notifier, workers: WorkerNotifier) -> Self {
        Self { every, next: Instant::now(), answers: None, workers, notifier: notifier.another() }
    }

    /// Waits until the watchdog is due and all workers have answered, and feeds it. Waits for ever
    /// when systemd expects nothing. Dropping the future loses nothing.
    pub(super) async fn beat(&mut self) {
        let Some(every) = self.every else { return std::future::pending().await };
        if self.answers.is_none() {
            sleep_until(self.next).await;
            self.next = Instant::now() + every;
            self.answers = Some(tokio::task::spawn_local(self.workers.ping_all()));
        }
        let all = finished(&mut self.answers).await;
        self.answers = None;
        if all == Some(true) {
            self.notifier.watchdog();
        }
    }

    /// Runs work that takes time, and feeds the watchdog meanwhile, for up to [`LONGEST_WORK`].
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let beats = async {
            let beats = async {
                loop {
                    self.beat().await;
                }
            };
            let _: Result<(), _> = timeout(LONGEST_WORK, beats).await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            done = work => done,
            never = beats => never,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixDatagram;
    use tokio::sync::mpsc;
    use tokio::task::{LocalSet, yield_now};

    use super::*;
    use crate::daemon::worker::Command;

    fn watched() -> (Watchdog, mpsc::UnboundedReceiver<Command>, UnixDatagram, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let (commands, worker) = mpsc::unbounded_channel();
        let notifier = Notifier::to(path.as_os_str()).unwrap();
        let every = Some(Duration::from_millis(5));
        let watchdog = Watchdog::with(every, &notifier, WorkerNotifier::of(vec![commands]));
        (watchdog, worker, systemd, dir)
    }

    async fn hear(systemd: &UnixDatagram) {
        let mut buffer = [0; 64];
        let length = systemd.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
    }

    #[tokio::test]
    async fn the_watchdog_is_fed_beside_work_that_takes_long() {
        let (mut watchdog, mut worker, systemd, _dir) = watched();
        let test = async {
            tokio::task::spawn_local(async move {
                while let Some(command) = worker.recv().await {
                    let Command::Ping(answer) = command else { continue };
                    let _ = answer.send(());
                }
            });
            let work = async {
                for _ in 0..3 {
                    hear(&systemd).await;
                }
            };
            watchdog.beside(work).await;
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn a_worker_that_does_not_answer_is_not_hidden_by_work() {
        let (mut watchdog, mut worker, systemd, _dir) = watched();
        let work = async {
            let Some(Command::Ping(answer)) = worker.recv().await else {
                panic!("the worker was not asked")
            };
            for _ in 0..100 {
                yield_now().await;
            }
            systemd.try_recv(&mut [0; 64]).unwrap_err();
            answer.send(()).unwrap();
            hear(&systemd).await;
        };
        LocalSet::new().run_until(watchdog.beside(work)).await;
    }
}
