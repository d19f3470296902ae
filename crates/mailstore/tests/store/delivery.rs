//! Filing messages: names, repeated deliveries, rounds, quota, full disks, and a stop at every file-system step.

use std::process::Command;

use crate::common::{Home, inbox};
use mail_types::QueueId;
use mailstore::{Delivery, Error, FlagMode, Flags, Identity, Letter, Location, MailboxName, Settings, Store};

const BODY: &[u8] = b"Subject: hello\r\n\r\nDear Ann,\r\nbye\r\n";

fn letter(delivery: &Delivery, root: &std::path::Path, sequence: u32, repeated: bool) -> Letter {
    Letter {
        location: Location::maildir(root).unwrap(),
        mailbox: MailboxName::inbox(),
        quota_bytes: 0,
        quota_messages: 0,
        recipient: "ann@example.org".into(),
        identity: Some(Identity { id: QueueId::from_parts(1_700_000_000, 1, sequence), seconds: 1_700_000_000, repeated }),
        header: b"Return-Path: <bob@example.net>\r\nDelivered-To: ann@example.org\r\n".to_vec(),
        body: delivery.body(&[BODY]),
    }
}

fn engine() -> Delivery {
    Delivery::new(Store::new(Settings::default()))
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_message_is_filed_under_its_identity_with_true_sizes() {
    let home = Home::new();
    let delivery = engine();
    let delivered = wait(delivery.deliver(letter(&delivery, &home.path(""), 1, false))).unwrap();
    let id = QueueId::from_parts(1_700_000_000, 1, 1);
    assert!(delivered.file.starts_with(&format!("1700000000.{}_", id.as_str())), "{}", delivered.file);
    let mailbox = inbox(&home);
    let read = mailbox.read(1).unwrap();
    let want = [&b"Return-Path: <bob@example.net>\r\nDelivered-To: ann@example.org\r\n"[..], BODY].concat();
    assert_eq!(*read.read_all().unwrap(), *want);
    assert_eq!((read.size().unwrap(), delivered.size), (want.len() as u64, read.disk_size()));
    assert!(delivered.file.ends_with(&format!(",S={},W={}", read.disk_size(), want.len())));
    assert_eq!(home.count("tmp"), 0);
}

#[test]
fn a_repeated_delivery_files_nothing_twice_wherever_the_client_put_it() {
    let home = Home::new();
    let delivery = engine();
    let first = wait(delivery.deliver(letter(&delivery, &home.path(""), 1, false))).unwrap();
    let again = wait(delivery.deliver(letter(&delivery, &home.path(""), 1, true))).unwrap();
    assert!(again.duplicate && again.file == first.file);
    let mailbox = inbox(&home);
    mailbox.store_flags(&[1], FlagMode::Add, &Flags::SEEN.into(), None).unwrap();
    assert!(wait(delivery.deliver(letter(&delivery, &home.path(""), 1, true))).unwrap().duplicate);
    // another message, another recipient, and one that was expunged are filed
    assert!(!wait(delivery.deliver(letter(&delivery, &home.path(""), 2, true))).unwrap().duplicate);
    let other = Letter { recipient: "ann+x@example.org".into(), ..letter(&delivery, &home.path(""), 1, true) };
    assert!(!wait(delivery.deliver(other)).unwrap().duplicate);
    assert_eq!(home.count("new") + home.count("cur"), 3);
    // marked as new although it is there: the name is taken, so it is recognised even so
    assert!(wait(delivery.deliver(letter(&delivery, &home.path(""), 2, false))).unwrap().duplicate);
    assert_eq!((home.count("new") + home.count("cur"), home.count("tmp")), (3, 0));
}

#[test]
fn a_file_cut_by_a_crash_is_replaced() {
    let home = Home::new();
    let delivery = engine();
    let first = wait(delivery.deliver(letter(&delivery, &home.path(""), 1, false))).unwrap();
    std::fs::File::options().write(true).open(home.path("new").join(&first.file)).unwrap().set_len(0).unwrap();
    assert!(!wait(delivery.deliver(letter(&delivery, &home.path(""), 1, true))).unwrap().duplicate);
    assert_eq!(inbox(&home).read(1).unwrap().disk_size(), first.size);
}

#[test]
fn a_thousand_deliveries_at_once_all_arrive_whole_while_a_session_files_them_away() {
    let home = Home::new();
    let delivery = std::sync::Arc::new(engine());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let mailbox = inbox(&home);
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..1000 {
            let (delivery, root) = (delivery.clone(), home.path(""));
            tasks.spawn(async move { delivery.deliver(letter(&delivery, &root, n, n % 7 == 0)).await });
        }
        let mut moved = 0;
        while let Some(done) = tasks.join_next().await {
            assert!(!done.unwrap().unwrap().duplicate);
            moved += 1;
            if moved % 50 == 0 {
                mailbox.refresh().unwrap();
                let uids: Vec<u32> = crate::common::uids(&mailbox.snapshot());
                mailbox.store_flags(&uids[uids.len() / 2..], FlagMode::Add, &Flags::SEEN.into(), None).unwrap();
            }
        }
    });
    mailbox.refresh().unwrap();
    let snapshot = mailbox.snapshot();
    assert_eq!((snapshot.len(), home.count("tmp")), (1000, 0));
    for message in snapshot.iter() {
        assert!(mailbox.read(message.uid()).unwrap().read_all().unwrap().ends_with(BODY));
    }
}

#[test]
fn mailboxes_and_parents_are_made_and_details_get_their_own() {
    let home = Home::new();
    let delivery = engine();
    let root = home.path("deep/er/Maildir");
    wait(delivery.deliver(Letter { mailbox: MailboxName::parse("Lists.Rust").unwrap(), ..letter(&delivery, &root, 1, false) })).unwrap();
    assert!(root.join(".Lists.Rust/maildirfolder").exists());
    assert_eq!(std::fs::read_dir(root.join(".Lists.Rust/new")).unwrap().count(), 1);
    // removed and asked for again
    std::fs::remove_dir_all(&root).unwrap();
    wait(delivery.deliver(letter(&delivery, &root, 2, false))).unwrap();
    assert_eq!(std::fs::read_dir(root.join("new")).unwrap().count(), 1);
}

#[test]
fn over_quota_leaves_nothing_and_fifty_at_once_into_room_for_ten_give_ten() {
    let home = Home::new();
    let delivery = std::sync::Arc::new(engine());
    let first = wait(delivery.deliver(letter(&delivery, &home.path(""), 0, false))).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let fitting = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 1..=50 {
            let (delivery, root) = (delivery.clone(), home.path(""));
            let quota_bytes = first.size * 11;
            tasks.spawn(async move { delivery.deliver(Letter { quota_bytes, ..letter(&delivery, &root, n, false) }).await });
        }
        let results = tasks.join_all().await;
        assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(Error::OverQuota { .. }))));
        results.iter().filter(|result| result.is_ok()).count()
    });
    assert_eq!((fitting, home.count("new"), home.count("tmp")), (10, 11, 0));
    assert!(matches!(
        wait(delivery.large(&Location::maildir(home.path("")).unwrap(), &MailboxName::inbox(), (1, 0), 500)),
        Err(Error::OverQuota { .. })
    ));
}

#[test]
fn a_large_message_is_streamed_and_copied_for_every_recipient() {
    let home = Home::new();
    let delivery = engine();
    let identity = Some(Identity { id: QueueId::from_parts(1_700_000_000, 1, 9), seconds: 1_700_000_000, repeated: false });
    let (one, two) = (Location::maildir(home.path("")).unwrap(), Location::maildir(home.beside("two")).unwrap());
    wait(async {
        let mut first = delivery.large(&one, &MailboxName::inbox(), (0, 0), 0).await.unwrap();
        let mut second = delivery.large(&two, &MailboxName::inbox(), (0, 0), 0).await.unwrap();
        first.address(identity, "ann@example.org", b"Delivered-To: ann@example.org\r\n").unwrap();
        second.address(identity, "bo@example.org", b"Delivered-To: bo@example.org\r\n").unwrap();
        for _ in 0..20_000 {
            first.write(BODY).unwrap();
        }
        first.copy_to(&mut second).unwrap();
        delivery.deliver_large(second).await.unwrap();
        delivery.deliver_large(first).await.unwrap();
        drop(delivery.large(&one, &MailboxName::inbox(), (0, 0), 0).await.unwrap());
    });
    for (root, name) in [(home.path(""), "ann"), (home.beside("two"), "bo")] {
        let store = Store::new(Settings::default());
        let mailbox = store.account(&Location::maildir(&root).unwrap()).unwrap().open(&MailboxName::inbox()).unwrap();
        let message = mailbox.read(1).unwrap();
        let want = [format!("Delivered-To: {name}@example.org\r\n").into_bytes(), BODY.repeat(20_000)].concat();
        assert!(*message.read_all().unwrap() == *want);
        assert_eq!(message.size().unwrap(), want.len() as u64);
        assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    }
}

#[test]
fn a_maildir_replaced_by_a_link_is_refused() {
    let home = Home::new();
    let delivery = engine();
    wait(delivery.deliver(letter(&delivery, &home.path(""), 1, false))).unwrap();
    std::fs::create_dir(home.beside("outside")).unwrap();
    home.rename("new", "new-away");
    std::os::unix::fs::symlink(home.beside("outside"), home.path("new")).unwrap();
    assert!(matches!(wait(delivery.deliver(letter(&delivery, &home.path(""), 2, false))), Err(Error::Unsafe { .. })));
    assert_eq!(std::fs::read_dir(home.beside("outside")).unwrap().count(), 0);
}

/// The child of the crash tests: delivers to the Maildir in the environment; does nothing when run as a test.
#[test]
fn child_delivers() {
    let Ok(root) = std::env::var("MAILSTORE_CRASH_ROOT") else { return };
    let count: u32 = std::env::var("MAILSTORE_CRASH_COUNT").unwrap().parse().unwrap();
    let delivery = std::sync::Arc::new(engine());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..count {
            let (delivery, root) = (delivery.clone(), root.clone());
            tasks.spawn(async move { (n, delivery.deliver(letter(&delivery, root.as_ref(), n, true)).await) });
        }
        while let Some(done) = tasks.join_next().await {
            let (n, result) = done.unwrap();
            println!("{}", if result.is_ok() { format!("delivered {n}") } else { format!("failed {n}") });
        }
    });
}

/// Runs the child under strace with `inject`; returns what it said it delivered, and whether it ended by itself.
fn deliver_under_strace(root: &std::path::Path, count: u32, inject: &str) -> Option<(Vec<u32>, bool)> {
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=none", "-e", inject])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "delivery::child_delivers", "--nocapture", "--test-threads=1"])
        .env("MAILSTORE_CRASH_ROOT", root)
        .env("MAILSTORE_CRASH_COUNT", count.to_string())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let delivered = text.lines().filter_map(|line| line.split("delivered ").nth(1)?.trim().parse().ok()).collect();
    Some((delivered, output.status.success()))
}

/// Every message that was said to be delivered is there, whole, once; then all are delivered again, and each is there once.
fn check_and_repeat(root: &std::path::Path, count: u32, delivered: &[u32], context: &str) {
    let store = Store::new(Settings::default());
    let seen = |store: &std::sync::Arc<Store>| -> Vec<String> {
        let mailbox = store.account(&Location::maildir(root).unwrap()).unwrap().open(&MailboxName::inbox()).unwrap();
        let snapshot = mailbox.snapshot();
        for message in snapshot.iter() {
            assert!(mailbox.read(message.uid()).unwrap().read_all().unwrap().ends_with(BODY), "{context}: a message is cut");
        }
        snapshot.iter().map(|message| message.base_name().to_owned()).collect()
    };
    let names = seen(&store);
    for n in delivered {
        let id = QueueId::from_parts(1_700_000_000, 1, *n);
        assert_eq!(names.iter().filter(|name| name.contains(id.as_str())).count(), 1, "{context}: message {n} was promised");
    }
    let delivery = Delivery::new(store.clone());
    for n in 0..count {
        wait(delivery.deliver(letter(&delivery, root, n, true))).unwrap();
    }
    store.account(&Location::maildir(root).unwrap()).unwrap().open(&MailboxName::inbox()).unwrap().refresh().unwrap();
    assert_eq!(seen(&Store::new(Settings::default())).len(), count as usize, "{context}: each once");
}

#[test]
fn a_kill_at_any_file_system_step_loses_nothing_and_doubles_nothing() {
    for count in [1, 4] {
        for call in ["openat", "writev", "fsync", "syncfs", "renameat2", "mkdirat"] {
            for when in 1..40 {
                let temp = tempfile::tempdir().unwrap();
                let root = temp.path().join("Maildir");
                let inject = format!("inject={call}:signal=KILL:when={when}");
                let Some((delivered, ended)) = deliver_under_strace(&root, count, &inject) else {
                    println!("skipped: strace is not installed");
                    return;
                };
                check_and_repeat(&root, count, &delivered, &format!("{count} messages, {inject}"));
                if ended {
                    break;
                }
            }
        }
    }
}

#[test]
fn errors_of_the_disk_are_temporary_and_leave_nothing_behind() {
    for count in [1, 4] {
        for (call, error) in [("writev", "ENOSPC"), ("fsync", "EIO"), ("syncfs", "EIO"), ("renameat2", "EDQUOT"), ("close", "EIO")] {
            for when in 1..8 {
                let temp = tempfile::tempdir().unwrap();
                let root = temp.path().join("Maildir");
                let inject = format!("inject={call}:error={error}:when={when}");
                let Some((delivered, _)) = deliver_under_strace(&root, count, &inject) else {
                    println!("skipped: strace is not installed");
                    return;
                };
                let left = |part: &str| std::fs::read_dir(root.join(part)).map_or(0, Iterator::count);
                assert_eq!((left("new"), left("tmp")), (delivered.len(), 0), "{count} messages, {inject}");
                check_and_repeat(&root, count, &delivered, &inject);
            }
        }
    }
}
