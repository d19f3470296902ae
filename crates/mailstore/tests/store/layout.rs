//! Mailboxes that lie in each other (`LAYOUT=fs`), by ourselves and in turns with a real Dovecot.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::dovecot::was_run_as_nobody;
use mailstore::{Account, Delivery, Error, Letter, Location, MailboxName, Settings, Store};

struct World {
    temp: tempfile::TempDir,
    store: Arc<Store>,
    location: Location,
    account: Arc<Account>,
}

impl World {
    fn new() -> World {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(Settings::default());
        let location = Location::expand(&format!("maildir:{}/m:LAYOUT=fs", temp.path().display()), "ann", None).unwrap();
        let account = store.account(&location).unwrap();
        World { temp, store, location, account }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.temp.path().join("m").join(below)
    }

    fn is_there(&self, below: &str) -> bool {
        Path::new(&self.path(below)).exists()
    }

    /// `A(.B)` for a level that is none.
    fn list(&self) -> String {
        let show = |listed: mailstore::Listed| if listed.exists { listed.name.to_string() } else { format!("({})", listed.name) };
        self.account.list().unwrap().into_iter().map(show).collect::<Vec<_>>().join(" ")
    }

    fn append(&self, mailbox: &str, text: &str) {
        let mailbox = self.account.open(&name(mailbox)).unwrap();
        let mut incoming = mailbox.incoming(0).unwrap();
        incoming.write(text.as_bytes()).unwrap();
        mailbox.append(vec![incoming]).unwrap();
    }

    fn count(&self, mailbox: &str) -> u32 {
        self.account.status(&name(mailbox)).unwrap().messages
    }
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

#[test]
fn mailboxes_lie_in_each_other() {
    let world = World::new();
    let account = &world.account;
    account.create(&name("A.B.C")).unwrap();
    account.create(&name("Envoy\u{e9}s")).unwrap();
    account.create(&name("INBOX.Sub")).unwrap();
    assert_eq!(world.list(), "INBOX (A) (A.B) A.B.C Envoy\u{e9}s INBOX.Sub");
    assert!(world.is_there("A/B/C/cur") && world.is_there("Envoy&AOk-s/new") && world.is_there("INBOX/Sub/tmp"));
    assert!(!world.is_there("A/B/C/maildirfolder") && !world.is_there("A/B/cur"));
    assert!(matches!(account.create(&name("A.B.C")), Err(Error::AlreadyExists)));
    for part in ["cur", "A.new", "tmp.B"] {
        assert!(matches!(account.create(&name(part)), Err(Error::NotAllowed(_))), "{part}");
    }
    account.create(&name("A.B")).unwrap();
    world.append("A.B", "Subject: middle\r\n\r\nx\r\n");
    world.append("A.B.C", "Subject: deep\r\n\r\nx\r\n");
    // what is in between goes, what lies below stays
    account.delete(&name("A.B")).unwrap();
    assert_eq!(world.list(), "INBOX (A) (A.B) A.B.C Envoy\u{e9}s INBOX.Sub");
    assert_eq!(world.count("A.B.C"), 1);
    assert!(matches!(account.open(&name("A.B")), Err(Error::NoSuchMailbox)));
    // all below goes along
    account.create(&name("A.B")).unwrap();
    assert_eq!(world.count("A.B"), 0);
    account.rename(&name("A"), &name("X.Y")).unwrap();
    assert_eq!(world.list(), "INBOX Envoy\u{e9}s INBOX.Sub (X) (X.Y) X.Y.B X.Y.B.C");
    assert!(!world.is_there("A"));
    assert_eq!(world.count("X.Y.B.C"), 1);
    assert!(matches!(account.rename(&name("Envoy\u{e9}s"), &name("X")), Err(Error::AlreadyExists)));
    // from INBOX, whose messages move
    world.append("INBOX", "Subject: in\r\n\r\nx\r\n");
    account.rename(&name("INBOX"), &name("Old.In")).unwrap();
    assert_eq!((world.count("INBOX"), world.count("Old.In")), (0, 1));
    // empty levels go with the last mailbox
    account.delete(&name("X.Y.B.C")).unwrap();
    account.delete(&name("X.Y.B")).unwrap();
    assert_eq!(world.list(), "INBOX Envoy\u{e9}s INBOX.Sub (Old) Old.In");
    assert!(!world.is_there("X"));
}

#[test]
fn what_is_no_mailbox_is_left_alone() {
    let world = World::new();
    let outside = world.temp.path().join("outside");
    for part in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(outside.join(part)).unwrap();
        std::fs::create_dir_all(world.path("with.dot").join(part)).unwrap();
        std::fs::create_dir_all(world.path(".Hidden").join(part)).unwrap();
        std::fs::create_dir_all(world.path("cur/Sub").join(part)).unwrap();
    }
    std::os::unix::fs::symlink(&outside, world.path("Link")).unwrap();
    assert_eq!(world.list(), "INBOX");
    // nothing is made or moved through a link
    assert!(world.account.create(&name("Link.Sub")).is_err());
    world.account.create(&name("A")).unwrap();
    assert!(world.account.rename(&name("A"), &name("Link.A")).is_err());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 3);
    assert_eq!(world.list(), "INBOX A");
}

#[test]
fn mail_is_delivered_and_counted_in_there() {
    let world = World::new();
    world.account.set_quota_limits(1 << 20, 0);
    let delivery = Delivery::new(world.store.clone());
    let letter = Letter {
        location: world.location.clone(),
        mailbox: name("Lists.Deep"),
        quota_bytes: 1 << 20,
        quota_messages: 0,
        recipient: "ann@example.org".into(),
        identity: None,
        header: Vec::new(),
        body: delivery.body(&[b"Subject: x\r\n\r\nx\r\n"]),
    };
    tokio::runtime::Runtime::new().unwrap().block_on(delivery.deliver(letter)).unwrap();
    assert_eq!(world.count("Lists.Deep"), 1);
    assert!(world.is_there("Lists/Deep/cur"));
    assert_eq!(world.account.recount_quota().unwrap().messages, 1);
}

/// What Dovecot made we have, and the other way round, with every UID.
#[test]
fn a_real_dovecot_has_the_same_tree() {
    if was_run_as_nobody("layout::a_real_dovecot_has_the_same_tree") {
        return;
    }
    let world = World::new();
    let base = world.temp.path().display();
    if Command::new("doveadm").arg("--version").output().is_err() {
        println!("skipped: dovecot is not installed");
        return;
    }
    std::fs::create_dir_all(world.temp.path().join("run")).unwrap();
    let config = world.temp.path().join("dovecot.conf");
    let text = format!(
        "base_dir={base}/run\nstate_dir={base}/run\nlog_path={base}/log\nmail_location=maildir:{base}/m:LAYOUT=fs\nssl=no\nprotocols=\nfirst_valid_uid=0\n\
         first_valid_gid=0\nnamespace inbox {{\n inbox=yes\n separator=.\n}}\n"
    );
    std::fs::write(&config, text).unwrap();
    let doveadm = |arguments: &[&str]| {
        let mut command = Command::new("doveadm");
        let output = command.arg("-c").arg(&config).args(arguments).env("USER", "ann").env("HOME", world.temp.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let mut lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    doveadm(&["mailbox", "create", "Theirs.One"]);
    world.account.create(&name("Ours.One")).unwrap();
    world.account.create(&name("Theirs")).unwrap();
    world.append("Ours.One", "Subject: x\r\n\r\nx\r\n");
    assert_eq!(world.list(), "INBOX (Ours) Ours.One Theirs Theirs.One");
    assert_eq!(doveadm(&["mailbox", "list"]), ["INBOX", "Ours", "Ours.One", "Theirs", "Theirs.One"]);
    let status = |mailbox: &str| doveadm(&["-f", "flow", "mailbox", "status", "messages uidnext uidvalidity", mailbox]).pop().unwrap();
    let ours = world.account.status(&name("Ours.One")).unwrap();
    assert_eq!(status("Ours.One"), format!("Ours.One messages=1 uidnext=2 uidvalidity={}", ours.uid_validity));
    doveadm(&["mailbox", "rename", "Ours", "Moved"]);
    assert_eq!(world.list(), "INBOX (Moved) Moved.One Theirs Theirs.One");
    assert_eq!(world.account.status(&name("Moved.One")).unwrap(), ours);
    world.account.rename(&name("Theirs"), &name("Taken.Over")).unwrap();
    assert_eq!(doveadm(&["mailbox", "list", "Taken.*"]), ["Taken.Over", "Taken.Over.One"]);
    doveadm(&["mailbox", "subscribe", "Taken.Over.One"]);
    assert_eq!(world.account.subscriptions().unwrap(), [name("Taken.Over.One")]);
}
