use proptest::prelude::*;

use super::*;

/// A length-delimited field.
fn field(number: u64, content: &[u8]) -> Vec<u8> {
    [encoded(number << 3 | 2), encoded(content.len() as u64), content.to_vec()].concat()
}

fn encoded(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// The same number in a longer encoding, which decoders accept.
fn padded(value: u64) -> Vec<u8> {
    let mut bytes = encoded(value);
    *bytes.last_mut().unwrap() |= 0x80;
    bytes.push(0);
    bytes
}

fn range() -> Vec<u8> {
    field(1, &[field(1, b"key"), field(2, b"kez"), vec![7 << 3, 1]].concat())
}

fn put() -> Vec<u8> {
    field(2, &[field(1, b"key"), field(2, b"value")].concat())
}

fn delete() -> Vec<u8> {
    field(3, &field(1, b"key"))
}

fn success(op: &[u8]) -> Vec<u8> {
    field(2, op)
}

fn failure(op: &[u8]) -> Vec<u8> {
    field(3, op)
}

fn nested(txn: &[u8]) -> Vec<u8> {
    field(4, txn)
}

#[test]
fn a_txn_of_ranges_is_a_read() {
    assert!(txn_is_readonly(b""));
    assert!(txn_is_readonly(&success(&range())));
    assert!(txn_is_readonly(&success(&field(1, b""))));
    let compare = field(1, &[vec![1 << 3, 0], field(3, b"key")].concat());
    assert!(txn_is_readonly(
        &[compare, success(&range()), failure(&range()), success(&range())].concat()
    ));
    assert!(txn_is_readonly(&failure(&nested(&success(&nested(b""))))));
    assert!(txn_is_readonly(&success(&field(1, &vec![b'k'; 100_000]))));
}

#[test]
fn a_put_or_delete_is_found_at_any_depth_in_either_branch() {
    for write in [put(), delete(), field(2, b""), field(3, b"")] {
        for wrap in [success, failure] {
            let mut txn = wrap(&write);
            for depth in 0..DEPTH_LIMIT + 3 {
                assert!(!txn_is_readonly(&txn), "depth {depth}");
                assert!(!txn_is_readonly(&[success(&range()), txn.clone()].concat()));
                assert!(!txn_is_readonly(&[txn.clone(), success(&range())].concat()));
                txn = wrap(&nested(&txn));
            }
        }
    }
}

#[test]
fn an_op_with_more_than_one_field_is_refused() {
    for ops in [
        [range(), put()],
        [put(), range()],
        [range(), range()],
        [nested(b""), nested(&success(&put()))],
        [nested(&success(&put())), nested(b"")],
        [range(), nested(b"")],
        [range(), field(9, b"")],
        [range(), vec![0x28, 1]],
    ] {
        assert!(!txn_is_readonly(&success(&ops.concat())), "{ops:?}");
    }
    assert!(!txn_is_readonly(&success(b"")), "an op without a request is no range");
}

#[test]
fn unknown_fields_groups_and_other_wire_types_are_refused() {
    for (number, wire) in (0..16).flat_map(|number| (0..8).map(move |wire| (number, wire))) {
        let tag = number << 3 | wire;
        for content in [&[0_u8][..], &[0; 4], &[0; 8], &[]] {
            let bytes = [&[tag], content].concat();
            let known = wire == 2 && (1..=3).contains(&number) && content == [0];
            let expected = known && number == 1;
            assert_eq!(txn_is_readonly(&bytes), expected, "tag {number}/{wire} {content:?}");
            let known = wire == 2 && matches!(number, 1 | 4) && content == [0];
            assert_eq!(
                txn_is_readonly(&success(&bytes)),
                known,
                "op tag {number}/{wire} {content:?}"
            );
        }
    }
    assert!(!txn_is_readonly(&[0x1b, 0x1c]), "a group");
    assert!(!txn_is_readonly(&field(64, b"")), "a two-byte tag");
}

#[test]
fn a_tag_in_a_longer_spelling_is_refused() {
    // 2^32 + 1 is field 1 to decoders that cut the number to 32 bits.
    for tag in [
        padded(0x0a),
        padded(0x12),
        encoded(((1 << 32) + 1) << 3 | 2),
        encoded(((1 << 32) + 2) << 3 | 2),
    ] {
        assert!(!txn_is_readonly(&[tag.clone(), vec![0]].concat()));
        assert!(!txn_is_readonly(&success(&[tag, vec![0]].concat())));
    }
}

#[test]
fn a_cut_or_overlong_length_is_refused() {
    let txn = [success(&range()), failure(&nested(&success(&range())))].concat();
    let ends = [success(&range()).len(), txn.len(), 0];
    for cut in 0..=txn.len() {
        assert_eq!(txn_is_readonly(&txn[..cut]), ends.contains(&cut), "{cut}");
    }
    assert!(!txn_is_readonly(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]));
    assert!(!txn_is_readonly(&[&[0x12][..], &[0xff; 10], &[0]].concat()));
    assert!(!txn_is_readonly(&[&[0x0a][..], &[0x80; 9], &[0x02]].concat()), "65 bits");
    assert!(!txn_is_readonly(&[&[0x0a][..], &[0x80; 10], &[0x00]].concat()), "eleven bytes");
    assert!(
        txn_is_readonly(&[&[0x0a][..], &[0x80; 9], &[0x00]].concat()),
        "a padded zero is zero to everyone"
    );
}

#[test]
fn nesting_ends_at_the_limit() {
    let deep = |levels| (0..levels).fold(success(&range()), |txn, _| success(&nested(&txn)));
    assert!(txn_is_readonly(&deep(DEPTH_LIMIT)));
    assert!(!txn_is_readonly(&deep(DEPTH_LIMIT + 1)));
    assert!(!txn_is_readonly(&deep(20_000)), "refused without using up the stack");
}

#[test]
fn an_alarm_request_is_a_read_only_with_action_zero() {
    for read in [
        &b""[..],
        &[0x08, 0],
        &[0x10, 7],
        &[0x18, 1],
        &[0x10, 0xff, 0x01, 0x18, 2, 0x08, 0],
        &[0x08, 0, 0x08, 0],
    ] {
        assert!(alarm_is_readonly(read), "{read:?}");
    }
    let ten = [&[0x10][..], &[0xff; 9], &[1]].concat();
    assert!(alarm_is_readonly(&ten));
    for write in [
        &[0x08, 1][..],
        &[0x08, 2],
        &[0x08, 0, 0x08, 1],
        &[0x08, 1, 0x08, 0],
        &[0x08, 0x80, 0],
        &[0x08, 0x80, 0x80, 0x80, 0x80, 0x10],
        &[0x08],
        &[0x88, 0, 1],
        &[0x10],
        &[0x10, 0x80],
        &[0x0a, 0],
        &[0x20, 0],
        &[0x00, 0],
        &[0x0b, 0x0c],
        &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
    ] {
        assert!(!alarm_is_readonly(write), "{write:?}");
    }
}

/// A RequestOp of a generated Txn.
#[derive(Clone, Debug)]
enum Op {
    Range,
    Put,
    Delete,
    Empty,
    Unknown(u64),
    Txn(Vec<(bool, Op)>),
    /// Several fields in one op, as a hostile encoder writes them.
    Merged(Vec<Op>),
}

impl Op {
    fn reads() -> impl Strategy<Value = Self> {
        Just(Self::Range).prop_recursive(6, 40, 4, |inner| {
            proptest::collection::vec((any::<bool>(), inner), 0..4).prop_map(Self::Txn)
        })
    }

    fn any() -> impl Strategy<Value = Self> {
        let leaf = prop_oneof![
            4 => Just(Self::Range),
            1 => Just(Self::Put),
            1 => Just(Self::Delete),
            1 => Just(Self::Empty),
            1 => (5_u64..1 << 29).prop_map(Self::Unknown),
        ];
        leaf.prop_recursive(6, 40, 4, |inner| {
            prop_oneof![
                3 => proptest::collection::vec((any::<bool>(), inner.clone()), 0..4).prop_map(Self::Txn),
                1 => proptest::collection::vec(inner, 2..4).prop_map(Self::Merged),
            ]
        })
    }

    /// Returns the fields that the op is encoded as.
    fn fields(&self) -> Vec<&Self> {
        match self {
            Self::Empty => Vec::new(),
            Self::Merged(ops) => ops.iter().flat_map(Self::fields).collect(),
            _ => vec![self],
        }
    }

    fn is_read(&self) -> bool {
        match self.fields()[..] {
            [Self::Range] => true,
            [Self::Txn(ops)] => ops.iter().all(|(_, op)| op.is_read()),
            _ => false,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Range => range(),
            Self::Put => put(),
            Self::Delete => delete(),
            Self::Empty => Vec::new(),
            Self::Unknown(number) => field(*number, b"x"),
            Self::Txn(ops) => nested(&encode_txn(ops)),
            Self::Merged(ops) => ops.iter().flat_map(Self::encode).collect(),
        }
    }
}

fn encode_txn(ops: &[(bool, Op)]) -> Vec<u8> {
    ops.iter()
        .flat_map(|(good, op)| if *good { success(&op.encode()) } else { failure(&op.encode()) })
        .collect()
}

/// Returns whether a lenient decoder that reads the bytes as a TxnRequest could find a put or a
/// delete.
fn could_write(message: &[u8]) -> bool {
    fields(message).iter().any(|(number, op)| {
        matches!(number, 2 | 3)
            && fields(op).iter().any(|(number, inner)| {
                matches!(number, 2 | 3) || (*number == 4 && could_write(inner))
            })
    })
}

/// Returns the length-delimited fields before the first error; other wire types are skipped.
fn fields(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let mut found = Vec::new();
    while let Some((tag, rest)) = varint(bytes) {
        let number = u32::try_from((tag >> 3) & 0xffff_ffff).unwrap();
        let next = match tag & 7 {
            0 => varint(rest).map(|(_, rest)| rest),
            1 => rest.get(8..),
            5 => rest.get(4..),
            2 => delimited(rest).map(|(content, rest)| {
                found.push((number, content));
                rest
            }),
            _ => None,
        };
        let Some(next) = next else { break };
        bytes = next;
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_generated_txn_passes_exactly_when_it_only_reads(
        ops in proptest::collection::vec((any::<bool>(), Op::any()), 0..5),
    ) {
        let read = ops.iter().all(|(_, op)| op.is_read());
        prop_assert_eq!(txn_is_readonly(&encode_txn(&ops)), read);
    }

    #[test]
    fn a_generated_txn_of_ranges_passes_and_one_put_in_it_does_not(
        ops in proptest::collection::vec((any::<bool>(), Op::reads()), 0..5),
        place in any::<proptest::sample::Index>(),
        good in any::<bool>(),
    ) {
        prop_assert!(txn_is_readonly(&encode_txn(&ops)));
        let mut ops = ops;
        ops.insert(place.index(ops.len() + 1), (good, Op::Put));
        prop_assert!(!txn_is_readonly(&encode_txn(&ops)));
    }

    #[test]
    fn changed_bytes_never_smuggle_a_write_through(
        ops in proptest::collection::vec((any::<bool>(), Op::any()), 1..4),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = encode_txn(&ops);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        prop_assert!(!(txn_is_readonly(&bytes) && could_write(&bytes)), "{:?}", bytes);
    }

    #[test]
    fn random_bytes_never_panic_nor_smuggle(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(!(txn_is_readonly(&bytes) && could_write(&bytes)));
        let _ = alarm_is_readonly(&bytes);
    }

    #[test]
    fn bytes_from_the_format_itself_never_smuggle(
        bytes in proptest::collection::vec(
            prop_oneof![0_u8..6, Just(0x0a), Just(0x12), Just(0x1a), Just(0x22), any::<u8>()], 0..24),
    ) {
        prop_assert!(!(txn_is_readonly(&bytes) && could_write(&bytes)), "{:?}", bytes);
    }
}
