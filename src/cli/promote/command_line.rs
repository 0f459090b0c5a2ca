//! The flags in the command of etcd's unit. They win over variables, and etcd does not start with
//! both a flag and the variable of the same name.

use std::collections::BTreeSet;

use super::environment::{UNSET, lookup};
use super::services::Unit;

/// Returns the names of the flags in the unit's command, with variables expanded. `file` has the
/// variables of its environment file.
pub(super) fn flags(unit: &Unit, file: &[(String, String)]) -> Vec<String> {
    let value = |name: &str| {
        lookup(file, name).or_else(|| lookup(&unit.environment, name)).unwrap_or_default()
    };
    let mut flags = Vec::new();
    for word in unit.command.split_whitespace() {
        let variable =
            word.trim_matches('"').strip_prefix('$').map(|name| name.trim_matches(['{', '}']));
        match variable {
            Some(name) => flags.extend(value(name).split_whitespace().filter_map(flag)),
            None => flags.extend(flag(word)),
        }
    }
    flags
}

fn flag(word: &str) -> Option<String> {
    let word = word.trim_matches('"').strip_prefix('-')?;
    let word = word.strip_prefix('-').unwrap_or(word);
    let name = word.split_once('=').map_or(word, |(name, _)| name);
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (!name.is_empty() && name.chars().all(fits)).then(|| name.to_owned())
}

/// Returns an objection for each flag that conflicts with a variable to be written.
pub(super) fn against(flags: &[String], unit: &str, written: &[(String, String)]) -> Vec<String> {
    let written = written.iter().map(|(name, _)| name.as_str());
    let names: BTreeSet<&str> = written.chain(UNSET).chain(["ETCD_DATA_DIR"]).collect();
    let in_the_way = names.into_iter().filter(|name| flags.contains(&flag_of(name)));
    in_the_way
        .map(|name| {
            format!(
                "{unit} starts etcd with --{}, which {name} cannot change; take it out of the unit's command, or of the \
                 variable there",
                flag_of(name)
            )
        })
        .collect()
}

fn flag_of(variable: &str) -> String {
    variable.trim_start_matches("ETCD_").to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(command: &str, variable: &str) -> Unit {
        let environment = vec![("DAEMON_ARGS".to_owned(), variable.to_owned())];
        Unit { command: command.to_owned(), environment, ..Unit::default() }
    }

    const DEBIAN: &str =
        "{ path=/usr/bin/etcd ; argv[]=/usr/bin/etcd $DAEMON_ARGS ; ignore_errors=no }";

    #[test]
    fn flags_stand_in_the_command_and_in_variables() {
        assert!(flags(&unit(DEBIAN, ""), &[]).is_empty());
        assert_eq!(flags(&unit(DEBIAN, "--name=a -debug"), &[]), ["name", "debug"]);
        let file = [("DAEMON_ARGS".to_owned(), "--listen-peer-urls http://a:1".to_owned())];
        assert_eq!(flags(&unit(DEBIAN, "--name=a"), &file), ["listen-peer-urls"]);
        let redhat =
            "argv[]=/bin/bash -c GOMAXPROCS=$(nproc) /usr/bin/etcd --name=\"${ETCD_NAME}\" ;";
        assert_eq!(flags(&unit(redhat, ""), &[]), ["c", "name"]);
    }

    #[test]
    fn a_flag_is_in_the_way_of_its_variable() {
        let written = ["ETCD_LISTEN_PEER_URLS", "ETCD_NAME", "ETCD_DATA_DIR"]
            .map(|name| (name.to_owned(), "value".to_owned()));
        let against = |flag: &str| super::against(&[flag.to_owned()], "etcd.service", &written);
        assert_eq!(
            against("listen-peer-urls"),
            [
                "etcd.service starts etcd with --listen-peer-urls, which ETCD_LISTEN_PEER_URLS cannot change; take it out of \
                 the unit's command, or of the variable there"
            ]
        );
        for flag in ["data-dir", "discovery"] {
            assert_eq!(against(flag).len(), 1, "{flag}");
        }
        assert!(against("log-level").is_empty());
    }
}
