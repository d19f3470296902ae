//! The server as it is installed: the units of `systemd/` under a real systemd, with its users, groups, folders, passed sockets, sandbox
//! and watchdog. The systemd lives in namespaces of its own and sees an overlay of this machine's files.

use e2e::{binary, client, eventually, run, skipped};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const DAEMONS: [&str; 6] = ["authd", "deliver", "qmgr", "smtpd", "imapd", "pop3d"];

/// By both readers' ports, certificates unchecked.
const READ: &str = r#"
import imaplib, poplib, ssl
context = ssl._create_unverified_context()
imap = imaplib.IMAP4_SSL("127.0.0.1", 993, ssl_context=context)
imap.login("ann@example.test", "secret")
assert imap.select("INBOX")[1] == [b"3"]
assert b"Subject: submitted" in imap.fetch("3", "(BODY[])")[1][0][1]
imap.logout()
pop = poplib.POP3("127.0.0.1", 110)
pop.stls(context)
pop.user("ann@example.test")
pop.pass_("secret")
assert pop.stat()[0] == 3 and b"Subject: submitted" in pop.retr(1)[1]
pop.quit()
"#;

/// A systemd that runs the installed units.
struct Booted {
    unshare: Child,
    init: String,
    log: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Booted {
    /// `None`, noted as skipped, where no systemd can be started.
    fn start(test: &str) -> Option<Booted> {
        let namespaces = ["--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child", "--mount-proc"];
        let possible = Command::new("unshare").args(namespaces).args(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"]).output();
        let possible = possible.is_ok_and(|output| output.status.success());
        if !possible || !Path::new("/lib/systemd/systemd").is_file() {
            skipped("systemd in namespaces, as root", test);
            return None;
        }
        let folder = tempfile::Builder::new().prefix("facteur-boot-").tempdir().expect("folder");
        let scratch = folder.path().join("scratch");
        std::fs::create_dir(&scratch).expect("folder");
        let log = folder.path().join("log");
        let out = std::fs::File::create(&log).expect("log");
        let built = binary("facteur").parent().expect("a folder").to_owned();
        let mut command = Command::new("unshare");
        command.args(namespaces).arg(client("boot.sh")).arg(binary("xtask")).arg(built).arg(&scratch);
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("log")).stderr(out);
        let unshare = command.spawn().expect("unshare starts");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let child = || std::fs::read_to_string(&children).ok().map(|c| c.trim().to_owned()).filter(|c| !c.is_empty());
        let init = eventually("the new init", child, String::new);
        Some(Booted { unshare, init, log, _folder: folder })
    }

    /// Runs a command beside the daemons.
    fn run_with_input(&self, args: &[&str], input: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init, "--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup"]).args(args);
        run(&mut command, input)
    }

    fn ok(&self, args: &[&str], input: &str) -> String {
        let output = self.run_with_input(args, input);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {}\n{out}\n{err}\n{}", output.status, self.journal());
        out.into_owned()
    }

    fn property(&self, unit: &str, property: &str) -> String {
        let output = self.run_with_input(&["systemctl", "show", "--value", "-p", property, unit], "");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What the daemons logged, and the boot.
    fn journal(&self) -> String {
        let output = self.run_with_input(&["journalctl", "--no-pager", "-o", "cat", "-u", "facteur-*"], "");
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), std::fs::read_to_string(&self.log).unwrap_or_default())
    }

    fn all_active(&self) -> Option<()> {
        DAEMONS.iter().all(|daemon| self.property(&format!("facteur-{daemon}"), "ActiveState") == "active").then_some(())
    }

    fn submit(&self) {
        let script = client("submit.py");
        let script = script.to_str().expect("UTF-8");
        self.ok(&["python3", script, "587", "starttls", "bob@example.test", "secret", "ann@example.test"], "");
    }

    fn inbox(&self, user: &str) -> usize {
        let output = self.run_with_input(&["find", &format!("/home/vmail/{user}"), "-name", "*,S=*"], "");
        String::from_utf8_lossy(&output.stdout).lines().count()
    }

    fn wait_for_mail(&self, user: &str, count: usize) {
        eventually("the mail", || (self.inbox(user) == count).then_some(()), || self.journal());
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // The children of an init die with it, and with them their mounts.
        if let Ok(init) = self.init.parse() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(init), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.unshare.wait();
    }
}

#[test]
fn the_installed_units_run_under_systemd() {
    let Some(booted) = Booted::start("the_installed_units_run_under_systemd") else { return };
    eventually("all daemons", || booted.all_active(), || booted.journal());
    booted.ok(&["facteur", "domain", "add", "example.test"], "");
    for user in ["ann@example.test", "bob@example.test"] {
        booted.ok(&["facteur", "user", "add", user], "secret\n");
    }
    let boot = booted.journal();
    assert!(!boot.lines().any(|line| line.starts_with("warn") || line.starts_with("error")), "{boot}");

    // Through every hand that writes: smtpd, qmgr, deliver, each as its own user.
    for _ in 0..3 {
        booted.submit();
    }
    booted.wait_for_mail("ann@example.test", 3);
    booted.ok(&["python3", "-c", READ], "");
    // A large message does not go through the journal: smtpd leaves a file, and qmgr takes it.
    let big = format!(
        "import smtplib\nsmtplib.SMTP('127.0.0.1').sendmail('x@example.org', ['bob@example.test'], 'Subject: big\\r\\n\\r\\n' + ('y' * {} + '\\r\\n') * {})",
        900, 9000
    );
    booted.ok(&["python3", "-c", &big], "");
    booted.wait_for_mail("bob@example.test", 1);

    // Each alone, while the sockets stay.
    for (n, daemon) in DAEMONS.iter().enumerate() {
        booted.ok(&["systemctl", "restart", &format!("facteur-{daemon}")], "");
        booted.submit();
        booted.ok(&["systemctl", "reload", &format!("facteur-{daemon}")], "");
        booted.wait_for_mail("ann@example.test", 4 + n);
    }

    // Administrators are in a group; others get nothing.
    let administrator = ["setpriv", "--reuid", "nobody", "--regid", "facteur-admin", "--clear-groups", "facteur", "queue", "list"];
    booted.ok(&administrator, "");
    let stranger = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "facteur", "queue", "list"];
    assert_eq!(booted.run_with_input(&stranger, "").status.code(), Some(1));

    // Everybody's mail is kept while smtpd is away, by a program that nobody else's group can be had from.
    let smtpd = ["facteur-smtpd.socket", "facteur-submit.socket", "facteur-control-smtpd.socket", "facteur-smtpd.service"];
    booted.ok(&[&["systemctl", "stop"], &smtpd[..]].concat(), "");
    let somebody = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"];
    let sendmail = ["/usr/lib/facteur/facteur-sendmail", "-i", "bob@example.test"];
    booted.ok(&[&somebody[..], &sendmail].concat(), "Subject: kept\n\nx\n");
    let kept = booted.ok(&["sh", "-c", "stat -c '%U:%G %a' /var/spool/facteur/maildrop/*"], "");
    assert_eq!(kept, "nobody:facteur-drop 640\n");
    for command in ["ls /var/spool/facteur/maildrop", "touch /var/spool/facteur/maildrop/x"] {
        let output = booted.run_with_input(&[&somebody[..], &["sh", "-c", command]].concat(), "");
        assert!(!output.status.success(), "{command}: {output:?}");
    }
    booted.ok(&[&["systemctl", "start"], &smtpd[..]].concat(), "");
    booted.wait_for_mail("bob@example.test", 2);

    // A daemon that hangs is ended by the watchdog and comes back.
    assert_eq!(booted.property("facteur-pop3d", "NRestarts"), "0");
    let hanging = booted.property("facteur-pop3d", "MainPID");
    booted.ok(&["kill", "-STOP", &hanging], "");
    eventually("the watchdog", || (booted.property("facteur-pop3d", "NRestarts") == "1").then_some(()), || booted.journal());
    eventually("all daemons", || booted.all_active(), || booted.journal());
}
