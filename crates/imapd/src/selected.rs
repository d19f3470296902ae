//! The mailbox a session has open: its numbering, and what to tell about changes.

use crate::answer::Answer;
use crate::context::Contexts;
use crate::fetch::binary::Progress;
use crate::place::forbidden;
use imap_proto::sequence::write_set;
use imap_proto::{Section, SequenceSet, encode};
use mailstore::{Changes, Expunges, Flags, KeywordBits, MailboxName, Message, Rights, Snapshot, View};
use parking_lot::Mutex;
use std::collections::HashMap;
use tokio::sync::watch;

/// An open mailbox.
pub struct Selected {
    pub name: MailboxName,
    pub view: View,
    pub read_only: bool,
    /// The client speaks RFC 9051: `\Recent` and RECENT are nothing to it (App. E 12), and it always wants the UID (21).
    pub rev2: bool,
    /// The client knows messages by their UIDs only (RFC 9586).
    pub uid_only: bool,
    /// What the client may do here (RFC 4314).
    pub rights: Rights,
    /// Wakes IDLE.
    pub changes: watch::Receiver<u64>,
    /// None of it where there are no MODSEQs (RFC 7162 §3.2.3).
    pub aware: Aware,
    /// `NOMODSEQ` was told when it was opened (RFC 7162 §3.1.2.2).
    pub no_modseq: bool,
    /// Expunges, or more, may have been held back and are still to be told.
    held: bool,
    /// What the client wants to hear of.
    pub wants: Wants,
    /// UIDs that the last SEARCH with SAVE found, ascending (RFC 5182 §2.1).
    pub saved: Vec<u32>,
    /// Searches that are kept up to date.
    pub contexts: Contexts,
    /// Where the part begins of which a piece was fetched last, and its length: clients fetch large parts in many pieces.
    pub part: Option<(u32, Section, u64, u64)>,
    /// The same for a part that is decoded.
    pub decoding: Mutex<Option<Progress>>,
}

/// What the client said it understands (RFC 7162 §3.1, §3.2.3); for the rest of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aware {
    /// CONDSTORE: FETCH responses that it did not ask for have UID and MODSEQ.
    pub modseqs: bool,
    /// QRESYNC: VANISHED instead of EXPUNGE.
    pub vanished: bool,
}

/// What a client wants to hear of in its open mailbox beside the results of its commands: all, until it says otherwise (RFC 5465 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    pub messages: bool,
    pub flags: bool,
    /// Flags come with the UID (RFC 5465 §5.1).
    pub uids: bool,
}

impl Default for Wants {
    fn default() -> Wants {
        Wants { messages: true, flags: true, uids: false }
    }
}

/// Flags and keywords the client knows of messages by UID, from the answers of the command at work.
pub type Told = HashMap<u32, (Flags, KeywordBits)>;

/// A message of a command: its number in this session, and its UID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub number: u32,
    pub uid: u32,
}

/// Leaves of what a command means the newest, as many as one command works on (0: any number). Gives the response code that says so when there were
/// more: the client goes on below the UID in it (RFC 9738).
pub fn limit<T>(meant: &mut Vec<T>, most: u32, uid: impl Fn(&T) -> u32) -> Option<String> {
    let more = meant.len().checked_sub(most as usize).filter(|more| *more > 0 && most > 0)?;
    meant.drain(..more);
    meant.first().map(|oldest| format!("MESSAGELIMIT {most} {}", uid(oldest)))
}

impl Selected {
    pub fn new(name: MailboxName, view: View, read_only: bool, aware: Aware) -> Selected {
        let changes = view.mailbox().changes();
        Selected { changes, ..Selected::glance(name, view, read_only, aware) }
    }

    /// The same for a mailbox that is looked at once and that nobody waits for.
    pub fn glance(name: MailboxName, view: View, read_only: bool, aware: Aware) -> Selected {
        let changes = watch::channel(0).1;
        let no_modseq = !view.snapshot().has_modseqs();
        Selected {
            name,
            view,
            read_only,
            rev2: false,
            uid_only: false,
            rights: Rights::ALL,
            changes,
            aware: if no_modseq { Aware::default() } else { aware },
            no_modseq,
            held: false,
            wants: Wants::default(),
            saved: Vec::new(),
            contexts: Contexts::default(),
            part: None,
            decoding: Mutex::default(),
        }
    }

    /// Is there something to tell, as far as this process knows? No system call.
    pub fn is_stale(&self) -> bool {
        self.held || self.view.is_stale() || self.view.mailbox().is_deleted() || self.contexts.are_due()
    }

    /// Brings the numbering up to date, as far as the client wants that. Blocking.
    pub fn sync(&mut self, expunges: Expunges) -> mailstore::Result<Changes> {
        self.sync_all(if self.wants.messages { expunges } else { Expunges::Freeze })
    }

    /// The same, whatever the client wants: after what it did itself.
    pub fn sync_all(&mut self, expunges: Expunges) -> mailstore::Result<Changes> {
        self.held = expunges != Expunges::Report;
        let changes = self.view.sync(expunges)?;
        self.contexts.note(&changes, self.view.snapshot());
        Ok(changes)
    }

    /// Commands about MODSEQs where there are none (RFC 7162 §3.1.2.2).
    pub fn needs_modseqs(&self) -> Result<(), Answer> {
        if self.no_modseq { Err(Answer::bad("This mailbox has no mod-sequences")) } else { Ok(()) }
    }

    /// `* OK [HIGHESTMODSEQ n]`, or `NOMODSEQ` (RFC 7162 §3.1.2).
    pub fn write_highest_modseq(&self, out: &mut Vec<u8>) {
        if self.no_modseq {
            return encode::status(out, "*", imap_proto::Status::Ok, "NOMODSEQ", "Mod-sequences cannot be kept now");
        }
        let code = format!("HIGHESTMODSEQ {}", self.view.highest_modseq());
        encode::status(out, "*", imap_proto::Status::Ok, &code, "Highest mod-sequence");
    }

    /// The messages a client means, ascending. A number that no message has is an error (RFC 3501 §9 seq-number); a UID
    /// that no message has is nothing (§6.4.8).
    pub fn resolve(&self, set: &SequenceSet, uid: bool) -> Result<Vec<Target>, Answer> {
        let snapshot = self.view.snapshot();
        let count = snapshot.len() as u32;
        let mut targets = Vec::new();
        if set.is_saved() {
            // What was expunged since is not in the mailbox and so not in the list either (RFC 5182 §2.1).
            let messages = self.saved.iter().filter_map(|uid| {
                let at = snapshot.first_from(*uid);
                snapshot.get(at).filter(|message| message.uid() == *uid).map(|_| Target { number: at as u32 + 1, uid: *uid })
            });
            targets.extend(messages);
        } else if uid {
            let largest = snapshot.get(snapshot.len().wrapping_sub(1)).map_or(0, Message::uid);
            for (first, last) in set.ranges(largest) {
                let from = snapshot.first_from(first);
                let in_range = snapshot.iter_from(from).take_while(|message| message.uid() <= last);
                targets.extend(in_range.zip(from as u32 + 1..).map(|(message, number)| Target { number, uid: message.uid() }));
            }
        } else {
            if count == 0 || set.largest() > count {
                return Err(Answer::bad("No such message number"));
            }
            for (first, last) in set.ranges(count) {
                let in_range = snapshot.iter_from(first as usize - 1).take((last - first + 1) as usize);
                targets.extend(in_range.zip(first..).map(|(message, number)| Target { number, uid: message.uid() }));
            }
        }
        Ok(targets)
    }

    /// Writes untagged responses for `changes`. Flags that are as `told` are not told again; where they are otherwise by now, also because
    /// somebody took back what was told, they are, and `told` becomes what the client knows.
    pub fn write_changes(&mut self, out: &mut Vec<u8>, changes: &Changes, told: &mut Told, uid: bool) {
        self.contexts.say(out);
        // RFC 3501 §7.4.1: one by one, highest first, so that each number is true when it is read.
        let by_uid = self.aware.vanished || self.uid_only;
        let by_number = if by_uid { &[][..] } else { &changes.expunged };
        if by_uid && !changes.expunged_uids.is_empty() {
            // RFC 7162 §3.2.10.2
            out.extend_from_slice(b"* VANISHED ");
            write_set(out, changes.expunged_uids.iter().rev().copied());
            out.extend_from_slice(b"\r\n");
        }
        for number in by_number {
            out.extend_from_slice(b"* ");
            encode::number(out, u64::from(*number));
            out.extend_from_slice(b" EXPUNGE\r\n");
        }
        if changes.keywords && self.wants.flags {
            self.write_flags(out);
        }
        if let Some(exists) = changes.exists {
            write_count(out, exists, "EXISTS");
        }
        if let Some(recent) = changes.recent.filter(|_| !self.rev2) {
            write_count(out, recent, "RECENT");
        }
        if !self.wants.flags {
            return;
        }
        let uid = uid || self.wants.uids;
        // What was told need not be in `changes`: those compare with what the numbering had, which told flags may differ from.
        let held = |uid: &u32| self.view.is_expunged(*uid);
        let known =
            told.keys().filter(|uid| !held(uid)).filter_map(|uid| self.view.snapshot().find(*uid)).map(|(index, _)| index as u32 + 1);
        if self.aware.modseqs {
            let moved = changes.modseqs.iter().filter_map(|number| Some((*number, self.view.message(*number)?)));
            moved.for_each(|(number, message)| self.write_fetch_modseq(out, number, message));
        }
        let mut numbers: Vec<u32> = changes.flags.iter().copied().chain(known).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let Some(message) = self.view.message(number) else { continue };
            let now = (message.flags(), message.keywords());
            if told.get(&message.uid()) != Some(&now) {
                self.write_fetch_flags(out, number, message, uid);
                told.insert(message.uid(), now);
            }
        }
    }

    /// `* n FETCH (FLAGS (...))`, with the UID in answers to UID commands; with UID and MODSEQ for those who want that (RFC 7162 §3.2.4).
    pub fn write_fetch_flags(&self, out: &mut Vec<u8>, number: u32, message: &Message, uid: bool) {
        self.write_fetch_start(out, Target { number, uid: message.uid() });
        if (uid || self.rev2 || self.aware.modseqs) && !self.uid_only {
            out.extend_from_slice(b"UID ");
            encode::number(out, u64::from(message.uid()));
            out.push(b' ');
        }
        out.extend_from_slice(b"FLAGS ");
        self.write_message_flags(out, message);
        if self.aware.modseqs {
            out.push(b' ');
            write_modseq(out, message);
        }
        out.extend_from_slice(b")\r\n");
    }

    /// `* n FETCH (UID u MODSEQ (m))`: flags the client knows.
    pub fn write_fetch_modseq(&self, out: &mut Vec<u8>, number: u32, message: &Message) {
        self.write_fetch_start(out, Target { number, uid: message.uid() });
        if !self.uid_only {
            out.extend_from_slice(b"UID ");
            encode::number(out, u64::from(message.uid()));
            out.push(b' ');
        }
        write_modseq(out, message);
        out.extend_from_slice(b")\r\n");
    }

    /// `* n FETCH (`, or for who knows UIDs only `* uid UIDFETCH (` (RFC 9586).
    pub fn write_fetch_start(&self, out: &mut Vec<u8>, target: Target) {
        out.extend_from_slice(b"* ");
        encode::number(out, u64::from(if self.uid_only { target.uid } else { target.number }));
        out.extend_from_slice(if self.uid_only { b" UIDFETCH (" } else { b" FETCH (" });
    }

    /// `(\Seen $Work)`
    pub fn write_message_flags(&self, out: &mut Vec<u8>, message: &Message) {
        let system = flag_names(message.flags());
        let recent = (!self.rev2 && self.view.is_recent(message.uid())).then_some("\\Recent");
        let keywords = self.view.snapshot().keywords().names(message.keywords());
        encode::flags(out, system.chain(recent).chain(keywords));
    }

    /// `* FLAGS` and `* OK [PERMANENTFLAGS]` (RFC 3501 §7.1, §7.2.6).
    pub fn write_flags(&self, out: &mut Vec<u8>) {
        let snapshot: &Snapshot = self.view.snapshot();
        out.extend_from_slice(b"* FLAGS ");
        encode::flags(out, SYSTEM.map(|(_, name)| name).into_iter().chain(snapshot.keywords().iter()));
        out.extend_from_slice(b"\r\n* OK [PERMANENTFLAGS ");
        if self.read_only {
            out.extend_from_slice(b"()] Read-only mailbox\r\n");
        } else {
            // RFC 4314 §5.1.1: what the rights do not let the client change is not permanent.
            let forbidden = forbidden(self.rights);
            let system = SYSTEM.into_iter().filter(|(flag, _)| !forbidden.contains(*flag)).map(|(_, name)| name);
            let free = self.rights.contains(Rights::WRITE);
            let more = (free && snapshot.keywords().has_room()).then_some("\\*");
            encode::flags(out, system.chain(snapshot.keywords().iter().filter(|_| free)).chain(more));
            out.extend_from_slice(b"] Flags permitted\r\n");
        }
    }
}

/// The system flags with their names, in the order clients are used to.
pub const SYSTEM: [(Flags, &str); 5] = [
    (Flags::ANSWERED, "\\Answered"),
    (Flags::FLAGGED, "\\Flagged"),
    (Flags::DELETED, "\\Deleted"),
    (Flags::SEEN, "\\Seen"),
    (Flags::DRAFT, "\\Draft"),
];

fn flag_names<'a>(flags: Flags) -> impl Iterator<Item = &'a str> {
    SYSTEM.into_iter().filter(move |(flag, _)| flags.contains(*flag)).map(|(_, name)| name)
}

/// The client's flags as the store takes them.
pub fn flag_set(flags: Vec<imap_proto::Flag>) -> mailstore::FlagSet {
    let mut set = mailstore::FlagSet::default();
    for flag in flags {
        match flag {
            imap_proto::Flag::Keyword(name) => set.keywords.push(name),
            system => set.flags = set.flags | system_flag(&system),
        }
    }
    set
}

/// A system flag as the store has it; none for a keyword.
pub fn system_flag(flag: &imap_proto::Flag) -> Flags {
    SYSTEM.iter().find(|(_, name)| *name == flag.name()).map_or(Flags::NONE, |(flag, _)| *flag)
}

/// RFC 7162 §7: `fetch-mod-resp = "MODSEQ" SP "(" permsg-modsequence ")"`
pub fn write_modseq(out: &mut Vec<u8>, message: &Message) {
    out.extend_from_slice(b"MODSEQ (");
    encode::number(out, message.modseq());
    out.push(b')');
}

/// `* n WORD`
pub fn write_count(out: &mut Vec<u8>, count: u32, word: &str) {
    out.extend_from_slice(b"* ");
    encode::number(out, u64::from(count));
    out.push(b' ');
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailstore::{Access, FlagMode, Location, Mailbox, Settings, Store};
    use std::sync::Arc;

    /// A mailbox of three messages, and a session's look at it.
    fn watched() -> (tempfile::TempDir, Arc<Mailbox>, Selected) {
        let temp = tempfile::tempdir().unwrap();
        let account = Store::new(Settings::default()).account(&Location::maildir(temp.path().join("m")).unwrap()).unwrap();
        let mailbox = account.open(&MailboxName::inbox()).unwrap();
        for _ in 0..3 {
            let mut incoming = mailbox.incoming(0).unwrap();
            incoming.write(b"x\r\n").unwrap();
            mailbox.append(vec![incoming]).unwrap();
        }
        let view = mailbox.view(Access::ReadWrite).unwrap();
        let selected = Selected::new(MailboxName::inbox(), view, false, Aware::default());
        (temp, mailbox, selected)
    }

    fn change(mailbox: &Mailbox, uids: &[u32], mode: FlagMode) {
        mailbox.store_flags(uids, mode, &Flags::SEEN.into(), None).unwrap();
    }

    fn tell(selected: &mut Selected, told: &mut Told, expunges: Expunges) -> String {
        let changes = selected.sync(expunges).unwrap();
        let mut out = Vec::new();
        selected.write_changes(&mut out, &changes, told, false);
        String::from_utf8(out).unwrap()
    }

    /// As a FETCH that sets `\Seen`: its answer says what the mailbox has, before the numbering has it.
    fn told_now(mailbox: &Mailbox, uids: &[u32]) -> Told {
        let snapshot = mailbox.snapshot();
        uids.iter().filter_map(|uid| snapshot.find(*uid)).map(|(_, m)| (m.uid(), (m.flags(), m.keywords()))).collect()
    }

    #[test]
    fn what_another_session_takes_back_is_told() {
        let (_temp, mailbox, mut selected) = watched();
        change(&mailbox, &[1, 2, 3], FlagMode::Add);
        let mut told = told_now(&mailbox, &[1, 2, 3]);
        change(&mailbox, &[2], FlagMode::Remove);
        assert_eq!(tell(&mut selected, &mut told, Expunges::Hold), "* 2 FETCH (FLAGS (\\Recent))\r\n");
        // once is enough
        change(&mailbox, &[3], FlagMode::Remove);
        assert_eq!(tell(&mut selected, &mut told, Expunges::Hold), "* 3 FETCH (FLAGS (\\Recent))\r\n");
    }

    #[test]
    fn of_a_message_that_is_gone_nothing_is_told() {
        let (_temp, mailbox, mut selected) = watched();
        change(&mailbox, &[1, 2], FlagMode::Add);
        let mut told = told_now(&mailbox, &[1, 2]);
        mailbox.expunge(&[1]).unwrap();
        assert_eq!(tell(&mut selected, &mut told, Expunges::Hold), "");
        assert_eq!(tell(&mut selected, &mut told, Expunges::Report), "* 1 EXPUNGE\r\n* 2 RECENT\r\n");
    }
}
