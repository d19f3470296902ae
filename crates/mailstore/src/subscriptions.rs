//! `subscriptions`, as Dovecot 2.3 writes it: version 2 is `V<TAB>2`, an empty line, then a line per name, its levels separated by
//! tabs, in modified UTF-7, with Dovecot's tab escapes. Version 1 (names with `.`, no header) is read and replaced at the next change.
//! Replaced as a whole under `subscriptions.lock`. Names we would not accept are kept as they are.

use std::io::Read;
use std::time::Duration;

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::lock;
use crate::mutf7;
use crate::name::{MailboxName, SEPARATOR};

pub(crate) const FILE: &str = "subscriptions";
const TEMPORARY: &str = "subscriptions.tmp";
const LOCK: &str = "subscriptions.lock";
const HEADER: &str = "V\t2\n\n";

/// Names subscribed to, sorted.
pub(crate) fn read(dir: &Dir) -> Result<Vec<MailboxName>> {
    let mut names: Vec<MailboxName> = lines(dir)?.iter().filter_map(|line| name_of(line)).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Adds or removes a name. False when nothing had to change.
pub(crate) fn change(dir: &Dir, name: &MailboxName, subscribe: bool) -> Result<bool> {
    let is_there = |lines: &[String]| lines.iter().any(|line| name_of(line).as_ref() == Some(name));
    if is_there(&lines(dir)?) == subscribe {
        return Ok(false);
    }
    let _lock = lock::lock(dir, LOCK, Duration::from_secs(30))?;
    let mut lines = lines(dir)?;
    if is_there(&lines) == subscribe {
        return Ok(false);
    }
    if subscribe {
        lines.push(line_of(name));
    } else {
        lines.retain(|line| name_of(line).as_ref() != Some(name));
    }
    let mut text = String::from(HEADER);
    for line in &lines {
        text.push_str(line);
        text.push('\n');
    }
    dir.replace(FILE, TEMPORARY, text.as_bytes())?;
    Ok(true)
}

/// Lines as version 2 has them.
fn lines(dir: &Dir) -> Result<Vec<String>> {
    let mut text = Vec::new();
    match dir.open_file(FILE) {
        Ok(file) => file.take(16 << 20).read_to_end(&mut text).map_err(|e| Error::io("read", dir.at(FILE), e))?,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().peekable();
    if lines.next_if(|first| first.starts_with("V\t")).is_some() {
        return Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect());
    }
    let upgraded = |line: &str| line.split(SEPARATOR).map(escape).collect::<Vec<_>>().join("\t");
    Ok(lines.filter(|line| !line.is_empty()).map(upgraded).collect())
}

fn name_of(line: &str) -> Option<MailboxName> {
    let levels: Vec<String> = line.split('\t').map(unescape).collect();
    MailboxName::parse(&mutf7::decode(&levels.join("."))?).ok()
}

fn line_of(name: &MailboxName) -> String {
    name.to_mutf7().split(SEPARATOR).map(escape).collect::<Vec<_>>().join("\t")
}

/// Dovecot's `str_tabescape`; control characters never stand in our names, but may in those of others.
fn escape(level: &str) -> String {
    level.replace('\x01', "\x011").replace('\t', "\x01t").replace('\r', "\x01r").replace('\n', "\x01n").replace('\0', "\x010")
}

fn unescape(level: &str) -> String {
    let mut out = String::with_capacity(level.len());
    let mut chars = level.chars();
    while let Some(c) = chars.next() {
        match c {
            '\x01' => out.extend(chars.next().map(|code| match code {
                '0' => '\0',
                '1' => '\x01',
                't' => '\t',
                'r' => '\r',
                'n' => '\n',
                other => other,
            })),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).unwrap()
    }

    #[test]
    fn what_dovecot_wrote_is_read_and_kept() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::create_root(&temp.path().join("m")).unwrap();
        std::fs::write(dir.at(FILE), "V\t2\n\nSent\nWork\tProj\nodd\x01tname\n").unwrap();
        assert_eq!(read(&dir).unwrap(), [name("Sent"), name("Work.Proj")]);
        assert!(change(&dir, &name("Envoyés.2026"), true).unwrap());
        assert!(!change(&dir, &name("Sent"), true).unwrap());
        assert!(change(&dir, &name("Sent"), false).unwrap());
        assert_eq!(std::fs::read_to_string(dir.at(FILE)).unwrap(), "V\t2\n\nWork\tProj\nodd\x01tname\nEnvoy&AOk-s\t2026\n");
    }

    #[test]
    fn version_1_is_read_and_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::create_root(&temp.path().join("m")).unwrap();
        std::fs::write(dir.at(FILE), "Sent\nWork.Proj\n").unwrap();
        assert_eq!(read(&dir).unwrap(), [name("Sent"), name("Work.Proj")]);
        change(&dir, &name("INBOX"), true).unwrap();
        assert_eq!(std::fs::read_to_string(dir.at(FILE)).unwrap(), "V\t2\n\nSent\nWork\tProj\nINBOX\n");
    }
}
