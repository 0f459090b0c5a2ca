//! Listening unix sockets: creates them, replaces stale files, and removes the file at the end.
//!
//! A killed daemon leaves its file behind; connecting tells such a stale file from a live one. The
//! file is removed when its [`SocketFile`] is dropped, unless another socket has taken its place,
//! or the service manager keeps listening on it for the next run.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::port_owner;
use crate::config::regular_file::within;

/// Most connections waiting to be accepted, per socket. The kernel lowers it to
/// `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// The file of a listening unix socket; dropping it removes the file.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that we never remove a successor's socket.
    identity: (u64, u64),
    /// Whether the file stays when this is dropped.
    kept: bool,
}

impl SocketFile {
    /// Takes over the file of a socket that is already open.
    ///
    /// # Errors
    /// When there is no such file, or it is not a socket.
    pub fn of(path: &Path) -> io::Result<Self> {
        if !fs::symlink_metadata(path)?.file_type().is_socket() {
            return Err(in_use("a file that is not a socket is in the way"));
        }
        Ok(Self { path: path.to_owned(), identity: identity(path)?, kept: false })
    }

    /// Sets whether the file stays when this is dropped. By default it is removed.
    pub fn keep(&mut self, keep: bool) {
        self.kept = keep;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.kept && identity(&self.path).is_ok_and(|now| now == self.identity) {
            // A failure is harmless: the next start replaces the stale file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates a listening, non-blocking unix socket. With a `mode` the file gets exactly these
/// permissions before the first client can connect; without one the umask decides.
///
/// # Errors
/// `AddrInUse` when another process answers there or the path is not a socket; `TimedOut` when its
/// file system does not answer; else the kernel's error.
pub fn listen(path: &Path, mode: Option<u32>) -> io::Result<(UnixListener, SocketFile)> {
    let path = path.to_owned();
    within(move || listen_here(&path, mode))?
}

fn listen_here(path: &Path, mode: Option<u32>) -> io::Result<(UnixListener, SocketFile)> {
    let socket = bind(path)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path)?, kept: false };
    if let Some(mode) = mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), file))
}

fn bind(path: &Path) -> io::Result<Socket> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    Ok(socket)
}

/// Removes the file of a socket on which nobody listens. Two daemons that start at the same instant
/// may both come here; the later one gets the path, and the other one's [`SocketFile`] notices.
fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(in_use("a file that is not a socket is in the way"));
    }
    let caller = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // While a listener's queue is full, a blocking connect would wait until its owner accepts.
    caller.set_nonblocking(true)?;
    match caller.connect(&SockAddr::unix(path)?) {
        Ok(()) => Err(in_use(&format!("in use by {}", port_owner::of_unix_peer(&caller)))),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(in_use("in use by a process that takes no connections at present"))
        }
        Err(error) => Err(in_use(&format!("in use, and connecting to it failed: {error}"))),
    }
}

fn in_use(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, message.to_owned())
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn path() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        (dir, path)
    }

    #[test]
    fn the_file_goes_with_its_guard() {
        let (_dir, path) = path();
        let bound = listen(&path, None).unwrap();
        assert!(path.exists());
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_kept_stays() {
        let (_dir, path) = path();
        let (_listener, mut file) = listen(&path, None).unwrap();
        file.keep(true);
        drop(file);
        UnixStream::connect(&path).unwrap();
        drop(SocketFile::of(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn the_mode_is_exact() {
        let (_dir, path) = path();
        let _bound = listen(&path, Some(0o660)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
    }

    #[test]
    fn a_stale_file_is_taken_over() {
        let (_dir, path) = path();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let (_listener, _file) = listen(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_live_socket_is_left_alone_and_its_owner_named() {
        let (_dir, path) = path();
        let live = UnixListener::bind(&path).unwrap();
        let error = listen(&path, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), "in use by this process itself");
        UnixStream::connect(&path).unwrap();
        drop(live);
    }

    #[test]
    fn a_live_socket_whose_queue_is_full_is_left_alone_without_waiting() {
        let (_dir, path) = path();
        let address = SockAddr::unix(&path).unwrap();
        let live = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        live.bind(&address).unwrap();
        live.listen(0).unwrap();
        let _queued = UnixStream::connect(&path).unwrap();
        let error = listen(&path, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        assert!(path.exists());
    }

    #[test]
    fn a_plain_file_is_never_removed() {
        let (_dir, path) = path();
        fs::write(&path, "precious").unwrap();
        let error = listen(&path, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_successors_socket_is_not_removed() {
        let (_dir, path) = path();
        let ours = listen(&path, None).unwrap();
        // Made beside ours and moved over it, so that the inode number cannot be the same one
        // again.
        let beside = path.with_extension("new");
        let _successor = UnixListener::bind(&beside).unwrap();
        fs::rename(&beside, &path).unwrap();
        drop(ours);
        assert!(path.exists());
    }

    #[test]
    fn a_path_that_is_too_long_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        listen(&dir.path().join("x".repeat(200)), None).unwrap_err();
    }
}
