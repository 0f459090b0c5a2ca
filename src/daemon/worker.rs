//! A data-plane thread: its own runtime, its own listeners, its own connections to members.
//!
//! The control plane sends it [`Command`]s. Besides those, the two share only the pointer to the
//! newest generation. The end of a worker, by command or by a panic, is reported by its
//! [`ExitGuard`].

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::config::ListenScheme;
use crate::net::conn_limit::ConnLimit;
use crate::net::listen::ListenSocket;
use crate::proxy::worker::Worker;
use crate::server::drain::{DrainSignal, LINGER};
use crate::server::listener::{ConnContext, Listener};
use crate::server::local::RenderHandle;

/// How often idle connections to members are checked.
const SWEEP: Duration = Duration::from_secs(5);
/// How long connections may take to flush and close once their exchanges have ended.
const FLUSH_GRACE: Duration = Duration::from_secs(1);

/// A command from the control plane.
#[derive(Debug)]
pub enum Command {
    /// Accept connections on this socket, with this scheme. The number identifies the listener in
    /// later commands. A listener may have several sockets.
    Open(u64, ListenSocket, ListenScheme),
    /// Use this scheme for new connections of the listener with this number.
    SetScheme(u64, ListenScheme),
    /// Close the listener with this number. Its connections finish their exchanges.
    Close(u64),
    /// A generation was published, or an endpoint's health has changed. The flag is true while this
    /// command is queued.
    Recheck(Arc<AtomicBool>),
    /// Close client connections that have been idle for at least this long, and all idle
    /// connections to members.
    Shed(Duration),
    /// Answer, as a sign of life.
    Ping(oneshot::Sender<()>),
    /// Close all listeners, let exchanges finish for up to this long, cut off the rest, and end.
    Drain(Duration),
}

/// Reports the end of a worker when it is dropped.
struct ExitGuard {
    number: usize,
    ended: mpsc::UnboundedSender<usize>,
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let _ = self.ended.send(self.number);
    }
}

/// Starts the thread of worker `number`. `make` is called on that thread and creates its state.
///
/// # Errors
/// When the thread cannot be created.
pub fn start(
    number: usize,
    make: impl FnOnce() -> Worker + Send + 'static,
    (pages, conn_limit): (RenderHandle, ConnLimit),
    commands: mpsc::UnboundedReceiver<Command>,
    ended: mpsc::UnboundedSender<usize>,
) -> std::io::Result<JoinHandle<()>> {
    let exit_guard = ExitGuard { number, ended };
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let _exit_guard = exit_guard;
        match Builder::new_current_thread().enable_all().build_local(Default::default()) {
            Ok(runtime) => {
                let context = ConnContext { worker: Rc::new(make()), pages, conn_limit };
                runtime.block_on(work(context, commands));
                // Does not wait for blocking tasks: a hanging name lookup must not keep the thread.
                runtime.shutdown_background();
            }
            Err(error) => {
                tracing::error!(%error, worker = number, "cannot start a worker's runtime")
            }
        }
    })
}

/// An open socket of a listener on this worker.
struct OpenListener {
    drain: Rc<DrainSignal>,
    /// The scheme of new connections.
    scheme: Rc<Cell<ListenScheme>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl OpenListener {
    /// Stops accepting, and tells the connections to finish. The socket is closed when this
    /// returns.
    async fn close(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
        self.drain.start();
    }
}

async fn work(context: ConnContext, mut commands: mpsc::UnboundedReceiver<Command>) {
    let worker = &context.worker;
    let mut listeners = HashMap::new();
    // Drain signals of closed listeners whose connections are still finishing.
    let mut leaving: Vec<Rc<DrainSignal>> = Vec::new();
    // Armed while there is anything to sweep, so that an idle worker sleeps.
    let mut next_sweep = None;
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Open(number, socket, scheme)) => {
                    if let Some(listener) = open(socket, scheme, &context) {
                        listeners.entry(number).or_insert_with(Vec::new).push(listener);
                    }
                }
                Some(Command::SetScheme(number, scheme)) => {
                    for listener in listeners.get(&number).into_iter().flatten() {
                        listener.scheme.set(scheme);
                    }
                }
                Some(Command::Close(number)) => {
                    for mut listener in listeners.remove(&number).unwrap_or_default() {
                        listener.close().await;
                        leaving.retain(|drain| !drain.is_empty());
                        leaving.push(listener.drain);
                    }
                }
                Some(Command::Recheck(called)) => {
                    // Reset before the recheck: a change from now on needs another one.
                    called.swap(false, AcqRel);
                    worker.interrupt_lost();
                }
                Some(Command::Shed(idle)) => {
                    let open = listeners.values().flatten();
                    open.for_each(|listener: &OpenListener| listener.drain.shed(idle));
                    leaving.iter().for_each(|drain| drain.shed(idle));
                    worker.close_idle();
                }
                Some(Command::Ping(answer)) => {
                    let _ = answer.send(());
                }
                Some(Command::Drain(limit)) => return drain(worker, listeners, leaving, limit).await,
                None => return,
            },
            () = worker.dialled(), if next_sweep.is_none() => {
                // Also sets the clock by which idle connections age.
                worker.sweep();
                next_sweep = Some(Instant::now() + SWEEP);
            }
            () = sleep_until(next_sweep.unwrap_or_else(Instant::now)), if next_sweep.is_some() => {
                worker.sweep();
                next_sweep = worker.needs_sweep().then(|| Instant::now() + SWEEP);
            }
        }
    }
}

fn open(socket: ListenSocket, scheme: ListenScheme, context: &ConnContext) -> Option<OpenListener> {
    let listener = Listener::new(socket)
        .inspect_err(|error| tracing::error!(%error, "cannot accept on a socket that was bound"))
        .ok()?;
    let drain = Rc::<DrainSignal>::default();
    let scheme = Rc::new(Cell::new(scheme));
    let run = listener.run(context.clone(), drain.clone(), scheme.clone());
    Some(OpenListener { drain, scheme, accepting: tokio::task::spawn_local(run) })
}

/// Drains the worker. Long streams never end by themselves, so they are ended as soon as only
/// streams are left.
async fn drain(
    worker: &Worker,
    mut listeners: HashMap<u64, Vec<OpenListener>>,
    mut leaving: Vec<Rc<DrainSignal>>,
    limit: Duration,
) {
    for listener in listeners.values_mut().flatten() {
        listener.close().await;
    }
    leaving.extend(listeners.into_values().flatten().map(|listener| listener.drain));
    let exchanges = async {
        if leaving.iter().any(|drain| !drain.is_empty()) {
            // Idle connections may send one more request each.
            sleep(LINGER).await;
        }
        worker.only_streams_left().await;
    };
    let _ = timeout(limit, exchanges).await;
    worker.end_exchanges();
    let flushed = async {
        for drain in leaving {
            drain.until_empty().await;
        }
    };
    let _ = timeout(FLUSH_GRACE, flushed).await;
}
