//! Constant reads through the proxy: each on a new connection, so that every one needs a listener,
//! or one after another on connections that stay open as long as the proxy keeps them.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::machine::PATIENCE;

/// Number of clients that read at the same time.
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

/// The results of the load.
#[derive(Debug, Default)]
pub struct Report {
    /// Number of complete and correct answers.
    pub reads: usize,
    /// Connections that were refused or failed.
    pub refused: Vec<String>,
    /// Answers that were wrong, cut off or missing.
    pub broken: Vec<String>,
    /// The longest wait for an answer.
    pub slowest: Duration,
}

impl Load {
    /// Starts a load in the calling thread's network namespace. A member must answer `/version`.
    pub fn start(address: &'static str) -> Self {
        Self::of(address, read_all_the_time)
    }

    /// Like [`Self::start`], on connections that are kept.
    pub fn start_kept(address: &'static str) -> Self {
        Self::of(address, read_on_kept_connections)
    }

    fn of(address: &'static str, work: fn(&str, &Shared) -> Report) -> Self {
        let shared = Arc::<Shared>::default();
        let client = || {
            let shared = shared.clone();
            std::thread::spawn(move || work(address, &shared))
        };
        let clients = (0..CLIENTS).map(|_| client()).collect();
        let load = Self { shared, clients };
        load.wait_for_reads(50);
        load
    }

    /// Waits until this many more reads have succeeded.
    pub fn wait_for_reads(&self, more: usize) {
        let goal = self.shared.reads.load(Relaxed) + more;
        let deadline = Instant::now() + PATIENCE;
        while self.shared.reads.load(Relaxed) < goal {
            assert!(Instant::now() < deadline, "reads do not get through");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the load and returns the results.
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

fn read_on_kept_connections(address: &str, shared: &Shared) -> Report {
    let mut report = Report::default();
    while !shared.stop.load(Relaxed) {
        let stream = match TcpStream::connect(address) {
            Ok(stream) => stream,
            Err(error) => {
                report.refused.push(error.to_string());
                continue;
            }
        };
        let mut stream = BufReader::new(stream);
        while !shared.stop.load(Relaxed) {
            let begin = Instant::now();
            let kept = read_next(&mut stream);
            report.slowest = report.slowest.max(begin.elapsed());
            match kept {
                Ok(kept) => {
                    report.reads += 1;
                    shared.reads.fetch_add(1, Relaxed);
                    if !kept {
                        break;
                    }
                }
                Err(error) => {
                    report.broken.push(format!("{error}, after {:?}", begin.elapsed()));
                    break;
                }
            }
        }
    }
    report
}

/// Makes one more read on this connection. Returns whether the connection is kept.
fn read_next(stream: &mut BufReader<TcpStream>) -> Result<bool, String> {
    let why = |error: std::io::Error| error.to_string();
    stream.get_ref().set_read_timeout(Some(PATIENCE)).map_err(why)?;
    stream.get_mut().write_all(b"GET /version HTTP/1.1\r\nHost: proxy\r\n\r\n").map_err(why)?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).map_err(why)? == 0 {
            return Err(format!("closed after {head:?}"));
        }
    }
    let head = head.to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length = field("content-length:").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.ok_or_else(|| format!("answered {head:?}"))?];
    stream.read_exact(&mut body).map_err(why)?;
    if !head.starts_with("http/1.1 200 ") || !body.ends_with(b"}") {
        return Err(format!("answered {head:?}"));
    }
    Ok(field("connection:") != Some("close"))
}
