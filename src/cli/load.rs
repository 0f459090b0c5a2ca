//! Loads the settings for a command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::{self, Inputs, Loaded, Problems};
use crate::daemon::apply_errors::of_log;
use crate::telemetry::log::OpenLog;
use crate::tls::configs::{self, Purpose, TlsConfigs};

/// The default settings file.
const DEFAULT_FILE: &str = "/etc/etcd-proxy.toml";

/// Environment variables, as name and value.
pub(super) type Variables = Vec<(OsString, OsString)>;

/// Returns the inputs for settings: these flags, this environment, the default file.
pub(super) fn inputs(args: Vec<OsString>, env: Variables) -> Inputs {
    let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    Inputs { args, env, cwd, default_file: Path::new(DEFAULT_FILE).to_owned() }
}

/// Loads the settings and the TLS configs that they name; the warnings of both are in [`Loaded`].
/// All errors are reported at once: TLS files and the log are checked even when other settings
/// cannot be used.
pub(super) fn load(inputs: &Inputs, purpose: Purpose) -> Result<(Loaded, TlsConfigs), Problems> {
    let (mut loaded, mut problems) = config::draft(inputs, None);
    let purpose = if problems.errors() > 0 { Purpose::Check } else { purpose };
    let tls_configs = match configs::load(&loaded.settings, &loaded.origins, None, purpose) {
        Ok((tls_configs, warnings)) => {
            problems.0.extend(warnings);
            Some(tls_configs)
        }
        Err(more) => {
            problems.0.extend(more.0);
            None
        }
    };
    // A daemon that is about to run opens its log itself.
    if purpose == Purpose::Check || tls_configs.is_none() {
        let errors = OpenLog::check(&loaded.settings.log);
        problems.0.extend(of_log(&errors, &loaded));
    }
    problems.sort();
    match tls_configs.filter(|_| problems.errors() == 0) {
        Some(tls_configs) => {
            loaded.warnings = problems.0;
            Ok((loaded, tls_configs))
        }
        None => Err(problems),
    }
}
