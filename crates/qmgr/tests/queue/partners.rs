//! Partners that are absent, and destinations for which too much waits: neither stands in the way of other mail.

use crate::house::{BODY, House, OURS, ids, wait_for};
use mail_types::{DsnNotify, QueueId};
use spool::{Listed, ListedState};
use testkit::{Act, Sink};

/// A house where `gone.test` is at an LMTP socket, `slow.test` at the one host, and `far.test` at the other.
async fn house(slow: u16, far: u16, own: &str) -> House {
    let mut house = House::new("").await;
    let table = format!(
        "gone.test lmtp:unix:{}\nslow.test smtp:[127.0.0.1]:{slow}\nfar.test smtp:[127.0.0.1]:{far}\n",
        house.path("run/gone").display()
    );
    std::fs::write(house.path("transport"), table).expect("table");
    house.settings = format!("{OURS}transport_maps = [\"texthash:{}\"]\n[qmgr]\n{own}", house.path("transport").display());
    house
}

fn state(listed: &[Listed], id: QueueId) -> Option<&ListedState> {
    listed.iter().find(|l| l.id == id).map(|l| &l.state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_for_an_absent_partner_takes_no_place_and_goes_on_at_its_return() {
    let far = Sink::smtp().start().await;
    let mut house = house(1, far.port(), "partner_retry_time = \"100ms\"\nqmgr_message_active_limit = 100\n").await;
    house.start().await;
    let mut waiting = Vec::new();
    for _ in 0..250 {
        waiting.push(house.send("ann@ours.test", &["zoe@gone.test"]).await);
    }
    house.send("ann@ours.test", &["zoe@far.test"]).await;
    wait_for("other mail", || far.messages().len() == 1).await;
    // Its back-off would be five minutes.
    wait_for("the deferrals", || {
        let listed = house.listed();
        listed.len() == 250 && listed.iter().all(|l| matches!(l.state, ListedState::Deferred { .. }))
    })
    .await;
    let reason = house.listed()[0].recipients[0].reason.as_deref().unwrap_or_default().to_owned();
    assert!(reason.contains("run/gone"), "{reason}");
    house.ask("queue.delete", &waiting[..2]).await;
    house.ask("queue.hold", &waiting[2..3]).await;
    wait_for("the hold", || state(&house.listed(), waiting[2]) == Some(&ListedState::Held)).await;
    let gone = Sink::lmtp().keyword("XFACTEUR").start_unix(&house.path("run/gone")).await;
    wait_for("the rest of the mail", || house.listed().len() == 1).await;
    let mut got = ids(&gone);
    got.sort();
    let mut want: Vec<String> = waiting[3..].iter().map(ToString::to_string).collect();
    want.sort();
    assert_eq!(got, want, "each once");
    house.stop().await;
}

/// A partner that is stopped while it has a message, and takes its time to come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_in_whose_middle_a_partner_went_goes_on_at_its_return() {
    let mut house = house(1, 1, "partner_retry_time = \"100ms\"\n").await;
    let gone = house.path("run/gone");
    let dying = Sink::lmtp().keyword("XFACTEUR").on("MAIL", Act::Close).start_unix(&gone).await;
    house.start().await;
    house.send("ann@ours.test", &["zoe@gone.test"]).await;
    wait_for("the first attempt", || dying.commands().iter().any(|c| c.starts_with("MAIL"))).await;
    drop(dying);
    let _ = std::fs::remove_file(&gone);
    wait_for("the deferral", || house.listed().iter().any(|l| matches!(l.state, ListedState::Deferred { .. }))).await;
    // Its back-off would be five minutes.
    let back = Sink::lmtp().keyword("XFACTEUR").start_unix(&gone).await;
    house.emptied().await;
    assert_eq!(back.messages().len(), 1);
    house.stop().await;
}

/// It was stopped with a connection kept open, and again as it came up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_that_dies_twice_in_a_row_makes_no_mail_wait() {
    let mut house = house(1, 1, "partner_retry_time = \"100ms\"\n").await;
    let dying = Sink::lmtp()
        .on_first(1, "LHLO", Act::reply("250-there\n250-PIPELINING\n250-CHUNKING\n250 XFACTEUR"))
        .on("LHLO", Act::Close)
        .on_first(1, "MAIL", Act::reply("250 2.1.0 Ok"))
        .on("MAIL", Act::Close);
    let dying = dying.start_unix(&house.path("run/gone")).await;
    house.start().await;
    house.send("ann@ours.test", &["zoe@gone.test"]).await;
    house.emptied().await;
    house.send("ann@ours.test", &["zoe@gone.test"]).await;
    wait_for("both deaths", || dying.commands().iter().filter(|c| c.starts_with("LHLO")).count() > 1).await;
    assert_eq!(dying.messages().len(), 1);
    drop(dying);
    let _ = std::fs::remove_file(house.path("run/gone"));
    let back = Sink::lmtp().keyword("XFACTEUR").start_unix(&house.path("run/gone")).await;
    house.emptied().await;
    assert!(back.messages()[0].mail.contains(" XREPEAT"), "{:?}", back.messages());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_mail_for_an_absent_partner_is_tried_at_once() {
    let mut house = house(1, 1, "partner_retry_time = \"100ms\"\n").await;
    house.start().await;
    house.send("ann@ours.test", &["zoe@gone.test"]).await;
    wait_for("the deferral", || house.listed().iter().any(|l| matches!(l.state, ListedState::Deferred { .. }))).await;
    house.stop().await;
    let gone = Sink::lmtp().start_unix(&house.path("run/gone")).await;
    house.start().await;
    house.emptied().await;
    assert_eq!(gone.messages().len(), 1);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_partner_is_held_and_deleted_at_once() {
    let mut house = house(1, 1, "partner_retry_time = \"1m\"\n").await;
    house.start().await;
    let mut sent = Vec::new();
    for _ in 0..4 {
        sent.push(house.send("ann@ours.test", &["zoe@gone.test"]).await);
    }
    house.ask("queue.delete", &sent[..2]).await;
    wait_for("the removal", || house.listed().len() == 2).await;
    house.ask("queue.hold", &sent[2..3]).await;
    wait_for("the hold", || state(&house.listed(), sent[2]) == Some(&ListedState::Held)).await;
    assert_eq!(state(&house.listed(), sent[3]), Some(&ListedState::Waiting));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_for_an_absent_partner_expires() {
    let mut house = house(1, 1, "partner_retry_time = \"100ms\"\nmaximal_queue_lifetime = \"0s\"\n").await;
    let deliver = house.deliver(Sink::lmtp()).await;
    house.start().await;
    house.send("ann@ours.test", &["zoe@gone.test"]).await;
    wait_for("the report", || deliver.messages().len() == 1).await;
    let report = String::from_utf8_lossy(&deliver.messages()[0].body).into_owned();
    assert!(report.contains("Final-Recipient: rfc822; zoe@gone.test") && report.contains("Status: 5.4.1"), "{report}");
    house.emptied().await;
    house.stop().await;
}

/// Q7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_without_an_answer_leaves_places_and_memory_to_others() {
    for limits in ["qmgr_message_active_limit = 100\n", "body_memory_limit = \"1M\"\n"] {
        let (slow, far) = (Sink::smtp().on("MAIL", Act::Silence).start().await, Sink::smtp().start().await);
        let mut house = house(slow.port(), far.port(), limits).await;
        house.start().await;
        for _ in 0..300 {
            house.accept(&house.envelope("ann@ours.test", &["zoe@slow.test"]), &[b'x'; 10_000]).await;
        }
        for _ in 0..20 {
            house.send("ann@ours.test", &["zoe@far.test"]).await;
        }
        wait_for("other mail", || far.messages().len() == 20).await;
        wait_for("its outcomes", || house.listed().len() == 300).await;
        drop(slow);
        house.stop().await;
    }
}

/// Each of its destinations has next to nothing waiting; the transport that all of them share lets one through at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_transport_with_many_destinations_leaves_places_to_others() {
    let (slow, far) = (Sink::smtp().on("MAIL", Act::Silence).start().await, Sink::smtp().start().await);
    let mut house = house(slow.port(), far.port(), "qmgr_message_active_limit = 100\n").await;
    let table = format!("far.test smtp:[127.0.0.1]:{}\n.slow.test slow:\n", far.port());
    std::fs::write(house.path("transport"), table).expect("table");
    house.settings += &format!("[[qmgr.transport]]\nname = \"slow\"\nprocess_limit = 1\n[outbound]\nsmtp_port = {}\n", slow.port());
    house.start().await;
    for n in 0..300 {
        house.dns.add(&format!("n{n}.slow.test A 127.0.0.1"));
        house.send("ann@ours.test", &[&format!("zoe@n{n}.slow.test")]).await;
    }
    for _ in 0..20 {
        house.send("ann@ours.test", &["zoe@far.test"]).await;
    }
    wait_for("other mail", || far.messages().len() == 20).await;
    drop(slow);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stood_aside_is_delivered_in_its_turn() {
    let own = "qmgr_message_active_limit = 100\nlocal_destination_concurrency_limit = 1\n";
    let mut house = house(1, 1, own).await;
    let partner = Sink::lmtp().keyword("XFACTEUR").start_unix(&house.path("run/gone")).await;
    // Before qmgr is there, so that more comes than has a place.
    let mut sent = Vec::new();
    for _ in 0..700 {
        sent.push(house.send("ann@ours.test", &["zoe@gone.test"]).await.to_string());
    }
    house.start().await;
    house.emptied().await;
    let mut got = ids(&partner);
    got.sort();
    sent.sort();
    assert!(got == sent, "each once");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_is_reported_although_other_recipients_of_the_message_wait_for_a_partner() {
    let mut house = House::new(OURS).await;
    let script = Sink::lmtp().on_first(2, "RCPT TO:<bad@ours.test>", Act::reply("451 4.3.0 the user database is not available"));
    let deliver = house.deliver(script).await;
    house.start().await;
    let mut envelope = house.envelope("ann@ours.test", &["bob@ours.test", "bad@ours.test"]);
    envelope.recipients[0].notify = DsnNotify { given: true, success: true, ..DsnNotify::NEVER };
    house.accept(&envelope, BODY).await;
    wait_for("two deliveries and a report", || deliver.messages().len() == 3).await;
    house.emptied().await;
    let messages = deliver.messages();
    let report = messages.iter().find(|m| m.mail.starts_with("MAIL FROM:<>")).map(|m| String::from_utf8_lossy(&m.body).into_owned());
    let report = report.expect("a report");
    assert!(report.contains("Action: delivered") && report.contains("bob@ours.test"), "{report}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_is_reported_by_the_host_that_knows_how_and_else_by_us() {
    let far = Sink::smtp().start().await;
    let slow = Sink::smtp().keywords("PIPELINING 8BITMIME").start().await;
    let mut house = house(slow.port(), far.port(), "").await;
    let deliver = house.deliver(Sink::lmtp()).await;
    house.start().await;
    for to in ["zoe@far.test", "zoe@slow.test"] {
        let mut envelope = house.envelope("ann@ours.test", &[to]);
        envelope.recipients[0].notify = DsnNotify { given: true, success: true, ..DsnNotify::NEVER };
        house.accept(&envelope, BODY).await;
    }
    wait_for("the mail", || far.messages().len() == 1 && slow.messages().len() == 1).await;
    wait_for("the report", || deliver.messages().len() == 1).await;
    house.emptied().await;
    let messages = deliver.messages();
    let report = String::from_utf8_lossy(&messages[0].body);
    assert!(messages.len() == 1 && report.contains("Action: relayed") && report.contains("zoe@slow.test"), "{report}");
    assert!(far.messages()[0].recipients[0].contains("NOTIFY=SUCCESS"));
    house.stop().await;
}
