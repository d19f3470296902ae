//! What administrators ask and decide: queue, explain, map.

use e2e::{Server, eventually};
use serde_json::Value;

const DOWN: &str = "[routing]\ntransport_maps = [\"inline:{down.test=smtp:[127.0.0.1]:1, away.test=smtp:[127.0.0.1]:2}\"]\n\
                    [smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n";

fn json(server: &Server, args: &[&str]) -> Value {
    let text = server.facteur(&[&["--json"], args].concat()).stdout;
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", String::from_utf8_lossy(&text)))
}

fn count(server: &Server, args: &[&str]) -> usize {
    json(server, &[&["queue", "list"], args].concat()).as_array().map_or(0, Vec::len)
}

#[test]
fn the_queue_is_filtered_grouped_and_changed_by_filter() {
    let server = Server::builder().settings(DOWN).start();
    for n in 0..3 {
        server.send("alice@example.test", &["x@down.test"], &format!("Subject: {n}\n\nx\n"));
    }
    let other = server.send("bob@example.test", &["y@away.test"], "Subject: other\n\nx\n");
    eventually("all to be deferred", || (count(&server, &["--state", "deferred"]) == 4).then_some(()), || server.log());
    for (args, want) in [
        (&["--sender", "bob@"][..], 1),
        (&["--recipient", "x@"], 3),
        (&["--domain", "down.test"], 3),
        (&["--domain", "example.test"], 0),
        (&["--reason", "refused"], 4),
        (&["--older", "1h"], 0),
        (&["--newer", "1h"], 4),
        (&["--newer", "1h", "--domain", "away.test"], 1),
        (&["--state", "held"], 0),
    ] {
        assert_eq!(count(&server, args), want, "{args:?}");
    }
    let groups = json(&server, &["queue", "list", "--group-by", "destination"]);
    assert_eq!((groups[0]["name"].as_str(), groups[0]["messages"].as_u64()), (Some("down.test"), Some(3)));
    let rows = json(&server, &["queue", "histogram"]);
    assert_eq!((rows[0]["domain"].as_str(), rows[0]["by_age"][0].as_u64()), (Some("TOTAL"), Some(4)));
    assert!(server.facteur_ok(&["queue", "list", "--mailq"]).ends_with("in 4 Requests.\n"));

    server.facteur_ok(&["queue", "hold", "--domain", "down.test"]);
    assert_eq!(count(&server, &["--state", "held"]), 3);
    // Nothing is lost by a filter that nobody has confirmed.
    let refused = server.facteur(&["queue", "delete", "--state", "held"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("3 messages to 3 recipients"), "{told}");
    assert_eq!(count(&server, &[]), 4);
    assert!(!server.facteur(&["queue", "delete"]).status.success(), "nothing chosen is nothing deleted");
    let told = server.facteur_ok(&["queue", "delete", "--state", "held", "--yes"]);
    assert_eq!(told, "3 messages deleted\n");
    // What is expired goes back to its sender.
    server.facteur_ok(&["queue", "expire", &other]);
    assert!(server.wait_for_mail("bob@example.test", 1)[0].contains("y@away.test"));
    eventually("an empty queue", || (count(&server, &[]) == 0).then_some(()), || server.log());
}

#[test]
fn a_requeued_message_follows_the_alias_of_today() {
    let server = Server::builder()
        .file("virtual", "list@example.test x@down.test, bob@example.test\n")
        .settings(&DOWN.replace("[routing]\n", "[routing]\nvirtual_alias_maps = [\"hash:virtual\"]\n"))
        .start();
    let id = server.send("bob@example.test", &["list@example.test"], "Subject: to a list\n\nx\n");
    eventually("it to be deferred", || (count(&server, &["--state", "deferred"]) == 1).then_some(()), || server.log());
    std::fs::write(server.root().join("etc/virtual"), "x@down.test alice@example.test\nbob@example.test alice@example.test\n")
        .expect("table");
    server.facteur_ok(&["reload", "qmgr"]);
    server.facteur_ok(&["queue", "flush", &id]);
    assert_eq!(server.inbox("alice@example.test").len(), 0, "aliases are expanded once");
    // What was delivered is not delivered again, whatever leads there today.
    server.facteur_ok(&["queue", "requeue", &id]);
    eventually("an empty queue", || (count(&server, &[]) == 0).then_some(()), || server.log());
    server.wait_for_mail("alice@example.test", 1);
    server.wait_for_mail("bob@example.test", 1);
}

#[test]
fn explain_gives_the_decision_of_smtpd_with_the_place_of_each_rule() {
    let server = Server::builder()
        .file("access", "# who\nspammer@bad.test REJECT go away\n")
        .file("virtual", "team@example.test alice@example.test, z@down.test\n")
        .file("tls_policy", "# levels\n[127.0.0.1]:1 secure match=mx.down.test\n")
        .settings(
            "[outbound]\nsmtp_tls_policy_maps = [\"hash:tls_policy\"]\n[smtpd]\nsmtpd_peername_lookup = false\nmynetworks = [\"192.0.2.0/24\"]\nsmtpd_sender_restrictions = [\"check_sender_access hash:access\"]\n\
             [routing]\nvirtual_alias_maps = [\"hash:virtual\"]\ntransport_maps = [\"inline:{down.test=smtp:[127.0.0.1]:1}\"]\n",
        )
        .start();
    let explain = |args: &[&str]| {
        let output = server.facteur(&[&["explain", "--helo", "h.test", "--client"], args].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, text) = explain(&["198.51.100.1", "--from", "a@x.test", "--to", "team@example.test"]);
    assert_eq!(code, Some(0), "{text}");
    let tls = ["secure, the certificate has to have mx.down.test", "tls_policy:2"];
    for want in ["an alias here", "alice@example.test", "z@down.test", "smtp:[127.0.0.1]:1", "50-test.toml:", "transport_maps", "permitted"]
        .into_iter()
        .chain(tls)
    {
        assert!(text.contains(want), "{want:?} in\n{text}");
    }
    let (code, text) = explain(&["198.51.100.1", "--from", "spammer@bad.test", "--to", "alice@example.test"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("check_sender_access hash:access") && text.contains("go away") && text.contains("access") && text.contains('2'),
        "{text}"
    );
    // The words of a real refusal, and its reason in the log.
    let mut smtp = e2e::Smtp::connect(server.smtp_port());
    smtp.command("EHLO h.test", 250);
    smtp.command("MAIL FROM:<spammer@bad.test>", 250);
    smtp.command("RCPT TO:<alice@example.test>", 554);
    let log =
        eventually("the line in the log", || server.log().lines().find(|l| l.contains("rejected")).map(str::to_owned), || server.log());
    let verdict = json(
        &server,
        &["explain", "--client", "198.51.100.1", "--helo", "h.test", "--from", "spammer@bad.test", "--to", "alice@example.test"],
    );
    assert_eq!(verdict["taken"], false);
    let steps = verdict["steps"].as_array().expect("steps");
    let reason = steps.iter().find(|s| s["about"] == "verdict").and_then(|s| s["because"].as_str()).expect("a verdict");
    assert!(log.contains(&reason.replace('"', "\\\"")) || log.contains(reason), "{reason:?} in\n{log}");
    // Strangers do not relay, mynetworks do.
    assert_eq!(explain(&["198.51.100.1", "--from", "a@x.test", "--to", "q@down.test"]).0, Some(1));
    assert_eq!(explain(&["192.0.2.7", "--from", "a@x.test", "--to", "q@down.test"]).0, Some(0));
    assert_eq!(server.facteur_ok(&["--json", "queue", "list"]).trim(), "[]", "nothing is sent");
}

#[test]
fn tables_are_checked_and_a_miss_says_what_was_asked() {
    let server = Server::builder()
        .file("virtual", "a@example.test alice@example.test\n")
        .settings("[routing]\nvirtual_alias_maps = [\"hash:virtual\"]\n")
        .start();
    let told = server.facteur_ok(&["map", "compile"]);
    assert!(told.contains("hash:virtual: 1 entry") && told.contains("only `cdb:` tables are compiled"), "{told}");
    assert!(server.facteur_ok(&["map", "list"]).contains("routing.virtual_alias_maps"));
    let miss = server.facteur(&["map", "query", "hash:virtual", "b@example.test", "--as", "address"]);
    let told = String::from_utf8_lossy(&miss.stderr);
    assert!(miss.status.code() == Some(1) && miss.stdout.is_empty() && told.contains("@example.test"), "{told}");
    let file = server.root().join("etc/virtual");
    std::fs::write(&file, "a@example.test alice@example.test\nno-value\n").expect("table");
    let wrong = server.facteur(&["map", "compile", file.to_str().expect("text")]);
    let told = String::from_utf8_lossy(&wrong.stdout);
    assert!(!wrong.status.success() && told.contains("virtual:2"), "{told}");
}
