//! This host's etcd: where its files are, and which variables it will start with.
//!
//! etcd's own unit gives the paths of its environment file and its data directory. Listeners
//! already in the file stay, unless only this host could reach them. The proxy's settings fill in
//! the rest, so that local clients find the new member where they found the proxy.

use std::path::{Path, PathBuf};

use super::command_line;
use super::environment::{self, Variables, lookup};
use super::options::Options;
use super::readable::Reader;
use super::services::Unit;
use crate::cli::environment_files::{self, Content};
use crate::cluster::url::parse_url;
use crate::config::{ListenAddress, ListenUrl, Loaded, Settings, zone};

/// Settings of the proxy with the same meaning for a member: paths and switches of TLS.
const SHARED: [&str; 13] = [
    "cert-file",
    "key-file",
    "trusted-ca-file",
    "client-cert-auth",
    "client-crl-file",
    "client-cert-allowed-hostname",
    "auto-tls",
    "peer-cert-file",
    "peer-key-file",
    "peer-trusted-ca-file",
    "peer-client-cert-auth",
    "peer-crl-file",
    "peer-auto-tls",
];

/// The files of this host's etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// etcd's environment file.
    pub(super) file: PathBuf,
    /// The file's present content; empty when there is no file.
    pub(super) present: Content,
    /// Where the present file will be backed up.
    pub(super) backup: PathBuf,
    /// etcd's data directory.
    pub(super) data_dir: PathBuf,
    /// Whether the directory was chosen here and must be written to the file.
    chosen: bool,
}

impl Host {
    /// Finds the files from the flags or from etcd's unit.
    ///
    /// # Errors
    /// When the environment file exists and cannot be read.
    pub(super) fn find(options: &Options, unit: &Unit) -> Result<Self, String> {
        let file = options.environment_file.clone().unwrap_or_else(|| default_file(unit));
        let present = environment_files::read(&file, &options.systemctl)?;
        let known = lookup(&environment::variables(&present.file), "ETCD_DATA_DIR")
            .or_else(|| lookup(&unit.environment, "ETCD_DATA_DIR"))
            .map(PathBuf::from);
        let chosen = options.data_dir.is_some() || known.is_none();
        let data_dir = options.data_dir.clone().or(known);
        let data_dir = data_dir.unwrap_or_else(|| "/var/lib/etcd/default".into());
        let backup = environment::free_backup(&file);
        Ok(Self { file, present, backup, data_dir, chosen })
    }

    /// Returns the variables to write, except those for the member and its cluster.
    pub(super) fn variables(&self, options: &Options, loaded: &Loaded) -> Variables {
        let present = environment::variables(&self.present.file);
        let mut variables = Vec::new();
        if self.chosen {
            variables.push(("ETCD_DATA_DIR".to_owned(), self.data_dir.display().to_string()));
        }
        let mut fill = |name: &str, value: String| {
            let there = lookup(&present, name);
            if there.is_none_or(|there| is_only_local(there) && !is_only_local(&value)) {
                variables.push((name.to_owned(), value));
            }
        };
        fill("ETCD_LISTEN_PEER_URLS", listen_peer_urls(&options.peer_urls));
        let (listen, advertise) = client_urls(options, &loaded.settings);
        fill("ETCD_LISTEN_CLIENT_URLS", listen);
        fill("ETCD_ADVERTISE_CLIENT_URLS", advertise);
        for (name, value) in shared(loaded) {
            fill(&name, value);
        }
        variables
    }
}

impl Host {
    /// Returns why the variables would have no effect: with a configuration file, etcd ignores all
    /// variables.
    pub(super) fn ignores_variables(&self, unit: &Unit) -> Option<String> {
        let present = environment::variables(&self.present.file);
        let flags = command_line::flags(unit, &present);
        let by_variable = lookup(&present, "ETCD_CONFIG_FILE")
            .or_else(|| lookup(&unit.environment, "ETCD_CONFIG_FILE"));
        let why = match by_variable {
            Some(file) => format!("ETCD_CONFIG_FILE is {file}"),
            None if flags.iter().any(|flag| flag == "config-file") => {
                "its unit has --config-file".to_owned()
            }
            None => return None,
        };
        Some(format!(
            "this host's etcd takes its settings from a file of its own ({why}) and would ignore what is written to {}; \
             configure it to read that file instead",
            self.file.display()
        ))
    }

    /// Returns why etcd would not start with these variables, or would ignore them: flags of the
    /// same name in its unit, and files that its user cannot read.
    pub(super) fn in_the_way(
        &self,
        unit: &Unit,
        name: &str,
        written: &[(String, String)],
    ) -> Vec<String> {
        let mut all = environment::variables(&self.present.file);
        let flags = command_line::flags(unit, &all);
        let mut reasons = command_line::against(&flags, name, written);
        all.extend(written.iter().cloned());
        if let Some(reader) = Reader::of(unit) {
            reasons.extend(reader.denied(name, &all));
        }
        reasons
    }

    /// Returns why etcd would not start with these variables: it serves https only with a
    /// certificate.
    pub(super) fn without_certificate(&self, written: &[(String, String)]) -> Vec<String> {
        let mut all = environment::variables(&self.present.file);
        all.extend(written.iter().cloned());
        let sides = [
            ("ETCD_LISTEN_PEER_URLS", "ETCD_PEER_CERT_FILE", "ETCD_PEER_AUTO_TLS"),
            ("ETCD_LISTEN_CLIENT_URLS", "ETCD_CERT_FILE", "ETCD_AUTO_TLS"),
        ];
        let bare = sides.iter().filter(|(urls, certificate, auto)| {
            let speaks_tls = lookup(&all, urls).is_some_and(|urls| urls.contains("https://"));
            speaks_tls && lookup(&all, certificate).or(lookup(&all, auto)).is_none()
        });
        bare.map(|(urls, certificate, auto)| {
            format!(
                "{urls} would be https, and there is no certificate for it; set {certificate} (with its key) or {auto} in {}",
                self.file.display()
            )
        })
        .collect()
    }
}

fn default_file(unit: &Unit) -> PathBuf {
    if let Some(file) = unit.environment_files.last() {
        return file.clone();
    }
    let debian = Path::new("/etc/default").is_dir();
    if debian { "/etc/default/etcd".into() } else { "/etc/etcd/etcd.conf".into() }
}

/// Returns the listen URLs for the peer URLs. An IP address is kept. A name or an address with a
/// zone, on which etcd cannot listen, becomes the wildcard address.
fn listen_peer_urls(peer_urls: &[String]) -> String {
    let listen = |url: &String| match parse_url(url) {
        Ok(to) if zone::with_zone(&to.host).is_some() => {
            format!("{}://[::]:{}", if to.tls { "https" } else { "http" }, to.port)
        }
        Ok(to) if to.host.parse::<std::net::IpAddr>().is_err() => {
            format!("{}://0.0.0.0:{}", if to.tls { "https" } else { "http" }, to.port)
        }
        _ => url.clone(),
    };
    let mut urls: Vec<String> = peer_urls.iter().map(listen).collect();
    urls.dedup();
    urls.join(",")
}

/// Returns the client URLs to listen on and to advertise: those of the proxy. If they are only
/// loopback and the peer URL is not, a URL with the peer URL's host is added for clients on other
/// hosts: a member that advertises localhost breaks them.
fn client_urls(options: &Options, settings: &Settings) -> (String, String) {
    let listen = settings.listen_client_urls.iter().filter(|url| !is_socket_file(url));
    let mut listen = listen.map(ToString::to_string).collect::<Vec<_>>().join(",");
    if listen.is_empty() {
        let beside = options.peer_urls.iter().filter_map(|url| beside_peer(url, ""));
        listen = listen_peer_urls(&beside.collect::<Vec<_>>());
    }
    let advertise = settings.advertise_client_urls.join(",");
    if !advertise.is_empty() {
        return (listen, advertise);
    }
    let reachable = listen.split(',').filter(|url| {
        !url.contains("//0.0.0.0:") && !url.contains("//[::]:") && url.starts_with("http")
    });
    let reachable: Vec<&str> = reachable.collect();
    let peers = options.peer_urls.join(",");
    if !reachable.is_empty() && (is_only_local(&peers) || !is_only_local(&reachable.join(","))) {
        let advertise = reachable.join(",");
        return (listen, advertise);
    }
    let Some(outside) = options.peer_urls.iter().find_map(|url| beside_peer(url, &listen)) else {
        return (listen.clone(), listen);
    };
    if is_only_local(&listen) {
        listen = format!("{listen},{}", listen_peer_urls(std::slice::from_ref(&outside)));
    }
    (listen, outside)
}

/// Returns the proxy's listeners that etcd does not support.
pub(super) fn socket_files(settings: &Settings) -> Vec<String> {
    let files = settings.listen_client_urls.iter().filter(|url| is_socket_file(url));
    files.map(ToString::to_string).collect()
}

fn is_socket_file(url: &ListenUrl) -> bool {
    !matches!(url.at, ListenAddress::Tcp(_))
}

/// Returns the client URL for a peer URL: the same host, with the port and scheme of the proxy's
/// first listener.
fn beside_peer(peer: &str, listen: &str) -> Option<String> {
    let first = listen.split(',').find_map(|url| parse_url(url).ok());
    let peer = parse_url(peer).ok()?;
    let (port, tls) = first.map_or((2379, peer.tls), |to| (to.port, to.tls));
    Some(crate::config::PeerUrl { tls, host: peer.host, port }.to_string())
}

/// Returns whether a list of URLs has only loopback hosts.
fn is_only_local(urls: &str) -> bool {
    let hosts = urls.split(',').filter_map(|url| parse_url(url.trim()).ok());
    let mut hosts = hosts.map(|to| to.host).peekable();
    let is_local = |host: &String| {
        host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    hosts.peek().is_some() && hosts.all(|host| is_local(&host))
}

/// Returns the proxy's TLS settings as variables.
fn shared(loaded: &Loaded) -> impl Iterator<Item = (String, String)> {
    let set = loaded.origins.iter().filter(|setting| {
        SHARED.contains(&setting.setting.name) && setting.value != setting.setting.default
    });
    set.map(|setting| (setting.setting.variable(), setting.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, load};
    use std::ffi::OsString;

    fn content(text: &str) -> Content {
        let file = environment_files::parse(text.as_bytes(), Path::new("systemctl")).unwrap();
        Content { text: text.into(), file }
    }

    fn variables(peer_url: &str, proxy: &str, file: &str) -> Variables {
        let args = proxy.split_whitespace().map(OsString::from).collect();
        let inputs =
            Inputs { args, env: Vec::new(), cwd: "/w".into(), default_file: "/nonexistent".into() };
        let loaded = load(&inputs).unwrap();
        let line = format!("--name m --peer-url {peer_url} --etcd-data-dir /d");
        let mut rest = line.split_whitespace().map(OsString::from).collect();
        let options = Options::take(&mut rest, &Vec::new()).unwrap();
        let host =
            Host { present: content(file), ..Host::find(&options, &Unit::default()).unwrap() };
        host.variables(&options, &loaded)
    }

    fn value<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
        lookup(variables, name)
    }

    #[test]
    fn local_clients_find_the_member_where_the_proxy_was() {
        let made = variables("http://10.0.1.12:2380", "", "");
        assert_eq!(value(&made, "ETCD_DATA_DIR"), Some("/d"));
        assert_eq!(value(&made, "ETCD_LISTEN_PEER_URLS"), Some("http://10.0.1.12:2380"));
        assert_eq!(
            value(&made, "ETCD_LISTEN_CLIENT_URLS"),
            Some("http://127.0.0.1:2379,http://10.0.1.12:2379")
        );
        assert_eq!(value(&made, "ETCD_ADVERTISE_CLIENT_URLS"), Some("http://10.0.1.12:2379"));
    }

    #[test]
    fn socket_files_are_not_for_etcd() {
        let listen = |urls: &str| {
            let flag = format!("--listen-client-urls {urls}");
            let made = variables("http://10.0.1.12:2380", &flag, "");
            let urls = ["ETCD_LISTEN_CLIENT_URLS", "ETCD_ADVERTISE_CLIENT_URLS"];
            urls.map(|name| value(&made, name).unwrap().to_owned())
        };
        assert_eq!(
            listen("unix:///run/etcd.sock,http://127.0.0.1:2379"),
            ["http://127.0.0.1:2379,http://10.0.1.12:2379", "http://10.0.1.12:2379"]
        );
        assert_eq!(
            listen("unix:///run/etcd.sock"),
            ["http://10.0.1.12:2379", "http://10.0.1.12:2379"]
        );
    }

    #[test]
    fn a_name_is_advertised_and_all_addresses_are_listened_on() {
        let made =
            variables("http://m2.example.com:2380", "--listen-client-urls http://0.0.0.0:2379", "");
        assert_eq!(value(&made, "ETCD_LISTEN_PEER_URLS"), Some("http://0.0.0.0:2380"));
        assert_eq!(value(&made, "ETCD_LISTEN_CLIENT_URLS"), Some("http://0.0.0.0:2379"));
        assert_eq!(value(&made, "ETCD_ADVERTISE_CLIENT_URLS"), Some("http://m2.example.com:2379"));
    }

    #[test]
    fn what_etcds_file_says_stays_unless_only_this_host_could_use_it() {
        let made = variables(
            "http://10.0.1.12:2380",
            "--advertise-client-urls http://10.0.1.12:2379",
            "ETCD_LISTEN_PEER_URLS=http://0.0.0.0:2380\nETCD_ADVERTISE_CLIENT_URLS=\"http://localhost:2379\"\n",
        );
        assert_eq!(value(&made, "ETCD_LISTEN_PEER_URLS"), None);
        assert_eq!(value(&made, "ETCD_ADVERTISE_CLIENT_URLS"), Some("http://10.0.1.12:2379"));
    }

    #[test]
    fn https_needs_a_certificate_of_the_proxy_or_of_etcds_file() {
        let without = |proxy: &str, file: &str| {
            let made = variables("https://10.0.1.12:2380", proxy, file);
            let host = Host {
                file: "/etc/default/etcd".into(),
                present: content(file),
                backup: "/b".into(),
                data_dir: "/d".into(),
                chosen: true,
            };
            host.without_certificate(&made)
        };
        assert!(without("", "")[0].contains("set ETCD_PEER_CERT_FILE"));
        assert!(without("", "ETCD_PEER_AUTO_TLS=true\n").is_empty());
        let files = "--peer-cert-file /p.pem --peer-key-file /p.key --peer-trusted-ca-file /ca.pem";
        assert!(without(files, "").is_empty());
        let made = variables("https://10.0.1.12:2380", files, "");
        assert_eq!(value(&made, "ETCD_PEER_TRUSTED_CA_FILE"), Some("/ca.pem"));
    }

    #[test]
    fn an_etcd_with_a_file_of_its_own_is_not_started_with_variables() {
        let host = |text: &str| Host {
            file: "/etc/default/etcd".into(),
            present: content(text),
            backup: "/b".into(),
            data_dir: "/d".into(),
            chosen: false,
        };
        let unit = |command: &str| Unit { command: command.to_owned(), ..Unit::default() };
        assert_eq!(host("").ignores_variables(&unit("/usr/bin/etcd $DAEMON_ARGS")), None);
        let by_flag =
            host("").ignores_variables(&unit("/usr/bin/etcd --config-file /etc/etcd.yml"));
        assert!(by_flag.unwrap().contains("its unit has --config-file"));
        let by_variable = host("ETCD_CONFIG_FILE=/etc/etcd.yml\n").ignores_variables(&unit(""));
        assert!(by_variable.unwrap().contains("ETCD_CONFIG_FILE is /etc/etcd.yml"));
    }

    #[test]
    fn on_loopback_everything_is_loopback() {
        let made =
            variables("http://127.0.0.1:2380", "--listen-client-urls http://127.0.0.1:4000", "");
        assert_eq!(value(&made, "ETCD_LISTEN_CLIENT_URLS"), Some("http://127.0.0.1:4000"));
        assert_eq!(value(&made, "ETCD_ADVERTISE_CLIENT_URLS"), Some("http://127.0.0.1:4000"));
    }
}
