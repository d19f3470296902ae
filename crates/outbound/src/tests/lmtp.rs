use super::*;
use testkit::temp_dir;

#[tokio::test]
async fn lmtp_gives_each_recipient_its_reply_in_one_write() {
    let dir = temp_dir();
    let path = dir.path().join("lmtp");
    let sink = Sink::lmtp()
        .keyword("XFACTEUR")
        .on("RCPT TO:<bad@", Act::reply("550 5.1.1 no such user"))
        .on("end of data <full@", Act::reply("452 4.2.2 mailbox full"))
        .start_unix(&path)
        .await;
    let outbound = plain().await;
    let destination = Destination::LmtpUnix(path.clone());
    let attempt = outbound.deliver(&destination, &message(TEXT), &to(&["bad@x.org", "full@x.org", "a@x.org"])).await;
    assert_eq!(short(&attempt), ["bounced 5.1.1", "deferred 4.2.2", "delivered"]);
    assert_eq!(attempt.relay, Some(format!("unix:{}", path.display())));
    let messages = sink.messages();
    assert_eq!((messages.len(), messages[0].body.as_slice()), (1, TEXT.as_bytes()));
    assert!(messages[0].mail.ends_with(" XTIME=1800000000"), "{}", messages[0].mail);
    assert!(messages[0].mail.contains(&format!(" XID={}", message(TEXT).id.as_str())), "{}", messages[0].mail);
    assert!(sink.commands().iter().any(|c| c.starts_with("BDAT ") && c.ends_with(" LAST")), "{:?}", sink.commands());
    assert_eq!(sink.commands()[0], "LHLO mx.us.org");
    // The next one goes over the same connection, and says that it is a repetition.
    let repeated = Message { repeat: true, ..message(TEXT) };
    outbound.deliver(&destination, &repeated, &to(&["a@x.org"])).await;
    let messages = sink.messages();
    assert_eq!((messages[1].connection, messages[1].mail.ends_with(" XREPEAT")), (1, true));
}

#[tokio::test]
async fn lmtp_without_our_extensions_is_plain() {
    let sink = Sink::lmtp().keywords("PIPELINING ENHANCEDSTATUSCODES 8BITMIME").start().await;
    let destination = Destination::LmtpInet { host: Domain::parse("[127.0.0.1]").expect("literal"), port: sink.port() };
    let attempt = plain().await.deliver(&destination, &message("Subject: x\r\n\r\n.dot\r\n"), &to(&["a@x.org", "b@x.org"])).await;
    assert_eq!(short(&attempt), ["delivered", "delivered"]);
    let messages = sink.messages();
    assert_eq!((messages.len(), messages[0].mail.as_str()), (2, "MAIL FROM:<from@us.org>"));
    assert_eq!(messages[0].body, b"Subject: x\r\n\r\n.dot\r\n");
}

#[tokio::test]
async fn a_large_body_goes_as_one_chunk_from_its_file() {
    let dir = temp_dir();
    let path = dir.path().join("lmtp");
    let sink = Sink::lmtp().keyword("XFACTEUR").start_unix(&path).await;
    let text = format!("Subject: large\r\n\r\n{}", "line of text\r\n".repeat(40_000));
    let large = Message { body: in_file(text.as_bytes()), ..message("") };
    let attempt = plain().await.deliver(&Destination::LmtpUnix(path), &large, &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["delivered"], "{}", reason(&attempt));
    assert!(sink.messages()[0].body == text.as_bytes());
}

#[tokio::test]
async fn an_absent_partner_defers_and_is_found_again() {
    let dir = temp_dir();
    let path = dir.path().join("a-rather-long-name-for-a-directory".repeat(4)).join("lmtp");
    std::fs::create_dir(path.parent().expect("parent")).expect("directory");
    let destination = Destination::LmtpUnix(path.clone());
    let outbound = plain().await;
    let attempt = outbound.deliver(&destination, &message(TEXT), &to(&["a@x.org"])).await;
    assert_eq!((short(&attempt), attempt.reached), (vec!["deferred 4.4.1".to_owned()], false));
    let short_path = dir.path().join("lmtp");
    let sink = Sink::lmtp().start_unix(&short_path).await;
    std::fs::rename(&short_path, &path).expect("rename");
    let attempt = outbound.deliver(&destination, &message(TEXT), &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["delivered"], "{}", reason(&attempt));
    drop(sink);
}

#[tokio::test]
async fn a_restarted_partner_is_asked_again_with_the_mark_of_a_repetition() {
    let dir = temp_dir();
    let path = dir.path().join("lmtp");
    let sink = Sink::lmtp().keyword("XFACTEUR").on_first(1, "MAIL FROM:<second@", Act::Close).start_unix(&path).await;
    let (outbound, destination) = (plain().await, Destination::LmtpUnix(path));
    assert_eq!(short(&outbound.deliver(&destination, &message(TEXT), &to(&["a@x.org"])).await), ["delivered"]);
    let second = Message { sender: Some(Address::parse("second@us.org").expect("address")), ..message(TEXT) };
    assert_eq!(short(&outbound.deliver(&destination, &second, &to(&["a@x.org"])).await), ["delivered"]);
    let last = sink.messages().pop().expect("message");
    assert_eq!((last.connection, last.mail.ends_with("XREPEAT")), (2, true));
}

#[tokio::test]
async fn twenty_deliveries_at_once_use_twenty_connections_and_keep_them() {
    let dir = temp_dir();
    let path = dir.path().join("lmtp");
    let sink = Sink::lmtp().start_unix(&path).await;
    let (outbound, destination) = (plain().await, Destination::LmtpUnix(path));
    for _ in 0..3 {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (outbound, destination) = (outbound.clone(), destination.clone());
            tasks.spawn(async move { short(&outbound.deliver(&destination, &message(TEXT), &to(&["a@x.org"])).await) });
        }
        assert!(tasks.join_all().await.iter().all(|outcomes| outcomes == &["delivered"]));
    }
    assert!(sink.connections() <= 20, "{}", sink.connections());
    assert_eq!(sink.messages().len(), 60);
    outbound.close().await;
}

#[tokio::test]
async fn what_was_lost_in_the_middle_is_repeatable_where_it_makes_no_second_copy() {
    let dir = temp_dir();
    for (n, (keyword, lost_at, want)) in [
        ("XFACTEUR", "end of data <a@", true),
        ("XFACTEUR", "MAIL", true),
        ("8BITMIME", "end of data <a@", false),
        ("8BITMIME", "RCPT", true),
    ]
    .into_iter()
    .enumerate()
    {
        let path = dir.path().join(n.to_string());
        let _sink = Sink::lmtp().keyword(keyword).on(lost_at, Act::Close).start_unix(&path).await;
        let attempt = plain().await.deliver(&Destination::LmtpUnix(path), &message(TEXT), &to(&["a@x.org"])).await;
        assert_eq!((attempt.reached, attempt.repeatable), (true, want), "{keyword} {lost_at}: {}", reason(&attempt));
    }
}
