//! The memory limits of this process's cgroup and of its ancestors.

use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::libc::{EMFILE, ENFILE, ENOMEM};

use super::usage::Usage;

/// Where cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// In version 1, a value from here on means no limit: the kernel writes the largest number of
/// pages, in bytes.
const NONE_V1: u64 = 1 << 60;

/// The names of a version's files (cgroups(7)).
#[derive(Debug, Clone, Copy)]
struct Version {
    /// The limits' files with the names of systemd's settings for them.
    limits: &'static [(&'static str, &'static str)],
    current: &'static str,
    /// The fields of `memory.stat` that count memory which the kernel reclaims before anybody goes
    /// short.
    reclaimable: &'static [&'static str],
}

const V2: Version = Version {
    limits: &[("memory.max", "MemoryMax="), ("memory.high", "MemoryHigh=")],
    current: "memory.current",
    reclaimable: &["inactive_file", "slab_reclaimable"],
};
const V1: Version = Version {
    limits: &[("memory.limit_in_bytes", "MemoryLimit=")],
    current: "memory.usage_in_bytes",
    reclaimable: &["total_inactive_file"],
};

/// The cgroup directories whose limits apply.
#[derive(Debug, Default)]
pub struct Cgroups(Vec<(PathBuf, Version)>);

impl Cgroups {
    /// Finds the cgroups of this process.
    pub fn of_this_process() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::find(&own, Path::new(ROOT))
    }

    /// Parses `/proc/self/cgroup`, with lines such as `0::/path` (version 2) or `N:memory:/path`
    /// (version 1).
    fn find(own: &str, root: &Path) -> Self {
        let mut folders = Vec::new();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let (root, version) = match controllers {
                "" => (root.to_owned(), V2),
                some if some.split(',').any(|one| one == "memory") => (root.join("memory"), V1),
                _ => continue,
            };
            let own = root.join(path.trim_start_matches('/'));
            let above = own.ancestors().take_while(|folder| folder.starts_with(&root));
            let with_limits = above.filter(|folder| folder.join(version.limits[0].0).exists());
            folders.extend(with_limits.map(|folder| (folder.to_owned(), version)));
        }
        Self(folders)
    }

    /// Tells whether no limits apply.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the usage of the limit that has the least memory left. `resident` is this process's
    /// resident memory now, and `base` what it was before there were clients.
    ///
    /// A limit that is near is left out if others fill its cgroup: the process holds less than half
    /// of the usage and is not alone in it. Nothing that this process frees would help there.
    ///
    /// # Errors
    /// If a file cannot be read at the moment, for want of descriptors or memory.
    pub fn usage(&self, resident: u64, base: u64) -> io::Result<Option<Usage>> {
        let mut nearest = None;
        for (folder, version) in &self.0 {
            let usage = match usage(folder, version, base)? {
                Some(usage)
                    if usage.is_near() && resident < usage.used / 2 && !is_alone_in(folder)? =>
                {
                    None
                }
                usage => usage,
            };
            nearest = nearest.into_iter().chain(usage).min_by_key(Usage::left);
        }
        Ok(nearest)
    }
}

fn usage(folder: &Path, version: &Version, base: u64) -> io::Result<Option<Usage>> {
    let mut lowest = None;
    for (file, name) in version.limits {
        let limit = number(&folder.join(file))?.filter(|limit| *limit < NONE_V1);
        lowest = lowest.into_iter().chain(limit.map(|limit| (limit, *name))).min();
    }
    let Some((limit, name)) = lowest else { return Ok(None) };
    let Some(current) = number(&folder.join(version.current))? else { return Ok(None) };
    let usage = Usage::new(name, limit, current, base);
    if !usage.is_near() {
        return Ok(Some(usage));
    }
    let stat = text(&folder.join("memory.stat"))?;
    let used = current.saturating_sub(reclaimable(&stat, version));
    Ok(Some(Usage { used, ..usage }))
}

/// Tells whether this process is the only one in the cgroup.
fn is_alone_in(folder: &Path) -> io::Result<bool> {
    Ok(text(&folder.join("cgroup.procs"))?.trim() == std::process::id().to_string())
}

fn reclaimable(stat: &str, version: &Version) -> u64 {
    let fields = stat.lines().filter_map(|line| line.split_once(' '));
    fields
        .filter(|(name, _)| version.reclaimable.contains(name))
        .filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok())
        .fold(0, u64::saturating_add)
}

/// Reads the number in a file; `None` for `max` and for a missing file.
fn number(file: &Path) -> io::Result<Option<u64>> {
    Ok(text(file)?.trim().parse().ok())
}

fn text(file: &Path) -> io::Result<String> {
    empty_for_good(fs::read_to_string(file))
}

/// Treats a missing or unreadable file as empty. A shortage of descriptors or memory stays an
/// error, since the file can be read later.
fn empty_for_good(read: io::Result<String>) -> io::Result<String> {
    match read {
        Err(error) if matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOMEM)) => Err(error),
        read => Ok(read.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files, removed when it is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let path = std::env::temp_dir().join(format!("cgroup-{name}-{}", std::process::id()));
            for (file, text) in files {
                let file = path.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_nearest_limit_of_all_folders_above_counts() {
        let root = Folder::new(
            "nearest",
            &[
                ("a.slice/memory.max", "4000\n"),
                ("a.slice/memory.high", "max\n"),
                ("a.slice/memory.current", "1000\n"),
                ("a.slice/b.service/memory.max", "max\n"),
                ("a.slice/b.service/memory.high", "1000\n"),
                ("a.slice/b.service/memory.current", "900\n"),
                ("a.slice/b.service/memory.stat", "anon 500\ninactive_file 100\nfile 150\n"),
            ],
        );
        let found = Cgroups::find("0::/a.slice/b.service\n", &root.0);
        assert_eq!(found.0.len(), 2);
        let usage = found.usage(700, 10).unwrap().unwrap();
        assert_eq!((usage.limited_by, usage.limit, usage.used), ("MemoryHigh=", 1000, 800));
        assert_eq!(usage.most, 850);
    }

    #[test]
    fn a_folder_that_others_fill_is_not_ours_to_empty() {
        let mut files = vec![
            ("x/memory.max", "1000"),
            ("x/memory.current", "990"),
            ("x/cgroup.procs", "1\n2\n"),
        ];
        let root = Folder::new("shared", &files);
        let usage = |root: &Folder, resident, base| {
            Cgroups::find("0::/x", &root.0).usage(resident, base).unwrap()
        };
        assert_eq!(usage(&root, 100, 100), None);
        assert!(usage(&root, 600, 100).is_some());
        let own = std::process::id().to_string();
        files[2].1 = &own;
        let root = Folder::new("alone", &files);
        assert!(usage(&root, 100, 10).is_some());
    }

    #[test]
    fn what_others_hold_and_the_kernel_takes_back_is_left_out_before_the_limit_is_reached() {
        let cache = Folder::new(
            "cache",
            &[
                ("x/memory.max", "1000"),
                ("x/memory.current", "840"),
                ("x/memory.stat", "inactive_file 600"),
            ],
        );
        let usage =
            |root: &Folder, resident| Cgroups::find("0::/x", &root.0).usage(resident, 10).unwrap();
        assert_eq!(usage(&cache, 200).map(|usage| usage.left()), Some(610));
        let slice = [("x/memory.max", "1000"), ("x/memory.current", "840")];
        let slice = Folder::new("slice", &slice);
        assert_eq!(usage(&slice, 200), None, "others hold most of it");
        assert_eq!(usage(&slice, 500).map(|usage| usage.left()), Some(10));
    }

    #[test]
    fn a_file_that_cannot_be_read_now_is_told_from_one_that_is_not_there() {
        let read = |number| empty_for_good(Err(io::Error::from_raw_os_error(number)));
        assert!(read(EMFILE).is_err() && read(ENFILE).is_err());
        assert_eq!(read(nix::libc::ENOENT).unwrap(), "");
        assert_eq!(read(nix::libc::EACCES).unwrap(), "");
    }

    #[test]
    fn version_1_is_read_too_and_no_limit_is_none() {
        let none = u64::MAX.to_string();
        let root = Folder::new(
            "v1",
            &[
                ("memory/a/memory.limit_in_bytes", "2000"),
                ("memory/a/memory.usage_in_bytes", "500"),
                ("memory/memory.limit_in_bytes", "9223372036854771712"),
                ("memory/memory.usage_in_bytes", "500"),
                ("unified/memory.max", &none),
            ],
        );
        let found = Cgroups::find("5:cpu:/a\n4:memory:/a\n0::/\n", &root.0);
        let usage = found.usage(100, 100).unwrap().unwrap();
        assert_eq!((usage.limited_by, usage.left()), ("MemoryLimit=", 1200));
        assert!(Cgroups::find("junk\n1:x", &root.0).is_empty());
    }
}
