//! A program that runs beside a test: its output line by line, signals, and its certain end.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, LazyLock, Mutex, Once, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The thread that starts all processes. The kernel kills a child when the *thread* that started it
/// ends (`setpriv --pdeathsig`), so it must not be the thread of a single test.
static SPAWNER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, reply) in inbox {
            let _ = reply.send(command.spawn());
        }
    });
    Mutex::new(orders)
});

/// Returns a command whose process is killed when the test process ends for whatever reason. Its
/// environment has only PATH.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::null());
    command
}

/// Runs a command made by [`command`] to its end and returns its output.
pub fn output(mut command: Command) -> std::process::Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command).wait_with_output().expect("the program's output")
}

fn spawn(command: Command) -> Child {
    let (reply, answer) = mpsc::channel();
    let what = format!("{command:?}");
    SPAWNER.lock().expect("spawner").send((command, reply)).expect("the spawner lives");
    answer
        .recv()
        .expect("the spawner answers")
        .unwrap_or_else(|error| panic!("cannot start {what}: {error}"))
}

/// The last panic message of any thread.
static FAILURE: Mutex<String> = Mutex::new(String::new());

/// Keeps the message of a failing test so that it can be repeated after the long logs of its
/// processes, where a reader of the output's end finds it.
fn remember_failures() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |failure| {
            if let Ok(mut last) = FAILURE.lock() {
                *last = failure.to_string().chars().take(1000).collect();
            }
            before(failure);
        }));
    });
}

/// A running program. Dropping it kills it; in a failing test that also prints its last lines and
/// repeats the test's panic message.
pub struct Process {
    name: String,
    child: Mutex<Child>,
    pid: u32,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Process {
    /// Starts a command made by [`command`].
    pub fn start(name: &str, mut command: Command) -> Self {
        remember_failures();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command);
        let log = Arc::new(Log::default());
        collect(child.stdout.take(), &log);
        collect(child.stderr.take(), &log);
        Self { name: name.to_owned(), pid: child.id(), child: Mutex::new(child), log }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns its exit status; `None` while it runs.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().expect("child").try_wait().expect("the process can be waited for")
    }

    /// Returns everything printed so far to both streams.
    pub fn lines(&self) -> Vec<String> {
        self.log.lines.lock().expect("log").clone()
    }

    /// Returns how many lines were printed so far: a mark for [`Process::wait_for_line_after`].
    pub fn mark(&self) -> usize {
        self.log.lines.lock().expect("log").len()
    }

    /// Waits for a line that contains the text; `None` if it does not appear in time.
    pub fn wait_for_line(&self, text: &str, within: Duration) -> Option<String> {
        self.wait_for_line_after(0, text, within)
    }

    /// Like [`Process::wait_for_line`], for lines after a mark.
    pub fn wait_for_line_after(&self, mark: usize, text: &str, within: Duration) -> Option<String> {
        let find =
            |lines: &[String]| lines.iter().skip(mark).find(|line| line.contains(text)).cloned();
        let lines = self.log.lines.lock().expect("log");
        let waited = self.log.more.wait_timeout_while(lines, within, |lines| find(lines).is_none());
        find(&waited.expect("log").0)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).expect("a process ID");
        kill(Pid::from_raw(pid), signal)
            .unwrap_or_else(|error| panic!("{}: {signal}: {error}", self.name));
    }

    /// Kills it and waits until it has ended. Does nothing if it has ended already.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Waits until it ends by itself; `None` if it does not in time.
    pub fn wait(&self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns its last lines, for a failing test's message.
    pub fn tail(&self) -> String {
        let lines = self.lines();
        let from = lines.len().saturating_sub(20);
        format!("--- {} said:\n{}\n---", self.name, lines[from..].join("\n"))
    }
}

fn collect(stream: Option<impl Read + Send + 'static>, log: &Arc<Log>) {
    let Some(stream) = stream else { return };
    let log = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            log.lines.lock().expect("log").push(String::from_utf8_lossy(&line).into_owned());
            log.more.notify_all();
        }
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let failure = FAILURE.lock().map(|last| last.clone()).unwrap_or_default();
            eprintln!("{}\nthe failure: {failure}", self.tail());
        }
        self.kill();
    }
}
