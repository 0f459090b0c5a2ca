//! The man pages, completions, references and the full example match the tables in the code.

use std::path::Path;
use std::process::Command;

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn no_generated_file_has_drifted_from_the_tables() {
    for (path, text) in etcd_proxy::cli::manual::files() {
        let kept = std::fs::read_to_string(repository(path)).unwrap_or_default();
        let line = kept.lines().zip(text.lines()).position(|(kept, text)| kept != text);
        assert!(kept == text, "{path} differs (line {line:?} first): run `make generate`");
    }
}

#[test]
fn every_setting_is_in_every_generated_file() {
    for (path, text) in etcd_proxy::cli::manual::files() {
        let text = text.replace("\\-", "-");
        // These two describe commands and metrics, and no settings.
        let has_none = path.ends_with(".8") || path.ends_with("/metrics.md");
        for setting in etcd_proxy::config::schema::all().filter(|_| !has_none) {
            let is_there = text.contains(setting.name) || setting.name == "config-file";
            assert!(is_there, "{path} does not know {}", setting.name);
        }
    }
}

#[test]
fn the_full_example_can_be_used_as_it_is_and_with_every_line_switched_on() {
    let full = std::fs::read_to_string(repository("etc/etcd-proxy.example.toml")).unwrap();
    let on: String = full
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    for text in [full, on] {
        let file = directory.path().join("etcd-proxy.toml");
        std::fs::write(&file, &text).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_etcd-proxy"));
        check.env_clear().args(["check", "--config-file"]).arg(&file);
        let said = check.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
}

/// Each installed shell parses its completion. bash is always there; tests/system has all shells.
#[test]
fn the_shells_accept_their_completions() {
    for (shell, file) in [
        ("bash", "packaging/completions/etcd-proxy.bash"),
        ("zsh", "packaging/completions/_etcd-proxy"),
        ("fish", "packaging/completions/etcd-proxy.fish"),
    ] {
        match Command::new(shell).arg("-n").arg(repository(file)).output() {
            Ok(said) => {
                assert!(said.status.success() && said.stderr.is_empty(), "{shell}: {said:?}")
            }
            Err(error) => assert_ne!(shell, "bash", "{error}"),
        }
    }
}

#[test]
fn bash_offers_commands_flags_and_values() {
    let file = repository("packaging/completions/etcd-proxy.bash");
    let complete = |words: &str| {
        let script = format!(
            ". '{}'; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _etcd_proxy; echo \"${{COMPREPLY[*]}}\"",
            file.display()
        );
        let said = Command::new("bash").args(["-c", &script]).output().unwrap();
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("etcd-proxy pro"), "promote");
    assert_eq!(complete("etcd-proxy check --for"), "--format");
    assert_eq!(complete("etcd-proxy check --format j"), "json");
    assert_eq!(complete("etcd-proxy --proxy r"), "readonly");
    assert_eq!(complete("etcd-proxy status --"), "--quiet");
}
