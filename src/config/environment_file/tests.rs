use super::*;
use corpus::{CORPUS, REFUSED};

#[path = "corpus.rs"]
mod corpus;

fn pairs(file: &EnvironmentFile) -> Vec<(&str, &str)> {
    file.assignments.iter().map(|it| (it.name.as_str(), it.value.as_str())).collect()
}

#[test]
fn files_are_read_as_systemd_reads_them() {
    for (text, expected) in CORPUS {
        let file = parse(text.as_bytes(), Systemd::Since254).unwrap();
        assert_eq!(pairs(&file), *expected, "{text:?}");
    }
}

#[test]
fn a_comment_goes_on_behind_a_backslash_before_systemd_254() {
    let earlier = |text: &str| {
        let file = parse(text.as_bytes(), Systemd::Before254).unwrap();
        file.assignments.into_iter().map(|it| it.name).collect::<String>()
    };
    assert_eq!(earlier("#x\\\nA=1\nB=2\n"), "B");
    assert_eq!(earlier("#x\\\\\nA=1\n"), "A");
    assert_eq!(earlier("#x\\\r\nA=1\n"), "A");
    assert_eq!(earlier("#x\\"), "");
}

#[test]
fn a_file_that_systemd_ignores_is_refused_with_its_line() {
    let refused = |text: &[u8]| parse(text, Systemd::Since254).unwrap_err();
    assert_eq!(refused(b"A=1\nB=\0\n"), Refusal::Nul(2));
    assert_eq!(refused(b"# \0"), Refusal::Nul(1));
    assert_eq!(refused(b"A=1\n\nB=\xe9\n"), Refusal::NotUtf8(3));
    assert_eq!(refused(b"\xe9=1\n"), Refusal::NotUtf8(1));
    for text in REFUSED {
        refused(text);
    }
    assert!(parse(b"# caf\xe9\nA=1\n", Systemd::Since254).is_ok());
}

#[test]
fn an_assignment_knows_its_line_and_its_bytes() {
    let text = "# c\n\n  A=x \\\n y\nexport B=1\nC=\"\n\"\nD='";
    let file = parse(text.as_bytes(), Systemd::Since254).unwrap();
    let found = file.assignments.iter().map(|it| (it.line, &text[it.span.clone()]));
    let expected = [(3, "  A=x \\\n y\n"), (6, "C=\"\n\"\n"), (8, "D='")];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!((file.ignored, file.unclosed), (vec![5], text.find("D=")));
}
