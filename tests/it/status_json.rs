//! docs/status-json.md matches the answers of real daemons: each field of an answer is in its
//! tables, with its type and values, and each field of the tables is in an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::scripted_registry::Registry;
use crate::support::members::Members;
use crate::support::proxy::Proxy;
use crate::support::scratch::Scratch;
use crate::support::settings_file::Way;
use crate::support::tls::{Authority, Leaf};
use crate::support::{PATIENCE, eventually, http1, port, run, shared};

const DOCUMENT: &str = include_str!("../../docs/status-json.md");

/// A row of the document's tables.
struct Row {
    types: Vec<&'static str>,
    /// The values that the document lists, if it lists them all.
    values: Vec<&'static str>,
}

/// Returns the rows of the tables by field.
fn rows() -> BTreeMap<&'static str, Row> {
    let lines = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `"));
    lines
        .map(|line| {
            let mut cells = line.trim_end_matches('|').split(" | ").map(str::trim);
            let field = cells.next().unwrap().trim_end_matches('`');
            let types = cells.next().unwrap().split(" or ").collect();
            let values = cells.nth(1).unwrap_or_default().split(", ");
            let listed = |value: &'static str| value.strip_prefix('`')?.strip_suffix('`');
            (
                field,
                Row {
                    types,
                    values: values.map(listed).collect::<Option<_>>().unwrap_or_default(),
                },
            )
        })
        .collect()
}

/// Every field of an answer, with all its values there.
type Fields = BTreeMap<String, Vec<Value>>;

fn collect(path: &str, value: &Value, fields: &mut Fields) {
    // The objects below these two have the fields of a reload.
    let of_reload = ["settings_refused.", "certificates_refused."];
    let rest = of_reload.iter().find_map(|prefix| path.strip_prefix(prefix));
    let path = &rest.map_or(path.to_owned(), |rest| format!("reloads[].{rest}"));
    if !path.is_empty() {
        fields.entry(path.clone()).or_default().push(value.clone());
    }
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            let dot = if path.is_empty() { "" } else { "." };
            collect(&format!("{path}{dot}{key}"), value, fields);
        }),
        Value::Array(array) => {
            // A list of objects stands for their fields, a list of strings for itself.
            for item in array {
                match item {
                    Value::Object(object) => object
                        .iter()
                        .for_each(|(key, it)| collect(&format!("{path}[].{key}"), it, fields)),
                    item => collect(&format!("{path}[]"), item, fields),
                }
            }
        }
        _ => {}
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

fn limit_address_space(pid: u32) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &pid.to_string(), "--as=1099511627776"]);
    assert!(prlimit.status().unwrap().success(), "prlimit");
}

/// Returns the status of a daemon that serves, has a certificate and a memory limit, and has
/// applied one reload and refused another.
async fn serving() -> Value {
    let members = Members::start(1).await;
    let scratch = Scratch::new("status");
    let files = Authority::new("ca").issue(&Leaf::loopback()).write(scratch.path(), "server");
    let settings = format!(
        "initial-cluster = \"{}\"\nlisten-metrics-urls = \"https://127.0.0.1:{}\"\nworkers = 1\n\
         cert-file = {:?}\nkey-file = {:?}\n",
        members.initial_cluster(),
        port::free(),
        files.certificate,
        files.key,
    );
    let proxy = members.start_proved(Proxy::with_peers("").file(&settings)).await;
    limit_address_space(proxy.process.pid());
    let status = async || http1::get(&proxy.address, "/proxy/status").await.json();
    for (more, result) in [("proxy = \"readonly\"\n", "applied"), ("nonsense = 1\n", "refused")] {
        proxy.write_settings(Way::Rename, &format!("{settings}{more}"));
        eventually(result, PATIENCE, async || status().await["reloads"][0]["result"] == result)
            .await;
    }
    eventually("its memory", PATIENCE, async || !status().await["memory"].is_null()).await;
    // The command prints the same document.
    let (printed, _) = proxy.command(&["status", "-w", "json"]);
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

/// Returns the status of a daemon that waits for a registry that never answers.
async fn waiting() -> Value {
    let registry = Registry::start(|_| None);
    let settings = format!("discovery = \"{}\"\n", registry.url);
    let proxy = Proxy::with_peers("").file(&settings).spawn();
    proxy.wait_until_open().await;
    http1::get(&proxy.address, "/proxy/status").await.json()
}

#[test]
fn every_field_of_the_status_is_documented_and_every_documented_field_is_there() {
    let _machine = shared();
    let fixtures = run(async { [serving().await, waiting().await] });
    let mut fields = Fields::new();
    fixtures.iter().for_each(|fixture| collect("", fixture, &mut fields));
    let rows = rows();
    for (field, values) in &fields {
        let row = rows.get(field.as_str());
        let row = row.unwrap_or_else(|| panic!("`{field}` is not in docs/status-json.md"));
        for value in values {
            let kind = type_of(value);
            assert!(row.types.contains(&kind), "`{field}` is {kind}, and not {:?}", row.types);
            let is_listed = value.as_str().is_none_or(|text| row.values.contains(&text));
            assert!(row.values.is_empty() || is_listed, "`{field}` has the value {value}");
        }
    }
    let unseen: BTreeSet<_> = rows.keys().filter(|field| !fields.contains_key(**field)).collect();
    assert!(unseen.is_empty(), "no daemon answers {unseen:?}");
}

/// jq accepts the recipes, where it is installed.
#[test]
fn the_recipes_are_programs_of_jq() {
    let recipes = DOCUMENT.lines().filter_map(|line| line.split_once("| jq "));
    let programs: Vec<_> =
        recipes.filter_map(|(_, jq)| jq.split_once('\'')?.1.strip_suffix('\'')).collect();
    assert_eq!(programs.len(), 3);
    for program in programs {
        let mut jq = Command::new("jq");
        jq.arg(program).stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut jq) = jq.spawn() else { return };
        let answer = br#"{"problems":[],"members":[],"settings_refused":null}"#;
        jq.stdin.take().unwrap().write_all(answer).unwrap();
        let said = jq.wait_with_output().unwrap();
        assert!(said.status.success(), "{program}: {said:?}");
    }
}
