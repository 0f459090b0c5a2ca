//! The steps of a path: every directory entry that decides where it leads.
//!
//! For `/cfg/p.toml -> ..data/p.toml` with `/cfg/..data -> ..1`, these are `/cfg`, `/cfg/p.toml`,
//! `/cfg/..data`, `/cfg/..1` and `/cfg/..1/p.toml`. If none of these entries changes, the path
//! leads to the same file, so watching the directories that hold them misses nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Most symlinks that are followed; the kernel's own limit (`MAXSYMLINKS`) is the same.
const MOST_LINKS: usize = 40;

/// The steps of one walk. Two trails are equal when their walks took the same steps through the
/// same directories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trail {
    /// The entries that were looked up, free of symlinks but for the last step of each.
    pub(super) steps: BTreeSet<PathBuf>,
    /// The directories that hold the entries, with device and inode: a new directory of the same
    /// name needs a new watch.
    pub(super) directories: BTreeMap<PathBuf, (u64, u64)>,
}

impl Trail {
    /// Walks several paths and returns the trail of all together.
    pub(super) fn walk_all(paths: &[PathBuf]) -> Self {
        let mut all = Self::default();
        for path in paths {
            let one = Self::walk(path);
            all.steps.extend(one.steps);
            all.directories.extend(one.directories);
        }
        all
    }

    /// Walks a path as far as it leads. A missing step ends the walk and is part of the trail,
    /// because it may come back.
    pub(super) fn walk(path: &Path) -> Self {
        let mut trail = Self::default();
        // `absolute` fails only without a working directory; then there is only the path as given.
        let start = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut ahead = components(&start);
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            let step = here.join(name);
            trail.note(&here, &step);
            let Ok(meta) = fs::symlink_metadata(&step) else { break };
            if !meta.is_symlink() {
                here = step;
                continue;
            }
            links += 1;
            let Ok(target) = fs::read_link(&step) else { break };
            if links > MOST_LINKS {
                break;
            }
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            let mut longer = components(&target);
            longer.append(&mut ahead);
            ahead = longer;
        }
        trail
    }

    fn note(&mut self, directory: &Path, step: &Path) {
        if let Ok(meta) = fs::symlink_metadata(directory)
            && meta.is_dir()
        {
            self.directories.insert(directory.to_owned(), (meta.dev(), meta.ino()));
        }
        self.steps.insert(step.to_owned());
    }
}

/// Returns the names along a path, `..` included.
fn components(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A directory whose own path has no symlinks.
    fn dir() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        (dir, path)
    }

    fn below<'a>(trail: &'a Trail, dir: &Path) -> Vec<&'a str> {
        let steps = trail.steps.iter().filter_map(|step| step.strip_prefix(dir).ok());
        steps.map(|step| step.to_str().unwrap()).filter(|step| !step.is_empty()).collect()
    }

    #[test]
    fn every_link_of_a_chain_is_a_step() {
        let (_guard, dir) = dir();
        fs::create_dir(dir.join("..1")).unwrap();
        fs::write(dir.join("..1/p.toml"), "").unwrap();
        symlink("..1", dir.join("..data")).unwrap();
        symlink("..data/p.toml", dir.join("p.toml")).unwrap();
        let trail = Trail::walk(&dir.join("p.toml"));
        assert_eq!(below(&trail, &dir), ["..1", "..1/p.toml", "..data", "p.toml"]);
        assert!(trail.directories.contains_key(&dir.join("..1")));
        assert!(trail.directories.contains_key(Path::new("/")));
    }

    #[test]
    fn absolute_links_and_parents_are_followed() {
        let (_guard, dir) = dir();
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/p"), "").unwrap();
        symlink(dir.join("a/b"), dir.join("link")).unwrap();
        let trail = Trail::walk(&dir.join("link/../p"));
        assert_eq!(below(&trail, &dir), ["a", "a/b", "a/p", "link"]);
    }

    #[test]
    fn a_missing_step_ends_the_walk_and_belongs_to_it() {
        let (_guard, dir) = dir();
        let trail = Trail::walk(&dir.join("gone/p.toml"));
        assert_eq!(below(&trail, &dir), ["gone"]);
    }

    #[test]
    fn links_in_a_circle_end() {
        let (_guard, dir) = dir();
        symlink("b", dir.join("a")).unwrap();
        symlink("a", dir.join("b")).unwrap();
        assert_eq!(below(&Trail::walk(&dir.join("a")), &dir), ["a", "b"]);
    }

    #[test]
    fn a_new_directory_of_the_old_name_is_another_trail() {
        let (_guard, dir) = dir();
        fs::create_dir(dir.join("etc")).unwrap();
        let before = Trail::walk(&dir.join("etc/p"));
        fs::rename(dir.join("etc"), dir.join("old")).unwrap();
        fs::create_dir(dir.join("etc")).unwrap();
        assert_ne!(Trail::walk(&dir.join("etc/p")), before);
    }
}
