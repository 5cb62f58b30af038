//! Where, when and of what the figures are.

use std::process::Command;

use crate::rounds::cores;

/// What a reader needs to judge figures by, as names and values.
pub(crate) fn describe(command: &str) -> Vec<(&'static str, String)> {
    vec![
        ("processor", processor()),
        ("cores", cores().to_string()),
        ("last-level cache", crate::keys::last_level_cache().map_or_else(unknown, megabytes)),
        ("memory", memory()),
        ("system", said("uname", &["-srm"])),
        ("compiler", said("rustc", &["--version"])),
        ("commit", commit()),
        ("date", jiff::Zoned::now().strftime("%Y-%m-%d %H:%M %:z").to_string()),
        ("command", command.to_owned()),
    ]
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn megabytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    field(&text, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn memory() -> String {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = field(&text, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    kilobytes.map_or_else(unknown, |kilobytes| megabytes(kilobytes << 10))
}

/// The first value of a name in `name: value` lines.
fn field(text: &str, name: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

fn commit() -> String {
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"]);
    // Pages change no figure, and an earlier report may be one of them.
    let changed = said("git", &["status", "--porcelain", "--untracked-files=no", "--", ":!docs"]);
    if changed.is_empty() || commit == unknown() {
        commit
    } else {
        format!("{commit} and changes not committed")
    }
}

/// What a program prints.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    output.map_or_else(unknown, |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_what_is_missing_is_unknown() {
        assert_eq!(field("a\t: 1\nmodel name\t: X: Y\n", "model name").as_deref(), Some("X: Y"));
        assert_eq!(field("a: 1", "b"), None);
        assert_eq!(said("no-such-program", &[]), "unknown");
        assert!(describe("x").iter().all(|(_, value)| !value.is_empty()));
    }
}
