//! Checks licences and duplicates of the dependencies against `deny.toml`, as cargo-deny does, on
//! machines without cargo-deny.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Returns the crates that are built on Linux, from `cargo metadata`.
fn crates() -> Vec<Value> {
    let mut metadata = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    metadata.args(["metadata", "--locked", "--offline", "--format-version", "1"]);
    metadata.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let told = metadata.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let mut told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let built = told["resolve"]["nodes"].take();
    let is_built = |id: &Value| built.as_array().unwrap().iter().any(|node| &node["id"] == id);
    let Value::Array(packages) = told["packages"].take() else { panic!("no packages") };
    packages.into_iter().filter(|package| is_built(&package["id"])).collect()
}

fn policy() -> toml::Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// Returns whether an SPDX expression is met: one of each `OR`, all of each `AND`.
fn is_met(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.trim();
    for (operator, all) in [(" AND ", true), (" OR ", false), (" / ", false), ("/", false)] {
        let parts = split_outside_parentheses(expression, operator);
        if parts.len() > 1 {
            let mut met = parts.into_iter().map(|part| is_met(part, allowed));
            return if all { met.all(|met| met) } else { met.any(|met| met) };
        }
    }
    let inner = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    inner.map_or_else(|| allowed.contains(&expression), |inner| is_met(inner, allowed))
}

fn split_outside_parentheses<'a>(text: &'a str, operator: &str) -> Vec<&'a str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    for (at, _) in text.match_indices(operator) {
        let before = &text[..at];
        if before.matches('(').count() == before.matches(')').count() {
            parts.push(&text[from..at]);
            from = at + operator.len();
        }
    }
    parts.push(&text[from..]);
    parts
}

#[test]
fn every_crate_has_a_licence_that_we_may_distribute() {
    let policy = policy();
    let allowed: Vec<&str> =
        policy["licenses"]["allow"].as_array().unwrap().iter().flat_map(|id| id.as_str()).collect();
    assert!(is_met("(MIT OR GPL-3.0) AND ISC", &["MIT", "ISC"]));
    assert!(!is_met("(MIT OR ISC) AND GPL-3.0", &["MIT", "ISC"]));
    let crates = crates();
    assert!(crates.len() > 100, "the crates were not found");
    let refused: Vec<String> = crates
        .iter()
        .filter(|one| !is_met(one["license"].as_str().unwrap_or("none"), &allowed))
        .map(|one| format!("{} {}: {}", one["name"], one["version"], one["license"]))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn a_crate_is_there_in_two_versions_only_for_a_reason() {
    let policy = policy();
    let skipped: Vec<&str> = policy["bans"]["skip"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|skip| skip["crate"].as_str())
        .collect();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in crates() {
        let text = |key: &str| one[key].as_str().unwrap().to_owned();
        versions.entry(text("name")).or_default().push(text("version"));
    }
    let newest_last = |version: &String| -> Vec<u64> {
        version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
    };
    let mut older = Vec::new();
    for (name, mut versions) in versions {
        versions.sort_by_key(newest_last);
        versions.pop();
        older.extend(versions.into_iter().map(|version| format!("{name}@{version}")));
    }
    assert_eq!(older, skipped);
}
