use super::*;

/// Q12.
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

/// Q12.
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

/// RFC 3030 §3.
#[tokio::test]
async fn a_binary_message_stays_so_or_becomes_base64() {
    let head = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\n";
    let binary = [head.as_bytes(), b"Content-Transfer-Encoding: binary\r\n\r\n\x89PNG\r\n\x1a\n\0\r.\n.\r\n"].concat();
    let lines = format!("{head}Content-Transfer-Encoding: base64\r\n\r\niVBORw0KGgoADS4KLg0K\r\n").into_bytes();
    let signed =
        b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\r\n--b--\r\n".to_vec();
    for (keywords, text, want, parameter) in [
        ("PIPELINING BINARYMIME CHUNKING SIZE", &binary, Some(&binary), "BODY=BINARYMIME"),
        ("BINARYMIME CHUNKING", &signed, Some(&signed), "BODY=BINARYMIME"),
        ("PIPELINING BINARYMIME 8BITMIME", &binary, Some(&lines), ""),
        ("PIPELINING CHUNKING 8BITMIME", &binary, Some(&lines), ""),
        ("8BITMIME", &signed, None, ""),
    ] {
        for in_file in [false, true] {
            let sink = Sink::smtp().keywords(keywords).start().await;
            let body = if in_file { super::in_file(text) } else { Body::memory(text.clone()) };
            let sent = Message { body_type: BodyType::BinaryMime, body, ..message("") };
            let attempt = plain().await.deliver(&at(&sink), &sent, &to(&["a@x.org"])).await;
            assert_eq!(short(&attempt), [if want.is_some() { "delivered" } else { "bounced 5.6.1" }], "{keywords}");
            let got = sink.messages();
            assert_eq!(got.first().map(|m| &m.body), want, "{keywords} {in_file}");
            assert!(got.iter().all(|m| m.mail.contains("BODY") != parameter.is_empty() && m.mail.contains(parameter)), "{got:?}");
        }
    }
}
