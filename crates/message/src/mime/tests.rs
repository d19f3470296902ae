use super::*;
use crate::Want;
use proptest::prelude::*;

// One line per part: `1.2 kind/subtype [body] size/lines`.
fn shown(raw: &str) -> Vec<String> {
    let message = Message::parse(raw.as_bytes());
    let mut out = Vec::new();
    for part in message.parts() {
        let depth = std::iter::successors(Some(part), |p| message.parent(p)).count() - 1;
        let body = String::from_utf8_lossy(part.body_bytes()).replace("\r\n", "\n").replace('\n', "|");
        let body = if part.kind == Kind::Text || part.kind == Kind::Other { format!(" [{body}]") } else { String::new() };
        let (kind, subtype) = (String::from_utf8_lossy(&part.content_type.kind), String::from_utf8_lossy(&part.content_type.subtype));
        out.push(format!("{}{kind}/{subtype}{body}", " ".repeat(depth)));
    }
    out
}

fn check(raw: &str, want: &[&str]) {
    assert_eq!(shown(raw), want, "LF: {raw:?}");
    assert_eq!(shown(&raw.replace('\n', "\r\n")), want, "CRLF: {raw:?}");
}

const NESTED: &str = "From: a\nContent-Type: multipart/mixed; boundary=x\n\npre\n--x\n\none\n--x\nContent-Type: multipart/alternative; boundary=y\n\n\
    --y\nContent-Type: text/html\n\n<p>\n--y--\nepilogue\n--x\nContent-Type: message/rfc822\n\nSubject: in\nContent-Type: multipart/mixed; boundary=z\n\n\
    --z\n\ninner\n--z--\n\n--x--\nend\n";

#[test]
fn the_usual_shapes_are_seen() {
    check("A: 1\n\nbody\n", &["text/plain [body|]"]);
    check("\nbody", &["text/plain [body]"]);
    check("", &["text/plain []"]);
    check("A: 1", &["text/plain []"]);
    check(
        NESTED,
        &[
            "multipart/mixed",
            " text/plain [one]",
            " multipart/alternative",
            "  text/html [<p>]",
            " message/rfc822",
            "  multipart/mixed",
            "   text/plain [inner]",
        ],
    );
}

#[test]
fn broken_shapes_have_a_meaning() {
    // No boundary parameter: plain text.
    check("Content-Type: multipart/mixed\n\n--x\n\na\n", &["text/plain [--x||a|]"]);
    // A boundary that never comes: no children.
    check("Content-Type: multipart/mixed; boundary=x\n\na\n", &["multipart/mixed"]);
    // Not closed: the end of the message closes.
    check("Content-Type: multipart/mixed; boundary=x\n\n--x\n\na\n", &["multipart/mixed", " text/plain [a|]"]);
    // Parts without an empty line behind their header, or without anything.
    check("Content-Type: multipart/mixed; boundary=x\n\n--x\nA: 1\n--x\n--x--\n", &["multipart/mixed", " text/plain []", " text/plain []"]);
    check("Content-Type: multipart/mixed; boundary=x\n\n--x", &["multipart/mixed", " text/plain []"]);
    // The outer boundary ends inner parts that were never closed.
    check(
        "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/mixed; boundary=y\n\n--y\n\na\n--x\n\nb\n--x--\n",
        &["multipart/mixed", " multipart/mixed", "  text/plain [a]", " text/plain [b]"],
    );
    // One boundary is the prefix of the other.
    check(
        "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=ab\n\n--ab\n\n1\n--ab--\n--a\n\n2\n--a--\n",
        &["multipart/mixed", " multipart/mixed", "  text/plain [1]", " text/plain [2]"],
    );
    // The same boundary twice: the innermost is meant.
    check(
        "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\n1\n--a--\n--a\n\n2\n--a--\n",
        &["multipart/mixed", " multipart/mixed", "  text/plain [1]", " text/plain [2]"],
    );
    // White space behind the boundary, and an empty boundary.
    check("Content-Type: multipart/mixed; boundary=x\n\n--x  \n\na\n--x-- \n", &["multipart/mixed", " text/plain [a]"]);
    check("Content-Type: multipart/mixed; boundary=\"\"\n\n--\n\na\n", &["text/plain [--||a|]"]);
    // A message part that ends in its own header still has its message.
    check(
        "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n--x--\n",
        &["multipart/mixed", " message/rfc822", "  text/plain []"],
    );
    check("Content-Type: message/rfc822\n", &["message/rfc822", " text/plain []"]);
    // In a digest parts are messages (RFC 2046 §5.1.5).
    check(
        "Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: a\n\nb\n--x--\n",
        &["multipart/digest", " message/rfc822", "  text/plain [b]"],
    );
    check("Content-Type: nonsense\n\na", &["text/plain [a]"]);
}

#[test]
fn sizes_are_told_as_if_crlf() {
    for raw in [NESTED.to_owned(), NESTED.replace('\n', "\r\n"), NESTED.replacen('\n', "\r\n", 9)] {
        let message = Message::parse(raw.as_bytes());
        for part in message.parts() {
            let header = crate::crlf::measure(part.header_bytes());
            let body = crate::crlf::measure(part.body_bytes());
            assert_eq!((part.header_size, part.header_lines), (header.size, header.lines));
            assert_eq!((part.body_size, part.body_lines), (body.size, body.lines));
        }
    }
}

#[test]
fn facts_of_a_part_are_found() {
    let raw = b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: (c) Quoted-Printable\r\nContent-ID: <1@x>\r\n\
        Content-Description: a\r\n b\r\nContent-Language: fr, en-GB (x)\r\nContent-MD5: abc\r\nContent-Location: http://x\r\n\
        Content-Disposition: attachment; filename=a.txt\r\n\r\n=E9t=E9=\r\n!";
    let message = Message::parse(raw);
    let part = message.root();
    assert_eq!(part.text(), "été!");
    assert_eq!(part.encoding_name(), Some(&b"Quoted-Printable"[..]));
    assert_eq!(part.id().as_deref(), Some(&b"<1@x>"[..]));
    assert_eq!(part.description().as_deref(), Some(&b"a b"[..]));
    assert_eq!(part.language(), [&b"fr"[..], b"en-GB"]);
    assert_eq!(part.md5().as_deref(), Some(&b"abc"[..]));
    assert_eq!(part.location().as_deref(), Some(&b"http://x"[..]));
    assert_eq!(part.disposition().and_then(|d| d.params.text("filename")).as_deref(), Some("a.txt"));
}

#[test]
fn sections_are_found() {
    let names: &[&str] = &["SUBJECT"];
    let message = Message::parse(NESTED.as_bytes());
    let text = |path: &[u32], want: Want<'_>| message.section(path, want).map(|s| String::from_utf8_lossy(&s).into_owned());
    for (path, want, found) in [
        (&[][..], Want::All, Some(NESTED)),
        (&[], Want::Header, Some("From: a\nContent-Type: multipart/mixed; boundary=x\n\n")),
        (&[], Want::HeaderFields(&["from"]), Some("From: a\n\n")),
        (&[], Want::HeaderFieldsNot(&["from"]), Some("Content-Type: multipart/mixed; boundary=x\n\n")),
        (&[], Want::HeaderFields(&[]), Some("\n")),
        (&[], Want::Mime, None),
        (&[1], Want::All, Some("one")),
        (&[1], Want::Mime, Some("\n")),
        (&[1], Want::Header, None),
        (&[1], Want::Text, None),
        (&[1, 1], Want::All, None),
        (&[2, 1], Want::All, Some("<p>")),
        (&[2, 1], Want::Mime, Some("Content-Type: text/html\n\n")),
        (&[3], Want::HeaderFields(names), Some("Subject: in\n\n")),
        (&[3], Want::Text, Some("--z\n\ninner\n--z--\n")),
        (&[3, 1], Want::All, Some("inner")),
        (&[3, 2], Want::All, None),
        (&[3, 1, 1], Want::All, None),
        (&[4], Want::All, None),
        (&[0], Want::All, None),
        (&[u32::MAX], Want::All, None),
    ] {
        assert_eq!(text(path, want).as_deref(), found, "{path:?} {want:?}");
    }
    let plain = Message::parse(b"A: 1\n\nbody");
    assert_eq!(plain.section(&[1], Want::All).as_deref(), Some(&b"body"[..]));
    assert_eq!(plain.section(&[1], Want::Mime).as_deref(), Some(&b"A: 1\n\n"[..]));
    assert_eq!(plain.section(&[2], Want::All), None);
    assert_eq!(plain.section(&[1, 1], Want::All), None);
    let forwarded = Message::parse(b"Content-Type: message/rfc822\n\nSubject: x\n\nbody");
    assert_eq!(forwarded.section(&[1], Want::All).as_deref(), Some(&b"Subject: x\n\nbody"[..]));
    assert_eq!(forwarded.section(&[1], Want::Text).as_deref(), Some(&b"body"[..]));
    assert_eq!(forwarded.section(&[1, 1], Want::All).as_deref(), Some(&b"body"[..]));
    assert_eq!(forwarded.section(&[1, 1, 1], Want::All), None);
    let cut = Message::parse(b"A: 1");
    assert_eq!(cut.section(&[], Want::HeaderFields(&["a"])).as_deref(), Some(&b"A: 1\r\n\r\n"[..]));
}

// M1: run on a small stack, as the recursion of others overflowed there.
#[test]
fn ten_thousand_levels_are_cut_at_the_limit() {
    let mut multiparts = String::new();
    let mut messages = String::new();
    for level in 0..10_000 {
        multiparts.push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}x\n\n--b{level}x\n"));
        messages.push_str("Content-Type: message/rfc822\n\n");
    }
    let run = move || {
        for raw in [multiparts, messages] {
            let message = Message::parse(raw.as_bytes());
            assert_eq!(message.parts().len(), MAX_DEPTH);
            let last = message.parts().last().expect("parts");
            assert!(last.content_type.is("application", "octet-stream"));
            assert_eq!(last.kind, Kind::Other);
        }
    };
    std::thread::Builder::new().stack_size(256 * 1024).spawn(run).expect("thread").join().expect("no overflow");
}

// M2
#[test]
fn a_million_parts_are_cut_at_the_limit() {
    let raw = format!("Content-Type: multipart/mixed; boundary=x\n\n{}", "--x\n".repeat(1_000_000));
    let message = Message::parse(raw.as_bytes());
    assert_eq!(message.parts().len(), MAX_PARTS);
    let last = message.parts().last().expect("parts");
    assert_eq!(last.header.end.max(last.body.end), raw.len());
}

#[test]
fn a_hundred_equal_boundaries_take_linear_time() {
    let boundary = "b".repeat(2048);
    let mut raw = String::new();
    for level in 0..99 {
        raw.push_str(&format!("Content-Type: multipart/mixed; boundary={boundary}{level:03}\n\n--{boundary}{level:03}\n"));
    }
    raw.push('\n');
    raw.push_str(&format!("--{boundary}\n").repeat(2000));
    assert_eq!(Message::parse(raw.as_bytes()).parts().len(), 100);
}

proptest! {
    #[test]
    fn parts_lie_inside_their_parents(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("\n"), Just("\r\n"), Just("--x"), Just("--y"), Just("--"), Just("a"), Just("A: 1\n"),
                Just("Content-Type: multipart/mixed; boundary=x\n"), Just("Content-Type: multipart/digest; boundary=y\r\n"),
                Just("Content-Type: message/rfc822\n"), Just("Content-Type: text/html\n"),
            ],
            0..40,
        )
    ) {
        let raw = pieces.concat();
        let message = Message::parse(raw.as_bytes());
        for part in message.parts() {
            prop_assert!(part.header.start <= part.header.end && part.header.end <= part.body.start && part.body.start <= part.body.end);
            prop_assert!(part.body.end <= raw.len());
            let header = crate::crlf::measure(part.header_bytes());
            let body = crate::crlf::measure(part.body_bytes());
            prop_assert_eq!((part.header_size, part.header_lines), (header.size, header.lines));
            prop_assert_eq!((part.body_size, part.body_lines), (body.size, body.lines));
            if let Some(parent) = message.parent(part) {
                prop_assert!(parent.body.start <= part.header.start && part.body.end <= parent.body.end.max(part.body.start), "{:?}", message.parts());
                prop_assert!(matches!(parent.kind, Kind::Multipart | Kind::Message));
            }
            if part.kind == Kind::Message {
                prop_assert_eq!(message.children(part).len(), 1);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_fail(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let message = Message::parse(&raw);
        message.root().text();
        crate::Envelope::parse(&raw);
    }
}
