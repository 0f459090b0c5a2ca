//! Rewrites the JSON of a member list: `{"members":[{"clientURLs":[...]}]}` and any other fields.
//!
//! Only the arrays themselves are replaced; every other byte stays, including order and white
//! space.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Replaces every non-empty `clientURLs` by `urls`, a JSON array. Returns `None` when the text is
/// not a member list.
pub(super) fn rewrite(text: &[u8], urls: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut rewritten = Vec::with_capacity(text.len() + urls.len());
    let mut done = 0;
    for place in places(text)? {
        rewritten.extend_from_slice(text.get(done..place.start)?.as_bytes());
        rewritten.extend_from_slice(urls.as_bytes());
        done = place.end;
    }
    rewritten.extend_from_slice(text.get(done..)?.as_bytes());
    Some(rewritten)
}

/// Returns the byte ranges of the arrays, in order.
fn places(text: &str) -> Option<Vec<Range<usize>>> {
    let list: Fields<'_> = serde_json::from_str(text).ok()?;
    let mut places = Vec::new();
    for members in list.named("members") {
        let members: Option<Vec<Fields<'_>>> = serde_json::from_str(members.get()).ok()?;
        for urls in members.iter().flatten().flat_map(|member| member.named("clientURLs")) {
            if names_any(urls)? {
                places.push(place(text, urls)?);
            }
        }
    }
    Some(places)
}

fn names_any(urls: &RawValue) -> Option<bool> {
    let urls: Option<Vec<IgnoredAny>> = serde_json::from_str(urls.get()).ok()?;
    Some(urls.is_some_and(|urls| !urls.is_empty()))
}

/// Returns the byte range of `part`, a slice of `text`.
fn place(text: &str, part: &RawValue) -> Option<Range<usize>> {
    let start = part.get().as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let place = start..start.checked_add(part.get().len())?;
    (text.get(place.clone())? == part.get()).then_some(place)
}

/// The fields of an object in order, duplicates included.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    fn named(&self, name: &str) -> impl Iterator<Item = &'a RawValue> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    const OURS: &str = r#"["http://127.0.0.1:2379"]"#;

    fn rewritten(text: &str) -> Option<String> {
        Some(String::from_utf8(super::rewrite(text.as_bytes(), OURS)?).unwrap())
    }

    #[test]
    fn only_the_client_urls_change() {
        let list = |urls: &str| {
            format!(
                "{{\"header\":{{\"clientURLs\":[\"x\"]}} , \"members\":[{{\"ID\":\"10276657743932975437\",\
                 \"name\":\"a\\u00e9\",\"peerURLs\":[\"http://p\"],\"clientURLs\": {urls} ,\"new\":1.50}},\
                 {{\"ID\":\"2\",\"clientURLs\":[]}},{{\"ID\":\"3\"}}]}}\n"
            )
        };
        assert_eq!(rewritten(&list(r#"["http://a:1","http://b:2"]"#)), Some(list(OURS)));
    }

    #[test]
    fn a_list_without_members_stays() {
        for text in ["{}", r#"{"members":[]}"#, r#"{"members":null}"#, r#"{"members":[{}]}"#] {
            assert_eq!(rewritten(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_list_is_not_passed_on() {
        for text in ["", "[]", "<html>", r#"{"members":{}}"#, r#"{"members":[1]}"#, "{} {}"] {
            assert_eq!(rewritten(text), None, "{text}");
        }
        assert_eq!(super::rewrite(b"{\"a\":\"\xff\"}", OURS), None);
    }
}
