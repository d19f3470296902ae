//! `dovecot-acl`: who has which rights on a mailbox (RFC 4314), as Dovecot's `vfile` writes it, in the mailbox's directory.
//!
//! ```text
//! owner lrwstipekxa
//! user=bob@example.org lrs
//! -user=eve@example.org r
//! anyone l :post
//! ```
//! A line per identifier, with `-` in front for rights that are taken away; rights behind ` :` have names instead of letters. A list with a line that might take something
//! away, and that we cannot read, lets in nobody but the owner. Of several lines that fit a user the most
//! particular one holds, as in Dovecot: `group-override`, `user`, `owner`, `group`, `authenticated`, `anyone`. The owner of a mailbox without a line `owner` has all rights, and
//! always `a`. Lines we do not understand are kept. Replaced as a whole under `dovecot-acl.lock`.

use std::fmt;
use std::time::Duration;

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::lock;
use crate::rights::Rights;

pub(crate) const FILE: &str = "dovecot-acl";
const TEMPORARY: &str = "dovecot-acl.tmp";
const LOCK: &str = "dovecot-acl.lock";
const LARGEST: u64 = 1 << 20;
/// Most lines of one mailbox.
const MOST: usize = 1000;

/// Somebody who wants something of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub user: String,
    pub groups: Vec<String>,
}

/// Whom a line is about, by rising precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Anyone,
    Authenticated,
    Group(String),
    Owner,
    User(String),
    GroupOverride(String),
}

impl Subject {
    /// As `dovecot-acl` has it.
    pub fn parse(text: &str) -> Option<Subject> {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        match text.split_once('=') {
            None => match text {
                "anyone" => Some(Subject::Anyone),
                "authenticated" => Some(Subject::Authenticated),
                "owner" => Some(Subject::Owner),
                _ => None,
            },
            Some(("user", name)) => named(name).map(Subject::User),
            Some(("group", name)) => named(name).map(Subject::Group),
            Some(("group-override", name)) => named(name).map(Subject::GroupOverride),
            Some(_) => None,
        }
    }

    pub(crate) fn is(&self, person: &Person, owner: bool) -> bool {
        match self {
            Subject::Anyone | Subject::Authenticated => true,
            Subject::Owner => owner,
            Subject::User(user) => *user == person.user,
            Subject::Group(group) | Subject::GroupOverride(group) => person.groups.contains(group),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Anyone => f.write_str("anyone"),
            Subject::Authenticated => f.write_str("authenticated"),
            Subject::Owner => f.write_str("owner"),
            Subject::User(name) => write!(f, "user={name}"),
            Subject::Group(name) => write!(f, "group={name}"),
            Subject::GroupOverride(name) => write!(f, "group-override={name}"),
        }
    }
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub subject: Subject,
    /// The rights are taken away.
    pub negative: bool,
    pub rights: Rights,
    /// Names of rights that are none of RFC 4314's.
    named: Vec<String>,
}

/// All lines of one mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Acl {
    pub grants: Vec<Grant>,
    /// Lines that are no grants, as they are.
    other: Vec<String>,
    /// The first of them that may have been meant to keep somebody out.
    unclear: Option<String>,
}

/// How SETACL changes rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsChange {
    Replace,
    Add,
    Remove,
}

impl Acl {
    fn parse(text: &str) -> Acl {
        let mut acl = Acl::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match Acl::grant(line) {
                Ok(grant) => acl.grants.push(grant),
                Err(is_unclear) => {
                    if is_unclear && acl.unclear.is_none() {
                        acl.unclear = Some(line.to_owned());
                    }
                    acl.other.push(line.to_owned());
                }
            }
        }
        acl
    }

    /// Reads a line. The error tells whether it may mean less than other lines give: it takes rights away, or goes before the line of a
    /// larger group. A subject that nobody is gives nothing.
    fn grant(line: &str) -> std::result::Result<Grant, bool> {
        if line.starts_with('#') {
            return Err(false);
        }
        // Dovecot puts identifiers with spaces in quotes
        let (identifier, rest) = match line.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or(true)?,
            None => {
                let (name, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
                (name.to_owned(), rest)
            }
        };
        let (letters, names) = rest.split_once(':').unwrap_or((rest, ""));
        let (negative, identifier) = identifier.strip_prefix('-').map_or((false, &*identifier), |rest| (true, rest));
        let subject = Subject::parse(identifier).ok_or(negative)?;
        let mut rights = Rights::parse(letters.trim()).ok_or(true)?;
        let mut named = Vec::new();
        for name in names.split([' ', '\t', ',']).map(|name| name.trim_start_matches(':')).filter(|name| !name.is_empty()) {
            match Rights::named(name) {
                Some(right) => rights = rights | right,
                None => named.push(name.to_owned()),
            }
        }
        Ok(Grant { subject, negative, rights, named })
    }

    fn write(&self) -> String {
        let mut text = String::new();
        for grant in &self.grants {
            let identifier = format!("{}{}", if grant.negative { "-" } else { "" }, grant.subject);
            let identifier = if identifier.contains([' ', '\t']) { quote(&identifier) } else { identifier };
            let named = if grant.named.is_empty() { String::new() } else { format!(" :{}", grant.named.join(" ")) };
            text.push_str(&format!("{identifier} {}{named}\n", grant.rights));
        }
        for line in &self.other {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// What a person may do. `owner`: the mailbox is the person's own.
    pub fn rights(&self, person: &Person, owner: bool) -> Rights {
        if self.unclear.is_some() && !owner {
            return Rights::NONE;
        }
        let holds = |negative: bool| {
            let fitting = self.grants.iter().filter(|grant| grant.negative == negative && grant.subject.is(person, owner));
            // of several groups all hold
            let best = fitting.clone().map(|grant| rank(&grant.subject)).max();
            let rights = fitting.filter(|grant| Some(rank(&grant.subject)) == best).fold(Rights::NONE, |all, grant| all | grant.rights);
            (best, rights)
        };
        let (best, mut rights) = holds(false);
        if owner && best.is_none_or(|best| best < rank(&Subject::Owner)) {
            rights = Rights::ALL;
        }
        rights = rights.without(holds(true).1);
        if owner { rights | Rights::ADMINISTER } else { rights }
    }
}

/// As Dovecot's `str_escape` does it.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        if matches!(c, '"' | '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, &quoted[at + 1..])),
            '\\' => text.push(chars.next()?.1),
            c => text.push(c),
        }
    }
    None
}

fn rank(subject: &Subject) -> u8 {
    match subject {
        Subject::Anyone => 0,
        Subject::Authenticated => 1,
        Subject::Group(_) => 2,
        Subject::Owner => 3,
        Subject::User(_) => 4,
        Subject::GroupOverride(_) => 5,
    }
}

/// The mailbox's list; empty when it has none.
pub(crate) fn read(dir: &Dir) -> Result<Acl> {
    let bytes = dir.read_small(FILE, LARGEST)?.unwrap_or_default();
    let acl = Acl::parse(&String::from_utf8_lossy(&bytes));
    if let Some(line) = &acl.unclear {
        tracing::error!(file = %dir.at(FILE).display(), line = %mail_types::printable(line), "a line that cannot be read: only the owner is let in");
    }
    Ok(acl)
}

/// Changes one subject's rights. With no right left the line goes, but for the owner's, who would have all again. Durable on return.
pub(crate) fn change(dir: &Dir, subject: &Subject, negative: bool, how: RightsChange, rights: Rights) -> Result<()> {
    let _lock = lock::lock(dir, LOCK, Duration::from_secs(30))?;
    let mut acl = read(dir)?;
    let at = acl.grants.iter().position(|grant| grant.subject == *subject && grant.negative == negative);
    let is_owner = *subject == Subject::Owner && !negative;
    let before = at.map_or(if is_owner { Rights::ALL } else { Rights::NONE }, |at| acl.grants[at].rights);
    let after = match how {
        RightsChange::Replace => rights,
        RightsChange::Add => before | rights,
        RightsChange::Remove => before.without(rights),
    };
    match at {
        Some(at) if after == Rights::NONE && !is_owner => drop(acl.grants.remove(at)),
        Some(at) => acl.grants[at].rights = after,
        None if after == Rights::NONE && !is_owner => {}
        None if acl.grants.len() >= MOST => return Err(Error::Limit("mailbox has as many identifiers as it can have")),
        None => acl.grants.push(Grant { subject: subject.clone(), negative, rights: after, named: Vec::new() }),
    }
    save(dir, &acl)
}

/// Removes a subject's line, the owner's too: the default holds again.
pub(crate) fn remove(dir: &Dir, subject: &Subject, negative: bool) -> Result<()> {
    let _lock = lock::lock(dir, LOCK, Duration::from_secs(30))?;
    let mut acl = read(dir)?;
    acl.grants.retain(|grant| grant.subject != *subject || grant.negative != negative);
    save(dir, &acl)
}

/// RFC 4314 §4: a new mailbox has the list of the one above it.
pub(crate) fn inherit(parent: &Dir, child: &Dir) -> Result<()> {
    let acl = read(parent)?;
    if acl == Acl::default() { Ok(()) } else { save(child, &acl) }
}

fn save(dir: &Dir, acl: &Acl) -> Result<()> {
    dir.replace(FILE, TEMPORARY, acl.write().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(user: &str, groups: &[&str]) -> Person {
        Person { user: user.into(), groups: groups.iter().map(|group| group.to_string()).collect() }
    }

    #[test]
    fn the_most_particular_line_holds() {
        let text = "anyone l\nauthenticated lr\ngroup=staff lrs\ngroup=chief i\nuser=bob lrw\n-user=eve r\ngroup-override=banned\n";
        for (user, groups, want) in [
            ("mallory", &[][..], "lr"),
            ("ann", &["staff"], "lrs"),
            ("ann", &["staff", "chief"], "lrsi"),
            ("bob", &["staff"], "lrw"),
            ("eve", &[], "l"),
            ("bob", &["banned"], ""),
        ] {
            assert_eq!(Acl::parse(text).rights(&person(user, groups), false).to_string(), want, "{user} {groups:?}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_keeps_others_out() {
        for (line, want) in [
            ("-user=eve r", "l"),
            ("-user=eve :read", "l"),
            ("-user=eve :read :lookup", ""),
            ("-user=eve", "lr"),
            ("-user=eve y", ""),
            ("-usr=eve r", ""),
            ("user=eve lry", ""),
            ("\"-user=eve r", ""),
            ("role=x lr", "lr"),
            ("# user=x y", "lr"),
            ("user=eve l :write, write-seen expunge custom", "lswe"),
        ] {
            let acl = Acl::parse(&format!("anyone lr\n{line}\n"));
            assert_eq!(acl.rights(&person("eve", &[]), false).to_string(), want, "{line}");
            assert!(acl.rights(&person("ann", &[]), true).contains(Rights::ADMINISTER));
            assert_eq!(Acl::parse(&acl.write()), acl, "{line}");
        }
        let odd = Subject::User("a \\ 'b' \"c\"".into());
        let grant = Grant { subject: odd, negative: true, rights: Rights::READ, named: Vec::new() };
        let acl = Acl { grants: vec![grant], ..Acl::default() };
        assert_eq!(acl.write(), "\"-user=a \\\\ \\'b\\' \\\"c\\\"\" r\n");
        assert_eq!(Acl::parse(&acl.write()), acl);
    }

    #[test]
    fn the_owner_has_all_but_what_is_taken_and_always_administers() {
        for (text, want) in [
            ("", "lrswipkxtea"),
            ("anyone l\n", "lrswipkxtea"),
            ("owner lr\n", "lra"),
            ("owner\n", "a"),
            ("-owner xea\n", "lrswipkta"),
            ("user=ann l\n", "la"),
        ] {
            assert_eq!(Acl::parse(text).rights(&person("ann", &[]), true).to_string(), want, "{text}");
        }
    }

    #[test]
    fn changes_are_written_as_dovecot_writes_and_keep_what_is_not_ours() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::create_root(&temp.path().join("m")).unwrap();
        std::fs::write(dir.at(FILE), "# comment\nuser=bob lr :custom\n\"user=a b\" l\nrole=x lr\n").unwrap();
        let bob = Subject::User("bob".into());
        change(&dir, &bob, false, RightsChange::Add, Rights::SEEN).unwrap();
        change(&dir, &bob, true, RightsChange::Replace, Rights::POST).unwrap();
        change(&dir, &Subject::Anyone, false, RightsChange::Replace, Rights::LOOKUP).unwrap();
        change(&dir, &Subject::Anyone, false, RightsChange::Remove, Rights::LOOKUP).unwrap();
        change(&dir, &Subject::Owner, false, RightsChange::Remove, Rights::DELETE).unwrap();
        let text = std::fs::read_to_string(dir.at(FILE)).unwrap();
        assert_eq!(text, "user=bob lrs :custom\n\"user=a b\" l\n-user=bob p\nowner lrswipktea\n# comment\nrole=x lr\n");
        remove(&dir, &Subject::Owner, false).unwrap();
        assert_eq!(read(&dir).unwrap().rights(&person("ann", &[]), true), Rights::ALL);
    }
}
