//! The memory limits of this process's cgroup and of those above it.

use std::fs;
use std::path::{Path, PathBuf};

use super::Usage;

/// Where cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// A limit of version 1 that is none: the largest number of pages.
const NONE_V1: u64 = 1 << 60;

/// The names of a version's files (cgroups(7)).
#[derive(Debug, Clone, Copy)]
struct Version {
    /// Limits by the names of systemd's settings.
    limits: &'static [(&'static str, &'static str)],
    current: &'static str,
    /// In `memory.stat`: what the kernel takes back before it lets anybody go short.
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

/// The folders whose limits count.
#[derive(Debug, Default)]
pub struct Cgroups(Vec<(PathBuf, Version)>);

impl Cgroups {
    /// Finds those of this process.
    pub fn of_this_process() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::find(&own, Path::new(ROOT))
    }

    /// Reads `/proc/self/cgroup`: lines of `0::/path` (version 2) or `N:memory:/path`.
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

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The limit that is nearest. `resident` is this process's part, and was `base` before there were clients.
    pub fn usage(&self, resident: u64, base: u64) -> Option<Usage> {
        let each = self.0.iter().filter_map(|(folder, version)| {
            usage(folder, version, base).filter(|usage| {
                usage.left() > 0 || resident >= usage.used / 2 || is_alone_in(folder)
            })
        });
        each.min_by_key(Usage::left)
    }
}

fn usage(folder: &Path, version: &Version, base: u64) -> Option<Usage> {
    let limits = version.limits.iter().filter_map(|(file, name)| {
        let limit = number(&folder.join(file))?;
        (limit < NONE_V1).then_some((limit, *name))
    });
    let (limit, name) = limits.min()?;
    let current = number(&folder.join(version.current))?;
    let usage = Usage::new(name, limit, current, base);
    if usage.left() > 0 {
        return Some(usage);
    }
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let used = current.saturating_sub(reclaimable(&stat, version));
    Some(Usage { used, ..usage })
}

/// Whether nobody else lives in this folder. Others who fill it are not helped by what we do without.
fn is_alone_in(folder: &Path) -> bool {
    let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    processes.trim() == std::process::id().to_string()
}

fn reclaimable(stat: &str, version: &Version) -> u64 {
    let fields = stat.lines().filter_map(|line| line.split_once(' '));
    fields
        .filter(|(name, _)| version.reclaimable.contains(name))
        .filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok())
        .fold(0, u64::saturating_add)
}

/// The number in a file; `None` for `max` and for what cannot be read.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files, removed when it is dropped.
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
        let usage = found.usage(700, 10).unwrap();
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
        assert_eq!(Cgroups::find("0::/x", &root.0).usage(100, 100), None);
        assert!(Cgroups::find("0::/x", &root.0).usage(600, 100).is_some());
        let own = std::process::id().to_string();
        files[2].1 = &own;
        let root = Folder::new("alone", &files);
        assert!(Cgroups::find("0::/x", &root.0).usage(100, 10).is_some());
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
        let usage = found.usage(100, 100).unwrap();
        assert_eq!((usage.limited_by, usage.left()), ("MemoryLimit=", 1200));
        assert!(Cgroups::find("junk\n1:x", &root.0).is_empty());
    }
}
