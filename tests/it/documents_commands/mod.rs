//! README and docs/ match the program: settings load, commands and names exist, and links have a
//! target.
//!
//! The language of a code block decides how it is checked. `toml` is a settings file of ours, `ini`
//! an environment file or lines of a unit, and `sh` and `console` (behind `$`) are commands. Files
//! of other programs are not checked.

mod known;
mod text;

use std::collections::HashSet;

use etcd_proxy::config::environment_file::{self, Systemd};

use known::{
    FIELDS, FLAGS_ELSEWHERE, HELP, WORDS_ELSEWHERE, assert_run_elsewhere, assert_usable,
    own_command, program,
};
use text::{Block, anchor, blocks, commands, pages, read, repository, spans, split, words};

/// The languages of code blocks: those that are checked here, and those of other programs.
const LANGUAGES: [&str; 10] =
    ["toml", "ini", "sh", "console", "yaml", "json", "promql", "haproxy", "nginx", "text"];

#[test]
fn every_block_says_what_it_is() {
    for block in blocks() {
        let Block { place, language, .. } = block;
        assert!(LANGUAGES.contains(&language.as_str()), "{place}: what is ```{language}?");
    }
    for (path, page) in pages() {
        let (_, prose) = split(&path, &page);
        assert!(!prose.contains("\n\n    "), "{path}: an indented block is not checked");
    }
}

#[test]
fn every_settings_file_can_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let files: Vec<Block> = blocks().into_iter().filter(|block| block.language == "toml").collect();
    assert!(files.len() > 20, "{} blocks", files.len());
    for block in files {
        let file = directory.path().join("etcd-proxy.toml");
        std::fs::write(&file, &block.text).unwrap();
        let args = ["--config-file".to_owned(), file.display().to_string()];
        assert_usable(&block.place, &args, &[]);
    }
}

#[test]
fn every_environment_file_and_drop_in_can_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let none = directory.path().join("etcd-proxy.toml");
    std::fs::write(&none, "").unwrap();
    let none = ("ETCD_CONFIG_FILE".to_owned(), none.display().to_string());
    let units = ["systemd", "systemd/examples"].map(|directory| {
        let entries = std::fs::read_dir(repository(directory)).expect(directory);
        let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        files.map(|path| std::fs::read_to_string(path).unwrap()).collect::<String>()
    });
    let units = units.concat();
    let units: HashSet<&str> = units.lines().collect();
    let blocks: Vec<Block> = blocks().into_iter().filter(|it| it.language == "ini").collect();
    assert!(blocks.len() > 4, "{} blocks", blocks.len());
    for Block { place, text, .. } in blocks {
        let is_unit = text.lines().any(|line| line.starts_with('['));
        let environment: String = match is_unit {
            false => text.clone(),
            true => {
                let strange = text.lines().find(|line| !line.is_empty() && !units.contains(line));
                assert_eq!(strange, None, "{place}: no unit or drop-in in systemd/ has this line");
                let lines = text.lines().filter_map(|line| line.strip_prefix("Environment="));
                lines.map(|line| format!("{line}\n")).collect()
            }
        };
        let file = environment_file::parse(environment.as_bytes(), Systemd::Since254).unwrap();
        assert!(file.ignored.is_empty() && file.unclosed.is_none(), "{place}");
        assert!(is_unit || !file.assignments.is_empty(), "{place}: it sets nothing");
        let set = file.assignments.into_iter().map(|it| (it.name, it.value));
        let env: Vec<_> = set.chain([none.clone()]).collect();
        assert_usable(&place, &[], &env);
    }
}

#[test]
fn every_command_is_known_or_has_a_test_that_runs_it() {
    let makefile = read("Makefile");
    let commands = commands();
    assert!(commands.len() > 30, "{} commands", commands.len());
    for (place, words) in commands {
        let is_variable = |word: &&String| {
            word.split_once('=').is_some_and(|(name, _)| name.starts_with("ETCDCTL_"))
        };
        let words: Vec<_> = words.iter().skip_while(is_variable).cloned().collect();
        let (first, rest) = words.split_first().expect("a command");
        if first == "etcd-proxy" || first.ends_with("/etcd-proxy") {
            let rest: Vec<_> = rest.iter().map(|word| word.replace("%s", "/settings")).collect();
            let (word, settings) = own_command(&place, &rest);
            if ["", "check", "print-config"].contains(&word.as_str()) && !settings.is_empty() {
                assert_usable(&place, &settings, &[]);
            }
        } else if first == "make" {
            let target = format!("\n{}: ", rest[0]);
            assert!(makefile.contains(&target), "{place}: no target `{}`", rest[0]);
        } else if first.starts_with("tests/") {
            let script = read(first);
            for flag in rest.iter().filter(|word| word.starts_with("--")) {
                assert!(script.contains(&format!("\"{flag}\"")), "{place}: no flag `{flag}`");
            }
        } else {
            assert_run_elsewhere(&place, &words);
        }
    }
}

#[test]
fn every_name_in_backticks_exists() {
    let metrics: String = ["family", "format", "mod", "process", "state", "traffic"]
        .map(|name| read(&format!("src/telemetry/metrics/{name}.rs")))
        .concat();
    let reasons = read("docs/client-texts.md");
    let variables: HashSet<String> = HELP
        .settings
        .keys()
        .map(|name| format!("ETCD_{}", name.to_ascii_uppercase().replace('-', "_")))
        .collect();
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let mut unknown = Vec::new();
    // The code spans of the troubleshooting pages are messages.
    for (path, code) in spans().into_iter().filter(|(path, _)| !path.contains("troubleshooting")) {
        let place = format!("{path}: `{code}`");
        let first = |fits: fn(char) -> bool| code.split(|c| !fits(c)).next().unwrap_or_default();
        let is_known = if code.starts_with("etcd-proxy ") {
            own_command(&place, &words(&code)[1..]);
            true
        } else if code.starts_with("systemctl ") {
            assert_run_elsewhere(&place, &words(&code));
            true
        } else if code.starts_with("ETCD_") {
            let name = first(|c| c.is_ascii_uppercase() || c == '_');
            variables.contains(name) || FIELDS.contains(&name) || code == "ETCD_*"
        } else if code.starts_with("etcd_proxy_") {
            let name = first(|c| c.is_ascii_lowercase() || c == '_');
            metrics.contains(name.strip_suffix("_total").unwrap_or(name))
        } else if let Some(flag) = code.strip_prefix("--") {
            let name = flag.split([' ', '=']).next().unwrap_or_default();
            HELP.settings.contains_key(name)
                || HELP.commands.values().any(|flags| flags.contains_key(name))
                || FLAGS_ELSEWHERE.contains(&name)
        } else {
            let (name, value) = code.split_once(" = ").unwrap_or((&code, ""));
            let is_word = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(is_name)
                && (name.contains('-') || !value.is_empty());
            !is_word
                || HELP.settings.contains_key(name)
                || value.is_empty() && HELP.commands.contains_key(name)
                || value.is_empty() && reasons.contains(&format!("`{name}`"))
                || value.is_empty() && WORDS_ELSEWHERE.contains(&name)
                || name.starts_with("etcd-proxy")
        };
        if !is_known {
            unknown.push(place);
        }
    }
    assert!(unknown.is_empty(), "no such name:\n{}", unknown.join("\n"));
}

#[test]
fn the_mistakes_in_the_guide_are_told_as_it_shows() {
    let shown = blocks().into_iter().find(|block| block.text.contains("unknown key `initial-cl"));
    let Block { place, text, .. } = shown.expect("a transcript of check");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("etcd-proxy.toml");
    let lines = text.lines().filter_map(|line| line.trim_start().split_once(" | "));
    let lines = lines.filter(|(number, _)| number.parse::<u8>().is_ok());
    std::fs::write(&file, lines.map(|(_, line)| format!("{line}\n")).collect::<String>()).unwrap();
    let path = file.display().to_string();
    let said = program(&["check".to_owned(), "--config-file".to_owned(), path.clone()], &[]);
    let said = String::from_utf8(said.stderr).unwrap().replace(&path, "/etc/etcd-proxy.toml");
    let (_, shown) = text.split_once('\n').expect("a command and what it says");
    assert_eq!(shown, said, "{place}");
}

#[test]
fn no_scrape_job_has_etcd_in_its_name() {
    let blocks = blocks();
    let jobs = blocks.iter().flat_map(|block| block.text.lines().map(str::trim));
    let jobs: Vec<_> = jobs.filter_map(|line| line.strip_prefix("- job_name: ")).collect();
    assert!(!jobs.is_empty() && jobs.iter().all(|job| !job.contains("etcd")), "{jobs:?}");
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    for (path, page) in &pages {
        let (_, prose) = split(path, page);
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => repository(path),
                file => repository(path).parent().unwrap().join(file),
            };
            let text = std::fs::read_to_string(&target);
            let text = text.unwrap_or_else(|error| panic!("{path}: {link}: {error}"));
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            let is_there = heading.is_empty()
                || headings.any(|line| anchor(line.trim_start_matches('#')) == heading);
            assert!(is_there, "{path}: {link}: no such heading");
        }
    }
    let contents = read("docs/README.md");
    for (path, _) in pages.iter().filter(|(path, _)| path != "docs/README.md") {
        let Some(name) = path.strip_prefix("docs/") else { continue };
        assert!(contents.contains(&format!("]({name})")), "docs/README.md does not list {name}");
    }
}

#[test]
fn the_readme_is_short() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 130, "{} lines", readme.lines().count());
    let wide = readme.lines().find(|line| line.chars().count() > 100);
    assert_eq!(wide, None);
}
