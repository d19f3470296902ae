//! One store, given to Dovecot and to us, the same commands to both, the answers compared. Each difference is in a table with its reason;
//! one that is gone has to leave the table.

use e2e::{Dovecot, Imap, PASSWORD, PortBase, Server, chown_all, open_to_all};
use plain::plain;
use std::collections::BTreeSet;
use std::path::Path;

mod corpus;
mod differences;
mod plain;

/// Commands whose answers have to be the same. `#` begins another mailbox or another part of the test.
const COMMANDS: &str = include_str!("beside_dovecot/commands.txt");

#[test]
fn answers_are_those_of_dovecot() {
    let mut server = Server::builder().settings("[imapd]\ndisable_plaintext_auth = false\nmailbox_auto = \"no\"\n").start();
    let ports = PortBase::take();
    open_to_all(server.root());
    server.stop();
    let mail = server.root().join("mail");
    corpus::fill(&mail.join("example.test/alice/Maildir"));
    let copy = tempfile::tempdir().expect("folder");
    open_to_all(copy.path());
    let theirs = copy.path().join("mail");
    let copied = std::process::Command::new("cp").arg("-a").arg(&mail).arg(&theirs).status().expect("cp");
    assert!(copied.success());
    let Some(dovecot) = Dovecot::start("answers_are_those_of_dovecot", Some(&theirs), (ports.spare(3), ports.spare(4))) else { return };
    chown_all(&mail, nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    server.up();
    let mut sessions = [Imap::connect(dovecot.imap_port()), Imap::connect(server.imap_port())];
    for imap in &mut sessions {
        imap.ok(&format!("LOGIN alice@example.test {PASSWORD}"));
    }
    let mut met = BTreeSet::new();
    let mut unexplained = Vec::new();
    for command in COMMANDS.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let [dovecot, facteur] = sessions.each_mut().map(|imap| shown(imap, command));
        let mut left = diff(&dovecot, &facteur);
        if !left.is_empty() && differences::COMMANDS.iter().any(|(known, _)| *known == command) {
            met.insert(command.to_owned());
            continue;
        }
        left.retain(|line| match differences::reason(command, line) {
            Some(reason) => {
                met.insert(reason.to_owned());
                false
            }
            None => true,
        });
        if !left.is_empty() {
            unexplained.push(format!("{command}\n{}", left.join("\n")));
        }
    }
    assert!(unexplained.is_empty(), "{} unexplained:\n\n{}", unexplained.len(), unexplained.join("\n\n"));
    let gone: Vec<&str> = differences::all().filter(|known| !met.contains(*known)).collect();
    assert!(gone.is_empty(), "no differences any more: {gone:?}");
}

/// The answers that differ, side by side.
fn diff(dovecot: &[String], facteur: &[String]) -> Vec<String> {
    let only = |these: &[String], those: &[String], mark: &str| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("  {mark} {line:?}")).collect()
    };
    [only(dovecot, facteur, "dovecot"), only(facteur, dovecot, "facteur")].concat()
}

/// The answers to a command, without what two servers may say in their own words: the texts of responses, tags, the order of flags.
fn shown(imap: &mut Imap, command: &str) -> Vec<String> {
    let (command, literal) = match command.split_once(" <<") {
        Some((command, literal)) => (command, Some(literal.replace("\\r\\n", "\r\n"))),
        None => (command, None),
    };
    let answers = match literal {
        Some(literal) => {
            let tag = imap.begin(&format!("{command} {{{}+}}", literal.len()));
            imap.write(format!("{literal}\r\n").as_bytes());
            imap.finish(&tag)
        }
        None => imap.command(command),
    };
    let mut shown: Vec<String> = answers.iter().map(|answer| plain(answer)).filter(|answer| !answer.is_empty()).collect();
    let tagged = shown.pop().expect("a tagged response");
    // the order in which FETCH items or statuses come is free; that of responses is not compared either
    shown.sort();
    shown.push(tagged);
    shown
}

/// Writes a message with a name that both servers take for the same.
fn put(maildir: &Path, n: usize, flags: &str, text: &[u8]) {
    let name = format!("17{n:08}.M{n}P1.host:2,{flags}");
    let file = maildir.join("cur").join(name);
    std::fs::write(&file, text).expect("message");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000 + 3600 * n as u64);
    std::fs::File::options().append(true).open(&file).and_then(|file| file.set_modified(time)).expect("time");
}
