use super::*;
use mail_types::Domain;
use proptest::prelude::*;

fn minimal() -> Stored {
    Stored::new(Envelope {
        id: QueueId::from_parts(1_795_359_600, 1, 3),
        arrived_micros: 1_795_359_600_000_042,
        sender: None,
        recipients: vec![Recipient::new(Address::parse("bob@example.net").expect("address"))],
        body: BodyType::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
        wishes: Default::default(),
        hold: false,
        filter: None,
        client: Client::default(),
    })
}

fn text(stored: &Stored) -> Vec<u8> {
    let mut out = Vec::new();
    encode(stored, &mut out);
    out
}

#[test]
fn a_person_can_read_it() {
    let mut stored = minimal();
    stored.envelope.recipients.push(Recipient {
        address: Address::parse("\"a b\"@example.com").expect("address"),
        notify: DsnNotify { given: true, success: true, failure: true, delay: false },
        orcpt: Some("rfc822;x y@example.com".into()),
    });
    stored.envelope.client.helo = "evil\nrcpt <root@example.org>".into();
    let written = String::from_utf8(text(&stored)).expect("text");
    let want = "facteur-message 1\nid 1NG4QKG0000100003\narrived 1795359600.000042\nsender <>\nrcpt <bob@example.net>\n\
        rcpt notify=success,failure orcpt=rfc822;x+20y@example.com <\"a b\"@example.com>\n\
        helo evil+0Arcpt+20<root@example.org>\ncheck ";
    assert!(written.starts_with(want.replace("1NG4QKG0000100003", stored.envelope.id.as_str()).as_str()), "{written}");
    assert!(written.ends_with("\n\n"));
}

/// Texts that were written before there were wishes.
#[test]
fn version_1_is_read_and_still_written_where_nothing_is_asked_for() {
    let old = "facteur-message 1\nid 1P4X2KD0000100003\narrived 1795359600.123456\nsender <ann@example.org>\nrcpt <bob@example.net>\nhold\n\nbody";
    let (stored, body) = decode(old.as_bytes()).expect("an old text");
    assert_eq!((stored.envelope.wishes, stored.envelope.hold, &old[body..]), (Wishes::default(), true, "body"));
    assert!(text(&stored).starts_with(b"facteur-message 1\n"));
    let mut asks = stored;
    asks.envelope.wishes.priority = 4;
    assert!(text(&asks).starts_with(b"facteur-message 2\n"));
}

/// The way back to an older Facteur: what asks for nothing has no line that version 1 did not have, as that one reads it.
#[test]
fn a_message_without_wishes_has_only_lines_of_version_1() {
    const KNOWN: [&str; 19] = [
        "id", "arrived", "sender", "rcpt", "first", "client", "helo", "name", "login", "protocol", "body", "smtputf8", "ret", "envid",
        "hold", "filter", "expanded", "size", "xxh3",
    ];
    let mut runner = proptest::test_runner::TestRunner::default();
    let plain = any_stored().prop_map(|mut stored| {
        stored.envelope.wishes = Wishes::default();
        stored
    });
    let checked = runner.run(&plain, |stored| {
        let bytes = text(&stored);
        let lines = std::str::from_utf8(&bytes).expect("text");
        let mut lines = lines.lines();
        prop_assert_eq!(lines.next(), Some("facteur-message 1"));
        for line in lines.filter(|line| !line.is_empty()) {
            let key = line.split(' ').next().unwrap_or_default();
            prop_assert!(KNOWN.contains(&key) || key == "check", "{}", line);
        }
        Ok(())
    });
    checked.expect("lines of version 1");
}

#[test]
fn damaged_text_is_refused() {
    let good = text(&minimal());
    assert!(decode(&good).is_ok());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 4;
        assert!(decode(&bad).is_err(), "byte {at}");
        assert!(decode(&good[..at]).is_err(), "cut at {at}");
    }
    for (bad, want) in [
        ("facteur-message 3\ncolour red\n\n", Damage::Newer(3)),
        ("facteur-message 12\n\n", Damage::Newer(12)),
        ("facteur-message 0\n\n", Damage::Version),
        ("facteur-message 3", Damage::Version),
        ("facteur-message three\n\n", Damage::Version),
        ("facteur-message 1\npriority 4\n\n", Damage::Line("priority 4".into())),
        ("facteur-message 2\npriority 10\n\n", Damage::Line("priority 10".into())),
        ("facteur-message 2\nrelease 5\n\n", Damage::Line("release 5".into())),
        ("facteur-message 2\ndeliver-by 5 return now\n\n", Damage::Line("deliver-by 5 return now".into())),
        ("facteur-message 1\nid x\n\n", Damage::Line("id x".into())),
        ("facteur-message 1\ncolour red\n\n", Damage::Line("colour red".into())),
        ("facteur-message 1\n\n", Damage::Missing("id")),
        ("facteur-message 1\nhold\n", Damage::Unended),
        ("facteur-message 1\nhold\n\n", Damage::Missing("id")),
    ] {
        assert_eq!(decode(bad.as_bytes()), Err(want), "{bad:?}");
    }
}

#[test]
fn the_check_line_may_be_deleted_by_an_operator() {
    let good = String::from_utf8(text(&minimal())).expect("text");
    let at = good.find("check").expect("check line");
    let edited = format!("{}\nbody", &good[..at]).replace("bob", "ann");
    let (stored, body) = decode(edited.as_bytes()).expect("edited");
    assert_eq!(stored.envelope.recipients[0].address.local(), "ann");
    assert_eq!(&edited[body..], "body");
}

#[test]
fn padded_text_can_be_rewritten_in_place() {
    let mut stored = minimal();
    let mut first = Vec::new();
    encode_parts(Parts::accepted(&stored.envelope, None), 4096, &mut first);
    stored.envelope.hold = true;
    stored.body = Some(BodySum { size_bytes: 300_000, xxh3: 7 });
    let mut second = Vec::new();
    encode_parts(Parts::accepted(&stored.envelope, stored.body), 4096, &mut second);
    assert_eq!((first.len(), second.len()), (4096, 4096));
    assert_eq!(decode(&second), Ok((stored, 4096)));
}

fn any_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 0..12).prop_map(|c| c.into_iter().collect())
}

fn any_address() -> impl Strategy<Value = Address> {
    ("[^\\p{C}]{1,12}", "[a-z]{1,9}(\\.[a-z]{1,9})?")
        .prop_filter_map("an address", |(local, domain)| Address::new(&local, Domain::parse(&domain).ok()?).ok())
}

fn any_recipient() -> impl Strategy<Value = Recipient> {
    (any_address(), any::<(bool, bool, bool, bool)>(), proptest::option::of(any_text())).prop_map(|(address, n, orcpt)| {
        let notify = DsnNotify { given: n.0, success: n.0 && n.1, failure: n.0 && n.2, delay: n.0 && n.3 };
        Recipient { address, notify, orcpt }
    })
}

prop_compose! {
    fn any_stored()(
        parts in any::<(u32, u32, u32, u64)>(),
        sender in proptest::option::of(any_address()),
        recipients in proptest::collection::vec(any_recipient(), 0..6),
        first in proptest::collection::vec(any_recipient(), 0..3),
        kind in 0..3u8, flags in any::<(bool, bool, bool, bool)>(),
        envid in proptest::option::of(any_text()),
        ip in proptest::option::of(any::<std::net::IpAddr>()),
        filter in proptest::option::of(any_text()),
        helo in any_text(), name in proptest::option::of(any_text()), login in proptest::option::of(any_text()),
        protocol in any::<(bool, bool, bool, bool, bool)>(),
        body in proptest::option::of(any::<(u64, u64)>()),
        by in proptest::option::of(any::<(i64, bool, bool)>()), release in proptest::option::of(any::<(u64, Option<u64>)>()),
        priority in -9i8..=9, tls in 0..3u8,
    ) -> Stored {
        let client = Client {
            ip, helo, name, login,
            protocol: Protocol { extended: protocol.0, tls: protocol.1, authenticated: protocol.2, lmtp: protocol.3, local: protocol.4 },
        };
        Stored {
            envelope: Envelope {
                id: QueueId::from_parts(parts.0.into(), parts.1, parts.2),
                arrived_micros: parts.3, sender, recipients,
                body: [BodyType::SevenBit, BodyType::EightBitMime, BodyType::BinaryMime][kind as usize],
                smtputf8: flags.0,
                ret: flags.1.then_some(if flags.2 { DsnReturn::Full } else { DsnReturn::Headers }),
                envid, hold: flags.3, filter, client,
                wishes: Wishes {
                    deliver_by: by.map(|(at_seconds, back, trace)| {
                        DeliverBy { at_seconds, mode: if back { ByMode::Return } else { ByMode::Notify }, trace }
                    }),
                    release: release.map(|(at_seconds, interval)| Release { at_seconds, interval }),
                    priority,
                    tls: [TlsWish::Usual, TlsWish::Required, TlsWish::Optional][tls as usize],
                },
            },
            expanded: flags.2,
            first,
            body: body.map(|(size_bytes, xxh3)| BodySum { size_bytes, xxh3 }),
        }
    }
}

proptest! {
    #[test]
    fn what_is_stored_is_read_back(stored in any_stored(), body in proptest::collection::vec(any::<u8>(), 0..50)) {
        let mut bytes = text(&stored);
        let at = bytes.len();
        bytes.extend_from_slice(&body);
        let (got, start) = decode(&bytes).expect("what was encoded");
        prop_assert_eq!((got, start), (stored, at));
    }

    #[test]
    fn arbitrary_bytes_never_panic(junk in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = VERSION_LINES[junk.len() % 2].as_bytes().to_vec();
        bytes.extend_from_slice(&junk);
        let _ = decode(&bytes);
    }
}
