//! The effective value of every setting, and where it was written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::fields::Fields;
use super::location::Location;
use super::schema::{self, Kind, Setting, names};
use super::settings::{ListenUrl, PeerSource, Settings};
use super::source::{Entry, Layer};
use super::value::Value;

/// The effective value of every setting with its place, and the values in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Origins {
    pub(super) effective: BTreeMap<&'static str, Entry>,
    /// The values in the file, including those that a variable or a flag overrides.
    pub(super) file: BTreeMap<&'static str, Entry>,
    /// Values that depend on others or on the machine, as text.
    computed: BTreeMap<&'static str, String>,
    /// Settings that at least one source has with a mistake.
    broken: BTreeSet<&'static str>,
}

/// One effective setting, for showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective<'a> {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value as text, with secrets hidden.
    pub value: String,
    /// Where it was written.
    pub location: &'a Location,
}

impl Origins {
    /// Takes the effective values and the layers they come from; the second layer is the file.
    pub(super) fn new(effective: BTreeMap<&'static str, Entry>, layers: &[Layer; 4]) -> Self {
        let broken = layers.iter().flat_map(|layer| layer.broken.iter().copied()).collect();
        let file = layers[1].entries.clone();
        Self { effective, file, computed: BTreeMap::new(), broken }
    }

    /// Whether no source has a mistake in this setting.
    pub(super) fn is_sound(&self, name: &str) -> bool {
        !self.broken.contains(name)
    }

    /// Sets the text of a value that depends on more than what was written.
    pub(super) fn compute(&mut self, name: &'static str, value: impl Display) {
        self.computed.insert(name, value.to_string());
    }

    /// Takes the values that depend on others or on the machine from the resolved settings.
    pub(super) fn compute_from(&mut self, fields: &Fields, settings: &Settings) {
        if let PeerSource::Static(peers) = &settings.peers {
            self.compute(fields.initial_cluster.name, Value::Peers(peers.clone()).to_text());
        }
        self.compute(fields.data_dir.name, settings.data_dir.display());
        self.compute(fields.admin_socket.name, settings.admin_socket.display());
        self.compute(fields.workers.name, settings.workers);
        if fields.debug.value {
            self.compute(fields.log_level.name, settings.log.level);
            self.blame(fields.log_level.name, fields.debug.location.clone());
        }
    }

    /// Sets the place of a value that was not written for this setting itself.
    pub(super) fn blame(&mut self, name: &str, location: Location) {
        if let Some(entry) = self.effective.get_mut(name) {
            entry.location = location;
        }
    }

    /// Replaces the places for which `exact` knows a more exact one.
    pub fn locate(&mut self, exact: impl Fn(&Location) -> Option<Location>) {
        for entry in self.effective.values_mut() {
            if let Some(location) = exact(&entry.location) {
                entry.location = location;
            }
        }
    }

    /// Whether `name` means the same in both. A computed number of workers may also differ because
    /// this process may use other cores than at the start; that is no change of a setting.
    pub(super) fn is_same(&self, other: &Self, name: &str) -> bool {
        let same_value = || self.value(name) == other.value(name);
        let is_computed = [self, other].iter().any(|origins| origins.computed.contains_key(name));
        if !is_computed {
            return same_value();
        }
        self.text(name) == other.text(name) || name == names::WORKERS && same_value()
    }

    /// Returns every setting with its effective value, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = Effective<'_>> {
        schema::all().filter_map(|setting| {
            let entry = self.effective.get(setting.name)?;
            Some(Effective { setting, value: self.text(setting.name), location: &entry.location })
        })
    }

    /// Returns where the effective value of `name` was written.
    pub fn location(&self, name: &str) -> &Location {
        self.effective.get(name).map_or(&Location::Default, |entry| &entry.location)
    }

    /// Returns where a URL to listen on was written.
    pub fn listener_location(&self, url: &ListenUrl) -> &Location {
        let has = |setting: &&Setting| matches!(self.value(setting.name), Some(Value::Listen(urls)) if urls.contains(url));
        let mut lists = schema::all().filter(|setting| setting.kind == Kind::ListenUrls);
        lists.find(has).map_or(&Location::Default, |setting| self.location(setting.name))
    }

    /// Returns the effective value of `name` as text.
    pub(super) fn text(&self, name: &str) -> String {
        match self.computed.get(name) {
            Some(text) => text.clone(),
            None => self.effective.get(name).map(|entry| entry.value.to_text()).unwrap_or_default(),
        }
    }

    /// Returns the effective value of `name` as it would be written, a secret too.
    pub fn written(&self, name: &str) -> String {
        match self.value(name) {
            Some(Value::Secret(secret) | Value::Login(secret)) => secret.clone(),
            _ => self.text(name),
        }
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.effective.get(name).map(|entry| &entry.value)
    }
}
