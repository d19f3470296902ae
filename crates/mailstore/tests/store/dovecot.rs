//! Taking turns with a real Dovecot (`doveadm`) on one store: every UID, UIDVALIDITY, flag and keyword is kept in both directions.

use std::io::Write;
use std::process::{Command, Stdio};

use mailstore::{FlagMode, FlagSet, Flags, Gone, MailboxName};

use crate::common::{Home, inbox};

/// A Dovecot that works on the Maildir of `home`, as the user the tests run as.
struct Dovecot<'a> {
    home: &'a Home,
}

impl Dovecot<'_> {
    fn new(home: &Home) -> Option<Dovecot<'_>> {
        if Command::new("doveadm").arg("--version").output().is_err() {
            println!("skipped: dovecot is not installed");
            return None;
        }
        std::fs::create_dir_all(home.beside("run")).unwrap();
        let config = format!(
            "base_dir={0}/run\nstate_dir={0}/run\nlog_path={0}/log\nmail_location=maildir:{1}\nssl=no\nprotocols=\nfirst_valid_uid=0\nfirst_valid_gid=0\n\
             mail_plugins=quota\nnamespace inbox {{\n inbox=yes\n separator=.\n}}\nplugin {{\n quota=maildir:User quota\n quota_rule=*:storage=10M\n}}\n",
            home.beside("").display(),
            home.path("").display()
        );
        std::fs::write(home.beside("dovecot.conf"), config).unwrap();
        Some(Dovecot { home })
    }

    fn run(&self, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new("doveadm");
        command.arg("-c").arg(self.home.beside("dovecot.conf")).args(arguments);
        command.env("USER", "ann").env("HOME", self.home.beside("")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `uid flags` of all messages, flags sorted.
    fn messages(&self, mailbox: &str) -> Vec<String> {
        let text = self.run(&["-f", "tab", "fetch", "uid flags", "mailbox", mailbox], "");
        let sorted = |line: &str| {
            let (uid, flags) = line.split_once('\t').unwrap_or((line, ""));
            let mut flags: Vec<&str> = flags.split(' ').filter(|flag| *flag != "\\Recent" && !flag.is_empty()).collect();
            flags.sort_unstable();
            format!("{uid} {}", flags.join(" "))
        };
        text.lines().skip(1).map(sorted).collect()
    }

    fn validity(&self, mailbox: &str) -> u32 {
        let text = self.run(&["-f", "tab", "mailbox", "status", "uidvalidity", mailbox], "");
        text.lines().nth(1).unwrap().split('\t').next_back().unwrap().parse().unwrap()
    }
}

/// The same as we see it.
fn ours(mailbox: &mailstore::Mailbox) -> Vec<String> {
    mailbox.refresh().unwrap();
    let snapshot = mailbox.snapshot();
    let names = [
        (Flags::ANSWERED, "\\Answered"),
        (Flags::DELETED, "\\Deleted"),
        (Flags::DRAFT, "\\Draft"),
        (Flags::FLAGGED, "\\Flagged"),
        (Flags::SEEN, "\\Seen"),
    ];
    let line = |message: &mailstore::Message| {
        let mut flags: Vec<&str> = snapshot.keywords().names(message.keywords()).collect();
        flags.extend(names.iter().filter(|(flag, _)| message.flags().contains(*flag)).map(|(_, name)| name));
        flags.sort_unstable();
        format!("{} {}", message.uid(), flags.join(" "))
    };
    snapshot.iter().map(line).collect()
}

/// Dovecot refuses to handle mail as root: root runs the test as nobody. True when that was done.
pub fn was_run_as_nobody(test: &str) -> bool {
    if !nix::unistd::geteuid().is_root() {
        return false;
    }
    let program = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap();
    // the tests may have been built where nobody can look
    let copy = program.path().join("store-tests");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["--exact", test]).current_dir("/");
    std::os::unix::process::CommandExt::uid(std::os::unix::process::CommandExt::gid(&mut command, 65534), 65534);
    assert!(command.status().unwrap().success());
    true
}

#[test]
fn dovecot_and_we_take_turns_and_agree_on_everything() {
    if was_run_as_nobody("dovecot::dovecot_and_we_take_turns_and_agree_on_everything") {
        return;
    }
    let home = Home::new();
    let Some(dovecot) = Dovecot::new(&home) else { return };
    // Dovecot fills the store
    for n in 0..5 {
        dovecot.run(&["save"], &format!("Subject: {n}\n\nfrom dovecot\n"));
    }
    dovecot.run(&["mailbox", "create", "-s", "Work.Proj", "Envoyés"], "");
    dovecot.run(&["flags", "add", "\\Seen $Forwarded NonJunk", "mailbox", "INBOX", "uid", "2"], "");
    dovecot.run(&["expunge", "mailbox", "INBOX", "uid", "5"], "");

    let mailbox = inbox(&home);
    assert_eq!(ours(&mailbox), dovecot.messages("INBOX"));
    assert_eq!(mailbox.snapshot().uid_validity(), dovecot.validity("INBOX"));
    assert_eq!(mailbox.snapshot().uid_next(), 6);
    let name = |text| MailboxName::parse(text).unwrap();
    assert_eq!(home.account().subscriptions().unwrap(), [name("Envoyés"), name("Work.Proj")]);
    assert!(home.account().exists(&name("Envoyés")).unwrap());

    // we change it
    home.append(&mailbox, "Subject: ours\r\n\r\nbody\r\n", Flags::DRAFT);
    let flags = FlagSet { flags: Flags::ANSWERED, keywords: vec!["Ours".into(), "nonjunk".into()] };
    mailbox.store_flags(&[1, 6], FlagMode::Add, &flags, None).unwrap();
    mailbox.expunge(&[3]).unwrap();
    let work = home.mailbox("Work.Proj");
    mailbox.copy(&[1, 2], &work, Gone::LeaveOut).unwrap();
    mailbox.move_to(&[4], &work, Gone::LeaveOut).unwrap();
    home.mailbox("Made.Here");
    home.account().subscribe(&name("Made.Here")).unwrap();
    assert_eq!(dovecot.messages("INBOX"), ours(&mailbox));
    assert_eq!(dovecot.messages("Work.Proj"), ours(&work));
    assert_eq!(dovecot.validity("Made.Here"), home.mailbox("Made.Here").snapshot().uid_validity());
    assert!(dovecot.run(&["mailbox", "list", "-s"], "").lines().any(|line| line == "Made.Here"));

    // and so on, with both looking on
    for round in 0..5 {
        dovecot.run(&["save", "-m", "Work.Proj"], &format!("Subject: {round}\n\nx\n"));
        home.append(&work, &format!("Subject: {round} ours\r\n\r\nx\r\n"), Flags::NONE);
        dovecot.run(&["flags", "remove", "\\Answered", "mailbox", "Work.Proj", "uid", "1"], "");
        dovecot.run(&["move", "Work.Proj", "mailbox", "INBOX", "uid", "1:2"], "");
        work.store_flags(&[2], FlagMode::Add, &Flags::FLAGGED.into(), None).unwrap();
        assert_eq!(dovecot.messages("Work.Proj"), ours(&work), "round {round}");
        assert_eq!(dovecot.messages("INBOX"), ours(&mailbox), "round {round}");
    }
    assert_eq!(dovecot.validity("Work.Proj"), work.snapshot().uid_validity());
    let sum = |mailbox: &mailstore::Mailbox| mailbox.snapshot().iter().map(|message| mailbox.disk_size(message).unwrap()).sum::<u64>();
    home.account().set_quota_limits(10 << 20, 0);
    assert_eq!(home.account().quota().unwrap().bytes, sum(&mailbox) + sum(&work));
}
