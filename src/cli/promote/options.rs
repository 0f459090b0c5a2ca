//! The flags of `promote`. The remaining arguments are settings, as for every command.
//!
//! `--name` is the new member's name. It is not used as the proxy's name, which may determine the
//! data directory.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cli::args;
use crate::cli::load::Variables;
use crate::cluster::url::parse_url;
use crate::config::{Location, Problem};

/// The parsed flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// The new member's name.
    pub(super) name: String,
    /// Its peer URLs, with scheme and host in lower case.
    pub(super) peer_urls: Vec<String>,
    /// Whether it joins without a vote.
    pub(super) learner: bool,
    /// Whether to run the plan, not only show it.
    pub(super) yes: bool,
    /// Whether to show the plan only, and succeed.
    pub(super) dry_run: bool,
    /// Name and password for the cluster.
    pub(super) user: Option<(String, String)>,
    /// etcd's environment file, if not the one of etcd's unit.
    pub(super) environment_file: Option<PathBuf>,
    /// etcd's data directory, if not the one of etcd's unit.
    pub(super) data_dir: Option<PathBuf>,
    /// etcd's unit.
    pub(super) etcd_unit: String,
    /// The proxy's own unit.
    pub(super) proxy_unit: String,
    /// The systemctl program to run.
    pub(super) systemctl: PathBuf,
}

/// Variables that hold `NAME:PASSWORD`; the second is etcdctl's.
const USER_VARIABLES: [&str; 2] = ["ETCD_PROXY_PROMOTE_USER", "ETCDCTL_USER"];

impl Options {
    /// Removes the command's flags from `rest`.
    pub(super) fn take(rest: &mut Vec<OsString>, env: &Variables) -> Result<Self, Problem> {
        let mut value = |name: &str| args::take_value(rest, &[name]);
        let name = value("name")?;
        let peer_urls = value("peer-urls")?.or(value("peer-url")?);
        let user = user(value("user")?, value("user-file")?, env)?;
        let environment_file = value("etcd-environment-file")?.map(PathBuf::from);
        let data_dir = value("etcd-data-dir")?.map(PathBuf::from);
        let etcd_unit = value("etcd-unit")?.unwrap_or_else(|| "etcd.service".to_owned());
        let proxy_unit = value("proxy-unit")?.unwrap_or_else(|| "etcd-proxy.service".to_owned());
        let systemctl = value("systemctl")?.unwrap_or_else(|| "systemctl".to_owned()).into();
        Ok(Self {
            name: member_name(name)?,
            peer_urls: urls(peer_urls)?,
            learner: args::take_switch(rest, "learner"),
            yes: args::take_switch(rest, "yes"),
            dry_run: args::take_switch(rest, "dry-run"),
            user,
            environment_file,
            data_dir,
            etcd_unit,
            proxy_unit,
            systemctl,
        })
    }
}

fn wrong(flag: &str, message: impl Into<String>, hint: &str) -> Problem {
    Problem::error(message, Location::Flag(format!("--{flag}"))).hint(hint)
}

/// Checks the name, which goes into `ETCD_INITIAL_CLUSTER` and into a file that systemd reads.
fn member_name(name: Option<String>) -> Result<String, Problem> {
    let want = "want a word of letters, digits, dots, dashes and underscores that no member has";
    let Some(name) = name else {
        return Err(wrong("name", "the new member needs a name", want));
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(wrong("name", format!("`name` is {name:?}"), want));
    }
    Ok(name)
}

fn urls(list: Option<String>) -> Result<Vec<String>, Problem> {
    let want = "want the URL where the other members will reach it, such as http://10.0.1.12:2380";
    let list = list.ok_or_else(|| wrong("peer-url", "the new member needs a peer URL", want))?;
    let read = |url: &str| match parse_url(url) {
        Ok(parsed) => Ok(parsed.to_string()),
        Err(error) => Err(wrong("peer-url", format!("`peer-url` is {url:?}: {error}"), want)),
    };
    list.split(',').map(|url| read(url.trim())).collect()
}

/// Returns the login. The flag wins over the file, and the file over the variables. The latter two
/// exist because other users can see a password on a command line.
fn user(
    flag: Option<String>,
    file: Option<String>,
    env: &Variables,
) -> Result<Option<(String, String)>, Problem> {
    let variable = || {
        let named = |name: &&str| env.iter().find(|(variable, _)| variable == *name);
        USER_VARIABLES.iter().find_map(named)?.1.to_str().map(str::to_owned)
    };
    let text = match (flag, file) {
        (Some(text), _) => Some(text),
        (None, Some(path)) => Some(std::fs::read_to_string(&path).map_err(|error| {
            wrong(
                "user-file",
                format!("cannot read {path}: {error}"),
                "want a file with NAME:PASSWORD",
            )
        })?),
        (None, None) => variable(),
    };
    let Some(text) = text.map(|text| text.trim_end().to_owned()).filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    match text.split_once(':') {
        Some((name, password)) => Ok(Some((name.to_owned(), password.to_owned()))),
        None => Err(wrong("user", "a user without a password", "want NAME:PASSWORD")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(line: &str, env: &[(&str, &str)]) -> Result<(Options, Vec<OsString>), String> {
        let mut rest: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let env = env.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let options = Options::take(&mut rest, &env).map_err(|problem| problem.one_line())?;
        Ok((options, rest))
    }

    #[test]
    fn the_commands_flags_are_told_from_settings() {
        let line = "--name m2 --peer-url http://10.0.1.12:2380,http://10.0.2.12:2380 --data-dir /d --yes --learner";
        let (options, rest) = take(line, &[]).unwrap();
        assert_eq!(options.name, "m2");
        assert_eq!(options.peer_urls, ["http://10.0.1.12:2380", "http://10.0.2.12:2380"]);
        assert!(options.yes && options.learner && !options.dry_run);
        assert_eq!((options.etcd_unit.as_str(), options.user), ("etcd.service", None));
        assert_eq!(rest, ["--data-dir", "/d"]);
    }

    #[test]
    fn a_peer_url_may_have_a_zone_and_any_case() {
        let peer_urls = |url: &str| {
            take(&format!("--name m --peer-url {url}"), &[]).map(|taken| taken.0.peer_urls)
        };
        assert_eq!(peer_urls("HTTP://LOCALHOST:2380").unwrap(), ["http://localhost:2380"]);
        let zone = "http://[fe80::1%25eth0]:2380";
        assert_eq!(peer_urls(zone).unwrap(), [zone]);
        assert!(peer_urls("http://[fe80::1%eth0]:2380").is_err());
    }

    #[test]
    fn credentials_come_from_the_flag_a_file_or_a_variable() {
        let line = "--name m --peer-url http://a:1";
        let root = |password: &str| Some(("root".to_owned(), password.to_owned()));
        let variable = [("ETCDCTL_USER", "root:from:variable")];
        assert_eq!(take(line, &variable).unwrap().0.user, root("from:variable"));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("user");
        std::fs::write(&file, "root:from-file\n").unwrap();
        let with_file = format!("{line} --user-file {}", file.display());
        assert_eq!(take(&with_file, &variable).unwrap().0.user, root("from-file"));
        assert_eq!(take(&format!("{with_file} --user root:x"), &[]).unwrap().0.user, root("x"));
        assert!(
            take(&format!("{line} --user root"), &[]).unwrap_err().contains("want NAME:PASSWORD")
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        for (line, words) in [
            ("--peer-url http://a:1", "needs a name"),
            ("--name m", "needs a peer URL"),
            ("--name a=b --peer-url http://a:1", "`name` is \"a=b\""),
            ("--name m --peer-url a:1", "`peer-url` is \"a:1\": not a URL"),
            ("--name m --peer-url", "has no value"),
        ] {
            let said = take(line, &[]).unwrap_err();
            assert!(said.contains(words), "{line}: {said}");
        }
    }
}
