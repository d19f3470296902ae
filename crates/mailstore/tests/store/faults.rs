//! What the system refuses at one place: a child of this very program does the work, under strace, which injects the error.

use std::os::unix::fs::MetadataExt;

use crate::common::{Home, inbox, uids};
use mailstore::{Account, FlagMode, Flags, Gone, Location, MailboxName, Settings, Store};

/// Runs the test `name` of this file as a child with `inject`, and gives what it printed; nothing where there is no strace.
fn under_strace(home: &Home, name: &str, inject: &[&str]) -> Option<String> {
    child_under_strace(&home.path(""), &format!("faults::{name}"), inject)
}

/// The same for a test of another file.
pub fn child_under_strace(root: &std::path::Path, name: &str, inject: &[&str]) -> Option<String> {
    let output = std::process::Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null"])
        .args(inject)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("MAILSTORE_FAULTS_ROOT", root)
        .output();
    let Ok(output) = output else {
        println!("skipped: strace is not installed");
        return None;
    };
    Some(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// The account that a child works on; nothing when the test runs by itself.
fn account() -> Option<std::sync::Arc<Account>> {
    let root = std::env::var_os("MAILSTORE_FAULTS_ROOT")?;
    Some(Store::new(Settings::default()).account(&Location::maildir(root).unwrap()).unwrap())
}

#[test]
fn child_opens_a_mailbox() {
    let Some(account) = account() else { return };
    let mailbox = account.open(&MailboxName::inbox()).unwrap();
    mailbox.refresh().unwrap();
    println!("found {:?}", uids(&mailbox.snapshot()));
}

/// An empty mailbox would make clients delete their copies.
#[test]
fn on_a_read_only_disk_the_messages_of_the_uidlist_are_there() {
    for list in ["sound", "damaged", "old"] {
        let home = Home::new();
        let mailbox = inbox(&home);
        for _ in 0..3 {
            home.append(&mailbox, "x\r\n", Flags::SEEN);
        }
        home.write("new/3000000000.new.host", "new\n");
        let text = home.read("dovecot-uidlist");
        match list {
            "damaged" => home.write("dovecot-uidlist", &format!("{text}garbage\n")),
            "old" => {
                let names = mailbox.snapshot().iter().map(|m| format!("{} {}\n", m.uid(), m.base_name())).collect::<String>();
                home.write("dovecot-uidlist", &format!("1 {} 4\n{names}", mailbox.snapshot().uid_validity()));
            }
            _ => {}
        }
        let inject = ["-P", "dovecot-uidlist.lock", "-e", "inject=openat:error=EROFS"];
        let Some(text) = under_strace(&home, "child_opens_a_mailbox", &inject) else { return };
        assert!(text.contains("found [1, 2, 3]"), "{list}: {text}");
    }
}

#[test]
fn child_gives_a_uid_that_cannot_be_synced() {
    let Some(account) = account() else { return };
    let mailbox = account.open(&MailboxName::inbox()).unwrap();
    let list = || std::fs::metadata(account.root().join("dovecot-uidlist")).unwrap().ino();
    // so that a new list has another number
    let before = std::fs::File::open(account.root().join("dovecot-uidlist")).unwrap().metadata().unwrap().ino();
    let _held = std::fs::File::open(account.root().join("dovecot-uidlist")).unwrap();
    std::fs::write(account.root().join("new/3000000000.new.host"), "new\n").unwrap();
    let failed = mailbox.refresh().is_err();
    println!("failed {failed}, shown {:?}", uids(&mailbox.snapshot()));
    mailbox.refresh().unwrap();
    println!("then {:?}, replaced {}", uids(&mailbox.snapshot()), before != list());
}

/// The line is in the file for whoever reads it, but may never reach the disk: after a crash its UID would be given to another message.
#[test]
fn lines_of_the_uidlist_whose_sync_failed_are_not_believed() {
    let home = Home::new();
    let mailbox = inbox(&home);
    for _ in 0..3 {
        home.append(&mailbox, "x\r\n", Flags::SEEN);
    }
    let inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1"];
    let Some(text) = under_strace(&home, "child_gives_a_uid_that_cannot_be_synced", &inject) else { return };
    assert!(text.contains("failed true, shown [1, 2, 3]"), "{text}");
    assert!(text.contains("then [1, 2, 3, 4], replaced true"), "{text}");
}

#[test]
fn child_appends_a_message() {
    let Some(account) = account() else { return };
    let mailbox = account.open(&MailboxName::inbox()).unwrap();
    let mut incoming = mailbox.incoming(0).unwrap();
    incoming.write(b"x\r\n").unwrap();
    incoming.describe(Flags::SEEN.into(), None);
    mailbox.append(vec![incoming]).unwrap();
}

/// A file system with a journal writes name, line and bytes in one commit only when all are there before the first sync; and each is synced, for
/// all other file systems.
#[test]
fn a_message_is_named_and_listed_before_anything_is_synced() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.append(&mailbox, "x\r\n", Flags::SEEN);
    drop(mailbox);
    let trace = home.beside("trace");
    let calls = ["-y", "-e", "trace=renameat2,fsync,fdatasync,sync_file_range", "-o", trace.to_str().unwrap()];
    if under_strace(&home, "child_appends_a_message", &calls).is_none() {
        return;
    }
    let text = std::fs::read_to_string(&trace).unwrap();
    let steps: Vec<&str> = text
        .lines()
        .filter_map(|line| match line {
            line if line.contains("sync_file_range(") => Some("bytes written"),
            line if line.contains("renameat2(") && line.contains("/cur>") => Some("named"),
            line if line.contains("fdatasync(") && line.contains("dovecot-uidlist>") => Some("line synced"),
            line if line.contains("fsync(") && line.contains("/cur>") => Some("name synced"),
            line if line.contains("fsync(") && line.contains("/cur/") => Some("bytes synced"),
            line if line.contains("sync(") => Some("another sync"),
            _ => None,
        })
        .collect();
    assert_eq!(steps, ["bytes written", "named", "line synced", "bytes synced", "name synced"], "{text}");
}

#[test]
fn child_moves_three_messages() {
    let Some(account) = account() else { return };
    account.set_quota_limits(1000, 0);
    let open = |name: &str| account.open(&MailboxName::parse(name).unwrap()).unwrap();
    let (mailbox, other) = (open("INBOX"), open("Other"));
    let before = account.quota().unwrap();
    let moved = mailbox.move_to(&[1, 2, 3], &other, Gone::Refuse).unwrap();
    println!("moved {:?} to {:?}, error {}", moved.added.sources, moved.added.uids, moved.error.is_some());
    println!("here {:?}, there {:?}", uids(&mailbox.snapshot()), uids(&other.snapshot()));
    println!("used as before {}, as counted {}", before == account.quota().unwrap(), before == account.recount_quota().unwrap());
}

/// RFC 6851 §3.3: a message is in one mailbox of the two.
#[test]
fn what_cannot_be_removed_here_is_taken_back_there() {
    let home = Home::new();
    let mailbox = home.mailbox("INBOX");
    home.mailbox("Other");
    for _ in 0..3 {
        home.append(&mailbox, "x\r\n", Flags::SEEN);
    }
    let stuck = format!("{}:2,S", mailbox.snapshot().get(1).unwrap().base_name());
    let inject = ["-P", &stuck, "-e", "inject=unlinkat:error=EIO"];
    let Some(text) = under_strace(&home, "child_moves_three_messages", &inject) else { return };
    assert!(text.contains("moved [1] to [1], error true"), "{text}");
    assert!(text.contains("here [2, 3], there [1]"), "{text}");
    assert!(text.contains("used as before true, as counted true"), "{text}");
    assert_eq!((home.count("cur"), home.count(".Other/cur")), (2, 1));
}

#[test]
fn child_replaces_a_message() {
    let Some(account) = account() else { return };
    let mailbox = account.open(&MailboxName::inbox()).unwrap();
    let used = account.quota().unwrap().bytes;
    account.set_quota_limits(used, 2);
    let incoming = |text: &str| {
        let mut incoming = mailbox.incoming_instead(text.len() as u64, &mailbox, 1)?;
        incoming.write(text.as_bytes())?;
        Ok::<_, mailstore::Error>(incoming)
    };
    let before = account.quota().unwrap();
    let larger = incoming("more than there is room for\r\n").err().map(|error| error.to_string());
    let failed = mailbox.replace(incoming("y\r\n").unwrap(), &mailbox, 1).is_err();
    println!("larger {}, failed {failed}, now {:?}", larger.is_some(), uids(&mailbox.snapshot()));
    println!("used as before {}, as counted {}", before == account.quota().unwrap(), before == account.recount_quota().unwrap());
}

/// RFC 8508 §3.4: only what a message is larger by needs room; what cannot be removed is not replaced.
#[test]
fn a_message_that_cannot_be_removed_is_not_replaced() {
    for (stuck, want) in [(false, "larger true, failed false, now [2, 3]"), (true, "larger true, failed true, now [1, 2]")] {
        let home = Home::new();
        let mailbox = inbox(&home);
        for _ in 0..2 {
            home.append(&mailbox, "x\r\n", Flags::SEEN);
        }
        let name = format!("{}:2,S", mailbox.snapshot().get(0).unwrap().base_name());
        let never = format!("{name}-");
        let inject = ["-P", if stuck { &name } else { &never }, "-e", "inject=unlinkat:error=EIO"];
        let Some(text) = under_strace(&home, "child_replaces_a_message", &inject) else { return };
        assert!(text.contains(want) && text.contains("used as before true, as counted true"), "{text}");
    }
}

#[test]
fn child_marks_two_messages() {
    let Some(account) = account() else { return };
    let mailbox = account.open(&MailboxName::inbox()).unwrap();
    let stored = mailbox.store_flags(&[1, 2], FlagMode::Add, &Flags::SEEN.into(), None).unwrap();
    let snapshot = mailbox.snapshot();
    println!("done {:?}, lasting {}, highest {}", stored.done, snapshot.has_modseqs(), snapshot.highest_modseq());
}

fn three_messages() -> Home {
    let home = Home::new();
    let mailbox = inbox(&home);
    for _ in 0..3 {
        home.append(&mailbox, "x\r\n", Flags::FLAGGED);
    }
    home
}

fn seen(home: &Home) -> Vec<u32> {
    let snapshot = inbox(&home.again()).snapshot();
    snapshot.iter().filter(|message| message.flags().contains(Flags::SEEN)).map(|message| message.uid()).collect()
}

/// Killed before each of its renames, and before each write to the log: flags are there or not as the log says, files follow, and no MODSEQ
/// stands for two states.
#[test]
fn a_store_that_is_killed_is_whole_or_nothing() {
    for (calls, count, path) in
        [("renameat,renameat2", 2, None), ("pwrite64", 2, Some("facteur.log")), ("fdatasync", 1, Some("facteur.log"))]
    {
        for when in 1..=count {
            let home = three_messages();
            let before = inbox(&home.again()).snapshot().highest_modseq();
            let log = home.path("facteur.log");
            let filter: Vec<&str> = path.iter().flat_map(|_| ["-P", log.to_str().unwrap()]).collect();
            let inject = format!("inject={calls}:signal=KILL:when={when}");
            let all: Vec<&str> = filter.into_iter().chain(["-e", &inject]).collect();
            let Some(text) = under_strace(&home, "child_marks_two_messages", &all) else { return };
            assert!(!text.contains("done"), "{calls} {when}: {text}");
            let found = seen(&home);
            assert!(found.is_empty() || found == [1, 2], "{calls} {when}: {found:?}");
            if path.is_none() {
                assert_eq!(found, [1, 2], "durable before the first rename");
            }
            let after = inbox(&home.again()).snapshot();
            assert_eq!(after.highest_modseq() > before, !found.is_empty(), "{calls} {when}");
            let named = home.names("cur").iter().filter(|name| name.ends_with(":2,FS")).count();
            assert_eq!(named, found.len(), "{calls} {when}");
        }
    }
}

/// What says that files have their names is written behind the renames, nothing in the log is overwritten, and where the file system does not keep
/// that order (this one says that it is a btrfs) the names are synced first.
#[test]
fn names_are_on_the_disk_before_the_log_says_that_they_are() {
    for (kind, synced) in [("53ef000000000000", false), ("3e68239100000000", true)] {
        let home = three_messages();
        let trace = home.beside("trace");
        let poke = format!("inject=fstatfs:poke_exit=@arg2={kind}");
        let calls = ["-y", "-e", "trace=fstatfs,renameat,renameat2,fsync,fdatasync,pwrite64", "-e", &poke, "-o", trace.to_str().unwrap()];
        if under_strace(&home, "child_marks_two_messages", &calls).is_none() {
            return;
        }
        let text = std::fs::read_to_string(&trace).unwrap();
        let mut end = 0;
        let steps = text.lines().filter_map(|line| match line {
            line if line.contains("pwrite64(") && line.contains("/facteur.log>") => {
                let offset: u64 = line.rsplit_once(") = ")?.0.rsplit(", ").next()?.parse().ok()?;
                assert!(offset > end, "{text}");
                end = offset;
                Some("written")
            }
            line if line.contains("fdatasync(") && line.contains("/facteur.log>") => Some("synced"),
            line if line.contains("renameat") && line.contains("/cur>") => Some("renamed"),
            line if line.contains("fsync(") && line.contains("/cur>") => Some("names synced"),
            _ => None,
        });
        let steps: Vec<&str> = steps.collect();
        let before = ["written", "synced", "renamed", "renamed"];
        let after: &[&str] = if synced { &["names synced", "written"] } else { &["written"] };
        assert_eq!(steps, [&before[..], after].concat(), "{text}");
    }
}

/// A full disk: flags are set all the same, and have their MODSEQ when there is room again.
#[test]
fn without_room_for_the_log_flags_can_be_set() {
    let home = three_messages();
    let before = inbox(&home.again()).snapshot().highest_modseq();
    let log = home.path("facteur.log");
    let inject = ["-P", log.to_str().unwrap(), "-e", "inject=pwrite64:error=ENOSPC"];
    let Some(text) = under_strace(&home, "child_marks_two_messages", &inject) else { return };
    assert!(text.contains("done [1, 2], lasting false"), "{text}");
    let snapshot = inbox(&home.again()).snapshot();
    assert_eq!(seen(&home), [1, 2]);
    let modseqs: Vec<bool> = snapshot.iter().map(|message| message.modseq() > before).collect();
    assert_eq!((modseqs, snapshot.has_modseqs()), (vec![true, true, false], true));
}

/// What is synced in the log counts only when the log's name is on the disk as well, which whoever made it may have left to the system.
#[test]
fn a_log_that_may_have_no_name_after_a_crash_is_not_relied_on() {
    let home = three_messages();
    let Some(text) = under_strace(&home, "child_marks_two_messages", &["-e", "inject=fsync:error=EIO"]) else { return };
    assert!(text.contains("done [1, 2], lasting false"), "{text}");
    assert_eq!(seen(&home), [1, 2]);
}

#[test]
fn child_appends() {
    let Some(account) = account() else { return };
    let mailbox = account.open(&MailboxName::inbox()).unwrap();
    let mut incoming = mailbox.incoming(3).unwrap();
    incoming.write(b"x\r\n").unwrap();
    mailbox.append(vec![incoming]).unwrap();
}

/// Where the file system does not keep order (this one says that it is a btrfs), or the call for it is not there.
#[test]
fn a_message_has_no_name_before_its_bytes_are_on_the_disk() {
    for inject in ["inject=fstatfs:poke_exit=@arg2=3e68239100000000", "inject=sync_file_range:error=ENOSYS"] {
        let home = Home::new();
        drop(inbox(&home));
        let all = ["-e", inject, "-e", "inject=fsync:signal=KILL:when=1"];
        let Some(text) = under_strace(&home, "child_appends", &all) else { return };
        assert_eq!((home.count("tmp"), home.count("new"), home.count("cur")), (1, 0, 0), "{inject}: {text}");
    }
}

#[test]
fn child_comes_back_after_mail_came() {
    let Some(root) = std::env::var_os("MAILSTORE_FAULTS_ROOT").map(std::path::PathBuf::from) else { return };
    let store = Store::new(Settings::default());
    let _recent = store.keep_mailboxes(1 << 20, std::time::Duration::from_secs(3600));
    let account = store.account(&Location::maildir(root.clone()).unwrap()).unwrap();
    let open = || account.open(&MailboxName::inbox()).unwrap();
    for _ in 0..3 {
        open();
    }
    std::fs::write(root.join("new/1.host"), "new\n").unwrap();
    println!("found {:?}", uids(&open().snapshot()));
}

/// Of what another host does (here nothing is watched, and the file system says that it is NFS) the kernel tells nothing.
#[test]
fn mail_that_another_host_delivered_is_seen() {
    let home = Home::new();
    home.append(&inbox(&home), "x\r\n", Flags::SEEN);
    let all = ["-e", "inject=fstatfs:poke_exit=@arg2=6969000000000000", "-e", "inject=inotify_add_watch:retval=1"];
    let Some(text) = under_strace(&home, "child_comes_back_after_mail_came", &all) else { return };
    assert!(text.contains("found [1, 2]"), "{text}");
}

/// What a failed sync left of the log nobody knows: it is given up.
#[test]
fn a_log_whose_sync_failed_is_made_anew() {
    let home = three_messages();
    let before = inbox(&home.again()).snapshot().highest_modseq();
    let log = home.path("facteur.log");
    let inject = ["-P", log.to_str().unwrap(), "-e", "inject=fdatasync:error=EIO:when=1"];
    let Some(text) = under_strace(&home, "child_marks_two_messages", &inject) else { return };
    assert!(text.contains("done [1, 2], lasting true"), "{text}");
    assert_eq!(seen(&home), [1, 2]);
    let snapshot = inbox(&home.again()).snapshot();
    assert!(snapshot.iter().all(|message| message.modseq() > before));
}

#[test]
fn child_restores_an_inbox() {
    let Some(account) = account() else { return };
    let list = std::fs::read(account.root().join("../list")).unwrap();
    let mut restoring = account.restore(&MailboxName::inbox(), &list[..]).unwrap();
    for number in 1..=3 {
        // the second is still there
        restoring.message(number != 3, &format!("{number}.b.host"), &b"restored\n"[..], std::time::SystemTime::now()).unwrap();
    }
    println!("finished {}", restoring.finish(true).unwrap());
}

/// Killed at each step: the INBOX is the one of before, or the one of the backup with what came since, when it is opened next.
#[test]
fn an_inbox_that_is_half_restored_is_so_as_a_whole_when_somebody_comes() {
    let text = "3 V1234567 N9 G3085f01b7f11094c501100008c4a11c1\n1 :1.b.host\n5 :2.b.host\n7 :3.b.host\n";
    for calls in ["renameat,renameat2", "unlink,unlinkat"] {
        let mut seen = (false, false);
        for when in 1.. {
            let home = Home::new();
            home.account();
            for name in ["cur/1.a.host:2,S", "new/2.b.host", "cur/4.a.host:2,F"] {
                home.write(name, "old\n");
            }
            inbox(&home).refresh().unwrap();
            std::fs::write(home.path("../list"), text).unwrap();
            let inject = format!("inject={calls}:signal=KILL:when={when}");
            let Some(output) = under_strace(&home, "child_restores_an_inbox", &["-e", &inject]) else { return };
            home.write("new/9.late.host", "late\n");
            let mailbox = inbox(&home.again());
            let snapshot = mailbox.snapshot();
            let texts: Vec<String> = snapshot
                .iter()
                .map(|m| String::from_utf8(mailbox.read(m.uid()).unwrap().read_all().unwrap().to_vec()).unwrap().trim().to_owned())
                .collect();
            let is_restored = texts == ["restored", "restored", "restored", "late"];
            assert!(is_restored || texts == ["old", "old", "old", "late"], "{calls} {when}: {texts:?}");
            if is_restored {
                assert_eq!((snapshot.uid_validity(), &uids(&snapshot)[..3]), (1_234_567, &[1, 5, 7][..]), "{calls} {when}");
            }
            assert!(!home.exists("..inbox"), "{calls} {when}");
            seen = (seen.0 || !is_restored, seen.1 || is_restored);
            if output.contains("finished 3") {
                break;
            }
        }
        assert!(seen.1 && (seen.0 || calls.starts_with("unlink")));
    }
}
