//! The report as Markdown.

use std::fmt::Write as _;

use super::exhibit::Chapter;
use crate::table::Section;

/// The page.
pub(super) fn page(machine: &[(&str, String)], targets: &Section, chapters: &[Chapter]) -> String {
    let mut text = String::from("# Benchmarks\n\nWritten by `millpond-bench report`; do not edit.\n\n");
    for (name, value) in machine {
        // Writing to a string does not fail.
        let _ = writeln!(text, "- {name}: {value}");
    }
    section(&mut text, "##", targets);
    for chapter in chapters {
        let _ = write!(text, "\n## {}\n\n```sh\n{}\n```\n", chapter.title, chapter.commands.join("\n"));
        for exhibit in &chapter.exhibits {
            section(&mut text, "###", &exhibit.section);
        }
    }
    text
}

fn section(text: &mut String, level: &str, section: &Section) {
    let _ = write!(text, "\n{level} {}\n\n", section.title);
    if !section.note.is_empty() {
        let _ = write!(text, "{}\n\n", section.note);
    }
    let _ = writeln!(text, "{}", section.markdown());
}
