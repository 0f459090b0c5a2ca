use std::collections::BTreeSet;

use super::*;

#[test]
fn names_are_unique_and_kebab_case() {
    let names: Vec<_> = all().map(|setting| setting.name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    for name in names {
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{name}");
    }
}

#[test]
fn every_setting_has_a_sentence() {
    for setting in all() {
        assert!(setting.doc.ends_with('.'), "{}", setting.name);
    }
}

#[test]
fn slips_find_the_nearest_name() {
    assert_eq!(nearest("initial-clutser"), Some("initial-cluster"));
    assert_eq!(nearest("listen_client_urls"), Some("listen-client-urls"));
    assert_eq!(nearest("ETCD_PROXXY"), Some("proxy"));
    assert_eq!(nearest("backends"), None);
}

#[test]
fn member_settings_are_told_apart_from_unknown_ones() {
    assert_eq!(find("snapshot-count"), Some(Known::MemberOnly));
    assert_eq!(find("experimental-corrupt-check-time"), Some(Known::MemberOnly));
    assert_eq!(find("snapshot-counts"), None);
}

#[test]
fn a_variable_is_the_name_in_capitals() {
    let Some(Known::Setting(setting)) = find("proxy-failure-wait") else { panic!("unknown") };
    assert_eq!(setting.variable(), "ETCD_PROXY_FAILURE_WAIT");
}
