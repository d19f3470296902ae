//! The queue: what waits, what is tried again, what comes back.

use e2e::{Server, eventually};

const DOWN: &str = "[routing]\ntransport_maps = [\"inline:{down.test=smtp:[127.0.0.1]:1}\"]\n[smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n";

#[test]
fn mail_for_a_host_that_is_down_waits_and_can_be_seen_held_and_deleted() {
    let server = Server::builder().settings(DOWN).start();
    let id = server.send("alice@example.test", &["x@down.test"], "Subject: waits\n\nthe body\n");
    let list = || server.facteur_ok(&["--json", "queue", "list"]);
    eventually("the message to be deferred", || list().contains("deferred").then_some(()), || server.log());
    let listed = list();
    assert!(listed.contains(&id) && listed.contains("x@down.test"), "{listed}");
    let text = server.facteur_ok(&["queue", "cat", &id]);
    assert!(text.contains("Subject: waits") && text.contains("the body"), "{text}");
    server.facteur_ok(&["queue", "hold", &id]);
    assert!(list().contains("\"held\""), "{}", list());
    server.facteur_ok(&["queue", "release", &id]);
    server.facteur_ok(&["queue", "delete", &id]);
    assert!(!list().contains(&id), "{}", list());
}

#[test]
fn a_full_queue_survives_a_restart() {
    let mut server = Server::builder().settings(DOWN).start();
    let ids: Vec<String> = (0..20).map(|n| server.send("alice@example.test", &["x@down.test"], &format!("Subject: {n}\n\nx\n"))).collect();
    server.stop();
    server.up();
    let list = server.facteur_ok(&["--json", "queue", "list"]);
    for id in &ids {
        assert!(list.contains(id), "{id} is not in\n{list}");
        assert!(server.facteur_ok(&["queue", "cat", id]).contains("Subject: "));
    }
}

#[test]
fn a_refusal_comes_back_as_a_delivery_status_notification() {
    let server = Server::builder()
        .settings(
            "[routing]\ntransport_maps = [\"inline:{{gone.test = error:5.1.2 no such place}}\"]\n[smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n",
        )
        .start();
    let mut smtp = server.smtp();
    smtp.command("MAIL FROM:<alice@example.test> RET=HDRS ENVID=QQ314159", 250);
    smtp.command("RCPT TO:<x@gone.test> NOTIFY=FAILURE ORCPT=rfc822;x@gone.test", 250);
    smtp.command("DATA", 354);
    smtp.write(b"Subject: to nowhere\r\n\r\nsecret body\r\n");
    smtp.command(".", 250);
    let bounce = &server.wait_for_mail("alice@example.test", 1)[0];
    for want in [
        "Return-Path: <>\n",
        "multipart/report",
        "report-type=",
        "Final-Recipient: rfc822; x@gone.test",
        "Action: failed",
        "Status: 5.1.2",
        "Original-Envelope-Id: QQ314159",
        "Subject: to nowhere",
    ] {
        assert!(bounce.to_lowercase().contains(&want.to_lowercase()), "{want:?} is not in\n{bounce}");
    }
    assert!(!bounce.contains("secret body"), "RET=HDRS returns no body:\n{bounce}");
    // A bounce of a message from the null sender would be a loop: nothing comes.
    server.send("", &["x@gone.test"], "Subject: null\n\nx\n");
    eventually("an empty queue", || (server.facteur_ok(&["--json", "queue", "list"]).trim() == "[]").then_some(()), || server.log());
    server.wait_for_mail("alice@example.test", 1);
}

#[test]
fn a_damaged_queue_file_is_set_aside_and_the_others_go_on() {
    let mut server = Server::builder().settings(DOWN).start();
    let id = server.send("alice@example.test", &["x@down.test"], "Subject: damaged\n\nx\n");
    eventually(
        "the message to be deferred",
        || server.facteur_ok(&["--json", "queue", "list"]).contains("deferred").then_some(()),
        || server.log(),
    );
    server.stop();
    let file = server.root().join("spool/queue").join(&id[id.len() - 2..]).join(&id);
    let text = std::fs::read(&file).expect("the queue file");
    std::fs::write(&file, &text[..text.len() / 2]).expect("truncated");
    server.up();
    server.send("a@elsewhere.test", &["bob@example.test"], "Subject: goes on\n\nx\n");
    server.wait_for_mail("bob@example.test", 1);
    server.facteur_ok(&["queue", "flush"]);
    let corrupt = || std::fs::read_dir(server.root().join("spool/corrupt")).expect("corrupt").count();
    eventually("the damaged file to be set aside", || (corrupt() == 1).then_some(()), || server.log());
    assert!(!server.facteur_ok(&["--json", "queue", "list"]).contains(&id));
}

/// Q13: who asks for all of a large message back gets its header.
#[test]
fn a_notification_stays_small_whatever_was_sent() {
    let server = Server::builder()
        .settings(
            "[routing]\ntransport_maps = [\"inline:{{gone.test = error:5.1.2 no such place}}\"]\n[smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n",
        )
        .start();
    let mut smtp = server.smtp();
    smtp.command("MAIL FROM:<alice@example.test> RET=FULL", 250);
    smtp.command("RCPT TO:<x@gone.test>", 250);
    smtp.command("DATA", 354);
    smtp.write(format!("Subject: large\r\n\r\n{}", "all of it\r\n".repeat(500_000)).as_bytes());
    smtp.command(".", 250);
    let bounce = &server.wait_for_mail("alice@example.test", 1)[0];
    assert!(bounce.contains("Subject: large") && !bounce.contains("all of it") && bounce.len() < 10_000, "{} octets", bounce.len());
}

/// Q11, Q14: hosts that send a message in a circle, as one that sends it to itself. Each hop leaves its Received field.
#[test]
fn a_circle_of_hosts_ends_and_the_sender_is_told_once() {
    let settings =
        "[routing]\ntransport_maps = [\"inline:{circle.test=smtp:[127.0.0.1]:$PORT}\"]\n[smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n";
    let (ours, theirs) = (e2e::PortBase::take(), e2e::PortBase::take());
    let next = |own: &e2e::PortBase, other: &e2e::PortBase| {
        let more = format!("[smtpd.service.circle]\nlisten = [\"127.0.0.1:{}\"]\n", own.spare(1));
        Server::builder().settings(&(settings.replace("$PORT", &other.spare(1).to_string()) + &more)).start()
    };
    let (server, _other) = (next(&ours, &theirs), next(&theirs, &ours));
    server.send("alice@example.test", &["x@circle.test"], "Subject: round\n\nx\n");
    let bounce = &server.wait_for_mail("alice@example.test", 1)[0];
    assert!(bounce.contains("5.4.6"), "{bounce}");
    assert!(bounce.matches("\nReceived:").count() >= 50, "{bounce}");
    eventually("an empty queue", || (server.facteur_ok(&["--json", "queue", "list"]).trim() == "[]").then_some(()), || server.log());
    server.wait_for_mail("alice@example.test", 1);
}
