//! What administrators and ETRN ask for.

use crate::house::{House, OURS, wait_for};
use crate::restart::{outcomes, recipients};
use spool::ListedState;
use spool::outcome::Record;
use testkit::{Act, Sink};

fn all_deferred(house: &House, count: usize) -> bool {
    let listed = house.listed();
    listed.len() == count && listed.iter().all(|l| matches!(l.state, ListedState::Deferred { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requeue_goes_back_to_the_first_recipients_and_repeats_nothing() {
    let far = Sink::smtp().on_first(1, "RCPT TO:<zoe@far.test>", Act::reply("450 4.2.1 come back later")).start().await;
    let mut house = House::new("").await;
    let table = house.path("aliases");
    let aliases = |text: &str| std::fs::write(&table, text).expect("table");
    aliases("team@ours.test bob@ours.test, zoe@far.test\n");
    house.settings = OURS.replace("virtual_alias_maps = []", &format!("virtual_alias_maps = [\"texthash:{}\"]", table.display()));
    house.settings += &format!("relayhost = \"[127.0.0.1]:{}\"\n", far.port());
    let deliver = house.deliver(Sink::lmtp()).await;
    house.start().await;
    let id = house.send("ann@ours.test", &["team@ours.test"]).await;
    wait_for("a deferral", || all_deferred(&house, 1)).await;
    house.stop().await;
    // Zoe has left the team, Cid has come; Bob has his copy.
    aliases("team@ours.test bob@ours.test, cid@ours.test\n");
    house.start().await;
    house.ask("queue.requeue", &[id]).await;
    house.emptied().await;
    assert_eq!((recipients(&deliver), far.messages().len()), (vec!["bob@ours.test".to_owned(), "cid@ours.test".to_owned()], 0));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requeue_during_the_first_attempt_counts_for_the_next() {
    let far = Sink::smtp().on_first(1, "RCPT TO:<zoe@far.test>", Act::Silence).start().await;
    let mut house = House::new("").await;
    let table = house.path("aliases");
    let aliases = |text: &str| std::fs::write(&table, text).expect("table");
    aliases("team@ours.test bob@ours.test, zoe@far.test\n");
    house.settings = OURS.replace("virtual_alias_maps = []", &format!("virtual_alias_maps = [\"texthash:{}\"]", table.display()));
    house.settings += &format!("relayhost = \"[127.0.0.1]:{}\"\n[outbound]\nsmtp_rcpt_timeout = \"1s\"\n", far.port());
    let deliver = house.deliver(Sink::lmtp()).await;
    house.start().await;
    let id = house.send("ann@ours.test", &["team@ours.test"]).await;
    wait_for("the attempt", || deliver.messages().len() == 1 && far.commands().iter().any(|c| c.starts_with("RCPT"))).await;
    house.ask("queue.requeue", &[id]).await;
    wait_for("a deferral", || all_deferred(&house, 1)).await;
    house.stop().await;
    aliases("team@ours.test bob@ours.test, cid@ours.test\n");
    house.start().await;
    house.ask("queue.flush", &[id]).await;
    house.emptied().await;
    assert_eq!((recipients(&deliver), far.messages().len()), (vec!["bob@ours.test".to_owned(), "cid@ours.test".to_owned()], 0));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_is_not_forgotten_over_a_restart() {
    let far = Sink::smtp().on("RCPT", Act::reply("450 4.2.1 come back later")).start().await;
    let mut house = House::new(&format!("{OURS}relayhost = \"[127.0.0.1]:{}\"\n", far.port())).await;
    let deliver = house.deliver(Sink::lmtp()).await;
    house.start().await;
    let id = house.send("ann@ours.test", &["zoe@far.test"]).await;
    wait_for("a deferral", || all_deferred(&house, 1)).await;
    house.stop().await;
    // As a qmgr leaves it that is killed between the order and the attempt.
    let mut journal = outcomes(&house);
    journal.note(Record::Expired { id });
    journal.flush().await.expect("flush");
    drop(journal);
    house.start().await;
    house.emptied().await;
    let report = String::from_utf8_lossy(&deliver.messages()[0].body).into_owned();
    assert!(report.contains("Action: failed") && report.contains("zoe@far.test"), "{report}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etrn_flushes_the_mail_of_its_domain_alone() {
    let far = Sink::smtp().on_first(2, "RCPT", Act::reply("450 4.2.1 come back later")).start().await;
    let mut house = House::new(&format!("{OURS}relayhost = \"[127.0.0.1]:{}\"\n", far.port())).await;
    house.start().await;
    house.send("ann@ours.test", &["zoe@far.test"]).await;
    house.send("ann@ours.test", &["max@other.test"]).await;
    wait_for("two deferrals", || all_deferred(&house, 2)).await;
    house.etrn("far.test");
    wait_for("the delivery", || house.listed().len() == 1).await;
    assert_eq!(recipients(&far), ["zoe@far.test"]);
    assert!(all_deferred(&house, 1), "the other waits on");
    house.stop().await;
}

/// Anybody may send ETRN, and who asks for one domain shall not make us knock at every door that is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etrn_has_the_dead_host_of_its_domain_tried_and_no_other() {
    let (far, other) = (testkit::free_port(), testkit::free_port());
    let mut house = House::new(&format!(
        "{OURS}transport_maps = [\"inline:{{ far.test=smtp:[127.0.0.1]:{far}, other.test=smtp:[127.0.0.1]:{other} }}\"]\n\
         [qmgr]\nminimal_backoff_time = \"1h\"\nmaximal_backoff_time = \"1h\"\ninitial_destination_concurrency = 1\n"
    ))
    .await;
    house.start().await;
    house.send("ann@ours.test", &["zoe@far.test"]).await;
    house.send("ann@ours.test", &["max@other.test"]).await;
    // To both: of this one only the asked half goes.
    house.send("ann@ours.test", &["cid@far.test", "dan@other.test"]).await;
    wait_for("three deferrals", || all_deferred(&house, 3)).await;
    let far = Sink::smtp().start_at(&format!("127.0.0.1:{far}")).await;
    let other = Sink::smtp().start_at(&format!("127.0.0.1:{other}")).await;
    house.etrn("FAR.test");
    wait_for("the deliveries", || far.messages().len() == 2).await;
    wait_for("the rest to wait", || all_deferred(&house, 2)).await;
    assert_eq!(other.connections(), 0);
    let listed = house.listed();
    let rest = listed.iter().flat_map(|l| &l.recipients).map(|r| r.reason.as_deref().unwrap_or_default());
    assert!(rest.clone().all(|reason| reason.contains(&format!(":{}", other.port()))), "{:?}", rest.collect::<Vec<_>>());
    // The administrator asks for all.
    let ids: Vec<_> = listed.iter().map(|l| l.id).collect();
    house.ask("queue.flush", &ids).await;
    house.emptied().await;
    assert_eq!(recipients(&other).len(), 2);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_for_a_content_filter_goes_there_with_the_recipients_as_they_are() {
    let filter = Sink::smtp().keyword("XFORWARD NAME ADDR PROTO HELO IDENT SOURCE").start().await;
    let table = OURS.replace("virtual_alias_maps = []", "virtual_alias_maps = [\"inline:{ team@ours.test=bob@ours.test }\"]");
    let mut house = House::new(&format!("{table}[outbound]\nsmtp_send_xforward_command = true\n")).await;
    let deliver = house.deliver(Sink::lmtp()).await;
    house.start().await;
    let mut envelope = house.envelope("ann@ours.test", &["team@ours.test", "zoe@far.test"]);
    envelope.filter = Some(format!("smtp:[127.0.0.1]:{}", filter.port()));
    envelope.client.ip = Some("192.0.2.7".parse().expect("address"));
    envelope.client.helo = "spike x".into();
    envelope.client.protocol.extended = true;
    house.accept(&envelope, crate::house::BODY).await;
    house.emptied().await;
    assert_eq!((filter.messages().len(), deliver.messages().len()), (1, 0));
    assert_eq!(recipients(&filter), ["team@ours.test", "zoe@far.test"]);
    let told = filter.commands().into_iter().find(|c| c.starts_with("XFORWARD"));
    let id = envelope.id;
    let want = format!("XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7 PROTO=ESMTP HELO=spike+20x IDENT={id} SOURCE=REMOTE");
    assert_eq!(told, Some(want));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transport_of_ones_own_has_its_own_recipient_limit() {
    let far = Sink::smtp().start().await;
    let settings = format!(
        "{OURS}transport_maps = [\"inline:{{ slow.test=slow:[127.0.0.1]:{0}, far.test=smtp:[127.0.0.1]:{0} }}\"]\n\
         [[qmgr.transport]]\nname = \"slow\"\ndestination_recipient_limit = 1\n",
        far.port()
    );
    let mut house = House::new(&settings).await;
    house.start().await;
    for (domain, want) in [("slow.test", 3), ("far.test", 1)] {
        let before = far.messages().len();
        let to: Vec<String> = ["a", "b", "c"].map(|user| format!("{user}@{domain}")).into();
        house.send("ann@ours.test", &to.iter().map(String::as_str).collect::<Vec<_>>()).await;
        house.emptied().await;
        assert_eq!(far.messages().len() - before, want, "{domain}");
    }
    house.stop().await;
}
