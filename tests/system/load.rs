//! Constant reads through the proxy, each over a connection of its own, so that every one needs a listener.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::machine::PATIENCE;

/// Clients that read at the same time.
const CLIENTS: usize = 4;

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Report>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    reads: AtomicUsize,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Answers that were whole and right.
    pub reads: usize,
    /// Connections that were refused or could not be made.
    pub refused: Vec<String>,
    /// Answers that were wrong, cut off, or did not come.
    pub broken: Vec<String>,
    /// The longest wait for an answer.
    pub slowest: Duration,
}

impl Load {
    /// Starts it, in the network of the calling thread. A member must answer `/version`.
    pub fn start(address: &'static str) -> Self {
        let shared = Arc::<Shared>::default();
        let client = || {
            let shared = shared.clone();
            std::thread::spawn(move || read_all_the_time(address, &shared))
        };
        let clients = (0..CLIENTS).map(|_| client()).collect();
        let load = Self { shared, clients };
        load.wait_for_reads(50);
        load
    }

    /// Waits until this many more reads went well.
    pub fn wait_for_reads(&self, more: usize) {
        let goal = self.shared.reads.load(Relaxed) + more;
        let deadline = Instant::now() + PATIENCE;
        while self.shared.reads.load(Relaxed) < goal {
            assert!(Instant::now() < deadline, "reads do not get through");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it.
    pub fn end(self) -> Report {
        self.shared.stop.store(true, Relaxed);
        let mut all = Report::default();
        for client in self.clients {
            let one = client.join().expect("a client");
            all.reads += one.reads;
            all.refused.extend(one.refused);
            all.broken.extend(one.broken);
            all.slowest = all.slowest.max(one.slowest);
        }
        all
    }
}

fn read_all_the_time(address: &str, shared: &Shared) -> Report {
    let mut report = Report::default();
    while !shared.stop.load(Relaxed) {
        let begin = Instant::now();
        match TcpStream::connect(address) {
            Err(error) => report.refused.push(error.to_string()),
            Ok(stream) => match read(stream) {
                Ok(()) => {
                    report.reads += 1;
                    shared.reads.fetch_add(1, Relaxed);
                }
                Err(error) => report.broken.push(format!("{error}, after {:?}", begin.elapsed())),
            },
        }
        report.slowest = report.slowest.max(begin.elapsed());
    }
    report
}

fn read(mut stream: TcpStream) -> Result<(), String> {
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let request = b"GET /version HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n";
    stream.write_all(request).map_err(|error| format!("not sent: {error}"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| format!("{error} after {answer:?}"))?;
    let right = answer.starts_with("HTTP/1.1 200 ") && answer.ends_with('}');
    if right { Ok(()) } else { Err(format!("answered {answer:?}")) }
}
