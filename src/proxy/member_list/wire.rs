//! Rewrites the protobuf of a member list: `MemberListResponse.members` (2), and in each
//! `Member.clientURLs` (4).
//!
//! All other fields are copied byte by byte, known or not (etcd `rpc.proto`).

use crate::proxy::readonly::wire::{delimited, varint};

const MEMBERS: u64 = 2 << 3 | 2;
const CLIENT_URLS: u64 = 4 << 3 | 2;

/// One field: all its bytes, its tag, and its content if it is length-delimited.
struct Field<'a> {
    bytes: &'a [u8],
    tag: u64,
    content: &'a [u8],
}

/// Replaces the client URLs of every member that has any by `urls`. Returns `None` when the message
/// is not valid protobuf.
pub(super) fn rewrite(mut message: &[u8], urls: &[String]) -> Option<Vec<u8>> {
    let mut rewritten = Vec::with_capacity(message.len());
    while !message.is_empty() {
        let (field, rest) = next(message)?;
        if field.tag == MEMBERS {
            append(&mut rewritten, MEMBERS, &member(field.content, urls)?);
        } else {
            rewritten.extend_from_slice(field.bytes);
        }
        message = rest;
    }
    Some(rewritten)
}

/// Rewrites one member; the new URLs go where the first of the old ones was.
fn member(mut member: &[u8], urls: &[String]) -> Option<Vec<u8>> {
    let mut rewritten = Vec::with_capacity(member.len());
    let mut done = false;
    while !member.is_empty() {
        let (field, rest) = next(member)?;
        if field.tag != CLIENT_URLS {
            rewritten.extend_from_slice(field.bytes);
        } else if !std::mem::replace(&mut done, true) {
            urls.iter().for_each(|url| append(&mut rewritten, CLIENT_URLS, url.as_bytes()));
        }
        member = rest;
    }
    Some(rewritten)
}

/// Splits the first field from what follows it. Groups, which proto3 does not have, are refused.
fn next(message: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (tag, rest) = varint(message)?;
    let (content, rest) = match tag & 7 {
        0 => (&[][..], varint(rest)?.1),
        1 => (&[][..], rest.get(8..)?),
        2 => delimited(rest)?,
        5 => (&[][..], rest.get(4..)?),
        _ => return None,
    };
    let (bytes, rest) = message.split_at_checked(message.len() - rest.len())?;
    Some((Field { bytes, tag, content }, rest))
}

fn append(message: &mut Vec<u8>, tag: u64, content: &[u8]) {
    append_varint(message, tag);
    append_varint(message, content.len() as u64);
    message.extend_from_slice(content);
}

fn append_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct List {
        #[prost(bytes = "vec", optional, tag = "1")]
        header: Option<Vec<u8>>,
        #[prost(message, repeated, tag = "2")]
        members: Vec<Member>,
        #[prost(fixed64, tag = "900")]
        unknown: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Member {
        #[prost(uint64, tag = "1")]
        id: u64,
        #[prost(string, tag = "2")]
        name: String,
        #[prost(string, repeated, tag = "4")]
        client_urls: Vec<String>,
        #[prost(bool, tag = "5")]
        is_learner: bool,
        #[prost(fixed32, tag = "77")]
        unknown: u32,
    }

    fn list(urls: &[&str]) -> List {
        let started = Member {
            id: u64::MAX,
            name: "m0".repeat(100),
            client_urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            is_learner: true,
            unknown: 7,
        };
        let unstarted = Member { id: 2, ..Member::default() };
        List { header: Some(vec![8, 1]), members: vec![started, unstarted], unknown: 9 }
    }

    #[test]
    fn only_the_client_urls_change() {
        let ours = ["http://127.0.0.1:2379".to_owned(), "http://10.0.0.9:2379".to_owned()];
        let changed = rewrite(&list(&["http://a:1", "http://b:1"]).encode_to_vec(), &ours).unwrap();
        let expected = list(&["http://127.0.0.1:2379", "http://10.0.0.9:2379"]);
        assert_eq!(changed, expected.encode_to_vec());
    }

    #[test]
    fn what_is_cut_short_is_not_passed_on() {
        let whole = list(&["http://a:1"]).encode_to_vec();
        assert_eq!(rewrite(&whole[..whole.len() - 1], &[]), None);
        assert_eq!(rewrite(&[0x13], &[]), None);
        assert_eq!(rewrite(&[], &[]), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = rewrite(&bytes, &["u".to_owned()]);
        }
    }
}
