//! Errors that keep valid settings from being applied on this host now, each with the place in the
//! settings that is to blame.

use crate::config::{Discovery, ListenUrl, Loaded, Location, PeerSource, Problem};
use crate::net::listen::BindError;
use crate::telemetry::log::LogError;

/// Returns a problem for each address that cannot be bound.
pub fn of_listeners(errors: &[BindError], loaded: &Loaded) -> Vec<Problem> {
    let problem =
        |error: &BindError| Problem::error(error.to_string(), location(&error.url, loaded));
    errors.iter().map(problem).collect()
}

fn location(url: &ListenUrl, loaded: &Loaded) -> Location {
    loaded.origins.listener_location(url).clone()
}

/// Returns the problem of peers that belong to different clusters.
pub(super) fn of_peers(reason: String, loaded: &Loaded) -> Problem {
    let key = match &loaded.settings.peers {
        PeerSource::Static(_) => "initial-cluster",
        PeerSource::Srv(_) => "discovery-srv",
        PeerSource::Discovery(Discovery::V2(_)) => "discovery",
        PeerSource::Discovery(Discovery::V3(_)) => "discovery-token",
    };
    Problem::error(reason, loaded.origins.location(key).clone())
}

/// Returns a problem for each log output that cannot be opened.
pub fn of_log(errors: &[LogError], loaded: &Loaded) -> Vec<Problem> {
    let location = |error: &LogError| match error {
        LogError::Journal(_) if *loaded.origins.location("log-format") != Location::Default => {
            loaded.origins.location("log-format").clone()
        }
        _ => loaded.origins.location("log-outputs").clone(),
    };
    errors.iter().map(|error| Problem::error(error.to_string(), location(error))).collect()
}
