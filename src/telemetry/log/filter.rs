//! The level filter: `log-level`, overridden by `log-package-levels`.
//!
//! `log-level` applies to our own modules. Libraries log at warn and above only, unless a package
//! level names them: h2 logs every frame at debug, and setting `log-level` to debug should not turn
//! that on. Of two package levels that match, the longer name wins.

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};

use crate::config::{LogLevel, LogSettings};

/// The root of our own modules' paths.
const CRATE: &str = env!("CARGO_CRATE_NAME");

/// Decides by level and target which lines are logged.
#[derive(Debug)]
pub struct Filter {
    ours: Level,
    libraries: Level,
    /// Module paths, longest first.
    packages: Vec<(String, Level)>,
}

impl Filter {
    /// Builds the filter that the settings describe.
    pub fn new(settings: &LogSettings) -> Self {
        let ours = level(settings.level);
        let mut packages: Vec<_> =
            settings.package_levels.iter().map(|(name, l)| (name.clone(), level(*l))).collect();
        packages.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self { ours, libraries: ours.min(Level::WARN), packages }
    }

    /// Tells whether lines of this callsite are logged.
    pub fn allows(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level_of(metadata.target())
    }

    fn level_of(&self, target: &str) -> Level {
        let package = self.packages.iter().find(|(name, _)| is_within(target, name));
        match package {
            Some((_, level)) => *level,
            None if below(target, CRATE).is_some() => self.ours,
            None => self.libraries,
        }
    }

    /// Returns the most verbose level that any callsite may have.
    pub fn max_level(&self) -> LevelFilter {
        let all = self.packages.iter().map(|(_, level)| *level).chain([self.ours]);
        all.max().map_or(LevelFilter::OFF, LevelFilter::from_level)
    }
}

/// Tells whether a package level for `name` covers `target`: `name` is the whole module path, or
/// for our own modules the path below the crate. `*` covers everything, as in etcd.
fn is_within(target: &str, name: &str) -> bool {
    name == "*"
        || below(target, name).is_some()
        || below(target, CRATE).is_some_and(|ours| below(ours, name).is_some())
}

/// Returns what follows `root` in a module path; `None` when the path is not below it.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(root)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix("::") }
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;

    fn filter(level: LogLevel, packages: &[(&str, LogLevel)]) -> Filter {
        Filter::new(&LogSettings {
            level,
            package_levels: packages.iter().map(|(name, l)| ((*name).to_owned(), *l)).collect(),
            format: LogFormat::Text,
            outputs: Vec::new(),
        })
    }

    #[test]
    fn the_level_is_that_of_our_own_modules() {
        let filter = filter(LogLevel::Debug, &[]);
        assert_eq!(filter.level_of("etcd_proxy"), Level::DEBUG);
        assert_eq!(filter.level_of("etcd_proxy::proxy::forward"), Level::DEBUG);
    }

    #[test]
    fn libraries_speak_at_warn_and_no_more_than_we_do() {
        assert_eq!(filter(LogLevel::Debug, &[]).level_of("h2::codec"), Level::WARN);
        assert_eq!(filter(LogLevel::Error, &[]).level_of("h2::codec"), Level::ERROR);
        assert_eq!(filter(LogLevel::Info, &[]).level_of("etcd_proxy_other"), Level::WARN);
    }

    #[test]
    fn a_package_level_names_a_module_or_a_library() {
        let filter =
            filter(LogLevel::Info, &[("upstream", LogLevel::Debug), ("h2", LogLevel::Info)]);
        assert_eq!(filter.level_of("etcd_proxy::upstream::pool"), Level::DEBUG);
        assert_eq!(filter.level_of("etcd_proxy::upstreams"), Level::INFO);
        assert_eq!(filter.level_of("h2::codec"), Level::INFO);
        assert_eq!(filter.max_level(), LevelFilter::DEBUG);
    }

    #[test]
    fn the_longer_package_name_wins() {
        let levels = [
            ("*", LogLevel::Error),
            ("upstream", LogLevel::Warn),
            ("etcd_proxy::upstream::pool", LogLevel::Debug),
        ];
        let filter = filter(LogLevel::Info, &levels);
        assert_eq!(filter.level_of("etcd_proxy::upstream::pool::h1"), Level::DEBUG);
        assert_eq!(filter.level_of("etcd_proxy::upstream::health"), Level::WARN);
        assert_eq!(filter.level_of("etcd_proxy::server"), Level::ERROR);
        assert_eq!(filter.level_of("hyper"), Level::ERROR);
    }
}
