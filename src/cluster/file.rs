//! The cluster file, `<data-dir>/proxy/cluster`: the peers of the last good member list, for a
//! restart at which no configured peer answers.
//!
//! The format is etcd's, `{"PeerURLs":[...]}`, with two more keys that etcd ignores: the cluster's
//! ID and the configured source that led to it. etcd's proxy believed its file before anything
//! else, so that a stale one had to be deleted by hand on every host. Here the file is only a hint.
//! It is ignored when the source has changed since, when etcd itself wrote it, or when it cannot be
//! read.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::member::{MemberList, hex_id};
use super::url::parse_listed;
use crate::config::{PeerUrl, regular_file};

/// Largest file that is read. A larger one was not written by us: etcd limits no list, but even a
/// thousand peers need only 50 KiB.
const SIZE_LIMIT: u64 = 1024 * 1024;

/// How long a write to the disk may take before it counts as failed; a mount may hang for ever.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// The file of the last good peers. Clones write one after the other.
#[derive(Debug, Clone)]
pub struct ClusterFile {
    path: PathBuf,
    /// The known content of the file; locked while it is written.
    written: Arc<Mutex<Option<CachedPeers>>>,
}

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedPeers {
    #[serde(rename = "PeerURLs")]
    peer_urls: Vec<String>,
    #[serde(rename = "clusterID", default)]
    cluster_id: String,
    #[serde(default)]
    source: String,
}

impl CachedPeers {
    /// Makes the content for a list that was found through `source` (its fingerprint).
    pub fn new(list: &MemberList, source: &str) -> Self {
        Self {
            peer_urls: list.peer_urls(),
            cluster_id: hex_id(list.cluster_id),
            source: source.to_owned(),
        }
    }

    /// Returns the peers whose URLs can be used.
    pub fn peers(&self) -> Vec<PeerUrl> {
        self.peer_urls.iter().filter_map(|url| parse_listed(url).ok()).collect()
    }

    /// Returns the ID of the cluster that the peers belong to.
    pub fn cluster_id(&self) -> Option<u64> {
        u64::from_str_radix(&self.cluster_id, 16).ok()
    }
}

/// Why the file is ignored. A missing file is not an error.
#[derive(Debug, thiserror::Error)]
pub enum Ignored {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is empty, cut short, or something else.
    #[error("it is empty or damaged")]
    Damaged,
    /// It lacks the keys that etcd does not write.
    #[error("it was written by etcd, and may be about another cluster")]
    Foreign,
    /// The settings name other peers than when the file was written.
    #[error("the configured peers were changed since it was written")]
    OtherSource,
}

impl ClusterFile {
    /// Returns the cluster file below `data_dir`. Neither reads nor creates it.
    pub fn below(data_dir: &Path) -> Self {
        Self { path: data_dir.join("proxy").join("cluster"), written: Arc::default() }
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the peers kept for `source`; `None` when there is no file. Blocks for a small read.
    pub fn read(&self, source: &str) -> Result<Option<CachedPeers>, Ignored> {
        let kept = match regular_file::read(&self.path, SIZE_LIMIT) {
            Ok(text) => parse(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept.clone());
        if kept.source == source { Ok(Some(kept)) } else { Err(Ignored::OtherSource) }
    }

    /// Writes `kept`, unless the file already holds it. A concurrent reader sees the old file or
    /// the new one.
    ///
    /// Writes on a blocking thread. A write that has begun is finished even if the future is
    /// dropped.
    pub async fn keep(&self, kept: CachedPeers) -> io::Result<()> {
        let file = self.clone();
        let write = tokio::task::spawn_blocking(move || file.keep_blocking(kept));
        match tokio::time::timeout(WRITE_LIMIT, write).await {
            Ok(written) => written.unwrap_or_else(|error| Err(error.into())),
            Err(_) => Err(hangs()),
        }
    }

    fn keep_blocking(&self, kept: CachedPeers) -> io::Result<()> {
        let mut written = match self.written.try_lock() {
            Ok(written) => written,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // The previous write has not finished; one hanging thread is enough.
            Err(TryLockError::WouldBlock) => return Err(hangs()),
        };
        if written.as_ref() != Some(&kept) {
            *written = None;
            replace(&self.path, &serde_json::to_vec(&kept)?)?;
            *written = Some(kept);
        }
        Ok(())
    }
}

fn hangs() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "its file system does not answer")
}

fn parse(text: &[u8]) -> Result<CachedPeers, Ignored> {
    let kept: CachedPeers = serde_json::from_slice(text).map_err(|_| Ignored::Damaged)?;
    if kept.source.is_empty() {
        return Err(Ignored::Foreign);
    }
    if kept.cluster_id().is_none() || kept.peer_urls.is_empty() {
        return Err(Ignored::Damaged);
    }
    Ok(kept)
}

/// Replaces the file at `path`, so that a power loss leaves the old content or the new, never half
/// of it.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    make_private_dir(dir)?;
    let new = path.with_extension("tmp");
    write_synced(&new, text).and_then(|()| std::fs::rename(&new, path)).inspect_err(|_| {
        // On a full disk, half of the file may be left, which is useless.
        let _ = std::fs::remove_file(&new);
    })?;
    std::fs::File::open(dir)?.sync_all()
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn write_synced(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    // A file left by a crash may have other permissions, or be a symlink elsewhere.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SOURCE: &str = "initial-cluster http://a:2380";

    fn list(json: &str) -> MemberList {
        MemberList::parse(0xab, json.as_bytes()).unwrap()
    }

    fn kept() -> CachedPeers {
        CachedPeers::new(
            &list(r#"[{"id":1,"peerURLs":["http://b:2380","https://c:2380","http://a:2380"]}]"#),
            SOURCE,
        )
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Returns the error for a cluster file with this content.
    fn said(content: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = ClusterFile::below(dir.path());
        std::fs::create_dir(dir.path().join("proxy")).unwrap();
        std::fs::write(file.path(), content).unwrap();
        file.read(SOURCE).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn what_is_kept_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("infra-proxy1.etcd");
        let file = ClusterFile::below(&data_dir);
        assert!(file.read(SOURCE).unwrap().is_none());
        file.keep(kept()).await.unwrap();
        let again = ClusterFile::below(&data_dir).read(SOURCE).unwrap().unwrap();
        assert_eq!(again, kept());
        assert_eq!(again.cluster_id(), Some(0xab));
        let hosts: Vec<String> = again.peers().into_iter().map(|peer| peer.host).collect();
        assert_eq!(hosts, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn the_file_is_etcds_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let file = ClusterFile::below(dir.path());
        file.keep(kept()).await.unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(
            text,
            r#"{"PeerURLs":["http://a:2380","http://b:2380","https://c:2380"],"clusterID":"ab","source":"initial-cluster http://a:2380"}"#
        );
        assert_eq!((mode(file.path()), mode(file.path().parent().unwrap())), (0o600, 0o700));
        assert!(!file.path().with_extension("tmp").exists());
    }

    #[tokio::test]
    async fn an_unchanged_file_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = ClusterFile::below(dir.path());
        file.keep(kept()).await.unwrap();
        std::fs::remove_file(file.path()).unwrap();
        file.keep(kept()).await.unwrap();
        assert!(!file.path().exists());
    }

    #[tokio::test]
    async fn the_leftover_of_a_crash_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let file = ClusterFile::below(dir.path());
        std::fs::create_dir(dir.path().join("proxy")).unwrap();
        std::fs::write(file.path().with_extension("tmp"), "half").unwrap();
        file.keep(kept()).await.unwrap();
        assert_eq!(mode(file.path()), 0o600);
    }

    #[tokio::test]
    async fn a_failed_write_is_told_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = ClusterFile::below(dir.path());
        std::fs::write(dir.path().join("proxy"), "in the way").unwrap();
        file.keep(kept()).await.unwrap_err();
        std::fs::remove_file(dir.path().join("proxy")).unwrap();
        file.keep(kept()).await.unwrap();
        assert!(file.path().exists());
    }

    #[tokio::test]
    async fn a_failed_write_leaves_no_half_file_behind() {
        let dir = tempfile::tempdir().unwrap();
        let file = ClusterFile::below(dir.path());
        // A directory cannot be replaced by a file.
        std::fs::create_dir_all(file.path().join("in the way")).unwrap();
        file.keep(kept()).await.unwrap_err();
        assert!(!file.path().with_extension("tmp").exists());
    }

    #[test]
    fn a_file_that_is_empty_or_cut_short_is_ignored() {
        let damaged =
            ["", "{", r#"{"PeerURLs":["http://a:2380"],"clu"#, "[]", r#"{"PeerURLs":null}"#];
        for content in damaged {
            assert_eq!(said(content), "it is empty or damaged", "{content}");
        }
        assert_eq!(
            said(r#"{"PeerURLs":[],"clusterID":"1","source":"x"}"#),
            "it is empty or damaged"
        );
    }

    #[test]
    fn a_file_of_etcd_itself_is_ignored() {
        let said = said(r#"{"PeerURLs":["http://a:2380"]}"#);
        assert_eq!(said, "it was written by etcd, and may be about another cluster");
    }

    #[test]
    fn a_file_for_other_peers_is_ignored() {
        let said = said(
            r#"{"PeerURLs":["http://a:2380"],"clusterID":"1","source":"initial-cluster http://z:2380"}"#,
        );
        assert_eq!(said, "the configured peers were changed since it was written");
    }

    #[test]
    fn what_is_not_a_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = ClusterFile::below(dir.path());
        std::fs::create_dir_all(file.path()).unwrap();
        assert_eq!(file.read(SOURCE).unwrap_err().to_string(), "it cannot be read: is a directory");
    }
}
