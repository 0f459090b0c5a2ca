//! Environment files and what systemd makes of them, for the parser's own test and for the one that
//! asks systemd.

/// What each file sets, in order, with systemd of 254 and later.
pub const CORPUS: &[(&str, &[(&str, &str)])] = &[
    ("A=1\n", &[("A", "1")]),
    ("A=1", &[("A", "1")]),
    ("ETCD_PROXY = readonly\n", &[("ETCD_PROXY", "readonly")]),
    ("  A\t=\t two words \t\nB=2\n", &[("A", "two words"), ("B", "2")]),
    ("A=\nB= \n", &[("A", ""), ("B", "")]),
    ("A=1\nA=2\n", &[("A", "1"), ("A", "2")]),
    ("A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]),
    // Comments.
    ("#A=1\n;B=2\n # C=3\n", &[]),
    ("A=x # y ; z\n", &[("A", "x # y ; z")]),
    ("#A\\\nB=2\n", &[("B", "2")]),
    ("# \\\\\nB=2\n", &[("B", "2")]),
    ("# \u{e9}\nB=2\n", &[("B", "2")]),
    // Lines that go on.
    ("A=x\\\ny\nB=2\n", &[("A", "xy"), ("B", "2")]),
    ("A=x \\\n  y\n", &[("A", "x   y")]),
    ("A=x \\\n\nB=2\n", &[("A", "x "), ("B", "2")]),
    ("A=\\\nx\n", &[("A", "x")]),
    ("A=\"x\\\ny\"\n", &[("A", "xy")]),
    ("A='x\\\ny'\n", &[("A", "x\\\ny")]),
    ("A=x\\", &[("A", "x")]),
    ("A=x\\\\\nB=2\n", &[("A", "x\\"), ("B", "2")]),
    ("A=x\\\r\nB=2\n", &[("A", "x"), ("B", "2")]),
    // Quotes.
    ("A='a b'\nB=\"a b\"\n", &[("A", "a b"), ("B", "a b")]),
    ("A=\"a\"'b'\n", &[("A", "ab")]),
    ("A= \"a\" \"b\" \n", &[("A", "ab")]),
    ("A=\"a\" b \n", &[("A", "ab")]),
    ("A=\"a\"b'c'\n", &[("A", "ab'c'")]),
    ("A=a\"b\"\n", &[("A", "a\"b\"")]),
    ("A='it'\\''s'\n", &[("A", "it''s'")]),
    ("A=\"one\ntwo\"\nB=2\n", &[("A", "one\ntwo"), ("B", "2")]),
    ("A=' x '\n", &[("A", " x ")]),
    ("A=\"#\"\n", &[("A", "#")]),
    ("A=\"open\nB=2\n", &[("A", "open\nB=2\n")]),
    ("A='open", &[("A", "open")]),
    // Escapes.
    ("A=\"\\\"\\\\\\$\\`\"\n", &[("A", "\"\\$`")]),
    ("A=\"\\n\\t\\'\\x\"\n", &[("A", "\\n\\t\\'\\x")]),
    ("A=\\n\\t\\$\\\"\n", &[("A", "nt$\"")]),
    ("A='\\\"'\n", &[("A", "\\\"")]),
    ("A=\\ x\\ \n", &[("A", " x ")]),
    ("A=$B `c`\n", &[("A", "$B `c`")]),
    // Names.
    ("export A=1\nB=2\n", &[("B", "2")]),
    ("1A=1\nA-B=1\nA.B=1\n\u{e4}=1\n=1\n==1\nB=2\n", &[("B", "2")]),
    ("_a1=1\nA==1\nB=x=y\n", &[("_a1", "1"), ("A", "=1"), ("B", "x=y")]),
    ("A\nB=2\nC", &[("B", "2")]),
    ("\u{feff}A=1\nB=2\n", &[("B", "2")]),
    ("", &[]),
    ("\n\n \n", &[]),
];

/// Files that systemd ignores whole.
pub const REFUSED: &[&[u8]] = &[
    b"A=1\nB=\0\n",
    b"A=1\n# \0",
    b"A=1\n\nB=\xe9\n",
    b"A=1\n\xe9=1\n",
    "A=1\nB=\u{fdd0}\n".as_bytes(),
    "A=1\nB=\u{ffff}\n".as_bytes(),
    "A=1\nB=\u{1fffe}\n".as_bytes(),
];
