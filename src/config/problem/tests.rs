use std::ops::Range;
use std::sync::Arc;

use super::*;
use crate::config::location::SourceFile;

fn span(text: &str, range: Range<usize>) -> Location {
    let source = SourceFile::new("/etc/etcd-proxy.toml", text);
    Location::Span(Arc::new(source), range)
}

#[test]
fn a_problem_in_the_file_shows_the_line_and_marks_the_spot() {
    let text = "\n\n\ninitial-clutser = \"a=http://10.0.1.10:2380\"\n";
    let problem = Problem::error("unknown key `initial-clutser`", span(text, 3..18))
        .hint("did you mean `initial-cluster`?");
    assert_eq!(
        problem.long(Style::Plain),
        "\
error: unknown key `initial-clutser`
  --> /etc/etcd-proxy.toml:4:1
   |
 4 | initial-clutser = \"a=http://10.0.1.10:2380\"
   | ^^^^^^^^^^^^^^^ did you mean `initial-cluster`?
"
    );
    assert_eq!(
        problem.one_line(),
        "/etc/etcd-proxy.toml:4:1: unknown key `initial-clutser`; did you mean `initial-cluster`?"
    );
}

#[test]
fn a_problem_elsewhere_has_its_hint_in_the_sentence() {
    let location = Location::Variable("ETCD_PROXY".to_owned());
    let problem = Problem::warning("`proxy` is \"x\"", location).hint("want \"on\"");
    assert_eq!(
        problem.long(Style::Plain),
        "warning: `proxy` is \"x\"; want \"on\"\n  --> environment variable ETCD_PROXY\n"
    );
}

#[test]
fn line_numbers_of_any_width_keep_the_bars_in_one_column() {
    let text = "\n".repeat(11) + "x = 1\n";
    let problem = Problem::error("unknown key `x`", span(&text, 11..12));
    assert_eq!(
        problem.long(Style::Plain),
        "\
error: unknown key `x`
   --> /etc/etcd-proxy.toml:12:1
    |
 12 | x = 1
    | ^
"
    );
}

#[test]
fn tabs_do_not_move_the_marker() {
    let problem = Problem::error("m", span("\tx\t= 1\n", 1..2));
    let long = problem.long(Style::Plain);
    assert!(long.ends_with(" 1 |     x    = 1\n   |     ^\n"), "{long}");
}

#[test]
fn a_long_line_is_cut_around_the_marker() {
    let text = format!("x = \"{}!{}\"", "a".repeat(400), "b".repeat(400));
    let long = Problem::error("m", span(&text, 405..406)).long(Style::Plain);
    let lines: Vec<&str> = long.lines().collect();
    assert!(lines[3].starts_with(" 1 | ...aaa") && lines[3].ends_with("bbb..."), "{long}");
    assert_eq!(lines[3].find('!'), lines[4].find('^'), "{long}");
}

#[test]
fn a_terminal_is_coloured_and_a_log_is_not() {
    let problem = Problem::error("m", Location::Default);
    assert_eq!(problem.long(Style::Coloured), "\x1b[1;31merror\x1b[0m: m\n  --> default\n");
    assert_eq!(problem.long(Style::Plain), "error: m\n  --> default\n");
}

#[test]
fn what_a_person_wrote_cannot_steer_the_terminal() {
    let problem = Problem::error("unknown key `\x1b[2J`", span("\"\x1b[2J\" = 1", 0..6));
    assert!(!problem.long(Style::Plain).contains('\x1b'));
    assert!(!problem.one_line().contains('\x1b'));
}

#[test]
fn the_exit_status_says_whose_fault_it_is() {
    let file = Problem::error("m", Location::File("/f".into()));
    let flag = Problem::error("m", Location::Flag("--x".to_owned()));
    let warning = Problem::warning("m", Location::Flag("--x".to_owned()));
    let status = |problems: &[&Problem]| {
        Problems(problems.iter().map(|problem| (*problem).clone()).collect()).exit_status()
    };
    assert_eq!(status(&[]), 0);
    assert_eq!(status(&[&warning]), 0);
    assert_eq!(status(&[&file, &warning]), 78);
    assert_eq!(status(&[&flag]), 64);
    assert_eq!(status(&[&file, &flag]), 64);
}

#[test]
fn errors_come_first_and_then_the_reading_order() {
    let text = "a = 1\nb = 2\n";
    let mut problems = Problems(vec![
        Problem::warning("first warning", span(text, 0..1)),
        Problem::error("flag", Location::Flag("--x".to_owned())),
        Problem::error("second line", span(text, 6..7)),
        Problem::error("first line", span(text, 0..1)),
    ]);
    problems.sort();
    let order: Vec<&str> = problems.0.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(order, ["first line", "second line", "flag", "first warning"]);
}
