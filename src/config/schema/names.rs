//! The names of settings that code beside their rows and fields needs.

/// Names the settings file, so the file cannot have it.
pub const CONFIG_FILE: &str = "config-file";
/// The data directory, whose default has the host's name in it.
pub const DATA_DIR: &str = "data-dir";
/// May be written in capitals, as etcd allows.
pub const LOG_LEVEL: &str = "log-level";
/// The host's name.
pub const NAME: &str = "name";
/// The mode; "off" at a start means being a member if there is room.
pub const PROXY: &str = "proxy";
/// Has a floor of its own below which bare numbers are doubted.
pub const PROXY_REFRESH_INTERVAL: &str = "proxy-refresh-interval";
/// The number of workers, computed from the machine by default.
pub const WORKERS: &str = "workers";
