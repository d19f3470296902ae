use super::*;

#[tokio::test]
async fn eight_bit_text_for_a_seven_bit_host_is_converted_or_returned() {
    let simple =
        "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\né\r\n";
    let multipart = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\né\r\n--b--\r\n";
    let ascii = "Subject: x\r\n\r\nplain\r\n";
    for (keywords, text, want) in [
        ("PIPELINING", simple, "delivered"),
        ("PIPELINING", multipart, "bounced 5.6.3"),
        ("PIPELINING", ascii, "delivered"),
        ("PIPELINING 8BITMIME", multipart, "delivered"),
    ] {
        for in_file in [false, true] {
            let sink = Sink::smtp().keywords(keywords).start().await;
            let body = if in_file { super::in_file(text.as_bytes()) } else { Body::memory(text) };
            let sent = Message { body_type: BodyType::EightBitMime, body, ..message("") };
            let attempt = plain().await.deliver(&at(&sink), &sent, &to(&["a@x.org"])).await;
            // Large messages lie in files, and are not converted.
            let want = if in_file && text == simple { "bounced 5.6.3" } else { want };
            assert_eq!(short(&attempt), [want], "{keywords} {text} {in_file}");
            if let Some(message) = sink.messages().first() {
                assert!(keywords.contains("8BITMIME") == message.mail.contains("BODY=8BITMIME"), "{}", message.mail);
                assert!(keywords.contains("8BITMIME") || message.body.is_ascii());
            }
        }
    }
}

#[tokio::test]
async fn smtputf8_goes_only_where_it_is_needed_and_taken() {
    let utf8_header = "Subject: é\r\n\r\nx\r\n";
    let plain_header = "Subject: x\r\n\r\né\r\n";
    for (keywords, recipient, text, want) in [
        ("8BITMIME", "é@x.org", plain_header, "bounced 5.6.7"),
        ("8BITMIME", "a@x.org", utf8_header, "bounced 5.6.7"),
        ("8BITMIME", "a@x.org", plain_header, "delivered"),
        ("8BITMIME SMTPUTF8", "é@x.org", utf8_header, "delivered"),
    ] {
        for in_file in [false, true] {
            let sink = Sink::smtp().keywords(keywords).start().await;
            let body = if in_file { super::in_file(text.as_bytes()) } else { Body::memory(text) };
            let sent = Message { smtputf8: true, body_type: BodyType::EightBitMime, body, ..message("") };
            let attempt = plain().await.deliver(&at(&sink), &sent, &to(&[recipient])).await;
            assert_eq!(short(&attempt), [want], "{keywords} {recipient} {text:?} {in_file}: {}", reason(&attempt));
        }
    }
}

#[tokio::test]
async fn a_message_beyond_the_servers_size_is_returned_unsent() {
    let sink = Sink::smtp().keywords("SIZE=100").start().await;
    let attempt = plain().await.deliver(&at(&sink), &message("x".repeat(200)), &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["bounced 5.3.4"]);
    assert_eq!(sink.commands(), ["EHLO mx.us.org"]);
}
