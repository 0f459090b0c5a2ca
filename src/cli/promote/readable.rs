//! Checks whether etcd can read its files: the user of its unit may be unable to read the proxy's
//! keys.
//!
//! Checks owner, group and mode of the file and of every directory above it. If they deny access,
//! an access control list may still allow it, so reading is finally tried as that user.

use std::ffi::CString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::services::Unit;

/// Variables that hold the paths of files that etcd reads when it starts.
const FILES: [&str; 8] = [
    "ETCD_CERT_FILE",
    "ETCD_KEY_FILE",
    "ETCD_TRUSTED_CA_FILE",
    "ETCD_CLIENT_CRL_FILE",
    "ETCD_PEER_CERT_FILE",
    "ETCD_PEER_KEY_FILE",
    "ETCD_PEER_TRUSTED_CA_FILE",
    "ETCD_PEER_CRL_FILE",
];

/// The ID of the user `nobody` and its group.
const NOBODY: u32 = 65534;

/// The user and groups that a unit runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reader {
    name: String,
    uid: u32,
    groups: Vec<u32>,
}

impl Reader {
    /// Returns the user of a unit; `None` for root, who can read everything. A user that this host
    /// does not know is assumed to own nothing and to be in no group.
    pub(super) fn of(unit: &Unit) -> Option<Self> {
        let name = if unit.user.is_empty() { "root" } else { &unit.user };
        let user = match name.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(name),
        };
        let user = user.ok().flatten();
        let uid = user.as_ref().map(|user| user.uid.as_raw()).or(name.parse().ok());
        if uid == Some(0) {
            return None;
        }
        let mut groups: Vec<u32> = user.as_ref().map(groups_of).unwrap_or_default();
        let named = unit.groups.iter().filter_map(|group| group_id(group));
        groups.extend(named);
        Some(Self { name: name.to_owned(), uid: uid.unwrap_or(NOBODY), groups })
    }

    /// Returns a reason for each file in these variables that cannot be read.
    pub(super) fn denied(&self, unit: &str, variables: &[(String, String)]) -> Vec<String> {
        let mut reasons = Vec::new();
        for name in FILES {
            let Some(file) = super::environment::lookup(variables, name) else { continue };
            let path = Path::new(file);
            if path.is_absolute()
                && let Some(reason) = self.obstacle(path)
                && !self.can_read_nevertheless(path)
            {
                reasons.push(format!(
                    "{unit} runs as {}, who cannot read {name}: {reason}",
                    self.name
                ));
            }
        }
        reasons
    }

    /// Returns what denies access to a file, and how to fix it.
    fn obstacle(&self, path: &Path) -> Option<String> {
        let Ok(real) = fs::canonicalize(path) else {
            return Some(format!("{} cannot be found", path.display()));
        };
        let mut directories: Vec<PathBuf> = Vec::new();
        for above in path.ancestors().skip(1).chain(real.ancestors().skip(1)) {
            if !directories.iter().any(|known| known == above) {
                directories.push(above.to_owned());
            }
        }
        let closed = directories.iter().rev().find_map(|path| self.closed(path, 0o1, "x"));
        closed.or_else(|| self.closed(&real, 0o4, "r"))
    }

    fn closed(&self, path: &Path, right: u32, letter: &str) -> Option<String> {
        let metadata = fs::metadata(path).ok()?;
        if self.rights(&metadata) & right != 0 {
            return None;
        }
        let shown = path.display();
        Some(format!(
            "{shown} is {}:{} and mode {:04o}; `setfacl -m u:{}:{letter} {shown}` allows it, or use chgrp and chmod g+{letter}",
            user_name(metadata.uid()),
            group_name(metadata.gid()),
            metadata.mode() & 0o7777,
            self.name
        ))
    }

    fn rights(&self, metadata: &Metadata) -> u32 {
        let mode = metadata.mode();
        if metadata.uid() == self.uid {
            mode >> 6 & 0o7
        } else if self.groups.contains(&metadata.gid()) {
            mode >> 3 & 0o7
        } else {
            mode & 0o7
        }
    }

    /// Tries to read as that user, which needs root: the mode does not show access control lists.
    fn can_read_nevertheless(&self, path: &Path) -> bool {
        let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={}", self.uid));
        match groups.first() {
            Some(first) => command
                .arg(format!("--regid={first}"))
                .arg(format!("--groups={}", groups.join(","))),
            None => command.arg(format!("--regid={NOBODY}")).arg("--clear-groups"),
        };
        command.args(["--", "test", "-r"]).arg(path).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

fn groups_of(user: &User) -> Vec<u32> {
    let name = CString::new(user.name.as_str()).unwrap_or_default();
    let groups = getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]);
    groups.into_iter().map(Gid::as_raw).collect()
}

fn group_id(group: &str) -> Option<u32> {
    group.parse().ok().or_else(|| Some(Group::from_name(group).ok()??.gid.as_raw()))
}

fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

fn group_name(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    group.map_or_else(|| gid.to_string(), |group| group.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    struct Fixture {
        directory: tempfile::TempDir,
        key: PathBuf,
    }

    impl Fixture {
        /// A key below a directory, with these modes.
        fn new(directory_mode: u32, mode: u32) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let open = |mode| fs::Permissions::from_mode(mode);
            fs::set_permissions(directory.path(), open(0o755)).unwrap();
            let below = directory.path().join("keys");
            fs::create_dir(&below).unwrap();
            let key = below.join("key.pem");
            fs::write(&key, "").unwrap();
            fs::set_permissions(&key, open(mode)).unwrap();
            fs::set_permissions(&below, open(directory_mode)).unwrap();
            Self { directory, key }
        }

        fn denied(&self, reader: &Reader) -> Vec<String> {
            let variables = [("ETCD_PEER_KEY_FILE".to_owned(), self.key.display().to_string())];
            let denied = reader.denied("etcd.service", &variables);
            let above = format!("{}/", self.directory.path().display());
            denied.into_iter().map(|line| line.replace(&above, "")).collect()
        }

        /// A user who does not own the key, and is in its group if `is_in_group`.
        fn stranger(&self, is_in_group: bool) -> Reader {
            let gid = fs::metadata(&self.key).unwrap().gid();
            let groups = if is_in_group { vec![gid] } else { Vec::new() };
            Reader { name: "etcd".to_owned(), uid: 54321, groups }
        }
    }

    #[test]
    fn a_key_that_only_its_owner_can_read_is_named_with_its_remedy() {
        let fixture = Fixture::new(0o755, 0o640);
        let denied = fixture.denied(&fixture.stranger(false));
        assert_eq!(denied.len(), 1, "{denied:?}");
        assert!(
            denied[0].starts_with(
                "etcd.service runs as etcd, who cannot read ETCD_PEER_KEY_FILE: keys/key.pem is "
            ),
            "{denied:?}"
        );
        assert!(denied[0].contains("mode 0640; `setfacl -m u:etcd:r keys/key.pem`"), "{denied:?}");
        assert_eq!(fixture.denied(&fixture.stranger(true)), Vec::<String>::new());
        let owner =
            Reader { uid: fs::metadata(&fixture.key).unwrap().uid(), ..fixture.stranger(false) };
        assert_eq!(fixture.denied(&owner), Vec::<String>::new());
    }

    #[test]
    fn a_directory_may_be_in_the_way() {
        let fixture = Fixture::new(0o700, 0o644);
        let denied = fixture.denied(&fixture.stranger(true));
        assert!(denied[0].contains("FILE: keys is "), "{denied:?}");
        assert!(denied[0].contains("`setfacl -m u:etcd:x keys`"), "{denied:?}");
        assert!(fixture.denied(&Fixture::new(0o755, 0o644).stranger(false)).len() == 1);
    }

    #[test]
    fn root_reads_everything_and_a_stranger_what_all_may() {
        assert_eq!(Reader::of(&Unit::default()), None);
        let unit = |user: &str| Unit { user: user.to_owned(), ..Unit::default() };
        assert_eq!(Reader::of(&unit("root")), None);
        assert_eq!(Reader::of(&unit("0")), None);
        let nobody = Reader::of(&unit("no-such-user")).unwrap();
        let fixture = Fixture::new(0o755, 0o644);
        assert_eq!(fixture.denied(&nobody), Vec::<String>::new());
        assert_eq!(Fixture::new(0o755, 0o640).denied(&nobody).len(), 1);
    }
}
