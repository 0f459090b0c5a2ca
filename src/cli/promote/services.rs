//! Queries, stops and starts systemd units with systemctl.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The systemctl program.
#[derive(Debug, Clone)]
pub(super) struct Services {
    program: PathBuf,
}

/// The properties to query of a unit.
const PROPERTIES: &str = "LoadState,ActiveState,UnitFileState,Environment,EnvironmentFiles,ExecStart,TriggeredBy,\
                          User,Group,SupplementaryGroups";

/// The properties of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// Whether the unit exists.
    pub(super) is_there: bool,
    /// `active`, `inactive`, `failed`, ...
    pub(super) state: String,
    /// Its `Environment=`.
    pub(super) environment: Vec<(String, String)>,
    /// Its `EnvironmentFile=`s.
    pub(super) environment_files: Vec<PathBuf>,
    /// Its `ExecStart=`, as systemctl prints it.
    pub(super) command: String,
    /// Whether it is started at boot.
    pub(super) is_enabled: bool,
    /// Its `TriggeredBy=`: sockets and other units that start it.
    pub(super) triggers: Vec<String>,
    /// Its `User=`; empty means root.
    pub(super) user: String,
    /// Its `Group=` and `SupplementaryGroups=`.
    pub(super) groups: Vec<String>,
}

impl Unit {
    /// Returns whether the unit runs or is about to.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state.as_str(), "active" | "activating" | "reloading")
    }
}

impl Services {
    /// Uses `program` as systemctl.
    pub(super) fn new(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    /// Returns the properties of a unit.
    ///
    /// # Errors
    /// When systemctl cannot be run, or does not reach systemd.
    pub(super) fn unit(&self, unit: &str) -> Result<Unit, String> {
        let properties = format!("--property={PROPERTIES}");
        Ok(parse(&self.run(&["show", &properties, unit])?))
    }

    /// Returns the units that trigger this one and are running or enabled, sockets first: a socket
    /// goes on listening when its service has stopped.
    ///
    /// # Errors
    /// As [`Self::unit`].
    pub(super) fn triggers(&self, unit: &str) -> Result<Vec<String>, String> {
        let mut triggers = self.unit(unit)?.triggers;
        triggers.sort_by_key(|trigger| !trigger.ends_with(".socket"));
        let mut used = Vec::new();
        for trigger in triggers {
            let unit = self.unit(&trigger)?;
            if unit.is_running() || unit.is_enabled {
                used.push(trigger);
            }
        }
        Ok(used)
    }

    /// Stops and disables a unit.
    ///
    /// # Errors
    /// systemctl's message, or that the unit still runs.
    pub(super) fn disable(&self, unit: &str) -> Result<(), String> {
        self.run(&["disable", "--now", unit])?;
        match self.unit(unit)? {
            unit if unit.is_running() => Err(format!("it is still {}", unit.state)),
            _ => Ok(()),
        }
    }

    /// Starts and enables a unit, and waits until systemd considers it started.
    ///
    /// # Errors
    /// systemctl's message, or that the unit does not run.
    pub(super) fn enable(&self, unit: &str) -> Result<(), String> {
        self.run(&["enable", "--now", unit])?;
        match self.unit(unit)? {
            unit if unit.is_running() => Ok(()),
            unit => Err(format!("it is {}", unit.state)),
        }
    }

    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let line = format!("{} {}", self.program.display(), arguments.join(" "));
        let output = Command::new(&self.program)
            .args(arguments)
            .output()
            .map_err(|error| format!("cannot run `{line}`: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{line}` failed: {}", said.trim().replace('\n', "; ")))
    }
}

/// Parses `KEY=VALUE` lines.
fn parse(text: &str) -> Unit {
    let mut unit = Unit::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "LoadState" => unit.is_there = value == "loaded",
            "UnitFileState" => unit.is_enabled = value.starts_with("enabled"),
            "User" => unit.user = value.to_owned(),
            "Group" | "SupplementaryGroups" => {
                unit.groups.extend(value.split_whitespace().map(str::to_owned));
            }
            "TriggeredBy" => unit.triggers = value.split_whitespace().map(str::to_owned).collect(),
            "ActiveState" => unit.state = value.to_owned(),
            "ExecStart" => unit.command = value.to_owned(),
            "Environment" => unit.environment = variables(value),
            // One line per file, followed by `(ignore_errors=yes)`.
            "EnvironmentFiles" => {
                let path = value.split(" (ignore_errors").next().unwrap_or(value);
                unit.environment_files.push(path.into());
            }
            _ => {}
        }
    }
    unit
}

/// Parses `Environment=` as systemctl prints it: separated by blanks, quoted and escaped where
/// needed.
fn variables(list: &str) -> Vec<(String, String)> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = list.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            '\\' if quoted => word.extend(chars.next()),
            c => word.push(c),
        }
    }
    words.push(word);
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_is_understood() {
        let unit = parse(
            "LoadState=loaded\nActiveState=inactive\nEnvironment=DAEMON_ARGS= ETCD_DATA_DIR=/var/lib/etcd/default\n\
             EnvironmentFiles=/etc/default/etcd (ignore_errors=yes)\nEnvironmentFiles=/etc/x\nUser=etcd\nGroup=etcd\n\
             SupplementaryGroups=tls\n",
        );
        assert_eq!((unit.user.as_str(), unit.groups.join(" ")), ("etcd", "etcd tls".to_owned()));
        assert!(unit.is_there && !unit.is_running());
        let data_dir = ("ETCD_DATA_DIR".to_owned(), "/var/lib/etcd/default".to_owned());
        assert_eq!(unit.environment[1], data_dir);
        let files: [PathBuf; 2] = ["/etc/default/etcd".into(), "/etc/x".into()];
        assert_eq!(unit.environment_files, files);
    }

    #[test]
    fn a_variable_may_have_blanks() {
        let variables = variables("A=1 \"DAEMON_ARGS=--name=a --debug\" B=2");
        let values: Vec<&str> = variables.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["1", "--name=a --debug", "2"]);
        let variables = super::variables(r#""A=--name=\"a b\" \\x" B="#);
        let values: Vec<&str> = variables.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, [r#"--name="a b" \x"#, ""]);
    }

    #[test]
    fn what_starts_a_unit_is_known() {
        let unit = parse("LoadState=loaded\nUnitFileState=enabled\nTriggeredBy=a.path b.socket\n");
        assert!(unit.is_enabled);
        assert_eq!(unit.triggers, ["a.path", "b.socket"]);
        assert!(!parse("UnitFileState=disabled\nTriggeredBy=\n").is_enabled);
    }

    #[test]
    fn a_unit_that_is_not_there_is_not_there() {
        assert!(!parse("LoadState=not-found\nActiveState=inactive\n").is_there);
        assert!(!parse("").is_there);
    }

    #[test]
    fn a_systemctl_that_is_missing_is_named() {
        let services = Services::new(Path::new("/nonexistent/systemctl"));
        assert!(services.unit("etcd.service").unwrap_err().contains("/nonexistent/systemctl show"));
    }
}
