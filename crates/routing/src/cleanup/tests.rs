use super::*;
use crate::Router;

/// Sends a message through the checks, whole and octet by octet: both have to be the same.
async fn run(settings: &str, files: &[(&str, &str)], own: bool, text: &str) -> (String, Findings) {
    let dir = tempfile::tempdir().expect("dir");
    let mut settings = settings.to_owned();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("write");
        settings = settings.replace(&format!("={name}="), path.to_str().expect("path"));
    }
    let config = format!("hostname = \"mx.x.org\"\nmydomain = \"x.org\"\nmyorigin = \"x.org\"\n[cleanup]\n{settings}\n");
    let file = std::path::Path::new("/etc/facteur/facteur.toml");
    let config = config::Config::from_texts(file, &[(file.into(), config)]).expect("settings");
    let router = Router::new(&config, Arc::new(tables::NoRemote)).expect("tables");
    let mut results = Vec::new();
    for size in [text.len().max(1), 1] {
        let Some(mut scan) = router.cleanup().scan(own) else { return (text.to_owned(), Findings::default()) };
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            out.extend(scan.take(piece).await.expect("answer"));
        }
        out.extend(scan.finish().await.expect("answer"));
        results.push((String::from_utf8(out).expect("text"), scan.findings().clone()));
    }
    assert_eq!(results[0], results[1], "octet by octet");
    results.remove(0)
}

const MAIL: &str = "Subject: cheap\r\n pills\r\nX-Old: a\r\nFrom: ann@mail.x.org\r\nContent-Type: multipart/mixed;\r\n boundary=\"b\"\r\n\r\nhello\r\n--b\r\nContent-Disposition: attachment; filename=a.exe\r\nX-Part: y\r\n\r\nline one\r\nline two\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner text\r\n--b--\r\nend\r\n";

#[tokio::test]
async fn each_table_sees_its_own_lines() {
    for (setting, rule, want) in [
        ("header_checks", "/^Subject: cheap\\n pills$/ REJECT 5.7.2 no pills", true),
        ("header_checks", "/^X-Part/ REJECT", false),
        ("header_checks", "/^Subject: inner/ REJECT", false),
        ("header_checks", "/^Content-Type/ REJECT", false),
        ("mime_header_checks", "/filename=.*\\.exe/ REJECT", true),
        ("mime_header_checks", "/^X-Part/ REJECT", true),
        ("mime_header_checks", "/^Content-Type: multipart/ REJECT", true),
        ("mime_header_checks", "/^Subject/ REJECT", false),
        ("nested_header_checks", "/^Subject: inner/ REJECT", true),
        ("nested_header_checks", "/^Subject: cheap/ REJECT", false),
        ("body_checks", "/^line two$/ REJECT", true),
        ("body_checks", "/^inner text$/ REJECT", true),
        ("body_checks", "/^end$/ REJECT", true),
        ("body_checks", "/^X-Part|^Subject|^--b/ REJECT", false),
    ] {
        let settings = format!("mime_header_checks = []\nnested_header_checks = []\n{setting} = [\"regexp:=t=\"]");
        let settings = if setting == "header_checks" { settings } else { settings.replacen(&format!("{setting} = []\n"), "", 1) };
        let (text, findings) = run(&settings, &[("t", rule)], false, MAIL).await;
        assert_eq!((findings.reject.is_some(), text.as_str()), (want, MAIL), "{setting} {rule}");
    }
    let (_, findings) = run("header_checks = [\"pcre:=t=\"]", &[("t", "/^Subject: inner/ REJECT 5.7.2 why")], false, MAIL).await;
    assert_eq!(findings.reject, Some((EnhancedCode(5, 7, 2), "why".into())), "nested_header_checks is header_checks by default");
}

#[tokio::test]
async fn the_actions_are_carried_out() {
    let header = "/^X-Old/ IGNORE\n/^From: (.*)/ PREPEND X-Author: $1\n/^Subject:/ REPLACE Subject: [x]\n/^X-Part/ STRIP gone\n/^Content-Disp/ BCC c@y.org";
    let body =
        "/^hello/ REPLACE bye\n/^line one/ HOLD\n/^line two/ REDIRECT r@y.org\n/^end/ FILTER smtp:[127.0.0.1]:10025\n/^inner/ NONSENSE";
    let settings = "header_checks = [\"regexp:=h=\"]\nbody_checks = [\"regexp:=b=\"]";
    let (text, findings) = run(settings, &[("h", header), ("b", body)], false, MAIL).await;
    let want = MAIL
        .replace("X-Old: a\r\n", "")
        .replace("From:", "X-Author: ann@mail.x.org\r\nFrom:")
        .replace("Subject: cheap\r\n pills", "Subject: [x]")
        .replace("Subject: inner", "Subject: [x]")
        .replace("X-Part: y\r\n", "")
        .replace("hello", "bye");
    assert_eq!(text, want);
    let a = |text| Address::parse(text).expect(text);
    assert_eq!(
        findings,
        Findings {
            hold: true,
            redirect: Some(a("r@y.org")),
            filter: Some("smtp:[127.0.0.1]:10025".into()),
            bcc: vec![a("c@y.org")],
            ..Findings::default()
        }
    );
    let (_, findings) = run("header_checks = [\"regexp:=h=\"]", &[("h", "/^Subject/ DISCARD quietly\n/^From/ REJECT")], false, MAIL).await;
    assert!(findings.discard && findings.reject.is_none());
}

#[tokio::test]
async fn what_a_message_costs_is_bounded() {
    let long = format!("X-Long: {}\r\n{}\r\n\r\n{}last\r\n", "a".repeat(500), " b\r\n".repeat(1000).trim_end(), "x\r\n".repeat(100));
    let settings =
        "header_size_limit = 1000\nbody_checks_size_limit = 30\nheader_checks = [\"regexp:=h=\"]\nbody_checks = [\"regexp:=b=\"]";
    let (text, findings) = run(settings, &[("h", "/^ b|zzz/ REJECT"), ("b", "/last/ REJECT")], false, &long).await;
    assert!(text == long && findings == Findings::default());
    let (text, _) = run(settings, &[("h", "/^X-Long/ IGNORE"), ("b", "/y/ REJECT")], false, &long).await;
    assert!(text.starts_with("\r\nx\r\n"), "the rest of a field shares its fate");
    let nested: String = (0..300).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n")).collect();
    assert_eq!(run(settings, &[("h", "/^never/ REJECT"), ("b", "/never/ REJECT")], false, &nested).await.0, nested);
    // A line that never ends is judged by its beginning, and what follows it is still a header.
    let one_line = format!("X-Long: {}\r\nSubject: y\r\n\r\n{}\r\nx\r\n", "a".repeat(5000), "b".repeat(5000));
    for (header, body, want) in [
        ("/^X-Long/ IGNORE", "/never/ REJECT", one_line.split_once("\r\n").map(|(_, rest)| rest.to_owned())),
        ("/^X-Long/ REPLACE X: 1", "/^b/ IGNORE", Some("X: 1\r\nSubject: y\r\n\r\nx\r\n".to_owned())),
        ("/^Subject: y/ REPLACE Subject: z", "/^b/ HOLD", Some(one_line.replace("Subject: y", "Subject: z"))),
    ] {
        let settings = settings.replace("= 30", "= 30000");
        assert_eq!(Some(run(&settings, &[("h", header), ("b", body)], false, &one_line).await.0), want, "{header} {body}");
    }
    let no_end = "x".repeat(5000);
    assert_eq!(run(settings, &[("h", "/^never/ REJECT"), ("b", "/never/ REJECT")], false, &no_end).await.0, no_end);
}

#[tokio::test]
async fn header_addresses_of_our_own_clients_are_rewritten() {
    let settings = "canonical_maps = [\"inline:{ ann@x.org=Ann.Lee@x.org, @old.org=@x.org }\"]\n\
                    sender_canonical_maps = [\"inline:{ bob=robert@x.org }\"]\nmasquerade_domains = [\"!keep.x.org\", \"x.org\"]\n\
                    masquerade_exceptions = [\"root\"]\nappend_dot_mydomain = true";
    for (field, want) in [
        ("From: Ann <ann@x.org> (me)", "From: Ann <Ann.Lee@x.org> (me)"),
        ("From: ann+news@mail.x.org", "From: ann+news@x.org"),
        ("From: ann+news@x.org", "From: Ann.Lee+news@x.org"),
        ("From: bob", "From: robert@x.org"),
        ("To: bob, \"C\" <carl>, d@old.org", "To: bob@x.org, \"C\" <carl@x.org>, d@x.org"),
        ("To: root <root>", "To: root <root@x.org>"),
        ("To: a@b.keep.x.org, root@h.x.org", "To: a@b.keep.x.org, root@h.x.org"),
        ("To: u@host", "To: u@x.org"),
        ("Cc: list:ann@x.org,\r\n ann@x.org;", "Cc: list:Ann.Lee@x.org,\r\n Ann.Lee@x.org;"),
        ("Subject: ann@x.org", "Subject: ann@x.org"),
        ("To: \"a b\"@z.org, ,<>", "To: \"a b\"@z.org, ,<>"),
        ("To: ann@x.org, e@z.org, ann@x.org", "To: Ann.Lee@x.org, e@z.org, Ann.Lee@x.org"),
    ] {
        let message = format!("{field}\r\n\r\nann@x.org\r\n");
        let (text, _) = run(settings, &[], true, &message).await;
        assert_eq!(text, format!("{want}\r\n\r\nann@x.org\r\n"), "{field}");
        assert_eq!(run(settings, &[], false, &message).await.0, message, "a stranger's header stays as it is");
    }
}

#[tokio::test]
async fn canonical_maps_are_asked_where_their_classes_say() {
    let maps = "canonical_maps = [\"inline:{ ann@x.org=a@x.org }\"]\nsender_canonical_maps = [\"inline:{ bob@x.org=b@x.org }\"]\n\
                recipient_canonical_maps = [\"inline:{ carl@x.org=c@x.org }\"]";
    let header = "From: ann@x.org, bob@x.org, carl@x.org\r\nTo: ann@x.org, bob@x.org, carl@x.org\r\n\r\n";
    for (classes, from, to) in [
        ("", "a@x.org, b@x.org, carl@x.org", "a@x.org, bob@x.org, c@x.org"),
        ("canonical_classes = [\"header_recipient\"]", "ann@x.org, b@x.org, carl@x.org", "a@x.org, bob@x.org, c@x.org"),
        (
            "canonical_classes = []\nsender_canonical_classes = [\"envelope_sender\"]\nrecipient_canonical_classes = [\"header_sender\"]",
            "ann@x.org, bob@x.org, c@x.org",
            "ann@x.org, bob@x.org, carl@x.org",
        ),
    ] {
        let (text, _) = run(&format!("{maps}\n{classes}"), &[], true, header).await;
        assert_eq!(text, format!("From: {from}\r\nTo: {to}\r\n\r\n"), "{classes}");
    }
}
