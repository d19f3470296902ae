//! LIST and LSUB (RFC 3501 §6.3.8, §6.3.9), LIST-EXTENDED (RFC 5258), LIST-STATUS (RFC 5819), SPECIAL-USE (RFC 6154), LIST-MYRIGHTS (RFC 8440), LIST-METADATA
//! (RFC 9590).

use crate::answer::Answer;
use crate::commands::acl::write_my_rights;
use crate::commands::enable::Enabled;
use crate::commands::metadata;
use crate::commands::status;
use crate::names::{Pattern, special_use};
use crate::place::Realm;
use crate::session::{Outcome, Session};
use config::Imapd;
use imap_proto::{List, ListReturn, SpecialUse, encode};
use mailstore::{MailboxName, Rights, SEPARATOR};
use std::collections::{BTreeMap, BTreeSet};

/// What is known about one name.
#[derive(Debug, Default, Clone, Copy)]
pub struct Facts {
    /// There is a mailbox to select.
    pub exists: bool,
    pub rights: Rights,
    has_children: bool,
    pub subscribed: bool,
    special_use: Option<SpecialUse>,
    /// A name below is subscribed.
    subscribed_below: bool,
}

pub async fn list(session: &mut Session, list: List) -> Outcome {
    // RFC 3501 §6.3.8: an empty pattern asks for the separator.
    if !list.extended && list.patterns.iter().all(String::is_empty) {
        session.connection.wire.out.extend_from_slice(b"* LIST (\\Noselect) \".\" \"\"\r\n");
        return Ok(Answer::ok("List completed"));
    }
    let config = session.connection.config.clone();
    let (returns_status, returns_rights, metadata) = (list.returns.status, list.returns.my_rights, list.metadata.clone());
    let (realm, enabled) = (session.realm.clone(), session.enabled);
    let found = session
        .with_account(move |_| {
            let facts = facts(&realm, &config.imapd, list.select.subscribed || list.returns.subscribed)?;
            Ok::<_, mailstore::Error>(select(&facts, &list, enabled))
        })
        .await;
    let found = match found {
        Ok(found) => found,
        Err(error) => return Ok(error.into()),
    };
    for Line { name, text, rights } in found {
        session.connection.wire.out.extend_from_slice(&text);
        if returns_rights && rights != Rights::NONE {
            write_my_rights(&mut session.connection.wire.out, session.enabled, name.as_str(), rights);
        }
        if !metadata.is_empty()
            && rights != Rights::NONE
            && let Ok(spot) = session.realm.locate(name.as_str())
        {
            // RFC 9590: a mailbox whose annotations cannot be told just has none
            let _ = metadata::tell(session, spot, rights, &metadata).await?;
            if let Err(answer) = session.may_go_on() {
                return Ok(answer);
            }
        }
        if let (Some(items), true, Ok(spot)) = (returns_status, rights.contains(Rights::READ), session.realm.locate(name.as_str())) {
            // RFC 5819 §2: a mailbox whose STATUS cannot be told just has none.
            let _ = status::tell(session, &spot, items).await;
            if let Err(answer) = session.may_go_on() {
                return Ok(answer);
            }
        }
        session.connection.wire.relieve().await?;
    }
    Ok(Answer::ok("List completed"))
}

/// RFC 2342 §5: one personal namespace, the root; those of other users and the public mailboxes where the settings have them.
pub fn namespace(session: &mut Session) {
    let (enabled, out) = (session.enabled, &mut session.connection.wire.out);
    let realm = &session.realm;
    out.extend_from_slice(b"* NAMESPACE ((\"\" \".\"))");
    for prefix in [realm.others.as_ref().map(|others| &others.prefix), realm.public.as_ref().map(|public| &public.prefix)] {
        match prefix {
            Some(prefix) => {
                out.extend_from_slice(b" ((");
                let prefix = format!("{prefix}{SEPARATOR}");
                encode::string(out, if enabled.utf8_names() { prefix } else { imap_proto::mutf7::encode(&prefix) }.as_bytes());
                out.extend_from_slice(b" \".\"))");
            }
            None => out.extend_from_slice(b" NIL"),
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Gathers all names. Blocking.
fn facts(realm: &Realm, config: &Imapd, with_subscriptions: bool) -> mailstore::Result<BTreeMap<MailboxName, Facts>> {
    facts_of(realm.list()?, realm, config, with_subscriptions)
}

/// The same, where it is known already which mailboxes there are to see. Blocking.
pub fn facts_of(
    mailboxes: BTreeMap<MailboxName, Rights>,
    realm: &Realm,
    config: &Imapd,
    with_subscriptions: bool,
) -> mailstore::Result<BTreeMap<MailboxName, Facts>> {
    let mut all: BTreeMap<MailboxName, Facts> = BTreeMap::new();
    for (name, rights) in mailboxes {
        let mut above = name.parent();
        while let Some(parent) = above {
            let next = parent.parent();
            all.entry(parent).or_default().has_children = true;
            above = next;
        }
        let special_use = special_use(config, &name);
        let facts = all.entry(name).or_default();
        *facts = Facts { exists: true, rights, special_use, ..*facts };
    }
    if with_subscriptions {
        for name in realm.account.subscriptions()? {
            all.entry(name).or_default().subscribed = true;
        }
    }
    let subscribed: BTreeSet<MailboxName> = all.iter().filter(|(_, facts)| facts.subscribed).flat_map(|(name, _)| above(name)).collect();
    for name in subscribed {
        all.entry(name).or_default().subscribed_below = true;
    }
    Ok(all)
}

/// The levels above a mailbox, nearest first.
fn above(name: &MailboxName) -> impl Iterator<Item = MailboxName> + use<> {
    std::iter::successors(name.parent(), MailboxName::parent)
}

/// A LIST response that is due.
struct Line {
    name: MailboxName,
    text: Vec<u8>,
    /// What the client may do with it; nothing where RFC 8440 §4 has no MYRIGHTS: no mailbox, or one that is only on the way to others.
    rights: Rights,
}

fn select(all: &BTreeMap<MailboxName, Facts>, list: &List, enabled: Enabled) -> Vec<Line> {
    // RFC 5258 §3: among several patterns an empty one matches nothing.
    let patterns = list.patterns.iter().filter(|pattern| list.patterns.len() == 1 || !pattern.is_empty());
    let patterns: Vec<Pattern> = patterns.map(|pattern| Pattern::new(&list.reference, pattern)).collect();
    let matches = |name: &MailboxName| patterns.iter().any(|pattern| pattern.matches(name.as_str()));
    let meets = |facts: &Facts| (!list.select.subscribed || facts.subscribed) && (!list.select.special_use || facts.special_use.is_some());
    // RFC 5258 §3.5: names with others below that meet the selection, and whether one of those is not shown itself.
    let mut leading: BTreeMap<MailboxName, bool> = BTreeMap::new();
    for (name, _) in all.iter().filter(|(_, facts)| list.select.recursive_match && meets(facts)) {
        let hidden = !matches(name);
        above(name).for_each(|parent| *leading.entry(parent).or_default() |= hidden);
    }
    let mut lines = Vec::new();
    let inbox = MailboxName::inbox();
    // INBOX first, as people expect it.
    let first = all.get_key_value(&inbox);
    let rest = all.iter().filter(|(name, _)| !name.is_inbox());
    for (name, facts) in first.into_iter().chain(rest) {
        let (meets, leads) = (meets(facts), leading.get(name).copied());
        // A name that only leads to others is due when they are not all shown by themselves (RFC 5258 §3.3).
        if !matches(name) || !(meets || leads == Some(true)) {
            continue;
        }
        // A name known only from the subscriptions, without being asked for them, is no mailbox.
        if facts.exists || facts.has_children || list.select.subscribed {
            let rights = if facts.exists && meets { facts.rights } else { Rights::NONE };
            lines.push(Line { name: name.clone(), text: line(name, facts, list, leads.is_some(), enabled), rights });
        }
    }
    lines
}

/// RFC 5258 §6: `mailbox-list = "(" [mbx-list-flags] ")" SP (DQUOTE QUOTED-CHAR DQUOTE / nil) SP mailbox [SP mbox-list-extended]`
fn line(name: &MailboxName, facts: &Facts, list: &List, leads: bool, enabled: Enabled) -> Vec<u8> {
    let mut out = b"* LIST ".to_vec();
    write_facts(&mut out, name, facts, list, enabled);
    if leads {
        let selected = [(list.select.subscribed, "\"SUBSCRIBED\""), (list.select.special_use, "\"SPECIAL-USE\"")];
        let options: Vec<&str> = selected.into_iter().filter(|(selected, _)| *selected).map(|(_, name)| name).collect();
        out.extend_from_slice(format!(" (\"CHILDINFO\" ({}))", options.join(" ")).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// An unsolicited response about a name that came, went or changed (RFC 5465 §5.4, §5.5).
pub fn write_notice(
    out: &mut Vec<u8>,
    name: &MailboxName,
    facts: Facts,
    old_name: Option<&MailboxName>,
    no_access: bool,
    enabled: Enabled,
) {
    let returns = ListReturn { subscribed: true, children: true, special_use: true, ..ListReturn::default() };
    let list = List { extended: true, returns, ..List::default() };
    out.extend_from_slice(b"* LIST ");
    let at = out.len();
    write_facts(out, name, &facts, &list, enabled);
    if no_access {
        // before the others, of which there is always one
        out.splice(at + 1..at + 1, *b"\\NoAccess ");
    }
    if let Some(old_name) = old_name {
        out.extend_from_slice(b" (\"OLDNAME\" (");
        enabled.write_name(out, old_name.as_str());
        out.extend_from_slice(b"))");
    }
    out.extend_from_slice(b"\r\n");
}

/// `(\Flags) "." name`
fn write_facts(out: &mut Vec<u8>, name: &MailboxName, facts: &Facts, list: &List, enabled: Enabled) {
    let mut flags = Vec::new();
    if !facts.exists {
        // RFC 5258 §3: \NonExistent implies \Noselect; only clients that asked in the new way, or speak RFC 9051, know it.
        flags.push(if list.extended || enabled.rev2 { "\\NonExistent" } else { "\\Noselect" });
    }
    flags.push(if facts.has_children { "\\HasChildren" } else { "\\HasNoChildren" });
    if facts.subscribed && (list.returns.subscribed || list.select.subscribed) {
        flags.push("\\Subscribed");
    }
    if let Some(special_use) = facts.special_use {
        flags.push(special_use.name());
    }
    encode::flags(out, flags);
    out.extend_from_slice(b" \".\" ");
    enabled.write_name(out, name.as_str());
}

/// RFC 3501 §6.3.9.
pub async fn lsub(session: &mut Session, reference: String, pattern: String) -> Answer {
    let config = session.connection.config.clone();
    let (realm, enabled) = (session.realm.clone(), session.enabled);
    let found = session
        .with_account(move |_| {
            let all = facts(&realm, &config.imapd, true)?;
            Ok::<_, mailstore::Error>(lsub_lines(&all, &reference, &pattern, enabled))
        })
        .await;
    match found {
        Ok(lines) => {
            session.connection.wire.out.extend_from_slice(&lines);
            Answer::ok("Lsub completed")
        }
        Err(error) => error.into(),
    }
}

fn lsub_lines(all: &BTreeMap<MailboxName, Facts>, reference: &str, pattern: &str, enabled: Enabled) -> Vec<u8> {
    // With `%` at the end, a name above a subscribed one is shown for it, as \Noselect.
    let levels = pattern.ends_with('%');
    let pattern = Pattern::new(reference, pattern);
    let mut out = Vec::new();
    for (name, facts) in all {
        let leads = levels && facts.subscribed_below && !facts.subscribed;
        if !(facts.subscribed || leads) || !pattern.matches(name.as_str()) {
            continue;
        }
        out.extend_from_slice(if leads { b"* LSUB (\\Noselect) \".\" " } else { b"* LSUB () \".\" " });
        enabled.write_name(&mut out, name.as_str());
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use imap_proto::Command;
    use imap_proto::cursor::Cursor;

    fn world() -> BTreeMap<MailboxName, Facts> {
        let plain = Facts { exists: true, rights: Rights::ALL, ..Facts::default() };
        [
            ("INBOX", plain),
            ("Sent", Facts { special_use: Some(SpecialUse::Sent), subscribed: true, ..plain }),
            ("Work", Facts { exists: false, has_children: true, subscribed_below: true, ..plain }),
            ("Work.One", Facts { subscribed: true, ..plain }),
            ("Gone", Facts { exists: false, subscribed: true, ..plain }),
        ]
        .into_iter()
        .map(|(name, facts)| (MailboxName::parse(name).unwrap(), facts))
        .collect()
    }

    fn listed(arguments: &str) -> String {
        let mut cursor = Cursor::new(arguments.as_bytes());
        let Ok(Some(Command::List(list))) = imap_proto::parse::command("LIST", &mut cursor) else { panic!("{arguments}") };
        select(&world(), &list, Enabled::default())
            .iter()
            .map(|line| String::from_utf8_lossy(&line.text).replace("* LIST ", "").replace("\r\n", "; "))
            .collect()
    }

    #[test]
    fn the_plain_list_shows_what_exists() {
        assert_eq!(
            listed(" \"\" *"),
            "(\\HasNoChildren) \".\" INBOX; (\\HasNoChildren \\Sent) \".\" Sent; (\\Noselect \\HasChildren) \".\" Work; (\\HasNoChildren) \".\" Work.One; "
        );
        assert_eq!(listed(" Work. %"), "(\\HasNoChildren) \".\" Work.One; ");
    }

    #[test]
    fn subscriptions_may_name_what_is_gone() {
        assert_eq!(
            listed(" (SUBSCRIBED) \"\" *"),
            "(\\NonExistent \\HasNoChildren \\Subscribed) \".\" Gone; (\\HasNoChildren \\Subscribed \\Sent) \".\" Sent; \
             (\\HasNoChildren \\Subscribed) \".\" Work.One; "
        );
        assert_eq!(
            listed(" (SUBSCRIBED RECURSIVEMATCH) \"\" W%"),
            "(\\NonExistent \\HasChildren) \".\" Work (\"CHILDINFO\" (\"SUBSCRIBED\")); "
        );
        assert_eq!(listed(" (SPECIAL-USE) \"\" *"), "(\\HasNoChildren \\Sent) \".\" Sent; ");
    }

    /// RFC 5258 §3.3, §3.5: one line for each name, for its own sake or for what is below it and not shown.
    #[test]
    fn names_that_lead_to_others_are_shown_for_those_that_are_not() {
        // everything below is shown by itself
        assert!(!listed(" (SUBSCRIBED RECURSIVEMATCH) \"\" *").contains("CHILDINFO"));
        let work = "(\\NonExistent \\HasChildren) \".\" Work (\"CHILDINFO\" (\"SUBSCRIBED\")); ";
        assert_eq!(listed(" (SUBSCRIBED RECURSIVEMATCH) \"\" (Work Work)"), work);
        assert_eq!(listed(" (REMOTE RECURSIVEMATCH SUBSCRIBED SUBSCRIBED) \"\" (Work INBOX)"), work);
        // a name below has to meet all of it
        assert_eq!(listed(" (SUBSCRIBED SPECIAL-USE RECURSIVEMATCH) \"\" W%"), "");
        assert_eq!(listed(" (SUBSCRIBED SPECIAL-USE) \"\" %"), "(\\HasNoChildren \\Subscribed \\Sent) \".\" Sent; ");
        // what only leads is no match, so it has no STATUS
        let mut cursor = Cursor::new(b" (SUBSCRIBED RECURSIVEMATCH) \"\" (Sent Work) RETURN (STATUS (MESSAGES))");
        let Ok(Some(Command::List(list))) = imap_proto::parse::command("LIST", &mut cursor) else { panic!() };
        let status: Vec<bool> = select(&world(), &list, Enabled::default()).iter().map(|line| line.rights.contains(Rights::READ)).collect();
        assert_eq!(status, [true, false]);
    }

    #[test]
    fn return_options_show_no_more_names_and_empty_patterns_none() {
        let gone = "\".\" Gone";
        assert!(!listed(" \"\" * RETURN (SUBSCRIBED CHILDREN SPECIAL-USE)").contains(gone));
        assert!(listed(" () \"\" Sent RETURN (SUBSCRIBED)").contains("\\Subscribed"));
        assert_eq!(listed(" \"\" \"\" RETURN (CHILDREN)"), "");
        assert_eq!(listed(" Work (\"\" .One)"), "(\\HasNoChildren) \".\" Work.One; ");
    }

    #[test]
    fn lsub_shows_levels_above_only_for_percent() {
        let lines = |pattern| String::from_utf8(lsub_lines(&world(), "", pattern, Enabled::default())).unwrap();
        assert_eq!(lines("%"), "* LSUB () \".\" Gone\r\n* LSUB () \".\" Sent\r\n* LSUB (\\Noselect) \".\" Work\r\n");
        assert!(lines("*").contains("* LSUB () \".\" Work.One\r\n"));
        assert!(!lines("*").contains("Noselect"));
    }
}
