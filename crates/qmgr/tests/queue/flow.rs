//! Mail flows, waits, comes back.

use crate::house::{BODY, House, OURS, files, ids, wait_for};
use mail_types::DsnNotify;
use std::time::{Duration, Instant};
use testkit::{Act, Sink};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_flows_from_memory_and_segments_are_used_again() {
    let mut house = House::new(OURS).await;
    let sink = house.deliver(Sink::lmtp().keyword("XFACTEUR")).await;
    house.start().await;
    let mut sent = Vec::new();
    for _ in 0..400 {
        let envelope = house.envelope("ann@ours.test", &["bob@ours.test"]);
        sent.push(house.accept(&envelope, &[b'x'; 1000]).await.to_string());
    }
    wait_for("all mail", || sink.messages().len() >= 400).await;
    house.emptied().await;
    let mut got = ids(&sink);
    got.sort();
    sent.sort();
    assert!(got == sent, "each once");
    let queue = house.path("spool/queue");
    assert_eq!(files(&queue) - files(&queue.join("outcomes")), 0, "no file was made");
    // 400 kB went through; finished segments came back.
    wait_for("recycling", || std::fs::read_dir(house.path("spool/journal")).expect("list").count() <= 6).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_accepted_while_qmgr_is_away_is_found_and_a_restart_repeats_nothing() {
    let mut house = House::new(OURS).await;
    let sink = house.deliver(Sink::lmtp().keyword("XFACTEUR")).await;
    for _ in 0..50 {
        house.send("ann@ours.test", &["bob@ours.test"]).await;
    }
    house.start().await;
    wait_for("the first fifty", || sink.messages().len() == 50).await;
    house.emptied().await;
    house.stop().await;
    for _ in 0..50 {
        house.send("ann@ours.test", &["bob@ours.test"]).await;
    }
    house.start().await;
    wait_for("the next fifty", || sink.messages().len() >= 100).await;
    house.emptied().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(sink.messages().len(), 100);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliver_may_come_late_and_no_attempt_is_counted() {
    let mut house = House::new(OURS).await;
    house.start().await;
    for _ in 0..30 {
        house.send("ann@ours.test", &["bob@ours.test"]).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    let sink = house.deliver(Sink::lmtp()).await;
    wait_for("all mail", || sink.messages().len() == 30).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    house.emptied().await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_system_fault_at_deliver_is_tried_again_in_a_moment() {
    let mut house = House::new(OURS).await;
    let script = Sink::lmtp().on_first(3, "RCPT TO:<bob@ours.test>", Act::reply("451 4.3.0 the user database is not available"));
    let sink = house.deliver(script).await;
    house.start().await;
    house.send("ann@ours.test", &["bob@ours.test"]).await;
    wait_for("the mail", || sink.messages().len() == 1).await;
    house.emptied().await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_recipient_is_reported_to_the_sender_and_the_others_are_delivered() {
    let mut house = House::new(OURS).await;
    let sink = house.deliver(Sink::lmtp().on("RCPT TO:<bad@ours.test>", Act::reply("550 5.1.1 no such user"))).await;
    house.start().await;
    let mut envelope = house.envelope("ann@ours.test", &["bob@ours.test", "bad@ours.test"]);
    envelope.envid = Some("QQ314".into());
    envelope.recipients[0].notify = DsnNotify { given: true, success: true, ..DsnNotify::NEVER };
    let id = house.accept(&envelope, BODY).await;
    wait_for("mail and two reports", || sink.messages().len() == 3).await;
    house.emptied().await;
    let reports: Vec<String> =
        sink.messages().iter().filter(|m| m.mail.starts_with("MAIL FROM:<>")).map(|m| String::from_utf8_lossy(&m.body).into()).collect();
    let failed = reports.iter().find(|r| r.contains("Action: failed")).expect("a failure report");
    for part in [
        "Final-Recipient: rfc822; bad@ours.test",
        "Status: 5.1.1",
        "550 5.1.1 no such user",
        "Original-Envelope-Id: QQ314",
        "Subject: hello",
        id.as_str(),
    ] {
        assert!(failed.contains(part), "{part}: {failed}");
    }
    let success = reports.iter().find(|r| r.contains("Action: delivered")).expect("a success report");
    assert!(success.contains("Final-Recipient: rfc822; bob@ours.test"));
    house.stop().await;
}

/// Q13.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_null_sender_gets_no_report() {
    let mut house = House::new(OURS).await;
    let sink = house.deliver(Sink::lmtp().on("RCPT TO:<bad@ours.test>", Act::reply("550 5.1.1 no such user"))).await;
    house.start().await;
    house.send("", &["bad@ours.test"]).await;
    wait_for("the attempt", || sink.commands().iter().any(|c| c.contains("bad@"))).await;
    house.emptied().await;
    assert_eq!(sink.messages().len(), 0);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deferred_waits_in_a_file_over_a_restart_and_goes_out_when_flushed() {
    let remote = Sink::smtp().on_first(1, "RCPT TO:<zoe@far.test>", Act::reply("450 4.2.1 come back later")).start().await;
    let settings = format!("{OURS}relayhost = \"[127.0.0.1]:{}\"\n", remote.port());
    let mut house = House::new(&settings).await;
    house.start().await;
    let id = house.send("ann@ours.test", &["zoe@far.test", "max@far.test"]).await;
    let deferred = |listed: &[spool::Listed]| matches!(listed, [l] if matches!(l.state, spool::ListedState::Deferred { .. }));
    wait_for("a deferral", || deferred(&house.listed())).await;
    house.stop().await;
    let listed = house.listed();
    assert_eq!((listed[0].id, listed[0].recipients.len()), (id, 1));
    assert!(listed[0].recipients[0].reason.as_deref().is_some_and(|r| r.contains("come back later")), "{listed:?}");
    assert_eq!(files(&house.path("spool/queue").join(id.directory())), 1);
    house.start().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(deferred(&house.listed()), "it keeps its time");
    house.stop().await;
    // With another clock in the settings: tried as soon as qmgr starts.
    house.settings = format!("{settings}[qmgr]\nminimal_backoff_time = \"1s\"\nmaximal_backoff_time = \"1s\"\n");
    house.start().await;
    wait_for("the delivery", || remote.messages().len() == 2).await;
    house.emptied().await;
    wait_for("its file to go", || files(&house.path("spool/queue").join(id.directory())) == 0).await;
    house.stop().await;
}

/// Q15.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_is_returned() {
    let remote = Sink::smtp().on("RCPT TO:", Act::reply("450 4.2.1 come back later")).start().await;
    let settings = format!("{OURS}relayhost = \"[127.0.0.1]:{}\"\n[qmgr]\nmaximal_queue_lifetime = \"0s\"\n", remote.port());
    let mut house = House::new(&settings).await;
    let sink = house.deliver(Sink::lmtp()).await;
    house.start().await;
    house.send("ann@ours.test", &["zoe@far.test"]).await;
    wait_for("the report", || sink.messages().len() == 1).await;
    let report = String::from_utf8_lossy(&sink.messages()[0].body).into_owned();
    assert!(report.contains("Action: failed") && report.contains("come back later"), "{report}");
    house.emptied().await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_are_streamed_from_their_file() {
    let mut house = House::new(OURS).await;
    let sink = house.deliver(Sink::lmtp().keywords("PIPELINING CHUNKING 8BITMIME SIZE=90000000")).await;
    house.start().await;
    let mut body = BODY.to_vec();
    while body.len() < 3_000_000 {
        body.extend_from_slice(b"some line of the body, again and again and again, to the end\r\n");
    }
    house.accept(&house.envelope("ann@ours.test", &["bob@ours.test"]), &body).await;
    wait_for("the mail", || sink.messages().len() == 1).await;
    assert!(sink.messages()[0].body == body);
    house.emptied().await;
    house.stop().await;
}

/// Q7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_destination_delays_nobody() {
    let remote = Sink::smtp().start().await;
    let dead = testkit::free_port();
    let mut house = House::new("").await;
    std::fs::write(house.path("transport"), format!("dead.test smtp:[127.0.0.1]:{dead}\nfar.test smtp:[127.0.0.1]:{}\n", remote.port()))
        .expect("table");
    house.settings = format!("{OURS}transport_maps = [\"texthash:{}\"]\n", house.path("transport").display());
    house.start().await;
    for _ in 0..100 {
        house.send("ann@ours.test", &["x@dead.test"]).await;
    }
    house.send("ann@ours.test", &["zoe@far.test"]).await;
    wait_for("the other mail", || remote.messages().len() == 1).await;
    wait_for("the deferrals", || {
        let listed = house.listed();
        listed.len() == 100 && listed.iter().all(|l| matches!(l.state, spool::ListedState::Deferred { .. }))
    })
    .await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aliases_are_expanded_once_and_each_address_gets_one_copy() {
    let mut house = House::new("").await;
    std::fs::write(house.path("aliases"), "team@ours.test ann@ours.test, bob@ours.test, cid@ours.test\n").expect("table");
    house.settings =
        OURS.replace("virtual_alias_maps = []", &format!("virtual_alias_maps = [\"texthash:{}\"]", house.path("aliases").display()));
    let script = Sink::lmtp().on_first(1, "RCPT TO:<cid@ours.test>", Act::reply("452 4.2.2 mailbox full"));
    let sink = house.deliver(script).await;
    house.start().await;
    house.send("zoe@ours.test", &["team@ours.test", "bob@ours.test"]).await;
    wait_for("two of them", || !house.listed().is_empty() && house.listed()[0].recipients.len() == 1).await;
    house.stop().await;
    // The alias changes; what was expanded stays.
    std::fs::write(house.path("aliases"), "team@ours.test dan@ours.test\n").expect("table");
    house.settings += "[qmgr]\nminimal_backoff_time = \"1s\"\nmaximal_backoff_time = \"1s\"\n";
    house.start().await;
    house.emptied().await;
    let mut got: Vec<String> =
        sink.messages().iter().flat_map(|m| m.recipients.clone()).map(|r| r.split(' ').nth(1).unwrap_or_default().into()).collect();
    got.sort();
    assert_eq!(got, ["TO:<ann@ours.test>", "TO:<bob@ours.test>", "TO:<cid@ours.test>"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_message_waits_for_its_release() {
    let mut house = House::new(OURS).await;
    let sink = house.deliver(Sink::lmtp()).await;
    house.start().await;
    let mut envelope = house.envelope("ann@ours.test", &["bob@ours.test"]);
    envelope.hold = true;
    let id = house.accept(&envelope, BODY).await;
    wait_for("its file", || files(&house.path("spool/queue").join(id.directory())) == 1).await;
    wait_for("its state", || house.listed().iter().all(|l| l.state == spool::ListedState::Held)).await;
    assert_eq!(sink.messages().len(), 0);
    house.stop().await;
    house.start().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((sink.messages().len(), house.listed().len()), (0, 1));
    house.stop().await;
}
