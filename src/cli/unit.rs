//! The environment of the systemd unit's daemon, for commands typed in a shell.
//!
//! Variables in the unit's environment files win over the settings file. Without them `check` and
//! `print-config` would describe another daemon, and `status` and `reload` might ask another
//! socket. The command's own environment wins over the files. They are read only when the command
//! targets the unit's daemon: not with settings as flags, not with `ETCD_CONFIG_FILE`, and not in a
//! process that systemd has started (`INVOCATION_ID`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::environment_files;
use super::load::Variables;
use super::output::complain;
use crate::config::{self, Inputs, Loaded, Location, Problems};

/// The unit's environment files; the later one wins.
const FILES: [&str; 2] = ["/etc/default/etcd-proxy", "/etc/sysconfig/etcd-proxy"];
/// The data directory of the unit's daemon.
const DATA: &str = "/var/lib/etcd-proxy";

/// The environment of a daemon, with the location of the variables that come from files.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// All variables.
    pub(super) variables: Variables,
    lines: Vec<Line>,
}

/// A variable in an environment file.
#[derive(Debug)]
struct Line {
    name: String,
    value: String,
    file: PathBuf,
    number: usize,
}

/// Returns the environment of the daemon that a command with these settings as flags targets.
pub(super) fn for_command(settings: &[OsString], env: Variables) -> Environment {
    if targets_unit(settings, &env) { daemon(env) } else { with_files(env, &[]) }
}

/// Returns the environment of the unit's daemon. Variables in `env` win over its files.
pub(super) fn daemon(env: Variables) -> Environment {
    let mut found = with_files(env, &FILES.map(Path::new));
    let is_set = found.variables.iter().any(|(name, _)| name == "STATE_DIRECTORY");
    if !is_set && Path::new(DATA).is_dir() {
        found.variables.push(("STATE_DIRECTORY".into(), DATA.into()));
    }
    found
}

/// Returns the admin socket of the daemon with these inputs. A running daemon keeps its socket when
/// the setting changes. So if nothing answers at the configured path, and the daemon is the unit's
/// or `RUNTIME_DIRECTORY` is set, the usual path is tried as well.
///
/// # Errors
/// When the command line cannot be understood.
pub(super) fn socket(inputs: &Inputs, is_units: bool) -> Result<PathBuf, Problems> {
    let set = config::admin_socket(inputs)?;
    let runtime = is_set(&inputs.env, "RUNTIME_DIRECTORY");
    if answers(&set) || !runtime && !is_units {
        return Ok(set);
    }
    let usual = config::usual_admin_socket(inputs);
    Ok(if answers(&usual) { usual } else { set })
}

/// Returns whether a process listens on the socket, even if we may not connect.
fn answers(socket: &Path) -> bool {
    match UnixStream::connect(socket) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// Returns whether a command targets the unit's daemon, given its settings as flags and its own
/// environment.
pub(super) fn targets_unit(settings: &[OsString], env: &Variables) -> bool {
    let elsewhere = ["INVOCATION_ID", "ETCD_CONFIG_FILE"];
    settings.is_empty() && !elsewhere.iter().any(|name| is_set(env, name))
}

fn is_set(env: &Variables, name: &str) -> bool {
    env.iter().any(|(other, value)| other == name && !value.is_empty())
}

fn with_files(mut env: Variables, files: &[&Path]) -> Environment {
    let mut lines: Vec<Line> = Vec::new();
    for line in files.iter().flat_map(|file| read(file)) {
        lines.retain(|earlier| earlier.name != line.name);
        lines.push(line);
    }
    lines.retain(|line| !env.iter().any(|(name, _)| name == OsStr::new(&line.name)));
    env.extend(lines.iter().map(|line| ((&line.name).into(), (&line.value).into())));
    Environment { variables: env, lines }
}

/// Reads one of the unit's environment files. An unusable one is reported and ignored, as systemd
/// does.
fn read(file: &Path) -> Vec<Line> {
    match environment_files::read(file, Path::new("systemctl")) {
        Ok(content) => {
            for line in content.file.ignored {
                let name = file.display();
                complain(&format!(
                    "warning: {name}:{line} has no variable's name before the `=`, and systemd ignores it\n"
                ));
            }
            let lines = content.file.assignments.into_iter();
            lines
                .map(|it| Line {
                    name: it.name,
                    value: it.value,
                    file: file.to_owned(),
                    number: it.line,
                })
                .collect()
        }
        Err(reason) => {
            complain(&format!("warning: {reason}\n"));
            Vec::new()
        }
    }
}

impl Environment {
    /// Sets the file and line of the loaded settings that come from an environment file.
    pub(super) fn locate(&self, loaded: &mut Loaded) {
        loaded.origins.locate(|location| self.line_of(location));
        loaded.warnings.iter_mut().for_each(|problem| self.relocate(&mut problem.location));
    }

    /// Sets the file and line of problems, like [`Self::locate`].
    pub(super) fn locate_problems(&self, problems: &mut Problems) {
        problems.0.iter_mut().for_each(|problem| self.relocate(&mut problem.location));
    }

    fn relocate(&self, location: &mut Location) {
        if let Some(line) = self.line_of(location) {
            *location = line;
        }
    }

    fn line_of(&self, location: &Location) -> Option<Location> {
        let Location::Variable(name) = location else { return None };
        let line = self.lines.iter().find(|line| line.name == *name)?;
        Some(Location::Line(name.clone(), line.file.clone(), line.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn files(texts: [&str; 2]) -> (tempfile::TempDir, [PathBuf; 2]) {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["default", "sysconfig"].map(|name| dir.path().join(name));
        for (path, text) in paths.iter().zip(texts) {
            std::fs::write(path, text).unwrap();
        }
        (dir, paths)
    }

    #[test]
    fn the_files_stand_below_the_environment_and_the_later_file_wins() {
        let (_dir, [default, sysconfig]) = files([
            "# c\nETCD_PROXY=on\nETCD_NAME=file\nETCD_BALANCE=p2c\n",
            "ETCD_PROXY=readonly\n",
        ]);
        let found = with_files(env(&[("ETCD_NAME", "mine")]), &[&default, &sysconfig]);
        let expected = [("ETCD_NAME", "mine"), ("ETCD_BALANCE", "p2c"), ("ETCD_PROXY", "readonly")];
        assert_eq!(found.variables, env(&expected));
        let location = |name: &str| found.line_of(&Location::Variable(name.to_owned()));
        assert_eq!(location("ETCD_NAME"), None);
        let line = location("ETCD_BALANCE").unwrap();
        assert_eq!(line, Location::Line("ETCD_BALANCE".to_owned(), default.clone(), 4));
        assert_eq!(line.to_string(), format!("{}:4 (ETCD_BALANCE)", default.display()));
        assert_eq!(
            location("ETCD_PROXY").unwrap().to_string(),
            format!("{}:1 (ETCD_PROXY)", sysconfig.display())
        );
    }

    #[test]
    fn problems_and_values_are_located_in_the_files() {
        let (_dir, [default, sysconfig]) = files(["ETCD_PROXY=maybe\n", "ETCD_PROXXY=1\n"]);
        let load = |found: &Environment| {
            config::load(&Inputs {
                args: Vec::new(),
                env: found.variables.clone(),
                cwd: "/".into(),
                default_file: "/nonexistent".into(),
            })
        };
        let found = with_files(Vec::new(), &[&default, &sysconfig]);
        let mut problems = load(&found).unwrap_err();
        found.locate_problems(&mut problems);
        let places: Vec<String> =
            problems.0.iter().map(|problem| problem.location.to_string()).collect();
        let (first, second) = (default.display(), sysconfig.display());
        assert_eq!(
            places,
            [format!("{first}:1 (ETCD_PROXY)"), format!("{second}:1 (ETCD_PROXXY)")]
        );

        std::fs::write(&default, "\nETCD_PROXY=readonly\n").unwrap();
        let found = with_files(Vec::new(), &[&default, &sysconfig]);
        let mut loaded = load(&found).unwrap();
        found.locate(&mut loaded);
        assert_eq!(loaded.origins.location("proxy").to_string(), format!("{first}:2 (ETCD_PROXY)"));
        assert_eq!(loaded.warnings[0].location.to_string(), format!("{second}:1 (ETCD_PROXXY)"));
    }

    #[test]
    fn the_units_daemon_is_meant_unless_something_else_is_said() {
        assert!(targets_unit(&[], &env(&[("ETCD_PROXY", "on"), ("ETCD_CONFIG_FILE", "")])));
        assert!(!targets_unit(&["--proxy=on".into()], &env(&[])));
        assert!(!targets_unit(&[], &env(&[("INVOCATION_ID", "0a")])));
        assert!(!targets_unit(&[], &env(&[("ETCD_CONFIG_FILE", "/other.toml")])));
    }

    #[test]
    fn a_socket_that_was_set_after_the_start_leads_to_the_usual_one() {
        let dir = tempfile::tempdir().unwrap();
        let socket = |set: &str, runtime: bool| {
            let mut env = env(&[("ETCD_ADMIN_SOCKET", set)]);
            if runtime {
                env.push(("RUNTIME_DIRECTORY".into(), dir.path().into()));
            }
            let args = vec!["--proxy=on".into()];
            let default_file = "/nonexistent".into();
            socket(&Inputs { args, env, cwd: "/".into(), default_file }, false).unwrap()
        };
        let usual = dir.path().join("admin.sock");
        assert_eq!(socket("/nonexistent/new", true), Path::new("/nonexistent/new"));
        let _daemon = std::os::unix::net::UnixListener::bind(&usual).unwrap();
        assert_eq!(socket("/nonexistent/new", true), usual);
        assert_eq!(socket("/nonexistent/new", false), Path::new("/nonexistent/new"));
    }
}
