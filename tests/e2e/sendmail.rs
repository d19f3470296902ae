//! The command sendmail, as cron, PHP, mutt and scripts use it.

use e2e::{Postfix, Server, Smtp, binary, eventually, run, tool};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

fn sendmail(server: &Server) -> Command {
    let mut command = Command::new(binary("facteur-sendmail"));
    command.arg("--root").arg(server.root());
    command
}

fn send(server: &Server, args: &[&str], input: &str) -> Output {
    run(sendmail(server).args(args), input)
}

fn ok(server: &Server, args: &[&str], input: &str) {
    let output = send(server, args, input);
    assert!(output.status.success(), "{args:?}: {output:?}\n{}", server.log());
}

/// Letters in the folder that are finished.
fn kept(server: &Server) -> usize {
    std::fs::read_dir(server.root().join("spool/maildrop")).map_or(0, |entries| entries.count())
}

#[test]
fn a_program_pipes_a_message_whose_header_names_the_recipients() {
    let server = Server::start();
    // As PHP's mail() has it.
    let text = "To: Alice <alice@example.test>\nBcc: bob@example.test\nSubject: from a program\n\nline\n.\nafter the dot\n";
    ok(&server, &["-t", "-i", "-f", "bob@example.test"], text);
    for user in ["alice@example.test", "bob@example.test"] {
        let mail = &server.wait_for_mail(user, 1)[0];
        assert!(mail.starts_with("Return-Path: <bob@example.test>\n"), "{mail}");
        for want in ["Subject: from a program\n", "line\n.\nafter the dot\n", "Message-ID: <", "Date: ", "From: "] {
            assert!(mail.contains(want), "{want:?} in\n{mail}");
        }
        assert!(!mail.to_lowercase().contains("bcc"), "{mail}");
    }
    // As cron has it: a name, recipients on the command line, a dot that ends it.
    ok(&server, &["-FCronDaemon", "-oem", "-B8BITMIME", "alice@example.test"], "Subject: job\n\nout\n.\nlost\n");
    let mail = server.wait_for_mail("alice@example.test", 2).pop().expect("two");
    assert!(mail.contains("From: CronDaemon <") && mail.contains("out\n") && !mail.contains("lost"), "{mail}");
}

#[test]
fn exit_codes_say_what_is_wrong_and_then_nothing_is_sent() {
    let server = Server::builder().settings("[smtpd]\nmessage_size_limit = \"2K\"\n").start();
    let long = "x".repeat(3000);
    for (args, input, code) in [
        (&["alice@example.test", "nobody@example.test"][..], "Subject: x\n\nx\n", 67),
        (&["alice@example.test"], long.as_str(), 69),
        (&["alice@example..test"], "", 65),
        (&[], "", 64),
        (&["-t"], "Subject: x\n\nx\n", 64),
        (&["-t", "alice@example.test"], "To: bob@example.test\n\nx\n", 64),
        (&["-bd"], "", 64),
        (&["-Z"], "", 64),
    ] {
        let output = send(&server, args, input);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{args:?} says why");
    }
    let output = run(Command::new(binary("facteur-sendmail")).args(["--root", "/nonexistent", "a@b.test"]), "x\n");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    ok(&server, &["bob@example.test"], "Subject: the first\n\nx\n");
    server.wait_for_mail("bob@example.test", 1);
    assert_eq!(server.inbox("alice@example.test").len(), 0);
    assert_eq!(kept(&server), 0);
}

#[test]
fn smtp_is_spoken_on_standard_input_and_output() {
    let server = Server::start();
    let mut child = sendmail(&server).arg("-bs").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut input = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut expect = |code: &str| {
        let last = lines.by_ref().find(|line| line.as_bytes().get(3) == Some(&b' ')).unwrap_or_default();
        assert!(last.starts_with(code), "{code}: {last}");
    };
    expect("220");
    for (command, code) in [
        ("EHLO x", "250"),
        ("MAIL FROM:<bob@example.test>", "250"),
        ("RCPT TO:<alice@example.test>", "250"),
        ("DATA", "354"),
        ("Subject: spoken\r\n\r\nx\r\n.", "250"),
        ("QUIT", "221"),
    ] {
        input.write_all(format!("{command}\r\n").as_bytes()).expect("write");
        expect(code);
    }
    assert!(child.wait().expect("ends").success());
    assert!(server.wait_for_mail("alice@example.test", 1)[0].contains("Subject: spoken"));
}

#[test]
fn mutt_sends_by_it() {
    let Some(mutt) = tool("mutt", "mutt_sends_by_it") else { return };
    let server = Server::start();
    let home = tempfile::tempdir().expect("folder");
    let program = format!("set sendmail=\"{} --root {} -oem -oi\"", binary("facteur-sendmail").display(), server.root().display());
    let mut command = mutt.command();
    command.env("HOME", home.path()).args(["-n", "-F", "/dev/null", "-e", &program, "-e", "set copy=no from=bob@example.test"]);
    let output = run(command.args(["-s", "by mutt", "-b", "bob@example.test", "--", "alice@example.test"]), "the text\n");
    assert!(output.status.success(), "{output:?}");
    assert!(server.wait_for_mail("alice@example.test", 1)[0].contains("Subject: by mutt\n"));
    let mail = &server.wait_for_mail("bob@example.test", 1)[0];
    assert!(!mail.contains("Bcc:"), "{mail}");
}

#[test]
fn mail_is_kept_while_the_server_is_down_and_submitted_once() {
    let mut server = Server::start();
    server.stop();
    for n in 0..3 {
        ok(&server, &["-i", "-f", "alice@example.test", "bob@example.test"], &format!("Subject: kept {n}\n\n.\n"));
    }
    // What smtpd refuses comes back, since nobody waits for an exit code any more.
    ok(&server, &["-f", "alice@example.test", "nobody@example.test"], "Subject: to nobody\n\nx\n");
    assert_eq!(kept(&server), 4);
    server.up();
    let mail = server.wait_for_mail("bob@example.test", 3);
    let user = nix::unistd::geteuid();
    for n in 0..3 {
        let one = mail.iter().find(|m| m.contains(&format!("Subject: kept {n}\n"))).expect("each of them");
        assert!(one.contains(&format!("uid {user})")) && one.contains("\n\n.\n"), "{one}");
    }
    let bounce = &server.wait_for_mail("alice@example.test", 1)[0];
    assert!(bounce.contains("Return-Path: <>\n") && bounce.contains("Status: 5.1.1"), "{bounce}");
    eventually("an empty folder", || (kept(&server) == 0).then_some(()), || server.log());
    server.wait_for_mail("bob@example.test", 3);
}

#[test]
fn what_is_no_letter_is_set_aside_and_the_others_go_on() {
    let mut server = Server::start();
    server.stop();
    ok(&server, &["-f", "alice@example.test", "bob@example.test"], "Subject: good\n\nx\n");
    let folder = server.root().join("spool/maildrop");
    std::fs::write(folder.join("1.2.3"), "facteur-drop 1\nsender <>\n").expect("write");
    std::os::unix::fs::symlink("/etc/passwd", folder.join("1.2.4")).expect("link");
    std::fs::write(folder.join("tmp.1.2.5"), "unfinished").expect("write");
    server.up();
    server.wait_for_mail("bob@example.test", 1);
    // The one that is being written is left alone.
    eventually("the others to be set aside", || (kept(&server) == 1).then_some(()), || server.log());
    assert!(server.root().join("spool/corrupt/1.2.3").exists());
}

#[test]
fn mailq_and_newaliases_are_other_names_of_it() {
    let server = Server::builder()
        .file("aliases", "root: alice@example.test\n")
        .settings(
            "[routing]\nalias_maps = [\"hash:aliases\"]\ntransport_maps = [\"inline:{down.test=smtp:[127.0.0.1]:1}\"]\n[smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n",
        )
        .start();
    let output = send(&server, &["-bp"], "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Mail queue is empty\n");
    let output = send(&server, &["-bi"], "");
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("hash:aliases: 1 entry"), "{output:?}");
    ok(&server, &["-f", "alice@example.test", "x@down.test"], "Subject: waits\n\nx\n");
    let listed = || String::from_utf8_lossy(&send(&server, &["-bp"], "").stdout).into_owned();
    eventually("the reason", || listed().contains("Connection refused").then_some(()), || server.log());
    assert!(listed().contains("-Queue ID-") && listed().ends_with("in 1 Request.\n"), "{}", listed());
    assert!(send(&server, &["-q"], "").status.success());
    ok(&server, &["root"], "Subject: to a local name\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
}

/// The lines of a queue listing with what is each server's own replaced: ids, sizes, dates, words of reasons.
fn shape(listing: &str) -> Vec<String> {
    let mut shapes = Vec::new();
    for line in listing.lines() {
        let shape = match line.chars().next() {
            Some(first) if first.is_ascii_alphanumeric() => {
                let words: Vec<&str> = line.split_whitespace().collect();
                assert!(words[1].parse::<u64>().is_ok(), "a size: {line}");
                let mark = words[0].trim_start_matches(|c: char| c.is_ascii_alphanumeric());
                let address_at = if mark.is_empty() { line.find(words[6]) } else { None };
                format!("ID{mark} SIZE {} {:?} {}", words[2..6].len(), address_at, words[6..].join(" "))
            }
            Some(' ') if line.trim_start().starts_with('(') => {
                // Right-aligned where it is short, else from the first column on.
                assert!(line.ends_with(')') && (line.len() == 78 || line.len() > 78), "{line}");
                "REASON".to_owned()
            }
            Some('-') if line.starts_with("-- ") => format!("-- N {}", line.split_once(" Kbytes ").expect("a sum").1),
            Some('(') => "REASON".to_owned(),
            _ => line.to_owned(),
        };
        shapes.push(shape);
    }
    shapes
}

#[test]
fn mailq_looks_like_postfixs() {
    let test = "mailq_looks_like_postfixs";
    let ports = e2e::PortBase::take();
    let main_cf = "enable_long_queue_ids = yes\nrelayhost = [127.0.0.1]:1\n";
    let Some(postfix) = Postfix::start(test, ports.spare(1), main_cf, &[]) else { return };
    let server = Server::builder()
        .settings("[routing]\ntransport_maps = [\"inline:{*=smtp:[127.0.0.1]:1}\"]\n[smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n")
        .start();
    let theirs = || postfix.queue();
    let ours = || String::from_utf8_lossy(&send(&server, &["-bp"], "").stdout).into_owned();
    assert_eq!(theirs(), ours(), "an empty queue");
    for (port, listing) in [(postfix.port(), &theirs as &dyn Fn() -> String), (server.smtp_port(), &ours)] {
        let mut smtp = Smtp::connect(port);
        smtp.command("EHLO client.test", 250);
        smtp.send("ann@elsewhere.test", &["one@far.test", "two@far.test"], "Subject: x\n\nx\n");
        eventually("the first failure", || listing().contains("refused").then_some(()), listing);
        smtp.send("", &["three@far.test"], "Subject: y\n\nx\n");
        eventually("the second", || (listing().matches("refused").count() == 2).then_some(()), listing);
    }
    // Postfix lists its folders, we the order of arrival.
    let sorted = |listing: String| {
        let mut messages: Vec<String> = shape(&listing).split(String::is_empty).map(|lines| lines.join("\n")).collect();
        messages[..2].sort_by_key(|message| message.contains("MAILER-DAEMON"));
        messages
    };
    assert!(ours().contains("(connect to 127.0.0.1[127.0.0.1]:1: Connection refused)\n"), "{}", ours());
    let heading = |listing: &str| listing.lines().next().expect("a heading").to_owned();
    assert_eq!(heading(&ours()), heading(&theirs()));
    let without_heading = |listing: String| listing.split_once('\n').expect("lines").1.to_owned();
    assert_eq!(sorted(without_heading(ours())), sorted(without_heading(theirs())), "{}\n{}", ours(), theirs());
}
