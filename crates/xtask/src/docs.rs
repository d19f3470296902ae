//! `cargo xtask docs`: the pages that are made from the source, so that they cannot say something else than the code.
//!
//! etc/facteur.toml and docs/settings.md come from the declarations of the settings, docs/<program>.md from the manual page at the
//! top of each main.rs, docs/formats.md from the top of each file that owns a format.

use crate::tools;
use anyhow::Context as _;
use std::fmt::Write as _;
use std::path::PathBuf;

const PROGRAMS: [&str; 8] = ["smtpd", "qmgr", "deliver", "imapd", "pop3d", "authd", "facteur", "sendmail"];

/// The files that own a format, by subject.
const FORMATS: [(&str, &[&str]); 4] = [
    (
        "The spool",
        &[
            "spool/src/lib.rs",
            "spool/src/segment.rs",
            "spool/src/envelope.rs",
            "spool/src/queue_file.rs",
            "spool/src/outcome.rs",
            "spool/src/ids.rs",
            "sendmail/src/maildrop.rs",
        ],
    ),
    (
        "Mailboxes",
        &[
            "mailstore/src/lib.rs",
            "mailstore/src/message_file.rs",
            "mailstore/src/uidlist.rs",
            "mailstore/src/keywords.rs",
            "mailstore/src/changelog/mod.rs",
            "mailstore/src/index.rs",
            "mailstore/src/cache/mod.rs",
            "message/src/signature.rs",
            "mailstore/src/subscriptions.rs",
            "mailstore/src/quota.rs",
            "mailstore/src/attic.rs",
            "mailstore/src/acl.rs",
            "mailstore/src/shares.rs",
            "mailstore/src/metadata.rs",
        ],
    ),
    (
        "Between the programs",
        &[
            "ipc/src/lib.rs",
            "ipc/src/frame.rs",
            "ipc/src/queue.rs",
            "ipc/src/auth.rs",
            "ipc/src/userdb.rs",
            "ipc/src/lookup.rs",
            "ipc/src/accounts.rs",
            "ipc/src/usage.rs",
            "ipc/src/control.rs",
        ],
    ),
    ("Tables", &["tables/src/lib.rs", "tables/src/cdb.rs"]),
];

/// Write the pages that are made from the source: settings, programs, formats
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// The generated files with the text that they should have.
pub fn generated() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let root = tools::root();
    let mut all = vec![
        (root.join("etc/facteur.toml"), config::document::sample_toml()),
        (root.join("docs/settings.md"), config::document::settings_page()),
        (root.join("docs/formats.md"), formats()?),
    ];
    for program in PROGRAMS {
        let page = manual(&header(&format!("{program}/src/main.rs"))?);
        all.push((root.join(format!("docs/{program}.md")), format!("# {program}\n\n{page}")));
    }
    Ok(all)
}

pub fn run(_: &Arguments) -> anyhow::Result<()> {
    for (path, text) in generated()? {
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// The `//!` lines at the top of a file below `crates/`.
fn header(file: &str) -> anyhow::Result<String> {
    let path = tools::root().join("crates").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().take_while(|line| line.starts_with("//!"));
    Ok(lines.map(|line| line.trim_start_matches("//!").strip_prefix(' ').unwrap_or("")).fold(String::new(), |all, line| all + line + "\n"))
}

/// A manual page with its sections (`NAME` or `# NAME` on a line of its own, the text below it indented or not) as Markdown.
fn manual(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let title = line.strip_prefix("# ").unwrap_or(line);
        if !title.is_empty() && title.chars().all(|c| c.is_ascii_uppercase() || c == ' ') {
            let (first, rest) = title.split_at(1);
            let _ = writeln!(out, "\n## {first}{}\n", rest.to_lowercase());
        } else {
            let line = line.strip_prefix("    ").unwrap_or(line);
            // Columns become a list.
            let _ = match line.trim().split_once("   ") {
                Some((left, right)) => writeln!(out, "- `{left}`: {}", right.trim()),
                None => writeln!(out, "{line}"),
            };
        }
    }
    tidy(&out)
}

/// No blank line at the ends, and never two in a row.
fn tidy(text: &str) -> String {
    let mut out = String::new();
    for line in text.trim().lines() {
        let line = line.trim_end();
        if !(line.is_empty() && out.ends_with("\n\n")) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn formats() -> anyhow::Result<String> {
    let mut out = String::from(
        "# Formats\n\nEvery format on disk and on sockets, as the file that owns it describes it at its top. Formats carry a version; what has a lower one stays readable.\n",
    );
    for (subject, files) in FORMATS {
        let _ = writeln!(out, "\n## {subject}");
        for file in files {
            // References to items of the code are for those who read it there.
            let text = header(file)?.replace("[`", "`").replace("`]", "`");
            let _ = writeln!(out, "\n### crates/{file}\n\n{}", text.trim());
        }
    }
    Ok(tidy(&out))
}
