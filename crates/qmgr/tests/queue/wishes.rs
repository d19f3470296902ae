//! What senders ask of transport: by when, not before, how urgently, how safely.

use crate::house::{BODY, House, OURS, wait_for};
use mail_types::{ByMode, DeliverBy, DsnNotify, Envelope, Release, TlsWish, Wishes};
use spool::ListedState;
use testkit::{Act, Sink};

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().expect("clock").as_secs()
}

/// Our domain, and a relay for all others.
fn with_relay(relay: &Sink) -> String {
    format!("{OURS}relayhost = \"[127.0.0.1]:{}\"\n", relay.port())
}

fn by(mode: ByMode, seconds: i64, trace: bool) -> Wishes {
    Wishes { deliver_by: Some(DeliverBy { at_seconds: now() as i64 + seconds, mode, trace }), ..Wishes::default() }
}

async fn send(house: &House, to: &str, wishes: Wishes) -> Envelope {
    let envelope = Envelope { wishes, ..house.envelope("ann@ours.test", &[to]) };
    house.accept(&envelope, BODY).await;
    envelope
}

fn asleep(house: &House, message: &Envelope) -> bool {
    house.listed().iter().any(|l| l.id == message.id && matches!(l.state, ListedState::Asleep { .. }))
}

fn text(sink: &Sink, at: usize) -> String {
    String::from_utf8_lossy(&sink.messages()[at].body).into_owned()
}

/// RFC 2852 §4.1.3: no more attempts; a report with 5.4.7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_to_be_returned_when_late_is_returned_then() {
    let relay = Sink::smtp().keyword("DELIVERBY").on("RCPT", Act::reply("450 4.2.0 busy")).start().await;
    let mut house = House::new(&with_relay(&relay)).await;
    let local = house.deliver(Sink::lmtp()).await;
    house.start().await;
    send(&house, "x@else.test", by(ByMode::Return, 2, false)).await;
    wait_for("the report", || local.messages().len() == 1).await;
    let report = text(&local, 0);
    for want in ["Action: failed", "Status: 5.4.7", "Deliver-By-Date: ", "Arrival-Date: "] {
        assert!(report.contains(want), "{want} is not in\n{report}");
    }
    assert!(relay.commands().iter().any(|c| c.contains(" BY=") && c.contains(";R")), "{:?}", relay.commands());
    house.emptied().await;
    // Late already when it is read: not even tried.
    let attempts = relay.commands().len();
    send(&house, "x@else.test", by(ByMode::Return, -5, false)).await;
    wait_for("the report", || local.messages().len() == 2).await;
    assert_eq!(relay.commands().len(), attempts);
    house.stop().await;
}

/// RFC 2852 §4.1.3: the sender is told with 4.4.7, and it is tried on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_to_be_told_is_told_once_and_delivery_goes_on() {
    let relay = Sink::smtp().on("RCPT", Act::reply("450 4.2.0 busy")).start().await;
    let mut house = House::new(&with_relay(&relay)).await;
    let local = house.deliver(Sink::lmtp()).await;
    house.start().await;
    let envelope = send(&house, "x@else.test", by(ByMode::Notify, 1, false)).await;
    wait_for("the report", || local.messages().len() == 1).await;
    let report = text(&local, 0);
    assert!(report.contains("Action: delayed") && report.contains("Status: 4.4.7"), "{report}");
    let tries = || relay.commands().iter().filter(|c| c.starts_with("RCPT")).count();
    let deferred = || matches!(house.listed().first().map(|l| l.state), Some(ListedState::Deferred { .. }));
    wait_for("it to wait", deferred).await;
    let told_after = tries();
    house.ask("queue.flush", &[envelope.id]).await;
    wait_for("another attempt", || tries() > told_after).await;
    wait_for("it to wait again", deferred).await;
    assert_eq!((local.messages().len(), house.listed().len()), (1, 1));
    house.stop().await;
}

/// RFC 2852 §4.1.4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_are_told_of_where_the_time_is_lost_or_a_trace_is_wanted() {
    let knows = Sink::smtp().keyword("DELIVERBY").start().await;
    let ignorant = Sink::smtp().start().await;
    for (relay, wishes, told) in [
        (&knows, by(ByMode::Notify, 100, false), false),
        (&knows, by(ByMode::Return, 100, true), true),
        (&ignorant, by(ByMode::Notify, 100, false), true),
        (&ignorant, by(ByMode::Notify, -5, false), false),
    ] {
        let mut house = House::new(&with_relay(relay)).await;
        let local = house.deliver(Sink::lmtp()).await;
        house.start().await;
        send(&house, "x@else.test", wishes).await;
        let mut silent = house.envelope("ann@ours.test", &["never@else.test"]);
        silent.wishes = wishes;
        silent.recipients[0].notify = DsnNotify::NEVER;
        house.accept(&silent, BODY).await;
        house.emptied().await;
        let reports: Vec<String> = (0..local.messages().len()).map(|at| text(&local, at)).collect();
        assert_eq!(reports.len(), usize::from(told), "{wishes}: {reports:?}");
        assert!(reports.iter().all(|r| r.contains("Action: relayed") && r.contains("x@else.test")), "{reports:?}");
        house.stop().await;
    }
    // Where nobody knows the time, delays at least are asked for.
    let asked: Vec<String> = ignorant.messages().iter().flat_map(|m| m.recipients.clone()).collect();
    assert_eq!(asked.iter().filter(|r| r.contains("NOTIFY=FAILURE,DELAY")).count(), 1, "{asked:?}");
}

/// RFC 2852 §4.1.4.1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_cannot_keep_the_time_gets_nothing() {
    for (keyword, want) in [("HELP", "Status: 5.3.3"), ("DELIVERBY 500", "Status: 5.4.7")] {
        let relay = Sink::smtp().keyword(keyword).start().await;
        let mut house = House::new(&with_relay(&relay)).await;
        let local = house.deliver(Sink::lmtp()).await;
        house.start().await;
        send(&house, "x@else.test", by(ByMode::Return, 100, false)).await;
        wait_for("the report", || local.messages().len() == 1).await;
        assert!(text(&local, 0).contains(want), "{}", text(&local, 0));
        assert!(relay.messages().is_empty() && !relay.commands().iter().any(|c| c.starts_with("MAIL")));
        // In the mailbox it is in time, whatever the mailbox knows.
        send(&house, "bob@ours.test", by(ByMode::Return, 100, false)).await;
        wait_for("the mail", || local.messages().len() == 2).await;
        house.stop().await;
    }
}

/// RFC 4865 §4.2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_sleeps_until_its_time_also_across_a_restart() {
    let mut house = House::new(OURS).await;
    let local = house.deliver(Sink::lmtp()).await;
    house.start().await;
    let at = |seconds: u64| Wishes { release: Some(Release { at_seconds: now() + seconds, interval: Some(seconds) }), ..Wishes::default() };
    let soon = send(&house, "bob@ours.test", at(4)).await;
    let late = send(&house, "bob@ours.test", at(9999)).await;
    wait_for("both to be filed", || crate::house::files(&house.path("spool/queue")) >= 3).await;
    assert!(asleep(&house, &soon) && asleep(&house, &late));
    // No administrator's hurry wakes them, and no restart.
    house.ask("queue.flush", &[soon.id, late.id]).await;
    house.stop().await;
    house.start().await;
    house.ask("queue.flush", &[late.id]).await;
    wait_for("the first", || local.messages().len() == 1).await;
    let woken = now();
    let due = soon.wishes.release.expect("asked for").at_seconds;
    assert!(woken >= due, "released {} s early", due - woken);
    assert!(asleep(&house, &late));
    house.ask("queue.delete", &[late.id]).await;
    house.emptied().await;
    assert_eq!(local.messages().len(), 1);
    house.stop().await;
}

/// RFC 6710 §5.1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_urgent_go_first_and_tell_the_next_host() {
    let relay = Sink::smtp().keyword("MT-PRIORITY").start().await;
    let mut house = House::new(&format!("{}[qmgr]\nsmtp_destination_concurrency_limit = 1\n", with_relay(&relay))).await;
    let local = house.deliver(Sink::lmtp()).await;
    // What lies there before qmgr comes is read in one go, and stands in line for one connection.
    for (n, priority) in [(0, 0), (1, 4), (2, 9), (3, -4)] {
        send(&house, &format!("n{n}@else.test"), Wishes { priority, ..Wishes::default() }).await;
    }
    house.start().await;
    wait_for("all", || relay.messages().len() == 4).await;
    let order: Vec<String> = relay.messages().iter().map(|m| m.recipients[0].chars().skip(9).take(2).collect()).collect();
    let told: Vec<bool> = relay.messages().iter().zip([9, 4, 0, -4]).map(|(m, n)| m.mail.contains(&format!("MT-PRIORITY={n}"))).collect();
    assert_eq!((order.join(" ").as_str(), told), ("n2 n1 n0 n3", vec![true; 4]), "{:?}", relay.commands());
    // A report is as urgent as what it is about (§4.6).
    drop(relay);
    let mut envelope = house.envelope("far@else.test", &["bad@ours.test"]);
    envelope.wishes.priority = 3;
    house.emptied().await;
    house.stop().await;
    drop(local);
    let refusing = Sink::smtp().keyword("MT-PRIORITY").start().await;
    house.settings = with_relay(&refusing);
    std::fs::remove_file(house.path("run/lmtp")).expect("socket");
    let _local = house.deliver(Sink::lmtp().on("RCPT", Act::reply("550 5.1.1 no such user"))).await;
    house.start().await;
    house.accept(&envelope, BODY).await;
    wait_for("the report", || refusing.messages().len() == 1).await;
    assert!(refusing.messages()[0].mail.contains("MT-PRIORITY=3"), "{}", refusing.messages()[0].mail);
    house.stop().await;
}

/// RFC 8689 §4.2.1, §5: it is not sent unsafely, and its report has the header only, whatever RET said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_demands_tls_comes_back_where_there_is_none() {
    let plain = Sink::smtp().start().await;
    let unknown = Sink::smtp().starttls().keyword("REQUIRETLS").start().await;
    for relay in [&plain, &unknown] {
        let mut house = House::new(&with_relay(relay)).await;
        let local = house.deliver(Sink::lmtp()).await;
        house.start().await;
        let mut envelope = house.envelope("ann@ours.test", &["x@else.test", "bob@ours.test"]);
        envelope.wishes.tls = TlsWish::Required;
        envelope.ret = Some(mail_types::DsnReturn::Full);
        house.accept(&envelope, BODY).await;
        wait_for("the mail and the report", || local.messages().len() == 2).await;
        let (reports, mails): (Vec<_>, Vec<_>) = (0..2).map(|at| text(&local, at)).partition(|t| t.contains("multipart/report"));
        assert!(mails[0].contains("A line."), "a mailbox is safe");
        assert!(reports[0].contains("Status: 5.7.10") && !reports[0].contains("A line."), "{}", reports[0]);
        assert!(relay.messages().is_empty());
        house.stop().await;
    }
}
