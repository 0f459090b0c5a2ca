//! A data-plane thread: its own runtime, its own listeners, its own connections to members.
//!
//! The control plane sends it [`Order`]s; nothing else passes between them but the generation's
//! pointer. A worker that ends, by order or by a panic, is reported through its [`Farewell`].

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::config::ListenScheme;
use crate::net::crowd::Crowd;
use crate::net::listen::ListenSocket;
use crate::proxy::worker::Worker;
use crate::server::gate::{Gate, LINGER};
use crate::server::listener::{Host, Listener};
use crate::server::local::Pages;

/// How often idle connections to members are looked over.
const SWEEP: Duration = Duration::from_secs(5);
/// How long connections may take to say goodbye once their exchanges have ended.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the control plane tells a worker.
#[derive(Debug)]
pub enum Order {
    /// Accept connections on this socket that speak this; the number names the listener from then
    /// on. One listener may have several.
    Open(u64, ListenSocket, ListenScheme),
    /// New connections of the listener of this number speak this.
    Speak(u64, ListenScheme),
    /// Close the listener of this number. Its connections finish what they have.
    Close(u64),
    /// A generation was published, or an endpoint's health has changed. The mark says that it is
    /// under way.
    Look(Arc<AtomicBool>),
    /// Close client connections that have been idle for so long, and all idle ones to members.
    Shed(Duration),
    /// Say that you are alive.
    Answer(oneshot::Sender<()>),
    /// Close all listeners, let exchanges end for this long, end the rest, and end yourself.
    Drain(Duration),
}

/// Reports the end of a worker when it is dropped.
struct Farewell {
    number: usize,
    ended: mpsc::UnboundedSender<usize>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.ended.send(self.number);
    }
}

/// Starts the thread of worker `number`. `make` makes its state there.
///
/// # Errors
/// When the thread or its runtime cannot be had.
pub fn start(
    number: usize,
    make: impl FnOnce() -> Worker + Send + 'static,
    (pages, crowd): (Pages, Crowd),
    orders: mpsc::UnboundedReceiver<Order>,
    ended: mpsc::UnboundedSender<usize>,
) -> std::io::Result<JoinHandle<()>> {
    let farewell = Farewell { number, ended };
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let _farewell = farewell;
        match Builder::new_current_thread().enable_all().build_local(Default::default()) {
            Ok(runtime) => {
                let host = Host { worker: Rc::new(make()), pages, crowd };
                runtime.block_on(work(host, orders));
                // A name lookup that hangs must not keep the thread.
                runtime.shutdown_background();
            }
            Err(error) => {
                tracing::error!(%error, worker = number, "cannot start a worker's runtime")
            }
        }
    })
}

/// An open socket of a listener on this worker.
struct Door {
    gate: Rc<Gate>,
    /// What new connections may speak.
    scheme: Rc<Cell<ListenScheme>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Door {
    /// Stops to accept, and tells the connections to finish. The socket is closed when this
    /// returns.
    async fn close(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
        self.gate.close();
    }
}

async fn work(host: Host, mut orders: mpsc::UnboundedReceiver<Order>) {
    let worker = &host.worker;
    let mut doors = HashMap::new();
    // Gates of listeners that were closed while their connections finish.
    let mut leaving: Vec<Rc<Gate>> = Vec::new();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Open(number, socket, scheme)) => {
                    if let Some(door) = open(socket, scheme, &host) {
                        doors.entry(number).or_insert_with(Vec::new).push(door);
                    }
                }
                Some(Order::Speak(number, scheme)) => {
                    for door in doors.get(&number).into_iter().flatten() {
                        door.scheme.set(scheme);
                    }
                }
                Some(Order::Close(number)) => {
                    for mut door in doors.remove(&number).unwrap_or_default() {
                        door.close().await;
                        leaving.retain(|gate| !gate.is_empty());
                        leaving.push(door.gate);
                    }
                }
                Some(Order::Look(called)) => {
                    // Before the look: what changes from now on is worth another.
                    called.swap(false, AcqRel);
                    worker.interrupt_lost();
                }
                Some(Order::Shed(idle)) => {
                    doors.values().flatten().for_each(|door: &Door| door.gate.shed(idle));
                    leaving.iter().for_each(|gate| gate.shed(idle));
                    worker.close_idle();
                }
                Some(Order::Answer(answer)) => {
                    let _ = answer.send(());
                }
                Some(Order::Drain(limit)) => return drain(worker, doors, leaving, limit).await,
                None => return,
            },
            _ = sweep.tick() => worker.sweep(),
        }
    }
}

fn open(socket: ListenSocket, scheme: ListenScheme, host: &Host) -> Option<Door> {
    let listener = Listener::new(socket)
        .inspect_err(|error| tracing::error!(%error, "cannot accept on a socket that was bound"))
        .ok()?;
    let gate = Rc::<Gate>::default();
    let scheme = Rc::new(Cell::new(scheme));
    let run = listener.run(host.clone(), gate.clone(), scheme.clone());
    Some(Door { gate, scheme, accepting: tokio::task::spawn_local(run) })
}

/// Long streams never end by themselves, so they are ended as soon as nothing else is left to wait
/// for.
async fn drain(
    worker: &Worker,
    mut doors: HashMap<u64, Vec<Door>>,
    mut leaving: Vec<Rc<Gate>>,
    limit: Duration,
) {
    for door in doors.values_mut().flatten() {
        door.close().await;
    }
    leaving.extend(doors.into_values().flatten().map(|door| door.gate));
    let exchanges = async {
        if leaving.iter().any(|gate| !gate.is_empty()) {
            // Idle connections may bring one more request each.
            sleep(LINGER).await;
        }
        worker.only_streams_left().await;
    };
    let _ = timeout(limit, exchanges).await;
    worker.end_exchanges();
    let goodbyes = async {
        for gate in leaving {
            gate.emptied().await;
        }
    };
    let _ = timeout(GOODBYE, goodbyes).await;
}
