//! A page that several commands write, each its own chapter.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::machine;
use crate::table::Section;

const TITLE: &str =
    "# Benchmarks of the pool\n\nWritten by `millpond-bench`, a chapter by each command; do not edit.\n";

/// Writes the chapter of a command, with the command line and the machine, in place of an earlier one. Without a path, does
/// nothing.
///
/// # Errors
/// If the page can't be read or written.
pub(crate) fn write(
    path: Option<&Path>,
    command: &str,
    title: &str,
    sections: &[Section],
) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let old = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => TITLE.to_owned(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    // Without the program's own path, and without that of the page.
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = words.iter().position(|word| word.starts_with("--page")) {
        words.drain(at..words.len().min(at + if words[at].contains('=') { 1 } else { 2 }));
    }
    let line = format!("cargo run --release -p millpond-bench -- {}", words.join(" "));
    let new = replaced(&old, &format!("`{command}`: {title}"), &chapter(&line, sections));
    std::fs::write(path, new).with_context(|| path.display().to_string())
}

fn chapter(line: &str, sections: &[Section]) -> String {
    let mut text = format!("\n```sh\n{line}\n```\n\n");
    for (name, value) in machine::describe(line).iter().filter(|(name, _)| *name != "command") {
        // Writing to a string does not fail.
        let _ = writeln!(text, "- {name}: {value}");
    }
    for section in sections {
        let _ = write!(text, "\n### {}\n\n", section.title);
        if !section.note.is_empty() {
            let _ = write!(text, "{}\n\n", section.note);
        }
        let _ = writeln!(text, "{}", section.markdown());
    }
    text
}

/// The page with the chapter of this title replaced, or with it at the end.
fn replaced(page: &str, title: &str, chapter: &str) -> String {
    let mut parts = page.split("\n## ");
    let mut text = parts.next().unwrap_or_default().trim_end().to_owned();
    let new = format!("{title}\n{}", chapter.trim_end());
    let mut found = false;
    for part in parts {
        let own = part.lines().next() == Some(title);
        found |= own;
        let _ = write!(text, "\n\n## {}", if own { &new } else { part.trim_end() });
    }
    if !found {
        let _ = write!(text, "\n\n## {new}");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chapter_takes_the_place_of_its_elder() {
        let page = replaced(TITLE, "one", "\na");
        let page = replaced(&page, "two", "\nb\n");
        let page = replaced(&page, "one", "\nc");
        assert_eq!(page, format!("{TITLE}\n## one\n\nc\n\n## two\n\nb\n"));
    }

    #[test]
    fn a_page_is_made_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.md");
        let section = Section::new("Table", &["a"]).with_row(["1".to_owned()]);
        for _ in 0..2 {
            write(Some(&path), "pool", "x", std::slice::from_ref(&section)).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.matches("### Table").count(), 1, "{text}");
        }
        write(None, "pool", "x", &[]).unwrap();
    }
}
