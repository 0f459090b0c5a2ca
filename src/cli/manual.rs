//! Generated documentation of the settings, commands and metrics, besides `help`: two man pages,
//! completions for three shells, the example settings file, and two references in docs/. All of it
//! comes from the tables [`commands`](super::commands), [`schema`](crate::config::schema) and
//! [`metrics`](crate::telemetry::metrics). The files are kept in the repository, where people read
//! them. `make generate` writes them, and a test fails when they are out of date.

mod completions;
mod example;
mod metrics;
mod pages;
mod settings;
pub(super) mod words;

/// Returns every generated file: its path in the repository and its content.
pub fn files() -> Vec<(&'static str, String)> {
    vec![
        ("packaging/man/etcd-proxy.8", pages::program()),
        ("packaging/man/etcd-proxy.toml.5", pages::file()),
        ("packaging/completions/etcd-proxy.bash", completions::bash()),
        ("packaging/completions/_etcd-proxy", completions::zsh()),
        ("packaging/completions/etcd-proxy.fish", completions::fish()),
        ("etc/etcd-proxy.example.toml", example::file()),
        ("docs/settings.md", settings::document()),
        ("docs/metrics.md", metrics::document()),
    ]
}
