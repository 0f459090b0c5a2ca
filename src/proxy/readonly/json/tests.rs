use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn passed(body: &str) -> String {
    match txn(body.as_bytes()) {
        Ok(output) => String::from_utf8(output).unwrap(),
        Err(refusal) => panic!("{body}: {refusal}"),
    }
}

fn refused(body: &str) -> String {
    match txn(body.as_bytes()) {
        Ok(output) => panic!("{body} passed as {}", String::from_utf8_lossy(&output)),
        Err(refusal) => refusal.to_string(),
    }
}

fn op(content: &str) -> String {
    format!(r#"{{"success":[{{{content}}}]}}"#)
}

#[test]
fn a_txn_of_ranges_is_written_anew_in_etcds_own_names() {
    assert_eq!(passed("{}"), "{}");
    assert_eq!(passed(" \t\r\n{ } "), "{}");
    assert_eq!(
        passed(
            r#"{ "success" : [ {"requestRange": {"key":"Zm9v", "rangeEnd": "Zm9w"} } ], "failure": [] }"#
        ),
        r#"{"success":[{"request_range":{"key":"Zm9v","range_end":"Zm9w"}}],"failure":[]}"#
    );
    assert_eq!(
        passed(
            r#"{"compare":[{"key":"YQ==","result":"EQUAL","target":2,"modRevision":"0"},{}],"success":[]}"#
        ),
        r#"{"compare":[{"key":"YQ==","result":"EQUAL","target":2,"mod_revision":"0"},{}],"success":[]}"#
    );
    assert_eq!(
        passed(
            r#"{"failure":[{"requestTxn":{"success":[{"request_range":{}},{"request_range":{}}]}}]}"#
        ),
        r#"{"failure":[{"request_txn":{"success":[{"request_range":{}},{"request_range":{}}]}}]}"#
    );
}

#[test]
fn every_field_of_a_range_and_a_comparison_is_known_in_both_spellings() {
    for field in RANGE.fields {
        for name in [field.name, field.camel] {
            let body = op(&format!(r#""request_range":{{"{name}":"1"}}"#));
            assert_eq!(passed(&body), op(&format!(r#""request_range":{{"{}":"1"}}"#, field.name)));
        }
    }
    for field in COMPARE.fields {
        for name in [field.name, field.camel] {
            let body = format!(r#"{{"compare":[{{"{name}":"1"}}]}}"#);
            assert_eq!(passed(&body), format!(r#"{{"compare":[{{"{}":"1"}}]}}"#, field.name));
        }
    }
}

#[test]
fn scalars_keep_their_text() {
    for text in [
        "9223372036854775807",
        "\"18446744073709551615\"",
        "-1",
        "1e3",
        "0.0",
        "true",
        r#""YWJj\/ZGVm""#,
        r#""\u0059WJj""#,
        "\"\u{e9}\"",
    ] {
        let body = op(&format!(r#""request_range":{{"limit":{text}}}"#));
        assert_eq!(passed(&body), body);
    }
}

#[test]
fn a_null_that_means_absence_is_left_out() {
    assert_eq!(passed(r#"{"compare":null,"success":null,"failure":[]}"#), r#"{"failure":[]}"#);
    let body = op(r#""request_range":{"key":null,"limit":1,"range_end":null}"#);
    assert_eq!(passed(&body), op(r#""request_range":{"limit":1}"#));
}

#[test]
fn other_nulls_are_refused() {
    for body in [
        op(r#""request_range":null"#),
        op(r#""request_txn":null"#),
        op(r#""request_put":null"#),
        op(r#""request_put":null,"request_range":{}"#),
        r#"{"success":[null]}"#.to_owned(),
        r#"{"compare":[{"version":null}]}"#.to_owned(),
        "null".to_owned(),
    ] {
        refused(&body);
    }
}

#[test]
fn writes_are_refused_in_every_spelling_and_place() {
    for key in [
        "request_put",
        "requestPut",
        "request_delete_range",
        "requestDeleteRange",
        "request\\u005fput",
        "\\u0072equest_put",
        "request_deleteRange",
        "RequestPut",
    ] {
        for content in ["{}", r#"{"key":"YQ==","value":"YQ=="}"#, "[]", "null", "\"\"", "0"] {
            let write = format!(r#""{key}":{content}"#);
            let inner = op(&write);
            for body in [
                inner.clone(),
                inner.replace("success", "failure"),
                op(&format!(r#""request_txn":{inner}"#)),
                op(&format!(r#""request_range":{{}},{write}"#)),
                op(&format!(r#"{write},"request_range":{{}}"#)),
                format!(r#"{{"success":[{{"request_range":{{}}}},{{{write}}}]}}"#),
                format!("{{{write}}}"),
                op(&format!(r#""request_range":{{{write}}}"#)),
                format!(r#"{{"compare":[{{{write}}}]}}"#),
            ] {
                refused(&body);
            }
        }
    }
    let reason = refused(&op(r#""request_put":{}"#));
    assert_eq!(
        reason,
        "`request_put` does not belong in a read-only RequestOp at line 1 column 26"
    );
}

#[test]
fn a_key_there_twice_is_refused_at_every_depth() {
    for body in [
        r#"{"success":[],"success":[]}"#.to_owned(),
        r#"{"success":null,"success":[]}"#.to_owned(),
        r#"{"success":[],"\u0073uccess":[]}"#.to_owned(),
        op(r#""request_range":{},"request_range":{}"#),
        op(r#""request_range":{},"requestRange":{}"#),
        op(r#""request_range":{"key":"YQ==","key":"YQ=="}"#),
        op(r#""request_range":{"range_end":"","rangeEnd":""}"#),
        op(r#""request_range":{"range_end":null,"rangeEnd":""}"#),
        op(r#""request_txn":{"failure":[],"failure":[]}"#),
        r#"{"compare":[{"key":"","key":""}]}"#.to_owned(),
    ] {
        assert!(refused(&body).contains("appears twice"), "{body}");
    }
}

#[test]
fn fields_that_exclude_each_other_are_refused_together() {
    for body in [
        op(r#""request_range":{},"request_txn":{}"#),
        op(r#""requestTxn":{},"requestRange":{}"#),
        r#"{"compare":[{"version":"1","value":"YQ=="}]}"#.to_owned(),
    ] {
        assert!(refused(&body).contains("excludes"), "{body}");
    }
    assert!(refused(&op("")).contains("an empty"), "an op without a request is no range");
}

#[test]
fn unknown_keys_and_other_cases_are_refused() {
    for body in [
        r#"{"Success":[]}"#.to_owned(),
        r#"{"SUCCESS":[]}"#.to_owned(),
        r#"{"succe\u017f\u017f":[]}"#.to_owned(),
        r#"{"success\u0000":[]}"#.to_owned(),
        r#"{"":[]}"#.to_owned(),
        r#"{"[etcdserverpb.x]":[]}"#.to_owned(),
        r#"{"@type":"x"}"#.to_owned(),
        op(r#""request_Range":{}"#),
        op(r#""requestrange":{}"#),
        op(r#""RequestRange":{}"#),
        op(r#""request":{"requestPut":{}}"#),
        op(r#""Request":{"RequestPut":{}}"#),
        op(r#""request_range":{"KEY":""}"#),
        op(r#""request_range":{"unknown":1}"#),
    ] {
        assert!(refused(&body).contains("does not belong"), "{body}");
    }
}

#[test]
fn values_of_another_shape_are_refused() {
    for body in [
        "[]".to_owned(),
        "0".to_owned(),
        r#""{}""#.to_owned(),
        r#"{"success":{}}"#.to_owned(),
        r#"{"success":"x"}"#.to_owned(),
        r#"{"success":[[]]}"#.to_owned(),
        r#"{"success":[["request_range"]]}"#.to_owned(),
        r#"{"success":{"0":{"request_put":{}}}}"#.to_owned(),
        op(r#""request_range":[]"#),
        op(r#""request_range":"x""#),
        op(r#""request_range":{"key":{}}"#),
        op(r#""request_range":{"key":["YQ=="]}"#),
        op(r#""request_range":{"key": {"request_put":{}}}"#),
    ] {
        refused(&body);
    }
}

#[test]
fn what_follows_the_document_is_refused() {
    for tail in ["{}", r#"{"success":[{"request_put":{}}]}"#, "x", ",", "\0", "//", "}"] {
        refused(&format!("{{}}{tail}"));
        refused(&format!("{{}}\n{tail}"));
    }
}

#[test]
fn anything_but_strict_json_in_utf8_is_refused() {
    for body in [
        "",
        " ",
        "{",
        "{,}",
        "{\"success\":[],}",
        "{'success':[]}",
        "{success:[]}",
        "\u{feff}{}",
        "{}//",
        "{\"success\":[{\"request_range\":{}},]}",
        "{\"success\":[{\"request_range\":{\"limit\":01}}]}",
        "{\"success\":[{\"request_range\":{\"limit\":NaN}}]}",
        "{\"success\":[{\"request_range\":{\"key\":\"\n\"}}]}",
        "{\"success\":[{\"request_range\":{\"key\":\"\\x\"}}]}",
        "{\"\\ud800\":[]}",
    ] {
        refused(body);
    }
    for body in [&b"{\"success\xff\":[]}"[..], b"\xff\xfe{\0}\0", b"\x1f\x8b\x08\0", b"{}\xff"] {
        assert!(txn(body).is_err());
    }
}

#[test]
fn nesting_ends_at_the_limit() {
    let deep = |levels| {
        (0..levels).fold(op(r#""request_range":{"key":""}"#), |txn, _| {
            op(&format!(r#""request_txn":{txn}"#))
        })
    };
    assert_eq!(passed(&deep(DEPTH_LIMIT)), deep(DEPTH_LIMIT));
    assert!(refused(&deep(DEPTH_LIMIT + 1)).contains("too deeply"));
    refused(&deep(20_000));
    refused(&"[".repeat(200_000));
    refused(&format!(r#"{{"success":[{{"request_range":{{"key":{}"#, "[".repeat(200_000)));
}

#[test]
fn an_alarm_request_passes_only_when_it_asks() {
    for (body, output) in [
        ("{}", "{}"),
        (r#"{"action":"GET"}"#, "{}"),
        (
            r#"{"action":0,"memberID":"0","alarm":"NOSPACE"}"#,
            r#"{"memberID":"0","alarm":"NOSPACE"}"#,
        ),
        (
            r#"{"action":null,"memberID":18446744073709551615}"#,
            r#"{"memberID":18446744073709551615}"#,
        ),
    ] {
        assert_eq!(String::from_utf8(alarm(body.as_bytes()).unwrap()).unwrap(), output);
    }
    for body in [
        "",
        "null",
        "[]",
        r#""GET""#,
        r#"{"action":"ACTIVATE"}"#,
        r#"{"action":"DEACTIVATE"}"#,
        r#"{"action":1}"#,
        r#"{"action":"get"}"#,
        r#"{"action":""}"#,
        r#"{"action":"\u0047ET"}"#,
        r#"{"action":0.0}"#,
        r#"{"action":-0}"#,
        r#"{"action":"0"}"#,
        r#"{"action":false}"#,
        r#"{"action":{}}"#,
        r#"{"action":"GET","action":"ACTIVATE"}"#,
        r#"{"action":"ACTIVATE","action":"GET"}"#,
        r#"{"Action":"ACTIVATE"}"#,
        r#"{"member_id":1}"#,
        r#"{"memberId":1}"#,
        r#"{}{"action":"ACTIVATE"}"#,
        r#"{"action":["GET"]}"#,
    ] {
        assert!(alarm(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn a_refusal_is_one_short_line_whatever_the_body_holds() {
    let long = "x\\n\\u0000".repeat(100_000);
    for body in [format!(r#"{{"{long}":1}}"#), format!(r#"{{"success":"{long}"}}"#)] {
        let reason = refused(&body);
        assert!(
            reason.chars().count() < REASON_LIMIT + 40 && !reason.contains(char::is_control),
            "{reason}"
        );
        assert!(reason.contains(" at line 1 column "), "{reason}");
    }
}

/// A RequestOp, maybe a write, in either spelling.
fn any_op() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        4 => any::<bool>().prop_map(|camel| json!({(if camel {"requestRange"} else {"request_range"}): {"key": "YQ=="}})),
        1 => any::<bool>().prop_map(|camel| json!({(if camel {"requestPut"} else {"request_put"}): {"key": "YQ=="}})),
        1 => Just(json!({"request_delete_range": {}})),
    ];
    leaf.prop_recursive(5, 30, 4, |inner| {
        (proptest::collection::vec(inner, 0..4), any::<bool>()).prop_map(
            |(ops, good)| json!({"request_txn": {(if good {"success"} else {"failure"}): ops}}),
        )
    })
}

/// Returns whether a key of a write is anywhere in a document.
fn mentions_write(document: &Json) -> bool {
    match document {
        Json::Array(items) => items.iter().any(mentions_write),
        Json::Object(fields) => fields.iter().any(|(key, value)| {
            let key = key.to_lowercase().replace('_', "");
            key == "requestput" || key == "requestdeleterange" || mentions_write(value)
        }),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_generated_txn_passes_exactly_when_it_only_reads(
        ops in proptest::collection::vec(any_op(), 0..4), good in any::<bool>(),
    ) {
        let body = json!({(if good {"success"} else {"failure"}): ops});
        let outcome = txn(body.to_string().as_bytes());
        prop_assert_eq!(outcome.is_ok(), !mentions_write(&body));
    }

    #[test]
    fn what_passes_is_clean_and_passes_again_unchanged(
        ops in proptest::collection::vec(any_op(), 0..4),
        changes in proptest::collection::vec(
            (any::<proptest::sample::Index>(), prop_oneof![Just(b'"'), Just(b','), Just(b'{'), Just(b'}'), any::<u8>()]),
            0..4),
    ) {
        let mut body = json!({"success": ops}).to_string().into_bytes();
        for (place, byte) in changes {
            let place = place.index(body.len());
            body[place] = byte;
        }
        if let Ok(output) = txn(&body) {
            let document: Json = serde_json::from_slice(&output).unwrap();
            prop_assert!(!mentions_write(&document));
            prop_assert_eq!(txn(&output).unwrap(), output);
        }
    }

    #[test]
    fn random_text_never_panics(body in "[\\[\\]{}\":,a-z_0-9\\\\ ]{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = (txn(body.as_bytes()), alarm(body.as_bytes()), txn(&bytes), alarm(&bytes));
    }
}
