//! Reads regular files without blocking the caller for long.
//!
//! A configured path may lead to a pipe, to a device, to a file of the kernel that waits for data
//! (`/proc/kmsg`), or to a mount whose server is gone, where even `stat` blocks and cannot be
//! interrupted. So files are opened without blocking, only regular ones are read, and all of it
//! runs on a thread of its own that is abandoned after a time limit. While [`MOST_HANGING`]
//! abandoned threads hang, every call fails at once.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::SeqCst};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use nix::libc::O_NONBLOCK;

/// Time limit for the file system. A local disk that spins up exceeds it only while the machine
/// sleeps.
const LIMIT: Duration = Duration::from_secs(2);
/// Time limit while another thread hangs already, most often on the same mount.
const LIMIT_WHILE_HANGING: Duration = Duration::from_millis(250);
/// Most abandoned threads at a time; each keeps a stack, most of it never touched.
const MOST_HANGING: isize = 16;

/// Number of abandoned threads that have not returned.
static HANGING: AtomicIsize = AtomicIsize::new(0);

/// Reads a file, at most one byte more than `largest`: a result longer than `largest` means that
/// the file is too large.
///
/// # Errors
/// Returns the kernel's error, `InvalidInput` when the path is neither a regular file nor a
/// directory, and `TimedOut` when the file system does not answer.
pub fn read(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    within(move || read_here(&path, largest))?
}

/// Runs `work`, which may block for ever, on a thread of its own.
///
/// # Errors
/// Returns `TimedOut` when `work` has not ended in time; it then goes on, and its result is
/// dropped.
pub fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    counted(&HANGING, work)
}

fn counted<T: Send + 'static>(
    hanging: &'static AtomicIsize,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let limit = match hanging.load(SeqCst) {
        MOST_HANGING.. => return Err(timed_out()),
        1.. => LIMIT_WHILE_HANGING,
        _ => LIMIT,
    };
    let (done, result) = sync_channel(1);
    // Set by whichever ends first, the work or the wait.
    let over = Arc::new(AtomicBool::new(false));
    let thread_over = over.clone();
    std::thread::Builder::new().name("files".to_owned()).spawn(move || {
        let _ = done.send(work());
        if thread_over.swap(true, SeqCst) {
            hanging.fetch_sub(1, SeqCst);
        }
    })?;
    let lost = || io::Error::other("its reader has failed");
    match result.recv_timeout(limit) {
        Ok(result) => Ok(result),
        Err(RecvTimeoutError::Disconnected) => Err(lost()),
        Err(RecvTimeoutError::Timeout) if over.swap(true, SeqCst) => {
            result.recv().map_err(|_| lost())
        }
        Err(RecvTimeoutError::Timeout) => {
            hanging.fetch_add(1, SeqCst);
            Err(timed_out())
        }
    }
}

fn timed_out() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "its file system does not answer")
}

fn read_here(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    // Opening some devices has an effect, so the file's type is checked before.
    check(&fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    check(&file.metadata()?)?;
    content(file, largest).map_err(|error| match error.kind() {
        // Only files that wait for data report this, such as the kernel's log.
        ErrorKind::WouldBlock => not_regular(),
        _ => error,
    })
}

fn content(file: File, largest: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(largest.saturating_add(1)).read_to_end(&mut content)?;
    Ok(content)
}

fn check(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if metadata.is_file() { Ok(()) } else { Err(not_regular()) }
}

fn not_regular() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "not a regular file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::sync::mpsc::channel;

    #[test]
    fn a_file_is_read_up_to_one_byte_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "content").unwrap();
        assert_eq!(read(&path, 7).unwrap(), b"content");
        assert_eq!(read(&path, 3).unwrap(), b"cont");
        assert_eq!(
            read(Path::new("/dev/shm/../zero"), 3).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        for path in [&fifo, &link, Path::new("/dev/zero"), Path::new("/dev/tty")] {
            let error = read(path, 10).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{}", path.display());
        }
        assert_eq!(read(dir.path(), 10).unwrap_err().kind(), ErrorKind::IsADirectory);
        // Where it may be opened at all, it says at once that it has no more, or what it has.
        let _ = read(Path::new("/proc/kmsg"), 10);
    }

    #[test]
    fn what_hangs_is_given_up_and_counted_until_it_returns() {
        static HANGING: AtomicIsize = AtomicIsize::new(0);
        let mut held = Vec::new();
        for number in 0..MOST_HANGING {
            let (release, wait) = channel::<()>();
            let begin = std::time::Instant::now();
            let error = counted(&HANGING, move || wait.recv().ok()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(number == 0 || begin.elapsed() < LIMIT, "the second is not waited for as long");
            held.push(release);
        }
        let ran = Arc::new(AtomicBool::new(false));
        let runs = ran.clone();
        assert!(counted(&HANGING, move || runs.store(true, SeqCst)).is_err());
        assert!(!ran.load(SeqCst), "there are enough that hang");
        drop(held);
        while HANGING.load(SeqCst) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(counted(&HANGING, || 1).unwrap(), 1);
    }
}
