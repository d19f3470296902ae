//! Removed messages that are kept (`mail.lazy_expunge_time`), in both layouts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::dovecot::was_run_as_nobody;
use crate::faults::child_under_strace;
use mailstore::{Account, Error, FlagSet, Flags, Gone, Keeping, Kept, Location, Mailbox, MailboxName, Settings, Store};

const WEEK: Keeping = Keeping { time: Duration::from_secs(7 * 86_400), limit: 0 };

struct World {
    temp: tempfile::TempDir,
    layout: &'static str,
    account: Arc<Account>,
}

impl World {
    fn new(layout: &'static str, keeping: Keeping) -> World {
        let temp = tempfile::tempdir().unwrap();
        let account = open(&temp.path().join("m"), layout, keeping);
        World { temp, layout, account }
    }

    /// The account as another process would have it.
    fn again(&self, keeping: Keeping) -> Arc<Account> {
        open(&self.root(), self.layout, keeping)
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("m")
    }

    fn attic(&self) -> PathBuf {
        self.root().join(if self.layout.is_empty() { "facteur.expunged" } else { "tmp/facteur.expunged" })
    }

    /// A mailbox with messages 1 to 3.
    fn fill(&self, mailbox: &str) -> Arc<Mailbox> {
        fill(&self.account, mailbox)
    }

    fn boxes(&self) -> Vec<String> {
        let names =
            std::fs::read_dir(self.attic()).map(|names| names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect());
        let mut names: Vec<String> = names.unwrap_or_default();
        names.retain(|name| name != "swept" && name != "gone");
        names.sort();
        names
    }

    /// So many days pass, for the attic.
    fn pass(&self, days: u64) {
        for name in self.boxes() {
            let (seconds, rest) = name.split_once('.').map_or((&*name, String::new()), |(seconds, rest)| (seconds, format!(".{rest}")));
            let earlier = seconds.parse::<u64>().unwrap() - days * 86_400;
            std::fs::rename(self.attic().join(&name), self.attic().join(format!("{earlier}{rest}"))).unwrap();
        }
        let _ = std::fs::remove_file(self.attic().join("swept"));
    }
}

fn open(root: &Path, layout: &str, keeping: Keeping) -> Arc<Account> {
    let location = Location::expand(&format!("maildir:{}{layout}", root.display()), "ann", None).unwrap();
    Store::new(Settings { keeping, ..Settings::default() }).account(&location).unwrap()
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn fill(account: &Arc<Account>, mailbox: &str) -> Arc<Mailbox> {
    if !account.exists(&name(mailbox)).unwrap() {
        account.create(&name(mailbox)).unwrap();
    }
    let mailbox = account.open(&name(mailbox)).unwrap();
    for n in 1..=3 {
        let mut incoming = mailbox.incoming(0).unwrap();
        incoming.write(format!("Subject: {n} of {}\r\n\r\nx\r\n", mailbox.name()).as_bytes()).unwrap();
        let flags = if n == 2 { Flags::SEEN | Flags::DELETED } else { Flags::NONE };
        let keywords = if n == 2 { vec![format!("$K{}", mailbox.name().as_str().len())] } else { Vec::new() };
        incoming.describe(FlagSet { flags, keywords }, Some(1_700_000_000 + n));
        mailbox.append(vec![incoming]).unwrap();
    }
    mailbox
}

/// What a client sees of each message, but for its UID.
fn seen(mailbox: &Mailbox) -> Vec<String> {
    mailbox.refresh().unwrap();
    let snapshot = mailbox.snapshot();
    let mut all: Vec<String> = snapshot
        .iter()
        .map(|message| {
            let text = String::from_utf8(mailbox.read(message.uid()).unwrap().read_all().unwrap().to_vec()).unwrap();
            let keywords: Vec<&str> = snapshot.keywords().names(message.keywords()).collect();
            let subject = text.lines().next().unwrap();
            format!("{subject} {:?} {keywords:?} {}", message.flags(), mailbox.internal_date(message).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// What is in the attic, by mailbox.
fn kept(account: &Account) -> Vec<String> {
    let mut all = Vec::new();
    for kept in account.expunged().unwrap() {
        for listed in kept.account.list().unwrap().into_iter().filter(|listed| listed.exists) {
            let mailbox = kept.account.open(&listed.name).unwrap();
            all.extend(seen(&mailbox).into_iter().map(|line| format!("{}: {line}", listed.name)));
        }
    }
    all.sort();
    all
}

/// As `facteur mailbox restore`.
fn restore(account: &Arc<Account>) -> mailstore::Result<()> {
    for kept in account.expunged()? {
        for listed in kept.account.list()?.into_iter().filter(|listed| listed.exists) {
            let from = kept.account.open(&listed.name)?;
            if from.snapshot().is_empty() {
                continue;
            }
            if !account.exists(&listed.name)? {
                account.create(&listed.name)?;
            }
            let uids: Vec<u32> = from.snapshot().iter().map(|message| message.uid()).collect();
            let to = account.open(&listed.name)?;
            let moved = from.move_with(&uids, &to, Gone::LeaveOut, Kept { dropped: Flags::DELETED, keywords: true })?;
            moved.error.map_or(Ok(()), Err)?;
        }
    }
    Ok(())
}

const LAYOUTS: [&str; 2] = ["", ":LAYOUT=fs"];

#[test]
fn removed_messages_come_back_as_they_were_but_for_deleted_and_uid() {
    for layout in LAYOUTS {
        let world = World::new(layout, WEEK);
        let mut wanted = Vec::new();
        for mailbox in ["INBOX", "A.B\u{e9}", "A"] {
            let mailbox = world.fill(mailbox);
            let before = seen(&mailbox);
            assert_eq!(mailbox.expunge(&[1, 2, 9]).unwrap(), [1, 2]);
            assert_eq!(seen(&mailbox).len(), 1);
            wanted.push((mailbox, before));
        }
        assert_eq!(world.account.list().unwrap().len(), 3, "{layout}: nothing of it is a mailbox");
        assert_eq!(kept(&world.again(WEEK)).len(), 6, "{layout}");
        restore(&world.account).unwrap();
        for (mailbox, before) in wanted {
            let without = Flags::SEEN | Flags::DELETED;
            let before: Vec<String> =
                before.iter().map(|line| line.replace(&format!("{without:?}"), &format!("{:?}", Flags::SEEN))).collect();
            assert_eq!(seen(&mailbox), before, "{layout} {}", mailbox.name());
            let uids: Vec<u32> = mailbox.snapshot().iter().map(|message| message.uid()).collect();
            assert_eq!(uids, [3, 4, 5]);
        }
        assert!(kept(&world.account).is_empty());
    }
}

#[test]
fn a_deleted_mailbox_comes_back_whole_and_those_below_stay() {
    for layout in LAYOUTS {
        let world = World::new(layout, WEEK);
        for mailbox in ["A", "A.B", "Empty"] {
            drop(world.fill(mailbox));
        }
        let empty = world.account.open(&name("Empty")).unwrap();
        empty.expunge(&[1, 2, 3]).unwrap();
        drop(empty);
        for mailbox in ["A", "Empty"] {
            world.account.delete(&name(mailbox)).unwrap();
        }
        assert_eq!(world.account.list().unwrap().into_iter().filter(|listed| listed.exists).count(), 2, "{layout}");
        assert_eq!(kept(&world.again(WEEK)).len(), 6, "{layout}");
        let when = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        for kept in world.account.expunged().unwrap() {
            for mailbox in ["A", "Empty"] {
                let Ok(mailbox) = kept.account.open(&name(mailbox)) else { continue };
                let removed = kept.removed_at(&mailbox, mailbox.snapshot().get(0).unwrap().uid()).unwrap();
                assert!((when - 600..=when + 1).contains(&removed), "{removed} {when}");
            }
        }
        restore(&world.account).unwrap();
        for mailbox in ["A", "A.B", "Empty"] {
            assert_eq!(seen(&world.account.open(&name(mailbox)).unwrap()).len(), 3, "{layout} {mailbox}");
        }
    }
}

#[test]
fn without_the_setting_nothing_is_kept() {
    let world = World::new("", Keeping::default());
    let inbox = world.fill("INBOX");
    inbox.expunge(&[1, 2, 3]).unwrap();
    drop(world.fill("A"));
    world.account.delete(&name("A")).unwrap();
    assert!(!world.attic().exists());
    assert!(world.account.expunged().unwrap().is_empty());
}

/// RFC 6851: they are somewhere else. What could not be moved, or not replaced, was never anybody's.
#[test]
fn moved_messages_were_not_removed() {
    let world = World::new("", WEEK);
    let (inbox, other) = (world.fill("INBOX"), world.fill("Other"));
    inbox.move_to(&[1, 2], &other, Gone::Refuse).unwrap();
    assert!(kept(&world.account).is_empty());
    // but what another message replaced was
    let mut incoming = other.incoming_instead(0, &inbox, 3).unwrap();
    incoming.write(b"Subject: new\r\n\r\n").unwrap();
    other.replace(incoming, &inbox, 3).unwrap();
    assert_eq!(kept(&world.account).len(), 1);
}

#[test]
fn they_do_not_count_in_the_quota_and_need_room_to_come_back() {
    for layout in LAYOUTS {
        let world = World::new(layout, WEEK);
        let inbox = world.fill("INBOX");
        world.account.set_quota_limits(0, 3);
        inbox.expunge(&[1, 2, 3]).unwrap();
        assert_eq!(world.account.quota().unwrap().messages, 0, "{layout}");
        assert_eq!(world.account.recount_quota().unwrap().messages, 0, "{layout}");
        drop(world.fill("Other"));
        assert!(matches!(restore(&world.account), Err(Error::OverQuota { .. })), "{layout}");
        assert_eq!(kept(&world.account).len(), 3);
        world.account.set_quota_limits(0, 6);
        restore(&world.account).unwrap();
        assert_eq!(world.account.quota().unwrap().messages, 6, "{layout}");
    }
}

#[test]
fn what_was_kept_long_enough_goes_when_the_account_is_used() {
    for layout in LAYOUTS {
        let world = World::new(layout, WEEK);
        world.fill("INBOX").expunge(&[1]).unwrap();
        drop(world.fill("A"));
        world.account.delete(&name("A")).unwrap();
        world.pass(7);
        // a day is kept until its last message is old enough
        let account = world.again(WEEK);
        assert_eq!(kept(&account).len(), 4, "{layout}");
        world.pass(1);
        let inbox = account.open(&MailboxName::inbox()).unwrap();
        inbox.expunge(&[2]).unwrap();
        assert_eq!(kept(&account).len(), 1, "{layout}");
        world.pass(9);
        drop(world.again(WEEK));
        assert!(world.boxes().is_empty(), "{layout}: {:?}", world.boxes());
    }
}

#[test]
fn an_attic_is_swept_also_when_the_setting_is_gone_and_by_hand() {
    let world = World::new("", WEEK);
    let inbox = world.fill("INBOX");
    inbox.expunge(&[1]).unwrap();
    assert_eq!(world.account.purge_expunged(false).unwrap(), 0);
    assert_eq!(kept(&world.account).len(), 1);
    assert!(world.account.purge_expunged(true).unwrap() >= 1);
    assert!(kept(&world.account).is_empty());
    // whoever removes messages just now goes on
    inbox.expunge(&[2]).unwrap();
    assert_eq!(kept(&world.account).len(), 1);
    world.pass(1);
    drop(world.again(Keeping::default()));
    assert!(world.boxes().is_empty());
}

#[test]
fn beyond_the_limit_the_oldest_go_first_then_what_is_removed_now() {
    let world = World::new("", Keeping { limit: 120, ..WEEK });
    let inbox = world.fill("INBOX");
    let size = inbox.disk_size(inbox.snapshot().get(0).unwrap()).unwrap();
    for mailbox in ["Old", "Older"] {
        drop(world.fill(mailbox));
        world.account.delete(&name(mailbox)).unwrap();
        world.pass(1);
    }
    assert!(size * 6 > 120 && size * 4 < 120, "{size}");
    inbox.expunge(&[1]).unwrap();
    let left = kept(&world.account);
    assert_eq!((left.len(), left.iter().any(|line| line.starts_with("Old:"))), (4, false), "{left:?}");
    // today alone has more than the limit
    for more in 0..3 {
        world.fill(&format!("M{more}")).expunge(&[1, 2, 3]).unwrap();
    }
    let today = kept(&world.account);
    assert!((6..=8).contains(&today.len()) && today.iter().all(|line| !line.starts_with("Older")), "{today:?}");
}

#[test]
fn child_deletes_a_mailbox_that_has_another_below() {
    let Some(root) = std::env::var_os("MAILSTORE_FAULTS_ROOT") else { return };
    let account = open(Path::new(&root), ":LAYOUT=fs", WEEK);
    println!("deleted {:?}", account.delete(&name("A")));
}

/// Where mailboxes lie in each other, one goes piece by piece.
#[test]
fn on_a_full_disk_and_after_a_crash_a_mailbox_that_has_another_below_is_deleted() {
    // the first three mkdirat are those of INBOX, then comes that of the crate; the first renameat2 takes `cur`
    for inject in ["mkdirat:error=ENOSPC:when=5+", "renameat2:error=ENOSPC:when=2+", "renameat2:signal=SIGKILL:when=2"] {
        let world = World::new(":LAYOUT=fs", WEEK);
        drop(world.fill("A"));
        drop(world.fill("A.B"));
        // so that there is an attic
        world.fill("INBOX").expunge(&[1]).unwrap();
        let inject = format!("inject={inject}");
        let Some(text) = child_under_strace(&world.root(), "attic::child_deletes_a_mailbox_that_has_another_below", &["-e", &inject])
        else {
            return;
        };
        let is_killed = inject.contains("SIGKILL");
        assert_eq!(text.contains("deleted Ok(())"), !is_killed, "{inject}: {text}");
        let account = world.again(WEEK);
        assert!(!account.exists(&name("A")).unwrap() && account.exists(&name("A.B")).unwrap(), "{inject}");
        let found = kept(&account);
        assert!(!is_killed || found.iter().any(|line| line.starts_with("A: Subject: 2")), "{inject}: {found:?}");
        restore(&account).unwrap();
        assert!(kept(&account).is_empty(), "{inject}");
        assert_eq!(seen(&account.open(&name("A.B")).unwrap()).len(), 3, "{inject}");
    }
}

/// Caches may be larger than what is in the quota.
#[test]
fn of_a_deleted_mailbox_nothing_is_kept_that_can_be_made_anew() {
    for (layout, below) in [("", false), (":LAYOUT=fs", false), (":LAYOUT=fs", true)] {
        let world = World::new(layout, WEEK);
        drop(world.fill("A"));
        if below {
            drop(world.fill("A.B"));
        }
        let folder = world.root().join(if layout.is_empty() { ".A" } else { "A" });
        for name in ["facteur.cache", "facteur.search", "facteur.index", "facteur.log"] {
            std::fs::write(folder.join(name), "x".repeat(100_000)).unwrap();
        }
        world.account.delete(&name("A")).unwrap();
        let kept_folder = world.attic().join(&world.boxes()[0]).join(".A");
        let names: Vec<String> =
            std::fs::read_dir(kept_folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(names.contains(&"dovecot-uidlist".to_owned()) && !names.iter().any(|name| name.starts_with("facteur.")), "{names:?}");
        assert_eq!(kept(&world.again(WEEK)).len(), 3, "{layout}");
    }
}

/// Whoever removes a message has the mailbox locked: a box of many messages goes at once, its files do not.
#[test]
fn nobody_waits_for_the_files_of_a_large_box() {
    for how in ["limit", "time"] {
        let world = World::new("", WEEK);
        drop(world.fill("Old"));
        world.account.delete(&name("Old")).unwrap();
        world.pass(if how == "time" { 30 } else { 1 });
        let cur = world.attic().join(&world.boxes()[0]).join(".Old/cur");
        for n in 0..2200 {
            std::fs::write(cur.join(format!("1.M{n}.host,S=100:2,")), "x").unwrap();
        }
        let files = || match std::fs::read_dir(world.attic().join("gone")) {
            Ok(mut boxes) => {
                boxes.next().map_or(0, |gone| std::fs::read_dir(gone.unwrap().path().join(".Old/cur")).map_or(0, Iterator::count))
            }
            Err(_) => 0,
        };
        let account = world.again(Keeping { limit: 10_000, ..WEEK });
        let inbox = fill(&account, "INBOX");
        inbox.expunge(&[1]).unwrap();
        let left = kept(&account);
        assert_eq!(left.len(), 1, "{how}: {left:?}");
        let before = files();
        assert!(before > 0, "{how}");
        inbox.expunge(&[2]).unwrap();
        assert!(files() < before, "{how}");
        (0..3).for_each(|_| drop(world.again(WEEK)));
        assert!(!world.attic().join("gone").exists(), "{how}: {}", files());
        assert_eq!(kept(&account).len(), 2, "{how}");
    }
}

/// What was brought back makes room: nothing else has to go for it.
#[test]
fn messages_that_were_brought_back_count_no_more() {
    let world = World::new("", WEEK);
    let inbox = world.fill("INBOX");
    let size = inbox.disk_size(inbox.snapshot().get(0).unwrap()).unwrap();
    drop(world.fill("Old"));
    world.account.delete(&name("Old")).unwrap();
    world.pass(1);
    inbox.expunge(&[1, 2, 3]).unwrap();
    drop(inbox);
    let account = world.again(Keeping { limit: size * 5, ..WEEK });
    // by hand, one day only
    for expunged in account.expunged().unwrap().into_iter().rev().take(1) {
        let from = expunged.account.open(&MailboxName::inbox()).unwrap();
        let uids: Vec<u32> = from.snapshot().iter().map(mailstore::Message::uid).collect();
        from.move_with(&uids, &account.open(&MailboxName::inbox()).unwrap(), Gone::LeaveOut, Kept { dropped: Flags::NONE, keywords: true })
            .unwrap();
    }
    account.open(&MailboxName::inbox()).unwrap().expunge(&[4]).unwrap();
    assert_eq!(kept(&account).iter().filter(|line| line.starts_with("Old:")).count(), 3, "{:?}", kept(&account));
}

#[test]
fn a_link_in_the_place_of_the_attic_leads_nowhere_and_messages_stay() {
    let world = World::new("", WEEK);
    let inbox = world.fill("INBOX");
    std::fs::create_dir(world.temp.path().join("outside")).unwrap();
    std::os::unix::fs::symlink(world.temp.path().join("outside"), world.attic()).unwrap();
    assert!(matches!(inbox.expunge(&[1]), Err(Error::Unsafe { .. })));
    assert_eq!(seen(&inbox).len(), 3);
    assert!(std::fs::read_dir(world.temp.path().join("outside")).unwrap().next().is_none());
}

/// The account that a child works on; nothing when the test runs by itself.
fn child() -> Option<Arc<Account>> {
    Some(open(Path::new(&std::env::var_os("MAILSTORE_FAULTS_ROOT")?), "", WEEK))
}

#[test]
fn child_removes_messages() {
    let Some(account) = child() else { return };
    let inbox = account.open(&MailboxName::inbox()).unwrap();
    let removed = inbox.expunge(&[1, 2, 3]);
    println!("removed {removed:?}");
}

#[test]
fn child_restores_messages() {
    let Some(account) = child() else { return };
    println!("restored {:?}", restore(&account).is_ok());
}

/// Who deletes on a full disk wants room.
#[test]
fn on_a_full_disk_old_ones_make_room_and_messages_can_be_removed_all_the_same() {
    // the first three mkdirat are those of INBOX
    for call in ["renameat2:error=ENOSPC", "mkdirat:error=ENOSPC:when=4+"] {
        let world = World::new("", WEEK);
        drop(world.fill("Old"));
        world.account.delete(&name("Old")).unwrap();
        world.pass(3);
        drop(world.fill("INBOX"));
        let inject = ["-e", &format!("inject={call}")];
        let Some(text) = child_under_strace(&world.root(), "attic::child_removes_messages", &inject) else { return };
        assert!(text.contains("removed Ok([1, 2, 3])"), "{call}: {text}");
        assert!(kept(&world.again(WEEK)).is_empty(), "{call}");
    }
}

/// Somebody has to look at it; until then nothing is lost.
#[test]
fn where_messages_cannot_be_kept_for_another_reason_they_stay_where_they_are() {
    let world = World::new("", WEEK);
    drop(world.fill("INBOX"));
    let inject = ["-e", "inject=renameat2:error=EIO:when=2+"];
    let Some(text) = child_under_strace(&world.root(), "attic::child_removes_messages", &inject) else { return };
    assert!(text.contains("removed Err("), "{text}");
    let account = world.again(WEEK);
    assert_eq!(seen(&account.open(&MailboxName::inbox()).unwrap()).len() + kept(&account).len(), 3, "{text}");
}

/// At whatever step it stops, each message is in its mailbox or in the attic, or in both.
#[test]
fn a_crash_loses_no_message_on_either_way() {
    for (test, calls) in [("child_removes_messages", ["renameat2", "mkdirat"]), ("child_restores_messages", ["linkat", "unlinkat"])] {
        // the first three directories that are made are those of INBOX
        let times = |call: &str| if call == "mkdirat" { 4..=8 } else { 1..=3 };
        for (call, when) in calls.iter().flat_map(|call| times(call).map(move |when| (call, when))) {
            let world = World::new("", WEEK);
            let inbox = world.fill("INBOX");
            if test == "child_restores_messages" {
                inbox.expunge(&[1, 2, 3]).unwrap();
            }
            drop(inbox);
            let inject = ["-e", &format!("inject={call}:signal=SIGKILL:when={when}")];
            if child_under_strace(&world.root(), &format!("attic::{test}"), &inject).is_none() {
                return;
            }
            let account = world.again(WEEK);
            let mut all = seen(&account.open(&MailboxName::inbox()).unwrap());
            all.extend(kept(&account).iter().map(|line| line.trim_start_matches("INBOX: ").to_owned()));
            let mut subjects: Vec<&str> = all.iter().map(|line| &line[..10]).collect();
            subjects.sort_unstable();
            subjects.dedup();
            assert_eq!(subjects, ["Subject: 1", "Subject: 2", "Subject: 3"], "{test} {call} {when}");
            restore(&account).unwrap();
            assert!(kept(&account).is_empty(), "{test} {call} {when}");
        }
    }
}

/// Dovecot shows none of it as a mailbox, and clears nothing of it away.
#[test]
fn a_real_dovecot_sees_no_attic() {
    if was_run_as_nobody("attic::a_real_dovecot_sees_no_attic") {
        return;
    }
    if Command::new("doveadm").arg("--version").output().is_err() {
        println!("skipped: dovecot is not installed");
        return;
    }
    for layout in LAYOUTS {
        let world = World::new(layout, WEEK);
        let inbox = world.fill("INBOX");
        inbox.expunge(&[1, 2]).unwrap();
        drop(world.fill("A"));
        world.account.delete(&name("A")).unwrap();
        drop(inbox);
        let base = world.temp.path();
        let config = base.join("dovecot.conf");
        std::fs::create_dir_all(base.join("run")).unwrap();
        let text = format!(
            "base_dir={0}/run\nstate_dir={0}/run\nlog_path={0}/log\nmail_location=maildir:{0}/m{layout}\nssl=no\nprotocols=\nfirst_valid_uid=0\n\
             first_valid_gid=0\nnamespace inbox {{\n inbox=yes\n separator=.\n}}\n",
            base.display()
        );
        std::fs::write(&config, text).unwrap();
        let doveadm = |arguments: &[&str]| {
            let output =
                Command::new("doveadm").arg("-c").arg(&config).args(arguments).env("USER", "ann").env("HOME", base).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(doveadm(&["mailbox", "list"]).trim(), "INBOX", "{layout}");
        assert!(doveadm(&["-f", "flow", "mailbox", "status", "messages", "INBOX"]).contains("messages=1"));
        doveadm(&["force-resync", "INBOX"]);
        doveadm(&["expunge", "mailbox", "INBOX", "all"]);
        assert_eq!(kept(&world.again(WEEK)).len(), 5, "{layout}");
        restore(&world.again(WEEK)).unwrap();
        assert!(doveadm(&["-f", "flow", "mailbox", "status", "messages", "*"]).contains("A messages=3"), "{layout}");
    }
}
