//! The effective value of every setting, by type: one field for each row of [`schema`] that has an
//! effect here, under the row's name.
//!
//! A row names the field that takes its value, so a row of another kind than its field does not
//! compile, and a field that nothing reads is reported as dead code.
//!
//! [`schema`]: super::schema

use std::path::PathBuf;
use std::time::Duration;

use super::location::Location;
use super::settings::{KeyPair, ListenUrl, LogLevel, PeerUrl, TlsFile};

/// A setting's effective value, and where it was written.
#[derive(Default)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Field<T> {
    /// The setting's name.
    pub(super) name: &'static str,
    pub(super) value: T,
    pub(super) location: Location,
    /// Whether every source that has the setting has it without a mistake. With one, nothing can
    /// be said of what it means beside others.
    pub(super) is_sound: bool,
}

impl<T> Field<T> {
    /// Whether a source other than the defaults has the setting.
    pub(super) fn is_set(&self) -> bool {
        self.location != Location::Default
    }
}

impl Field<Duration> {
    /// Returns the time as a limit; zero means none.
    pub(super) fn limit(&self) -> Option<Duration> {
        Some(self.value).filter(|time| !time.is_zero())
    }
}

impl Field<Option<PathBuf>> {
    /// Returns the file that the setting names, if any.
    pub(super) fn file(&self) -> Option<TlsFile> {
        Some(TlsFile { setting: self.name, path: self.value.clone()? })
    }

    /// Returns this certificate with `key`, if both are named.
    pub(super) fn pair(&self, key: &Self) -> Option<KeyPair> {
        Some(KeyPair { cert: self.file()?, key: key.file()? })
    }
}

/// One field for each setting that has an effect, in the order of the rows.
#[derive(Default)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Fields {
    pub(super) proxy: Field<String>,
    pub(super) member_binary: Field<String>,
    pub(super) proxy_failure_wait: Field<Duration>,
    pub(super) proxy_refresh_interval: Field<Duration>,
    pub(super) proxy_dial_timeout: Field<Duration>,
    pub(super) proxy_write_timeout: Field<Duration>,
    pub(super) proxy_read_timeout: Field<Duration>,
    pub(super) listen_client_urls: Field<Vec<ListenUrl>>,
    pub(super) listen_client_http_urls: Field<Vec<ListenUrl>>,
    pub(super) listen_metrics_urls: Field<Vec<ListenUrl>>,
    pub(super) advertise_client_urls: Field<Vec<String>>,
    pub(super) rewrite_members: Field<bool>,
    pub(super) cors: Field<Vec<String>>,
    pub(super) host_whitelist: Field<Vec<String>>,
    pub(super) enable_pprof: Field<bool>,
    pub(super) initial_cluster: Field<Vec<PeerUrl>>,
    pub(super) accept_cluster_id: Field<Option<u64>>,
    pub(super) balance: Field<String>,
    pub(super) health_interval: Field<Duration>,
    pub(super) health_timeout: Field<Duration>,
    pub(super) require_cluster_proof: Field<bool>,
    pub(super) name: Field<String>,
    pub(super) initial_advertise_peer_urls: Field<Vec<String>>,
    pub(super) data_dir: Field<Option<PathBuf>>,
    pub(super) admin_socket: Field<Option<PathBuf>>,
    pub(super) workers: Field<u64>,
    pub(super) drain_timeout: Field<Duration>,
    pub(super) log_level: Field<String>,
    pub(super) log_package_levels: Field<Vec<(String, LogLevel)>>,
    pub(super) log_outputs: Field<Vec<String>>,
    pub(super) log_format: Field<String>,
    pub(super) debug: Field<bool>,
    pub(super) cert_file: Field<Option<PathBuf>>,
    pub(super) key_file: Field<Option<PathBuf>>,
    pub(super) trusted_ca_file: Field<Option<PathBuf>>,
    pub(super) client_cert_auth: Field<bool>,
    pub(super) client_crl_file: Field<Option<PathBuf>>,
    pub(super) client_cert_allowed_hostname: Field<Vec<String>>,
    pub(super) auto_tls: Field<bool>,
    pub(super) self_signed_cert_validity: Field<u64>,
    pub(super) upstream_cert_file: Field<Option<PathBuf>>,
    pub(super) upstream_key_file: Field<Option<PathBuf>>,
    pub(super) upstream_trusted_ca_file: Field<Option<PathBuf>>,
    pub(super) allow_upstream_cn: Field<bool>,
    pub(super) peer_cert_file: Field<Option<PathBuf>>,
    pub(super) peer_key_file: Field<Option<PathBuf>>,
    pub(super) peer_trusted_ca_file: Field<Option<PathBuf>>,
    pub(super) peer_crl_file: Field<Option<PathBuf>>,
    pub(super) peer_cert_allowed_cn: Field<Vec<String>>,
    pub(super) peer_cert_allowed_hostname: Field<Vec<String>>,
    pub(super) peer_auto_tls: Field<bool>,
    pub(super) cipher_suites: Field<Vec<String>>,
    pub(super) tls_min_version: Field<String>,
    pub(super) tls_max_version: Field<String>,
    pub(super) discovery: Field<String>,
    pub(super) discovery_token: Field<String>,
    pub(super) discovery_endpoints: Field<Vec<String>>,
    pub(super) discovery_srv: Field<String>,
    pub(super) discovery_srv_name: Field<String>,
    pub(super) discovery_fallback: Field<String>,
    pub(super) discovery_proxy: Field<String>,
    pub(super) discovery_dial_timeout: Field<Duration>,
    pub(super) discovery_request_timeout: Field<Duration>,
    pub(super) discovery_keepalive_time: Field<Duration>,
    pub(super) discovery_keepalive_timeout: Field<Duration>,
    pub(super) discovery_insecure_transport: Field<bool>,
    pub(super) discovery_insecure_skip_tls_verify: Field<bool>,
    pub(super) discovery_cert: Field<Option<PathBuf>>,
    pub(super) discovery_key: Field<Option<PathBuf>>,
    pub(super) discovery_cacert: Field<Option<PathBuf>>,
    pub(super) discovery_user: Field<String>,
    pub(super) discovery_password: Field<String>,
}
