//! What is changed about mail that leaves.

use crate::house::{House, OURS};
use crate::restart::recipients;
use testkit::Sink;

const TEXT: &str = "Received: by us\r\nFrom: Ann <ann@ours.test>, root@mx.test\r\nTo: \"zoe@far.test\" <zoe@far.test>,\r\n bob@ours.test\r\n\
    X-From: ann@ours.test\r\nSubject: ann@ours.test\r\n\r\nFrom: ann@ours.test\r\n";
const WANT: &str = "Received: by us\r\nFrom: Ann <ann@public.test>, webmaster@public.test\r\nTo: \"zoe@far.test\" <zoe@far.test>,\r\n bob@public.test\r\n\
    X-From: ann@ours.test\r\nSubject: ann@ours.test\r\n\r\nFrom: ann@ours.test\r\n";

/// generic(5): in mail for others, and only there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generic_maps_change_the_addresses_of_mail_that_leaves_by_smtp() {
    let far = Sink::smtp().start().await;
    let settings = format!(
        "{OURS}relayhost = \"[127.0.0.1]:{}\"\npropagate_unmatched_extensions = [\"generic\"]\n[outbound]\n\
         smtp_generic_maps = [\"inline:{{ ann@ours.test=ann@public.test, root@mx.test=webmaster@public.test, @ours.test=@public.test }}\"]\n",
        far.port()
    );
    let mut house = House::new(&settings).await;
    let deliver = house.deliver(Sink::lmtp()).await;
    house.start().await;
    house.accept(&house.envelope("ann+news@ours.test", &["zoe@far.test", "bob@ours.test"]), TEXT.as_bytes()).await;
    house.emptied().await;
    assert_eq!((recipients(&far), recipients(&deliver)), (vec!["zoe@far.test".to_owned()], vec!["bob@ours.test".to_owned()]));
    let (out, own) = (&far.messages()[0], &deliver.messages()[0]);
    assert!(out.mail.starts_with("MAIL FROM:<ann+news@public.test>"), "{}", out.mail);
    assert_eq!(String::from_utf8_lossy(&out.body), WANT);
    assert!(own.mail.starts_with("MAIL FROM:<ann+news@ours.test>"), "{}", own.mail);
    assert!(own.body.ends_with(TEXT.as_bytes()), "{}", String::from_utf8_lossy(&own.body));
    // A message that lies in a file.
    let large = format!("{TEXT}{}", "line of text\r\n".repeat(40_000));
    house.accept(&house.envelope("ann@ours.test", &["zoe@far.test"]), large.as_bytes()).await;
    house.emptied().await;
    let got = &far.messages()[1].body;
    assert!(*got == large.replacen(TEXT, WANT, 1).into_bytes(), "{} octets", got.len());
    // Bounces keep their null sender.
    house.accept(&mail_types::Envelope { sender: None, ..house.envelope("ann@ours.test", &["zoe@far.test"]) }, TEXT.as_bytes()).await;
    house.emptied().await;
    assert!(far.messages()[2].mail.starts_with("MAIL FROM:<>"));
    house.stop().await;
}

/// A table that cannot tell is no reason to send the address that nobody shall see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_waits_where_a_generic_map_cannot_tell() {
    let far = Sink::smtp().start().await;
    let settings = format!("{OURS}relayhost = \"[127.0.0.1]:{}\"\n[outbound]\nsmtp_generic_maps = [\"fail:\"]\n", far.port());
    let mut house = House::new(&settings).await;
    let deliver = house.deliver(Sink::lmtp()).await;
    house.start().await;
    let id = house.send("ann@ours.test", &["zoe@far.test"]).await;
    house.ask("queue.expire", &[id]).await;
    house.emptied().await;
    assert_eq!((recipients(&deliver), far.connections()), (vec!["ann@ours.test".to_owned()], 0));
    house.stop().await;
}
