//! The layers of the settings, and which one wins.
//!
//! Each source (defaults, file, environment, command line) becomes a [`Layer`] of parsed values.
//! figment merges the layers, and is used nowhere else. Values are checked in every layer, so that
//! a mistake in the file is reported even while a flag overrides it.

pub(super) mod environment;
pub(super) mod file;
pub(super) mod flags;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use figment::value::Dict;
use figment::{Figment, Metadata, Profile, Provider};

use super::location::Location;
use super::problem::{Problem, Problems, Severity};
use super::schema::{self, Setting};
use super::settings::MemberSetting;
use super::value::{self, Raw, Shape, Value};

/// One setting as it is written in a source.
#[derive(Debug)]
pub(super) struct RawSetting {
    pub(super) setting: &'static Setting,
    pub(super) raw: Raw,
    /// The place of the key, variable or flag.
    pub(super) location: Location,
}

/// A setting that only a member needs: refused for a proxy, and passed on to etcd when this host
/// may become a member.
#[derive(Debug)]
pub(super) struct RawMemberSetting {
    pub(super) setting: MemberSetting,
    /// The problem that a proxy reports. It is among the problems of the load until the mode is
    /// known.
    pub(super) refused: Problem,
}

/// One setting in one layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) location: Location,
    warnings: Vec<Problem>,
}

/// The values of one source, by setting.
#[derive(Debug)]
pub(super) struct Layer {
    name: &'static str,
    pub(super) entries: BTreeMap<&'static str, Entry>,
    /// Settings that are left out because of a mistake.
    pub(super) broken: BTreeSet<&'static str>,
}

impl Layer {
    /// Parses the settings of the source `name`. Mistakes go to `problems`, and their settings are
    /// left out. Of two values for one setting the later one counts.
    pub(super) fn new(
        name: &'static str,
        given: Vec<RawSetting>,
        cwd: &Path,
        problems: &mut Problems,
    ) -> Self {
        let (mut entries, mut broken) = (BTreeMap::new(), BTreeSet::new());
        for RawSetting { setting, raw, location } in given {
            let mut found = Vec::new();
            let value = value::parse(setting, &raw, cwd, &mut found);
            let (errors, warnings) =
                found.into_iter().partition(|problem| problem.severity == Severity::Error);
            let errors: Vec<Problem> = errors;
            problems.0.extend(errors);
            match value {
                Some(value) => {
                    entries.insert(setting.name, Entry { value, location, warnings });
                }
                None => {
                    broken.insert(setting.name);
                }
            }
        }
        Self { name, entries, broken }
    }

    /// Makes the lowest layer, from the table of settings.
    pub(super) fn defaults(cwd: &Path, problems: &mut Problems) -> Self {
        let given = schema::all().map(|setting| RawSetting {
            setting,
            raw: Raw {
                shape: Shape::Text(setting.default.to_owned()),
                location: Location::Default,
            },
            location: Location::Default,
        });
        Self::new("default", given.collect(), cwd, problems)
    }
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<figment::value::Map<Profile, Dict>, figment::Error> {
        let texts = self.entries.iter();
        let dict: Dict =
            texts.map(|(name, entry)| ((*name).to_owned(), entry.value.to_text().into())).collect();
        Ok(Profile::Default.collect(dict))
    }
}

/// Merges the layers, the last on top, and returns the winning entry of each setting. The winners'
/// warnings go to `problems`; those of overridden entries are dropped.
pub(super) fn merge(layers: &[Layer], problems: &mut Problems) -> BTreeMap<&'static str, Entry> {
    let merged = layers.iter().fold(Figment::new(), |lower, layer| lower.merge(layer));
    let values =
        merged.data().ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default();
    let mut winners = BTreeMap::new();
    for (name, value) in values {
        let source = merged.get_metadata(value.tag()).map(|metadata| metadata.name.as_ref());
        let layer = layers.iter().find(|layer| Some(layer.name) == source);
        if let Some((name, entry)) =
            layer.and_then(|layer| layer.entries.get_key_value(name.as_str()))
        {
            problems.0.extend(entry.warnings.iter().cloned());
            winners.insert(*name, entry.clone());
        }
    }
    winners
}
