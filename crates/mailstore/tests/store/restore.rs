//! A mailbox is put in the place of another, and the program is killed.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use crate::faults::child_under_strace;
use mailstore::{Account, FlagSet, Flags, Location, Mailbox, MailboxName, Settings, Store};

fn open(root: &Path) -> Arc<Account> {
    Store::new(Settings::default()).account(&Location::maildir(root).unwrap()).unwrap()
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn fill(account: &Arc<Account>, mailbox: &str) {
    account.create(&name(mailbox)).unwrap();
    let mailbox = account.open(&name(mailbox)).unwrap();
    for n in 1..=3 {
        let mut incoming = mailbox.incoming(0).unwrap();
        incoming.write(format!("{n} of {}\r\n", mailbox.name()).as_bytes()).unwrap();
        incoming.describe(FlagSet { flags: if n == 2 { Flags::SEEN } else { Flags::NONE }, keywords: Vec::new() }, None);
        mailbox.append(vec![incoming]).unwrap();
    }
}

fn texts(mailbox: &Mailbox) -> Vec<String> {
    let text = |uid| String::from_utf8(mailbox.read(uid).unwrap().read_all().unwrap().to_vec()).unwrap();
    let mut all: Vec<String> = mailbox.snapshot().iter().map(|message| text(message.uid()).trim_end().to_owned()).collect();
    all.sort();
    all
}

fn hidden(account: &Account) -> Vec<String> {
    let names = std::fs::read_dir(account.root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("..")).collect()
}

#[test]
fn child_restores_a_mailbox() {
    let Some(root) = std::env::var_os("MAILSTORE_FAULTS_ROOT") else { return };
    let account = open(Path::new(&root));
    let from = account.open(&name("Backup")).unwrap();
    let dump = from.dump().unwrap();
    let mut restoring = account.restore(&name("Box"), &dump.files[0].1[..]).unwrap();
    for (message, path) in dump.messages() {
        let (file, _, modified) = from.raw(message.uid()).unwrap();
        let (part, file_name) = path.split_once('/').unwrap();
        restoring.message(part == "new", file_name, file, modified).unwrap();
    }
    println!("restored {:?}", restoring.finish(true).is_ok());
}

/// Whoever delivers has the mailbox open since before, and is told that it worked.
#[test]
fn mail_that_comes_while_a_mailbox_is_replaced_outlives_a_crash() {
    let steps = |call: &'static str, most: u32| (1..=most).map(move |when| format!("{call}:signal=SIGKILL:when={when}"));
    let mut done = [0, 0];
    for inject in steps("renameat2", 6).chain(steps("unlinkat", 9)).chain(steps("mkdirat", 8)) {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("m");
        let account = open(&root);
        ["Backup", "Box"].iter().for_each(|mailbox| fill(&account, mailbox));
        drop(account);
        // of a restore before, which was cut off at its very end
        std::fs::write(root.join(".Box/facteur.restored"), "").unwrap();
        let target = std::fs::File::open(root.join(".Box/new")).unwrap();
        let inject = format!("inject={inject}");
        if child_under_strace(&root, "restore::child_restores_a_mailbox", &["-e", &inject]).is_none() {
            return;
        }
        // refused once nothing of the old mailbox is left: then the delivery is made again
        let is_delivered = std::fs::write(format!("/proc/self/fd/{}/9.late.host", target.as_raw_fd()), "late\n").is_ok();
        let account = open(&root);
        let mut found = texts(&account.open(&name("Box")).unwrap());
        found.extend(texts(&account.open(&MailboxName::inbox()).unwrap()));
        assert_eq!(found.iter().any(|text| text == "late"), is_delivered, "{inject}: {found:?}");
        found.retain(|text| text != "late");
        let is_new = found.iter().all(|text| text.ends_with("Backup"));
        assert!(found.len() == 3 && (is_new || found.iter().all(|text| text.ends_with("Box"))), "{inject}: {found:?}");
        done[usize::from(is_new)] += 1;
        assert_eq!(hidden(&account), [] as [&str; 0], "{inject}");
        assert!(!is_new || !root.join(".Box/facteur.restored").exists(), "{inject}");
        // all the same whoever restores again
        let dump = account.open(&name("Backup")).unwrap().dump().unwrap();
        account.restore(&name("Box"), &dump.files[0].1[..]).unwrap().finish(true).unwrap();
        assert_eq!(hidden(&account), [] as [&str; 0], "{inject}");
    }
    assert!(done[0] > 0 && done[1] > 0, "{done:?}");
}
