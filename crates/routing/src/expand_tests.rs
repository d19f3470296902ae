use crate::tests::{address, router};
use mail_types::{Outcome, Recipient};

async fn expand(settings: &str, recipients: &[&str]) -> (Vec<String>, Vec<String>) {
    let router = router(settings);
    let recipients: Vec<_> = recipients.iter().map(|r| Recipient::new(address(r))).collect();
    let expansion = router.expand(Some(&address("sender@out.net")), &recipients, true).await.expect("tables answer");
    let finals = expansion.recipients.iter().map(|e| e.recipient.address.to_string()).collect();
    let failures = expansion.failures.iter().map(|(at, outcome)| match outcome {
        Outcome::Bounced(f) => format!("{at} bounced {} {}", f.status, f.reason),
        Outcome::Deferred(f) => format!("{at} deferred {} {}", f.status, f.reason),
        Outcome::Delivered { .. } => "delivered".to_owned(),
    });
    (finals, failures.collect())
}

const BASE: &str = r#"
virtual_mailbox_domains = ["x.org", "old.org"]
virtual_mailbox_maps = ["inline:{ ann@x.org=ann/, bob@x.org=bob/, all@x.org=all/ }"]
alias_domain_maps = ["inline:{ old.org=x.org }"]
"#;

#[tokio::test]
async fn aliases_lead_to_their_targets_once() {
    for (aliases, recipients, want) in [
        ("a@x.org=ann@x.org", &["a@x.org"][..], &["ann@x.org"][..]),
        ("a@x.org=b@x.org, b@x.org=c@out.net", &["a@x.org"], &["c@out.net"]),
        ("{team@x.org = ann@x.org, bob@x.org, ann@x.org}", &["team@x.org", "ann@x.org"], &["ann@x.org", "bob@x.org"]),
        // PostfixAdmin gives every mailbox an alias to itself.
        ("ann@x.org=ann@x.org", &["Ann@x.org"], &["Ann@x.org"]),
        ("{ann@x.org = ann@x.org bob@x.org}, {bob@x.org = bob@x.org, ann@x.org}", &["ann@x.org"], &["ann@x.org", "bob@x.org"]),
        // The catch-all takes what has no mailbox and no alias.
        ("@x.org=all@x.org", &["ann@x.org", "nobody@x.org"], &["ann@x.org", "all@x.org"]),
        ("@x.org=@y.net", &["nobody@x.org"], &["nobody@y.net"]),
        // A detail goes along.
        ("a@x.org=ann@x.org", &["a+lists@x.org"], &["ann+lists@x.org"]),
        ("ann@x.org=ann@x.org", &["ann+lists@x.org"], &["ann+lists@x.org"]),
        ("a+lists@x.org=bob@x.org, a@x.org=ann@x.org", &["a+lists@x.org"], &["bob@x.org"]),
        // Bare names belong to myorigin.
        ("a@x.org=bob", &["a@x.org"], &["bob@x.org"]),
        // Alias domains.
        ("a@x.org=b@out.net", &["ann@old.org", "a@old.org"], &["ann@x.org", "b@out.net"]),
        ("none@x.org=ann@x.org", &["who@out.net"], &["who@out.net"]),
    ] {
        let settings = format!("{BASE}\nvirtual_alias_maps = [\"inline:{{ {aliases} }}\"]");
        let (finals, failures) = expand(&settings, recipients).await;
        assert_eq!((finals.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), failures.len()), (want, 0), "{aliases} {failures:?}");
    }
}

/// Q14.
#[tokio::test]
async fn loops_and_wide_aliases_are_stopped() {
    for (aliases, recipient, want_finals, want_failure) in [
        ("a@x.org=b@x.org, b@x.org=a@x.org", "a@x.org", 0, "0 bounced 5.4.6 <a@x.org>: the alias leads back to itself"),
        ("{a@x.org = b@x.org, ann@x.org}, b@x.org=a@x.org", "a@x.org", 1, ""),
        ("a@x.org=a@x.org", "a@x.org", 1, ""),
        (
            "a@x.org=not<an>address",
            "a@x.org",
            0,
            "0 deferred 4.3.5 <a@x.org>: the alias cannot be expanded: `not<an>address`: the local part has a",
        ),
    ] {
        let settings = format!("{BASE}\nvirtual_alias_maps = [\"inline:{{ {aliases} }}\"]");
        let (finals, failures) = expand(&settings, &[recipient]).await;
        assert_eq!(finals.len(), want_finals, "{aliases} {finals:?} {failures:?}");
        assert!(failures.first().map_or("", String::as_str).starts_with(want_failure), "{aliases} {failures:?}");
        assert_eq!(failures.is_empty(), want_failure.is_empty(), "{aliases} {failures:?}");
    }
    let chain: Vec<_> = (0..300).map(|n| format!("a{n}@x.org=a{}@x.org", n + 1)).collect();
    let settings = format!("{BASE}\nvirtual_alias_maps = [\"inline:{{ {} }}\"]\nvirtual_alias_recursion_limit = 100", chain.join(", "));
    let (finals, failures) = expand(&settings, &["a0@x.org"]).await;
    assert!(finals.is_empty());
    assert_eq!(failures, ["0 bounced 5.4.6 <a0@x.org>: aliases lead deeper than 100 steps"]);
    let wide: Vec<_> = (0..3000).map(|n| format!("u{n}@out.net")).collect();
    let settings = format!("{BASE}\nvirtual_alias_maps = [\"inline:{{ {{all-staff@x.org = {}}} }}\"]", wide.join(","));
    let (_, failures) = expand(&settings, &["all-staff@x.org"]).await;
    assert_eq!(failures, ["0 bounced 5.4.6 <all-staff@x.org>: the alias stands for more than 1000 addresses"]);
}

#[tokio::test]
async fn local_names_go_through_the_alias_file() {
    let dir = tempfile::tempdir().expect("dir");
    let (aliases, list) = (dir.path().join("aliases"), dir.path().join("list"));
    std::fs::write(&list, "# members\nann@x.org\nbob@x.org, far@out.net\n").expect("write");
    let text = format!(
        "root: ann@x.org\npostmaster: root\nstaff: :include:{}\ncommand: \"|/bin/cat\"\nfile: /tmp/x\nboth: ann@x.org, |cat\n",
        list.display()
    );
    std::fs::write(&aliases, text).expect("write");
    let settings =
        format!("{BASE}\nalias_maps = [\"hash:{}\"]\nvirtual_alias_maps = [\"inline:{{ daemon@x.org=bob@x.org }}\"]", aliases.display());
    for (recipient, want, failures) in [
        ("root@localhost", &["ann@x.org"][..], 0),
        ("postmaster@mx.x.org", &["ann@x.org"], 0),
        ("root+cron@localhost", &["ann@x.org"], 0),
        ("staff@localhost", &["ann@x.org", "bob@x.org", "far@out.net"], 0),
        // Known at myorigin only.
        ("daemon@localhost", &["bob@x.org"], 0),
        ("bob@localhost", &["bob@x.org"], 0),
        ("nobody@localhost", &["nobody@localhost"], 0),
        ("command@localhost", &[], 1),
        ("file@localhost", &[], 1),
        ("both@localhost", &["ann@x.org"], 1),
    ] {
        let (finals, failed) = expand(&settings, &[recipient]).await;
        assert_eq!(finals, want, "{recipient}");
        assert_eq!(failed.len(), failures, "{recipient} {failed:?}");
    }
}

#[tokio::test]
async fn lists_that_anybody_may_write_are_not_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("dir");
    let (aliases, list) = (dir.path().join("aliases"), dir.path().join("list"));
    std::fs::write(&list, "ann@x.org\n").expect("write");
    std::fs::write(&aliases, format!("staff: :include:{}\ndir: :include:{}\n", list.display(), dir.path().display())).expect("write");
    let settings = format!("{BASE}\nalias_maps = [\"hash:{}\"]\nvirtual_alias_maps = []", aliases.display());
    assert_eq!(expand(&settings, &["staff@localhost"]).await.0, ["ann@x.org"]);
    assert_eq!(expand(&settings, &["dir@localhost"]).await.1.len(), 1);
    std::fs::set_permissions(&list, PermissionsExt::from_mode(0o666)).expect("mode");
    let (finals, failures) = expand(&settings, &["staff@localhost"]).await;
    assert!(finals.is_empty() && failures[0].contains("deferred 4.3.5") && failures[0].contains("not writable by all"), "{failures:?}");
}

/// Waiting for somebody to write into it would hold up the whole queue.
#[test]
fn a_list_that_is_a_fifo_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("dir");
    let (aliases, list) = (dir.path().join("aliases"), dir.path().join("list"));
    nix::unistd::mkfifo(&list, nix::sys::stat::Mode::S_IRUSR).expect("fifo");
    std::fs::write(&aliases, format!("staff: :include:{}\n", list.display())).expect("write");
    let settings = format!("{BASE}\nalias_maps = [\"hash:{}\"]\nvirtual_alias_maps = []", aliases.display());
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let _ = send.send(runtime.block_on(expand(&settings, &["staff@localhost"])));
    });
    let (_, failures) = receive.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits for a writer");
    assert!(failures[0].contains("deferred 4.3.5"), "{failures:?}");
}

#[tokio::test]
async fn the_postmaster_of_every_domain_is_reached_at_myorigin() {
    let settings = r#"
        virtual_mailbox_domains = ["x.org", "second.org"]
        virtual_mailbox_maps = ["inline:{ ann@x.org=ann/, bob@second.org=bob/ }"]
        virtual_alias_domains = ["alias.org"]
        virtual_alias_maps = ["inline:{ postmaster@x.org=ann@x.org }"]
    "#;
    for (recipient, want) in [
        ("Postmaster@second.org", "ann@x.org"),
        ("postmaster@alias.org", "ann@x.org"),
        ("postmaster@localhost", "ann@x.org"),
        ("bob@second.org", "bob@second.org"),
        ("postmaster@out.net", "postmaster@out.net"),
    ] {
        assert_eq!(expand(settings, &[recipient]).await, (vec![want.to_owned()], vec![]), "{recipient}");
    }
}

#[tokio::test]
async fn a_mailbox_at_the_hosts_own_name_is_not_hidden_by_a_catch_all() {
    let settings = r#"
        mydestination = ["x.org"]
        virtual_mailbox_maps = ["inline:{ ann@x.org=ann/, all@x.org=all/ }"]
        local_recipient_maps = ["inline:{ mailuser=1 }"]
        virtual_alias_maps = ["inline:{ @x.org=all@x.org }"]
    "#;
    for (recipient, want) in [("ann@x.org", "ann@x.org"), ("mailuser@x.org", "mailuser@x.org"), ("who@x.org", "all@x.org")] {
        assert_eq!(expand(settings, &[recipient]).await, (vec![want.to_owned()], vec![]), "{recipient}");
    }
}

#[tokio::test]
async fn copies_are_added_silently() {
    let settings = format!(
        "{BASE}\nvirtual_alias_maps = []\nrecipient_bcc_maps = [\"inline:{{ ann@x.org=recipient@example.net }}\"]\nalways_bcc = \"archive@x.org\"\nsender_bcc_maps = [\"inline:{{ @out.net=watch@x.org }}\"]"
    );
    let router = router(&settings);
    let recipients = [Recipient::new(address("ann@x.org"))];
    let sender = address("sender@out.net");
    let expansion = router.expand(Some(&sender), &recipients, true).await.expect("tables answer");
    let got: Vec<_> = expansion.recipients.iter().map(|e| (e.recipient.address.to_string(), e.original)).collect();
    let want = [("ann@x.org", Some(0)), ("archive@x.org", None), ("watch@x.org", None), ("recipient@example.net", None)];
    assert_eq!(got, want.map(|(a, o)| (a.to_owned(), o)));
    assert!(!expansion.recipients[3].recipient.notify.wants_failure());
    assert_eq!(router.expand(Some(&sender), &recipients, false).await.expect("tables answer").recipients.len(), 1);
}

#[tokio::test]
async fn the_original_recipient_is_told_to_notifications() {
    let router = router(&format!("{BASE}\nvirtual_alias_maps = [\"inline:{{ a@x.org=ann@x.org }}\"]"));
    let expansion = router.expand(None, &[Recipient::new(address("a@x.org"))], true).await.expect("tables answer");
    assert_eq!(expansion.recipients[0].recipient.orcpt.as_deref(), Some("rfc822;a@x.org"));
    let path: Vec<_> = expansion.recipients[0].path.iter().map(|r| r.to_string()).collect();
    assert_eq!(path, ["virtual_alias_maps: inline:{ a@x.org=ann@x.org } \"a@x.org\" = \"ann@x.org\""]);
}

#[tokio::test]
async fn an_unavailable_table_decides_nothing() {
    let router = router(&format!("{BASE}\nvirtual_alias_maps = [\"fail:\"]"));
    assert!(router.expand(None, &[Recipient::new(address("ann@x.org"))], true).await.is_err());
}

proptest::proptest! {
    /// Whatever the aliases of a handful of users point to, expansion ends, names each address once, and loses nobody silently.
    #[test]
    fn any_graph_of_aliases_comes_to_an_end(graph in proptest::collection::vec(proptest::collection::vec(0usize..8, 0..4), 6)) {
        let name = |n: usize| if n < 6 { format!("u{n}@x.org") } else { format!("far{n}@out.net") };
        let mut aliases = vec!["none@x.org=none@x.org".to_owned()];
        for (n, targets) in graph.iter().enumerate().filter(|(_, targets)| !targets.is_empty()) {
            let targets: Vec<_> = targets.iter().map(|t| name(*t)).collect();
            aliases.push(format!("{{{} = {}}}", name(n), targets.join(", ")));
        }
        let settings = format!("{BASE}\nvirtual_alias_maps = [\"inline:{{ {} }}\"]", aliases.join(", "));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let (finals, failures) = runtime.block_on(expand(&settings, &["u0@x.org"]));
        let unique: std::collections::HashSet<_> = finals.iter().collect();
        proptest::prop_assert_eq!(unique.len(), finals.len());
        // Somebody gets the mail, or the sender is told.
        proptest::prop_assert!(!finals.is_empty() || failures.len() == 1, "{:?} {:?}", finals, failures);
        // Who points to himself or to nobody is reached.
        for target in finals.iter().filter_map(|f| f.strip_prefix('u')).filter_map(|f| f.split('@').next()?.parse::<usize>().ok()) {
            proptest::prop_assert!(graph[target].is_empty() || graph[target].contains(&target));
        }
    }
}

#[tokio::test]
async fn extensions_go_through_the_tables_that_are_named() {
    let aliases = "virtual_alias_maps = [\"inline:{ a@x.org=ann@x.org }\"]\nmydestination = [\"mx.x.org\"]";
    let list = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(list.path(), "cid@x.org\n").expect("list");
    for (classes, recipient, want) in [
        ("\"canonical\", \"virtual\"", "a+d@x.org", "ann+d@x.org"),
        ("\"canonical\"", "a+d@x.org", "ann@x.org"),
        ("", "a+d@x.org", "ann@x.org"),
        ("\"virtual\"", "root+d@mx.x.org", "bob@x.org"),
        ("\"alias\"", "root+d@mx.x.org", "bob+d@x.org"),
        ("\"alias\"", "root@mx.x.org", "bob@x.org"),
        ("\"include\"", "root+d@mx.x.org", "bob@x.org"),
        ("\"include\"", "team+d@mx.x.org", "cid+d@x.org"),
        ("\"alias\"", "team+d@mx.x.org", "cid@x.org"),
        ("\"include\"", "team@mx.x.org", "cid@x.org"),
        ("\"forward\", \"generic\"", "team+d@mx.x.org", "cid@x.org"),
    ] {
        let (root, team) = ("root=bob@x.org", format!("team=:include:{}", list.path().display()));
        let settings =
            format!("{BASE}\n{aliases}\nalias_maps = [\"inline:{{ {root}, {team} }}\"]\npropagate_unmatched_extensions = [{classes}]");
        assert_eq!(expand(&settings, &[recipient]).await.0, [want], "{classes} {recipient}");
    }
}
