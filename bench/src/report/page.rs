//! The report as one HTML file that needs nothing else.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::exhibit::Chapter;
use crate::table::Section;

/// Colours of the reader's system; black in the charts becomes the colour of the text.
const STYLE: &str = "
:root { color-scheme: light dark; --text: #1b1f24; --page: #ffffff; --soft: #6a737d; --rule: #d0d7de; --good: #116329; --bad: #b3261e }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --page: #0d1117; --soft: #8b949e; --rule: #30363d; --good: #56d364; --bad: #ff7b72 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 1100px; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--rule) }
p.note, dt { color: var(--soft) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 1rem } dd { margin: 0 }
div.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
td.met { color: var(--good) } td.missed { color: var(--bad); font-weight: 600 }
pre { overflow-x: auto; color: var(--soft) }
svg { display: block; max-width: 100%; height: auto; margin: 0.8rem 0 }
svg text { fill: currentColor }
svg [stroke='#000000'] { stroke: currentColor }
";

/// The page.
pub(super) fn page(machine: &[(&str, String)], targets: &Section, chapters: &[Chapter]) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "Millpond: benchmarks" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Millpond: benchmarks" }
                dl { @for (name, value) in machine { dt { (name) } dd { (value) } } }
                h2 { (targets.title) }
                (table(targets))
                @for chapter in chapters {
                    h2 { (chapter.title) }
                    pre { (chapter.commands.join("\n")) }
                    @for exhibit in &chapter.exhibits {
                        h3 { (exhibit.section.title) }
                        // They come from our own chart module, which escapes what it writes.
                        @for chart in &exhibit.charts { (PreEscaped(chart)) }
                        (table(&exhibit.section))
                    }
                }
            }
        }
    };
    markup.into_string()
}

fn table(section: &Section) -> Markup {
    html! {
        @if !section.note.is_empty() { p.note { (section.note) } }
        div.wide {
            table {
                thead { tr { @for name in &section.header { th { (name) } } } }
                tbody {
                    @for row in &section.rows {
                        tr { @for cell in row { td class=[class(cell)] { (cell) } } }
                    }
                }
            }
        }
    }
}

fn class(cell: &str) -> Option<&str> {
    ["met", "missed"].contains(&cell).then_some(cell)
}

#[cfg(test)]
mod tests {
    use super::super::chart::{Bar, bars};
    use super::super::exhibit::Exhibit;
    use super::super::markdown;
    use super::*;

    fn chapters() -> Vec<Chapter> {
        let section = Section::new("Times", &["subject", "ns"]).with_row(["<b>".to_owned(), "1".to_owned()]);
        let charts = bars("times", &[Bar::new("millpond".to_owned(), 1.0)]).into_iter().collect();
        let commands = vec!["millpond-bench throughput".to_owned()];
        vec![Chapter {
            title: "Throughput".to_owned(),
            commands,
            exhibits: vec![Exhibit { section, charts }],
        }]
    }

    #[test]
    fn the_page_stands_alone_and_escapes() {
        let targets =
            Section::new("Targets", &["figure", ""]).with_row(["x".to_owned(), "missed".to_owned()]);
        let page = page(&[("commit", "1 & 2".to_owned())], &targets, &chapters());
        assert!(page.contains("<svg") && page.contains("&lt;b&gt;") && page.contains("1 &amp; 2"), "{page}");
        assert!(page.contains("class=\"missed\""), "{page}");
        // An SVG names its namespace; nothing may be fetched.
        let without = page.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!without.contains(outside), "{outside}");
        }
    }

    #[test]
    fn markdown_has_the_same() {
        let targets = Section::new("Targets", &["figure", ""]).with_row(["x".to_owned(), "met".to_owned()]);
        let text = markdown::page(&[("commit", "12".to_owned())], &targets, &chapters());
        for part in [
            "# Benchmarks",
            "- commit: 12",
            "## Targets",
            "## Throughput",
            "### Times",
            "millpond-bench throughput",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
