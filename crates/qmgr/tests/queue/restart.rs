//! What a killed qmgr leaves, and what the next one makes of it.

use crate::house::{BODY, House, OURS, ids, wait_for};
use mail_types::Recipient;
use spool::outcome::{Record, What, recipient_key};
use spool::{Layout, ListedState, Outcomes, QueueFiles, Stored};
use std::sync::Arc;
use std::time::Instant;
use testkit::{Act, Sink};

pub fn recipients(sink: &Sink) -> Vec<String> {
    let messages = sink.messages();
    let all = messages.iter().flat_map(|m| &m.recipients);
    let mut all: Vec<String> = all.map(|r| r.split(['<', '>']).nth(1).unwrap_or_default().to_owned()).collect();
    all.sort();
    all
}

/// An older Facteur, perhaps for one night, loses nothing that the newer one has queued.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_a_newer_version_stays_where_it_is() {
    let far = Sink::smtp().on_first(2, "RCPT", Act::reply("450 4.2.1 come back later")).start().await;
    let mut house = House::new(&format!("{OURS}relayhost = \"[127.0.0.1]:{}\"\n", far.port())).await;
    house.start().await;
    let ids = [house.send("ann@ours.test", &["zoe@far.test"]).await, house.send("ann@ours.test", &["max@far.test"]).await];
    wait_for("their files", || house.listed().iter().filter(|l| matches!(l.state, ListedState::Deferred { .. })).count() == 2).await;
    house.stop().await;
    let file = spool::Layout::new(house.path("spool")).queue_file(&ids[0]);
    let known = std::fs::read_to_string(&file).expect("a file");
    let newer = known.replacen("facteur-message 1\n", "facteur-message 3\ncolour red\n", 1);
    std::fs::write(&file, &newer).expect("write");
    house.start().await;
    house.ask("queue.flush", &ids).await;
    wait_for("the other message", || far.messages().len() == 1).await;
    house.stop().await;
    assert_eq!(std::fs::read_to_string(&file).expect("still there"), newer);
    // And back to the newer one.
    std::fs::write(&file, known).expect("write");
    house.start().await;
    house.ask("queue.flush", &ids[..1]).await;
    house.emptied().await;
    assert_eq!(recipients(&far), ["max@far.test", "zoe@far.test"]);
    house.stop().await;
}

pub fn outcomes(house: &House) -> Outcomes {
    Outcomes::open(Arc::new(durable::OsDisk), Layout::new(house.path("spool"))).expect("outcomes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recipients_that_were_reached_are_not_reached_again_although_others_are_still_waited_for() {
    let silent = Sink::smtp().on("MAIL", Act::Silence).start().await;
    let relay = |port| format!("{OURS}relayhost = \"[127.0.0.1]:{port}\"\n");
    let mut house = House::new(&relay(silent.port())).await;
    let deliver = house.deliver(Sink::lmtp()).await;
    house.start().await;
    house.send("ann@ours.test", &["bob@ours.test", "cid@ours.test", "zoe@far.test"]).await;
    wait_for("the first two", || recipients(&deliver).len() == 2).await;
    wait_for("their outcome", || house.listed().first().is_some_and(|l| l.recipients.len() == 1)).await;
    let far = Sink::smtp().start().await;
    let mut next = house.killed(&relay(far.port())).await;
    let deliver = next.deliver(Sink::lmtp()).await;
    next.start().await;
    next.emptied().await;
    assert_eq!((recipients(&deliver), recipients(&far)), (Vec::new(), vec!["zoe@far.test".to_owned()]));
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_stalled_is_marked_as_a_repetition() {
    let mut house = House::new(&format!("{OURS}[qmgr]\npartner_retry_time = \"100ms\"\n")).await;
    // More often than is unlikely, less long than counts as a failure.
    let script = Sink::lmtp().keyword("XFACTEUR").on_first(12, "RCPT", Act::reply("451 4.3.0 the user database is not available"));
    let deliver = house.deliver(script).await;
    house.start().await;
    house.send("ann@ours.test", &["bob@ours.test"]).await;
    house.emptied().await;
    let attempts: Vec<bool> = deliver.commands().iter().filter(|c| c.starts_with("MAIL")).map(|c| c.contains("XREPEAT")).collect();
    assert_eq!(attempts, [vec![false], vec![true; 12]].concat());
    house.stop().await;
}

/// qmgr was killed when the file was there and before it had said so: the record is still open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_a_message_is_not_forgotten_for_its_file() {
    let mut house = House::new(OURS).await;
    let envelope = house.envelope("ann@ours.test", &["bob@ours.test", "cid@ours.test"]);
    let id = house.accept(&envelope, BODY).await;
    let held = house.send("ann@ours.test", &["dan@ours.test"]).await;
    let files = QueueFiles::new(Arc::new(durable::OsDisk), Layout::new(house.path("spool")));
    let both = [
        (Stored::new(envelope.clone()), Arc::from(BODY)),
        (Stored::new(mail_types::Envelope { id: held, ..envelope.clone() }), Arc::from(BODY)),
    ];
    let mut journal = outcomes(&house);
    files.write(&both).expect("write");
    journal.note(Record::Done { id, what: What::Delivered, key: recipient_key(&envelope.recipients[0].address) });
    journal.note(Record::Held { id: held, held: true });
    journal.flush().await.expect("flush");
    drop(journal);
    let deliver = house.deliver(Sink::lmtp()).await;
    // Twice, so that the second reads what the first has written.
    for _ in 0..2 {
        house.start().await;
        wait_for("the other recipient", || matches!(house.listed().as_slice(), [l] if l.state == ListedState::Held)).await;
        house.stop().await;
    }
    assert_eq!(recipients(&deliver), ["cid@ours.test"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_file_was_removed_is_not_delivered_again() {
    let mut house = House::new(OURS).await;
    let id = house.send("ann@ours.test", &["bob@ours.test"]).await;
    let mut journal = outcomes(&house);
    journal.note(Record::Removed { id });
    journal.flush().await.expect("flush");
    drop(journal);
    let other = house.send("ann@ours.test", &["cid@ours.test"]).await;
    let deliver = house.deliver(Sink::lmtp().keyword("XFACTEUR")).await;
    house.start().await;
    wait_for("the other message", || ids(&deliver) == [other.to_string()]).await;
    house.stop().await;
    let journal = outcomes(&house);
    assert!(!journal.has_pending() && journal.ledger().ids().next().is_none());
    assert_eq!(ids(&deliver), [other.to_string()]);
}

/// An alias that leads into a loop is no address to deliver to, also for the qmgr after the one that found out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_alias_is_still_one_after_a_restart() {
    let mut house = House::new("").await;
    let table = house.path("aliases");
    std::fs::write(&table, "loop@ours.test back@ours.test\nback@ours.test loop@ours.test\nteam@ours.test bob@ours.test\n").expect("table");
    let settings = OURS.replace("virtual_alias_maps = []", &format!("virtual_alias_maps = [\"texthash:{}\"]", table.display()));
    house.settings = settings.clone();
    house.start().await;
    house.send("ann@ours.test", &["loop@ours.test", "team@ours.test"]).await;
    wait_for("its activity", || house.listed().len() == 1).await;
    while house.status("active").await != "1" {
        tokio::task::yield_now().await;
    }
    house.ask("queue.flush", &[]).await; // answered when everything noted is on the disk
    let mut next = house.killed(&settings).await;
    let deliver = next.deliver(Sink::lmtp()).await;
    next.start().await;
    next.emptied().await;
    assert_eq!(recipients(&deliver), ["ann@ours.test", "bob@ours.test"], "the report and the other recipient");
    next.stop().await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_recipients_gets_one_copy() {
    let mut house = House::new(OURS).await;
    let deliver = house.deliver(Sink::lmtp()).await;
    house.start().await;
    let names: Vec<String> = (0..200).map(|n| format!("u{n}@ours.test")).collect();
    let mut envelope = house.envelope("ann@ours.test", &names.iter().map(String::as_str).collect::<Vec<_>>());
    let twice: Vec<Recipient> = envelope.recipients.iter().rev().cloned().collect();
    envelope.recipients.extend(twice);
    house.accept(&envelope, BODY).await;
    house.emptied().await;
    assert_eq!(recipients(&deliver).len(), 200);
    house.stop().await;
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

/// A queue of `count` messages at the start: delivery begins before all of it has been read, and all of it goes out.
async fn a_long_queue(count: usize) {
    let mut house = House::new(&format!("{OURS}[qmgr]\nqmgr_message_active_limit = 200\n")).await;
    let deliver = house.deliver(Sink::lmtp().on("MAIL", Act::Silence)).await;
    let mut sent = Vec::with_capacity(count);
    while sent.len() < count {
        let envelopes: Vec<_> = (0..100).map(|_| house.envelope("ann@ours.test", &["bob@ours.test"])).collect();
        let batch = envelopes.iter().map(|envelope| house.accept(envelope, &[b'x'; 2000]));
        sent.extend(futures_join(batch).await.into_iter().map(|id| id.to_string()));
    }
    let (before, began) = (resident_kib(), Instant::now());
    house.start().await;
    println!("{count} messages: open after {:?}, {} KiB more", began.elapsed(), resident_kib().saturating_sub(before));
    // Nobody answers yet: what is active is all that was read.
    wait_for("the first deliveries", || deliver.commands().iter().any(|c| c.starts_with("MAIL"))).await;
    // The last batch is trusted when smtpd has said so.
    while house.status("queued").await != count.to_string() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(house.status("active").await.parse::<usize>().expect("a number") <= 200);
    let mut next = house.killed(OURS).await;
    let deliver = next.deliver(Sink::lmtp().keyword("XFACTEUR")).await;
    let (before, began) = (resident_kib(), Instant::now());
    next.start().await;
    while next.status("queued").await != "0" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    println!("{count} messages: delivered after {:?}, {} KiB more", began.elapsed(), resident_kib().saturating_sub(before));
    let mut got = ids(&deliver);
    got.sort();
    sent.sort();
    assert!(got == sent, "each once");
    next.stop().await;
}

async fn futures_join<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, place) in running.iter_mut().zip(&mut done).filter(|(_, place)| place.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(cx) {
                *place = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_of_a_long_queue_begins_at_once() {
    a_long_queue(5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a campaign of a minute or more"]
async fn delivery_of_a_hundred_thousand_messages_begins_at_once() {
    a_long_queue(100_000).await;
}
