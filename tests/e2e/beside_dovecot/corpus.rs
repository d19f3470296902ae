//! Messages as they come, and as they should not come.

use super::put;
use std::path::Path;

/// Fills a Maildir.
pub fn fill(maildir: &Path) {
    for part in ["cur", "new", "tmp", ".Work/cur", ".Work/new", ".Work/tmp", ".Work.Sub/cur", ".Work.Sub/new", ".Work.Sub/tmp"] {
        std::fs::create_dir_all(maildir.join(part)).expect("folder");
    }
    std::fs::write(maildir.join("subscriptions"), "INBOX\nWork\nGone\n").expect("subscriptions");
    let all = messages();
    for (at, message) in all.iter().enumerate() {
        put(maildir, at + 1, ["", "S", "FS", "RS", "DS", "T"][at % 6], message.as_bytes());
    }
    for n in 1..4 {
        put(&maildir.join(".Work"), n, "S", format!("Subject: work {n}\nFrom: w{n}@example.org\n\nbody {n}\n").as_bytes());
    }
}

fn messages() -> Vec<String> {
    let mut all: Vec<String> = [
        // plain
        "Date: Mon, 7 Feb 1994 21:52:25 -0800 (PST)\nFrom: Fred Foobar <foobar@Blurdybloop.COM>\nSubject: afternoon meeting\nTo: mooch@owatagu.siam.edu\nMessage-Id: <B27397-0100000@Blurdybloop.COM>\nMIME-Version: 1.0\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\n\nHello Joe, do you think we can meet at 3:30 tomorrow?\n",
        // CRLF in the file
        "Date: Tue, 8 Feb 1994 01:00:00 +0000\r\nFrom: \"Joe Q. Public\" <john.q.public@example.com>\r\nSubject: Re: afternoon meeting\r\nTo: Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>\r\nCc: <boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>\r\nIn-Reply-To: <B27397-0100000@Blurdybloop.COM>\r\nReferences: <B27397-0100000@Blurdybloop.COM>\r\nMessage-ID: <second@x.test>\r\n\r\nYes.\r\n",
        // groups, comments, routes, no subject
        "From: Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>\nTo: A Group(Some people):Chris Jones <c@(Chris's host.)public.example>,joe@example.org,\n John <jdoe@one.test> (my dear friend); (the end of the group)\nCc:(Empty list)(start)Undisclosed recipients  :(nobody(that I know))  ;\nDate: Thu,\n      13\n        Feb\n          1975\n      23:32\n               -0330 (Newfoundland Time)\nMessage-ID:              <testabcd.1234@silly.test>\n\nTesting.\n",
        // several reply-tos, sender, bcc
        "From: a@example.org, b@example.org\nSender: s@example.org\nReply-To: r1@example.org, \"R 2\" <r2@example.org>\nBcc: hidden@example.org\nSubject: several authors\nDate: 1 Jan 2020 00:00:00 GMT\n\nx\n",
        // encoded words, folded
        "From: =?utf-8?Q?Andr=C3=A9?= <andre@example.org>\nTo: =?iso-8859-1?Q?J=F6rg?= <joerg@example.org>\nSubject: =?utf-8?B?w4l0w6k=?= =?utf-8?Q?_2020?=\n folded\n\tagain\nDate: Wed, 1 Jul 2020 12:00:00 +0200\nMessage-ID: <enc@example.org>\nContent-Type: text/plain; charset=utf-8; format=flowed\nContent-Transfer-Encoding: 8bit\n\nl'\u{e9}t\u{e9} est l\u{e0}\n",
        // raw 8-bit header
        "From: \"Bj\u{f6}rn\" <b@example.org>\nSubject: gr\u{fc}\u{df}e\nDate: Thu, 2 Jul 2020 12:00:00 +0200\n\nx\n",
        // multipart/alternative with base64 and quoted-printable
        "From: m@example.org\nTo: alice@example.test\nSubject: Quarterly report\nDate: Fri, 3 Jul 2020 12:00:00 +0200\nMessage-ID: <alt@example.org>\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=\"=_b1\"\n\nThis is a preamble xylograph.\n--=_b1\nContent-Type: text/plain; charset=\"utf-8\"\nContent-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9 and a soft=\n break\n--=_b1\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\nPHA+aGVsbG8geHlsb2dyYXBoPC9wPg==\n--=_b1--\nepilogue\n",
        // mixed with an attachment and a message inside
        "From: n@example.org\nTo: alice@example.test\nSubject: Fwd: parts\nDate: Sat, 4 Jul 2020 12:00:00 +0200\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=outer\n\n--outer\nContent-Type: text/plain\nContent-Language: en, fr\n\nsee below\n--outer\nContent-Type: application/pdf; name=\"a b.pdf\"\nContent-Disposition: attachment; filename=\"a b.pdf\"; size=12\nContent-Transfer-Encoding: base64\nContent-ID: <pdf@example.org>\nContent-Description: a document\nContent-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\n\nJVBERi0xLjQK\n--outer\nContent-Type: message/rfc822\nContent-Disposition: inline\n\nFrom: inner@example.org\nSubject: inner subject\nDate: Sun, 5 Jul 2020 12:00:00 +0000\nContent-Type: multipart/alternative; boundary=inner\n\n--inner\nContent-Type: text/plain\n\ninner text\n--inner\nContent-Type: text/html\n\n<p>inner</p>\n--inner--\n--outer--\n",
        // a message inside that is not multipart
        "From: o@example.org\nSubject: bounce\nContent-Type: multipart/report; report-type=delivery-status; boundary=rr\n\n--rr\n\nplain\n--rr\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n--rr\nContent-Type: message/rfc822\n\nSubject: original\nMessage-ID: <orig@example.org>\n\noriginal body\nsecond line\n--rr--\n",
        // digest
        "From: p@example.org\nSubject: digest\nContent-Type: multipart/digest; boundary=dd\n\n--dd\n\nSubject: one\n\nfirst\n--dd\n\nSubject: two\n\nsecond\n--dd--\n",
        // no end boundary, empty parts
        "Subject: cut off\nContent-Type: multipart/mixed; boundary=cut\n\n--cut\n\n--cut\nContent-Type: text/plain; name=x\n\nno end",
        // boundary that never comes
        "Subject: no part\nContent-Type: multipart/mixed; boundary=never\n\njust text\n",
        // no boundary parameter
        "Subject: no boundary\nContent-Type: multipart/mixed\n\ntext\n",
        // odd content types
        "Subject: odd type\nContent-Type: text\nContent-Disposition: ;;\nContent-Transfer-Encoding: x-unknown\n\ntext\n",
        "Subject: type with comment\nContent-Type: text/plain (comment); charset=(x)utf-8; x=\"a\\\"b\"\n\ntext\n",
        "Subject: RFC 2231\nContent-Type: application/octet-stream; name*0*=utf-8''%E2%82%AC; name*1=rates\nContent-Disposition: attachment; filename*=UTF-8''%e2%82%ac.txt\n\nx\n",
        // header only, no body, nothing
        "Subject: header only\nFrom: q@example.org\n",
        "Subject: empty body\n\n",
        "\nbody only\n",
        "no header here at all\nsecond line\n",
        // duplicate fields, empty fields, spaces before the colon
        "Subject: first\nSubject: second\nFrom:\nTo: ,,a@example.org,,\nCc: undisclosed-recipients:;\nDate:\nMessage-ID: \n\nx\n",
        "Subject : space before colon\nFrom : r@example.org\nX-Empty:\nX-Long: one\n two\n  three\n\nx\n",
        // long lines and references
        "Subject: thread start\nMessage-ID: <t1@example.org>\nDate: Mon, 6 Jul 2020 12:00:00 +0000\nFrom: s@example.org\n\nx\n",
        "Subject: Re: thread start\nMessage-ID: <t2@example.org>\nReferences: <t1@example.org>\nDate: Mon, 6 Jul 2020 13:00:00 +0000\nFrom: t@example.org\n\nx\n",
        "Subject: Re: thread start\nMessage-ID: <t3@example.org>\nReferences: <t1@example.org>\n\t<t2@example.org>\nDate: Mon, 6 Jul 2020 14:00:00 +0000\nFrom: u@example.org\n\nx\n",
        "Subject: [list] RE: thread start (fwd)\nMessage-ID: <t4@example.org>\nIn-Reply-To: <t2@example.org>\nDate: Mon, 6 Jul 2020 15:00:00 +0000\nFrom: v@example.org\n\nx\n",
        "Subject: another\nMessage-ID: <t5@example.org>\nReferences: <missing@example.org>\nDate: Mon, 6 Jul 2020 16:00:00 +0000\nFrom: Zed <z@example.org>\nTo: A <a@example.org>\n\nx\n",
        // dates
        "Subject: two digit year\nDate: 21 Nov 97 09:55:06 -0600\n\nx\n",
        "Subject: bad date\nDate: yesterday\n\nx\n",
        "Subject: letters for a zone\nDate: Fri, 21 Nov 1997 09:55:06 EST\n\nx\n",
        // quoted strings and backslashes that have to be escaped
        "From: \"a \\\\ b \\\" c\" <\"odd local\"@example.org>\nSubject: \"quoted\" \\ back\nTo: \"no address\"\n\nx\n",
        "From: name only\nTo: <@route.example,@other.example:x@example.org>\nSubject: route\n\nx\n",
        "From: a@b@c\nTo: a b c <d@example.org\nSubject: broken addresses\nCc: <>\n\nx\n",
    ]
    .map(String::from)
    .to_vec();
    all.push(format!("Subject: long line\nX-Long: {}\n\n{}\n", "y".repeat(2000), "z".repeat(5000)));
    let deep: String = (0..30).map(|level| format!("Content-Type: multipart/mixed; boundary=d{level}\n\n--d{level}\n")).collect();
    all.push(format!("Subject: deep\n{deep}\nbottom\n"));
    all
}
