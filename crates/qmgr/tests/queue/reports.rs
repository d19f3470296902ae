//! What senders are told, and who hears of what they cannot be told.

use crate::house::{BODY, House, OURS, wait_for};
use spool::ListedState;
use testkit::{Act, Sink};

const HOUR_MICROS: u64 = 3_600_000_000;

fn reports(sink: &Sink) -> Vec<String> {
    sink.messages().iter().map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sender_is_told_once_that_a_message_is_late() {
    let far = Sink::smtp().on_first(4, "RCPT", Act::reply("450 4.2.1 come back later")).start().await;
    let settings = format!(
        "{OURS}relayhost = \"[127.0.0.1]:{}\"\n[qmgr]\ndelay_warning_time = \"10m\"\nminimal_backoff_time = \"1s\"\nmaximal_backoff_time = \"1s\"\n",
        far.port()
    );
    let mut house = House::new(&settings).await;
    let deliver = house.deliver(Sink::lmtp()).await;
    house.start().await;
    let mut envelope = house.envelope("ann@ours.test", &["zoe@far.test"]);
    envelope.arrived_micros -= HOUR_MICROS;
    house.accept(&envelope, BODY).await;
    // Not late yet.
    house.send("ann@ours.test", &["max@far.test"]).await;
    wait_for("the warning", || !deliver.messages().is_empty()).await;
    wait_for("the deferral", || house.listed().iter().all(|l| matches!(l.state, ListedState::Deferred { .. }))).await;
    house.stop().await;
    house.start().await;
    wait_for("the mail", || far.messages().len() == 2).await;
    house.emptied().await;
    let reports = reports(&deliver);
    let report = &reports[0];
    assert_eq!(reports.len(), 1, "once, also over a restart");
    for part in ["Action: delayed", "Status: 4.2.1", "Final-Recipient: rfc822; zoe@far.test", "Will-Retry-Until: ", "To: ann@ours.test"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert_eq!(deliver.messages()[0].mail.split(' ').nth(1), Some("FROM:<>"));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_null_sender_is_not_told_that_a_message_is_late() {
    let far = Sink::smtp().on_first(1, "RCPT", Act::reply("450 4.2.1 come back later")).start().await;
    let settings = format!(
        "{OURS}relayhost = \"[127.0.0.1]:{}\"\n[qmgr]\ndelay_warning_time = \"10m\"\nminimal_backoff_time = \"1s\"\nmaximal_backoff_time = \"1s\"\n",
        far.port()
    );
    let mut house = House::new(&settings).await;
    let deliver = house.deliver(Sink::lmtp()).await;
    house.start().await;
    let mut envelope = house.envelope("", &["zoe@far.test"]);
    envelope.arrived_micros -= HOUR_MICROS;
    house.accept(&envelope, BODY).await;
    wait_for("the mail", || far.messages().len() == 1).await;
    house.emptied().await;
    assert!(reports(&deliver).is_empty());
    house.stop().await;
}

/// A message to `zoe@far.test` is refused, and so is the bounce to its sender.
async fn double_bounce(double_bounce_recipient: &str, refused: &str) -> (Vec<String>, Sink) {
    let far = Sink::smtp().on("RCPT", Act::reply("550 5.1.1 no such user")).start().await;
    let settings =
        format!("{OURS}relayhost = \"[127.0.0.1]:{}\"\n[qmgr]\ndouble_bounce_recipient = \"{double_bounce_recipient}\"\n", far.port());
    let mut house = House::new(&settings).await;
    let script = Sink::lmtp().on("RCPT TO:<ann@ours.test>", Act::reply("550 5.2.1 disabled"));
    let deliver = house.deliver(script.on(&format!("RCPT TO:<{refused}>"), Act::reply("550 5.2.1 disabled"))).await;
    house.start().await;
    house.send("ann@ours.test", &["zoe@far.test"]).await;
    wait_for("the bounce", || deliver.commands().iter().any(|c| c.starts_with("RCPT TO:<ann@ours.test>"))).await;
    house.emptied().await;
    house.stop().await;
    (reports(&deliver), deliver)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_that_cannot_be_delivered_goes_to_the_postmaster() {
    let (reports, deliver) = double_bounce("root@ours.test", "nobody@ours.test").await;
    assert_eq!(reports.len(), 1);
    let report = &reports[0];
    for part in ["To: root@ours.test", "Final-Recipient: rfc822; ann@ours.test", "550 5.2.1 disabled", "zoe@far.test"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(deliver.messages()[0].mail.starts_with("MAIL FROM:<>"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_of_a_bounce_of_a_bounce_goes_nowhere() {
    for (recipient, tries) in [("root@ours.test", 1), ("", 0)] {
        let (reports, deliver) = double_bounce(recipient, "root@ours.test").await;
        assert!(reports.is_empty(), "{reports:?}");
        let tried = deliver.commands().iter().filter(|c| c.starts_with("RCPT TO:<root@ours.test>")).count();
        assert_eq!(tried, tries, "{recipient:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_postmaster_hears_of_what_notify_classes_names() {
    let far = Sink::smtp().on("RCPT", Act::reply("550 5.1.1 no such user")).start().await;
    let settings = format!(
        "{OURS}relayhost = \"[127.0.0.1]:{}\"\n[qmgr]\nnotify_classes = [\"bounce\"]\nbounce_notice_recipient = \"root@ours.test\"\n",
        far.port()
    );
    let mut house = House::new(&settings).await;
    let deliver = house.deliver(Sink::lmtp().on("RCPT TO:<bob@ours.test>", Act::reply("550 5.2.1 disabled"))).await;
    house.start().await;
    house.send("ann@ours.test", &["zoe@far.test"]).await;
    wait_for("bounce and notice", || deliver.messages().len() == 2).await;
    // Its bounce is refused too: `2bounce` is not named, so that nobody hears of that.
    house.send("bob@ours.test", &["zoe@far.test"]).await;
    wait_for("the second notice", || deliver.messages().len() == 3).await;
    house.emptied().await;
    house.stop().await;
    let reports = reports(&deliver);
    let (copies, bounces): (Vec<_>, Vec<_>) = reports.iter().partition(|report| report.contains("To: root@ours.test"));
    assert_eq!((copies.len(), bounces.len()), (2, 1), "{reports:?}");
    for copy in copies {
        assert!(copy.contains("Subject: Postmaster Copy: Undelivered Mail Returned to Sender"), "{copy}");
        assert!(copy.contains("Content-Type: text/rfc822-headers") && copy.contains("zoe@far.test"), "{copy}");
    }
}
