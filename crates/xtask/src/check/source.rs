//! What is looked for in the source texts themselves.

use crate::tools;
use anyhow::Context as _;
use regex::Regex;
use std::collections::BTreeSet;
use std::path::Path;

/// What is against the rules, a sentence each.
pub fn problems() -> anyhow::Result<Vec<String>> {
    let root = tools::root();
    let mut problems = Vec::new();
    let mut cited = BTreeSet::new();
    let rfc = Regex::new(r"\bRFC ?(\d{3,5})\b")?;
    // Split so that this file does not find itself.
    let unfinished = Regex::new(concat!(r"\b(TO", r"DO|FIX", r"ME|XX", r"X)\b|#\[ign", r"ore\]"))?;
    for folder in ["crates", "tests"] {
        for path in tools::files(&root.join(folder), ".rs")? {
            let shown = path.strip_prefix(&root).unwrap_or(&path);
            if shown.components().any(|c| c.as_os_str() == "target") {
                continue;
            }
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            problems.extend(unfinished_lines(shown, &text, &unfinished));
            if text.contains(concat!("rustls_", "pemfile")) && !shown.ends_with("daemon/src/tls/pem.rs") {
                problems.push(format!("{}: rustls-pemfile is confined to daemon::tls::pem", shown.display()));
            }
            if folder == "crates" {
                cited.extend(rfc.captures_iter(&text).map(|c| c[1].to_owned()));
            }
        }
    }
    problems.extend(rfc_table(&root.join("docs/rfc.md"), &cited));
    Ok(problems)
}

fn unfinished_lines(path: &Path, text: &str, unfinished: &Regex) -> Vec<String> {
    let lines = text.lines().enumerate().filter(|(_, line)| unfinished.is_match(line));
    lines.map(|(at, line)| format!("{}:{}: unfinished: {}", path.display(), at + 1, line.trim())).collect()
}

/// Every RFC that the code cites stands in the table, with its number.
fn rfc_table(path: &Path, cited: &BTreeSet<String>) -> Vec<String> {
    let table = std::fs::read_to_string(path).unwrap_or_default();
    let named: BTreeSet<&str> = table.split(|c: char| !c.is_ascii_digit()).filter(|word| word.len() >= 3).collect();
    let missing = cited.iter().filter(|number| !named.contains(number.as_str()));
    missing.map(|number| format!("docs/rfc.md does not name RFC {number}, which the code cites")).collect()
}
