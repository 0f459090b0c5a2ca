//! The environment: `ETCD_*` variables by etcd's rules.
//!
//! An empty variable is unset. An unknown one is a warning, because people share one environment
//! file with etcd itself.

use std::ffi::{OsStr, OsString};

use super::{RawMemberSetting, RawSetting};
use crate::config::location::{Location, short};
use crate::config::problem::{Problem, Problems};
use crate::config::schema::{self, Known};
use crate::config::settings::MemberSetting;
use crate::config::value::{Raw, Shape};

const PREFIX: &str = "ETCD_";

/// Returns the settings among `variables`.
pub(in crate::config) fn read(
    variables: &[(OsString, OsString)],
    members: &mut Vec<RawMemberSetting>,
    problems: &mut Problems,
) -> Vec<RawSetting> {
    let ours = variables
        .iter()
        .map(|(name, value)| (name.to_string_lossy(), value))
        .filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty());
    ours.filter_map(|(name, value)| variable(&name, value, members, problems)).collect()
}

fn variable(
    name: &str,
    value: &OsStr,
    members: &mut Vec<RawMemberSetting>,
    problems: &mut Problems,
) -> Option<RawSetting> {
    let location = Location::Variable(name.to_owned());
    if let Some(new) = schema::renamed(&setting_name(name)) {
        let new = format!("{PREFIX}{}", new.to_ascii_uppercase().replace('-', "_"));
        problems.push(Problem::old_name(name, &new, location.clone()));
    }
    let setting = match known(name) {
        Some(Known::Setting(setting)) => setting,
        Some(Known::MemberOnly) => {
            let message = format!("`{name}` is ignored; only a member of the cluster needs it");
            let value = value.to_string_lossy().into_owned();
            let setting = MemberSetting { name: setting_name(name), value, is_flag: false };
            let refused = Problem::warning(message, location);
            problems.push(refused.clone());
            members.push(RawMemberSetting { setting, refused });
            return None;
        }
        None => {
            problems.push(unknown(name, location));
            return None;
        }
    };
    let Some(text) = value.to_str() else {
        let message = format!("`{}` is not valid UTF-8", setting.name);
        problems.push(Problem::error(message, location));
        return None;
    };
    let raw = Raw { shape: Shape::Text(text.to_owned()), location: location.clone() };
    Some(RawSetting { setting, raw, location })
}

/// Returns the setting of a variable, whose name must be in capitals and underscores.
fn known(name: &str) -> Option<Known> {
    let setting = setting_name(name);
    let setting = schema::renamed(&setting).unwrap_or(&setting);
    let exact = !name.contains(|c: char| c.is_ascii_lowercase() || c == '-');
    schema::find(setting).filter(|_| exact)
}

fn setting_name(variable: &str) -> String {
    variable.strip_prefix(PREFIX).unwrap_or(variable).to_ascii_lowercase().replace('_', "-")
}

fn unknown(name: &str, location: Location) -> Problem {
    let problem =
        Problem::warning(format!("unknown variable `{}` is ignored", short(name)), location);
    match schema::nearest(name) {
        Some(nearest) => {
            let nearest = nearest.to_ascii_uppercase().replace('-', "_");
            problem.hint(format!("did you mean `{PREFIX}{nearest}`?"))
        }
        None => problem,
    }
}
