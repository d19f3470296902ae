use std::path::Path;
use std::time::Instant;

use super::*;
use crate::account::Account;
use crate::flags::{FlagMode, FlagSet};
use crate::location::Location;
use crate::mailbox::Mailbox;
use crate::name::MailboxName;
use crate::store::{Settings, Store};

const COUNT: u32 = 120;

struct Home {
    temp: tempfile::TempDir,
}

impl Home {
    /// A mailbox with messages of all kinds.
    fn new() -> Home {
        let home = Home { temp: tempfile::tempdir().unwrap() };
        let (_account, mailbox) = home.process();
        for number in 0..COUNT {
            let mut incoming = mailbox.incoming(0).unwrap();
            incoming.write(format!("Subject: {number}\r\n\r\nx\r\n").as_bytes()).unwrap();
            let flags = if number % 3 == 0 { Flags::NONE } else { Flags::SEEN };
            incoming.describe(FlagSet { flags, keywords: vec!["$Work".into(); number as usize % 2] }, None);
            mailbox.append(vec![incoming]).unwrap();
        }
        std::fs::write(home.path("cur/1.odd.host"), "odd\n").unwrap();
        std::fs::write(home.path("cur/2.odd.host:2,TS,x"), "odd\n").unwrap();
        mailbox.refresh().unwrap();
        mailbox.copy(&[3], &mailbox, crate::Gone::Refuse).unwrap();
        mailbox.expunge(&[5, 6]).unwrap();
        home
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.temp.path().join("m").join(below)
    }

    /// The Maildir as a process of its own sees it.
    fn process(&self) -> (Arc<Account>, Arc<Mailbox>) {
        let account = Store::new(Settings::default()).account(&Location::maildir(self.temp.path().join("m")).unwrap()).unwrap();
        let mailbox = account.open(&MailboxName::inbox()).unwrap();
        (account, mailbox)
    }

    /// The same without the index.
    fn without(&self) -> Vec<String> {
        std::fs::rename(self.path(FILE), self.path("aside")).unwrap();
        let shown = shown(&self.process().1);
        std::fs::rename(self.path("aside"), self.path(FILE)).unwrap();
        shown
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path(FILE)).unwrap()
    }
}

fn save(mailbox: &Mailbox) {
    let begun = Instant::now();
    // a time just passed may hide a change
    while let Err(error) = mailbox.save() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All that a session is shown, and what the next change is made from.
fn shown(mailbox: &Mailbox) -> Vec<String> {
    let snapshot = mailbox.snapshot();
    let facts = format!(
        "{} {} {} {} {:?} {}",
        snapshot.uid_validity,
        snapshot.uid_next,
        snapshot.highest_modseq,
        snapshot.lasting,
        snapshot.keywords,
        mailbox.mailbox_id().unwrap()
    );
    let message = |message: &Message| {
        format!("{} {:?} {} {} {:x}", message.uid(), message.info, message.file_name(), message.modseq, message.email_id())
    };
    std::iter::once(facts).chain(snapshot.iter().map(message)).collect()
}

#[test]
fn what_is_written_reads_back() {
    let home = Home::new();
    let (_account, mailbox) = home.process();
    // looked up meanwhile, and not to be looked up again
    let first = mailbox.snapshot().get(0).unwrap().clone();
    let date = mailbox.internal_date(&first).unwrap();
    save(&mailbox);
    let known = read(&mailbox.folder().unwrap().dir).unwrap().unwrap();
    assert_eq!(known.snapshot.get(0).unwrap().known_internal_date(), Some(date));
    assert_eq!(known.snapshot.get(1).unwrap().known_size(), mailbox.snapshot().get(1).unwrap().known_size());
    let (_other, again) = home.process();
    assert_eq!(shown(&again), shown(&mailbox));
    assert_eq!(shown(&again), home.without());
    // nothing is read but the index, so nothing is written either
    let before = std::fs::metadata(home.path(FILE)).unwrap().modified().unwrap();
    save(&again);
    assert_eq!(std::fs::metadata(home.path(FILE)).unwrap().modified().unwrap(), before);
}

/// Whatever was done since by whoever, with and without the index the mailbox is the same.
#[test]
fn an_old_index_does_no_harm() {
    type Change = fn(&Home, &Path);
    let changes: [(&str, Change); 9] = [
        ("a delivery", |_, root| std::fs::write(root.join("new/9000000000.new.host"), "new\n").unwrap()),
        ("a message removed by another program", |home, root| {
            let name = home.process().1.snapshot().get(7).unwrap().file_name();
            let cur = root.join("cur").join(&name);
            std::fs::remove_file(if cur.exists() { cur } else { root.join("new").join(&name) }).unwrap();
        }),
        ("flags set by another program", |home, root| {
            let message = home.process().1.snapshot().iter().find(|message| !message.in_new).unwrap().clone();
            let cur = root.join("cur");
            std::fs::rename(cur.join(message.file_name()), cur.join(format!("{}:2,F", message.base_name()))).unwrap();
        }),
        ("flags set by one of ours", |home, _| {
            home.process().1.store_flags(&[8, 9], FlagMode::Add, &Flags::FLAGGED.into(), None).unwrap();
        }),
        ("a keyword", |home, _| {
            let flags = FlagSet { flags: Flags::NONE, keywords: vec!["$New".into()] };
            home.process().1.store_flags(&[8], FlagMode::Add, &flags, None).unwrap();
        }),
        ("removal by one of ours", |home, _| drop(home.process().1.expunge(&[10, 11]).unwrap())),
        ("another uidlist", |_, root| {
            let text = std::fs::read_to_string(root.join(uidlist::FILE)).unwrap();
            let (header, lines) = text.split_once('\n').unwrap();
            let validity = header.split(' ').find(|word| word.starts_with('V')).unwrap();
            std::fs::write(root.join(uidlist::FILE), format!("{}\n{lines}", header.replace(validity, "V77"))).unwrap();
        }),
        ("no uidlist", |_, root| std::fs::remove_file(root.join(uidlist::FILE)).unwrap()),
        ("no log", |_, root| std::fs::remove_file(root.join(changelog::FILE)).unwrap()),
    ];
    for (what, change) in changes {
        let home = Home::new();
        save(&home.process().1);
        let old = home.bytes();
        change(&home, &home.path(""));
        let without = home.without();
        std::fs::write(home.path(FILE), &old).unwrap();
        let (_account, mailbox) = home.process();
        assert_eq!(shown(&mailbox), without, "{what}");
        mailbox.refresh().unwrap();
        assert_eq!(shown(&mailbox), without, "{what}");
    }
}

#[test]
fn a_damaged_index_is_none() {
    let home = Home::new();
    save(&home.process().1);
    let bytes = home.bytes();
    assert!(decode(&bytes).is_some());
    for at in (0..HEADER_BYTES + FACT_BYTES + 64).chain((HEADER_BYTES + FACT_BYTES + 64..bytes.len()).step_by(61)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        assert!(decode(&damaged).is_none(), "{at}");
    }
    for cut in (0..bytes.len()).step_by(37) {
        assert!(decode(&bytes[..cut]).is_none(), "{cut}");
    }
    let want = home.without();
    std::fs::write(home.path(FILE), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(shown(&home.process().1), want);
}

/// One with right sums, by somebody who may write there.
#[test]
fn names_in_an_index_do_not_lead_out_of_the_mailbox() {
    let home = Home::new();
    let (_account, mailbox) = home.process();
    let folder = mailbox.folder().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let known = mailbox.known(&folder).unwrap().unwrap();
    assert!(decode(&encode(&known)).is_some());
    for name in ["../../etc/passwd", ".hidden", "", "a\nb", "a/b"] {
        let mut snapshot = known.snapshot.emptied();
        let mut message = known.snapshot.get(0).unwrap().clone();
        message.core = Arc::new(Core::known(1, name, "", 1, 1, 1));
        snapshot.push(message);
        let bytes = encode(&Known { snapshot, fields: Default::default(), guid: known.guid.clone(), ..known });
        assert!(decode(&bytes).is_none(), "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn bytes_of_others_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
        decode(&bytes);
        let mut state = State::default();
        add_messages(&mut state, Reader(&bytes), "some texts");
    }
}

/// As rsync(1) puts a backup back: under the same UIDVALIDITY messages that the index knows to be gone. Nobody keeps mailboxes open here.
#[test]
fn a_mailbox_that_got_another_uidlist_has_the_uids_of_that() {
    let home = Home::new();
    let (_account, mailbox) = home.process();
    let all: Vec<u32> = mailbox.snapshot().iter().map(Message::uid).collect();
    let list = std::fs::read(home.path("dovecot-uidlist")).unwrap();
    let file = home.path(&format!("cur/{}", mailbox.snapshot().get(1).unwrap().file_name()));
    let text = std::fs::read(&file).unwrap();
    mailbox.expunge(&[all[1]]).unwrap();
    save(&mailbox);
    drop(mailbox);
    std::fs::write(home.path("restored"), list).unwrap();
    std::fs::rename(home.path("restored"), home.path("dovecot-uidlist")).unwrap();
    std::fs::write(file, text).unwrap();
    let (_other, again) = home.process();
    assert_eq!(again.snapshot().iter().map(Message::uid).collect::<Vec<_>>(), all);
}

/// UIDs that were given since the index was written are not given again.
#[test]
fn without_a_uidlist_the_index_is_not_believed() {
    let home = Home::new();
    let (_account, mailbox) = home.process();
    save(&mailbox);
    let validity = mailbox.snapshot().uid_validity();
    drop(mailbox);
    std::fs::remove_file(home.path("dovecot-uidlist")).unwrap();
    assert_ne!(home.process().1.snapshot().uid_validity(), validity);
}
