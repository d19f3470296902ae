use crate::{Class, Router};
use mail_types::Address;
use std::path::Path;
use std::sync::Arc;
use tables::NoRemote;

pub fn address(text: &str) -> Address {
    Address::parse(text).expect(text)
}

/// A router with these lines in its `[routing]`; hostname mx.x.org, myorigin x.org, no account server.
pub fn router(routing: &str) -> Router {
    make(routing).unwrap_or_else(|e| panic!("{e}"))
}

fn make(routing: &str) -> Result<Router, crate::SetupError> {
    let mut text = String::from("hostname = \"mx.x.org\"\nmydomain = \"x.org\"\nmyorigin = \"$mydomain\"\n[routing]\n");
    for (setting, value) in
        [("virtual_mailbox_domains", "[]"), ("virtual_mailbox_maps", "[]"), ("virtual_alias_maps", "[]"), ("alias_domain_maps", "[]")]
    {
        if !routing.contains(&format!("{setting} =")) {
            text.push_str(&format!("{setting} = {value}\n"));
        }
    }
    // Last, since it may go on with other sections.
    text.push_str(routing);
    let file = Path::new("/etc/facteur/facteur.toml");
    let config = config::Config::from_texts(file, &[(file.to_owned(), text)]).expect("settings");
    Router::new(&config, Arc::new(NoRemote))
}

#[tokio::test]
async fn addresses_are_classified() {
    let router = router(
        r#"
        virtual_mailbox_domains = ["x.org", "old.org", "all.org", "catch.org"]
        virtual_mailbox_maps = ["inline:{ ann@x.org=ann/, @all.org=all/ }"]
        virtual_alias_maps = ["inline:{ a@x.org=ann@x.org, v@alias.org=ann@x.org, @catch.org=ann@x.org, s@relay.org=ann@x.org, root@x.org=ann@x.org, postmaster@x.org=root@x.org }"]
        virtual_alias_domains = ["alias.org"]
        alias_domain_maps = ["inline:{ old.org=x.org }"]
        relay_domains = ["relay.org", "list.org"]
        relay_recipient_maps = ["inline:{ @relay.org=OK, u@list.org=OK }"]
        local_recipient_maps = ["inline:{ mailuser=x }"]
        "#,
    );
    for (input, want, setting) in [
        ("ann@x.org", Class::Mailbox, "virtual_mailbox_maps"),
        ("ANN@X.org", Class::Mailbox, "virtual_mailbox_maps"),
        ("ann+detail@x.org", Class::Mailbox, "virtual_mailbox_maps"),
        ("a@x.org", Class::Alias, "virtual_alias_maps"),
        ("nobody@x.org", Class::UnknownUser, "virtual_mailbox_maps"),
        ("ann@old.org", Class::Alias, "alias_domain_maps"),
        ("a@old.org", Class::Alias, "alias_domain_maps"),
        ("nobody@old.org", Class::UnknownUser, "virtual_mailbox_maps"),
        ("anyone@all.org", Class::Mailbox, "virtual_mailbox_maps"),
        ("anyone@catch.org", Class::Alias, "virtual_alias_maps"),
        ("v@alias.org", Class::Alias, "virtual_alias_maps"),
        ("w@alias.org", Class::UnknownUser, "virtual_alias_maps"),
        ("root@localhost", Class::Alias, "myorigin"),
        ("ann@localhost", Class::Alias, "myorigin"),
        ("Postmaster@catch.org", Class::Alias, "virtual_alias_maps"),
        ("postmaster@all.org", Class::Mailbox, "virtual_mailbox_maps"),
        ("postmaster@alias.org", Class::Alias, "myorigin"),
        ("postmaster@x.org", Class::Alias, "virtual_alias_maps"),
        ("mailuser@mx.x.org", Class::Mailbox, "local_recipient_maps"),
        ("nobody@mx.x.org", Class::UnknownUser, "local_recipient_maps"),
        ("any@relay.org", Class::Relay, "relay_recipient_maps"),
        ("any@sub.relay.org", Class::UnknownUser, "relay_recipient_maps"),
        // S9: the host behind us would send these on.
        ("any%far.org@relay.org", Class::NotOurs, "relay_domains"),
        ("far.org!any@relay.org", Class::NotOurs, "relay_domains"),
        ("\"any@far.org\"@relay.org", Class::NotOurs, "relay_domains"),
        ("u@list.org", Class::Relay, "relay_recipient_maps"),
        ("v@list.org", Class::UnknownUser, "relay_recipient_maps"),
        ("a@gmail.com", Class::NotOurs, "not ours"),
        ("a@[127.0.0.1]", Class::NotOurs, "not ours"),
        ("a%gmail.com@x.org", Class::UnknownUser, "virtual_mailbox_maps"),
        ("\"a@gmail.com\"@x.org", Class::UnknownUser, "virtual_mailbox_maps"),
    ] {
        let got = router.classify(&address(input)).await.expect("tables answer");
        assert_eq!((got.class, got.reason.setting), (want, setting), "{input}: {}", got.reason);
    }
}

#[tokio::test]
async fn unknown_and_unavailable_are_not_mixed_up() {
    for settings in [
        r#"virtual_mailbox_domains = ["fail:"]"#,
        "virtual_mailbox_domains = [\"x.org\"]\nvirtual_mailbox_maps = [\"fail:\"]",
        "virtual_mailbox_domains = [\"x.org\"]\nvirtual_alias_maps = [\"fail:\"]",
        "virtual_mailbox_domains = [\"x.org\"]\nvirtual_mailbox_maps = [\"accounts:mailboxes\"]",
        "virtual_mailbox_domains = [\"x.org\"]\nalias_domain_maps = [\"inline:{ x.org=not..a.domain }\"]",
    ] {
        assert!(router(settings).classify(&address("nobody@x.org")).await.is_err(), "{settings}");
    }
    // A known user needs no further table.
    let settings = "virtual_mailbox_domains = [\"x.org\"]\nvirtual_mailbox_maps = [\"inline:{ ann@x.org=a }\", \"fail:\"]";
    assert_eq!(router(settings).classify(&address("ann@x.org")).await.expect("known").class, Class::Mailbox);
}

#[tokio::test]
async fn alias_domains_in_a_circle_end() {
    let router = router("virtual_mailbox_domains = [\"a.org\", \"b.org\"]\nalias_domain_maps = [\"inline:{ a.org=b.org, b.org=a.org }\"]");
    assert_eq!(router.classify(&address("u@a.org")).await.expect("answer").class, Class::UnknownUser);
    let expansion = router.expand(None, &[mail_types::Recipient::new(address("u@a.org"))], true).await.expect("answer");
    assert_eq!(expansion.failures.len(), 1);
}

#[tokio::test]
async fn the_guides_transport_table_works() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("transport");
    std::fs::write(&file, "# direct\nx.org :\n.x.org :\n* smtp:smtp.free.fr:25\n").expect("write");
    let base = format!("virtual_mailbox_domains = [\"x.org\"]\ntransport_maps = [\"hash:{}\"]", file.display());
    let r = router(&base);
    for (input, want) in [
        ("ann@x.org", "local"),
        ("root@mx.x.org", "local"),
        ("u@host.x.org", "smtp:host.x.org"),
        ("test@gmail.com", "smtp:smtp.free.fr:25"),
    ] {
        assert_eq!(r.route(&address(input), None).await.expect("route").route.to_string(), want, "{input}");
    }
    std::fs::write(&file, "* smtp:[smtp.free.fr]:25\n").expect("write");
    let r = router(&base);
    assert_eq!(r.route(&address("test@gmail.com"), None).await.expect("route").route.to_string(), "smtp:[smtp.free.fr]:25");
}

#[tokio::test]
async fn transports_are_chosen() {
    let table =
        "inline:{ e.net=error:5.7.1 no thanks, {d.net = discard:}, u.net=lmtp:unix:/run/dovecot/lmtp, i.net=lmtp:inet:[127.0.0.1]:24, \
                 {s.net = smtp:}, odd.net=uucp:x, hop.net=:[10.0.0.1], r.net=retry:later, x.org=virtual: }"
            .replace("e.net=error:5.7.1 no thanks", "{e.net = error:5.7.1 no thanks}");
    let router = router(&format!(
        "virtual_mailbox_domains = [\"x.org\"]\nvirtual_alias_domains = [\"alias.org\"]\nrelay_domains = [\"relay.org\"]\nrelayhost = \"[relay.isp]:587\"\n\
         transport_maps = [\"{table}\"]\nsender_dependent_relayhost_maps = [\"inline:{{ @other.org=smtp.other.org }}\"]"
    ));
    for (input, want) in [
        ("u@e.net", "error:5.7.1 no thanks"),
        ("u@d.net", "discard"),
        ("u@u.net", "lmtp:unix:/run/dovecot/lmtp"),
        ("u@i.net", "lmtp:inet:[127.0.0.1]:24"),
        ("u@s.net", "smtp:s.net"),
        (
            "u@odd.net",
            "retry:4.3.5 mail system configuration error: unknown transport `uucp` (smtp, relay, lmtp, local, virtual, error, retry, discard, and those of qmgr.transport)",
        ),
        ("u@hop.net", "smtp:[10.0.0.1]"),
        ("u@r.net", "retry:4.0.0 later"),
        ("u@x.org", "local"),
        ("u@mx.x.org", "local"),
        ("u@alias.org", "error:5.1.1 <u@alias.org>: no such user in the virtual alias tables"),
        ("u@relay.org", "smtp:[relay.isp]:587"),
        ("u@out.net", "smtp:[relay.isp]:587"),
    ] {
        assert_eq!(router.route(&address(input), None).await.expect("route").route.to_string(), want, "{input}");
    }
    let routed = router.route(&address("u@out.net"), Some(&address("me@other.org"))).await.expect("route");
    assert_eq!(routed.route.to_string(), "smtp:smtp.other.org");
    assert_eq!(routed.reason.setting, "sender_dependent_relayhost_maps");
}

#[tokio::test]
async fn senders_choose_their_transport_and_relay_host() {
    let router = router(
        r#"
        virtual_mailbox_domains = ["x.org"]
        relayhost = "[house.isp]"
        relay_domains = ["relay.org"]
        sender_dependent_default_transport_maps = ["inline:{ {@block.org = error:5.7.1 not from here}, ann@x.org=smtp:[mx.ann.net]:587, @dunno.org=DUNNO, <>=smtp: , {@plain.org = smtp:} }"]
        sender_dependent_relayhost_maps = ["inline:{ <>=[bounces.isp], @plain.org=[plain.isp], dunno@other.org=dunno, @other.org=[other.isp] }"]
        "#,
    );
    for (sender, recipient, want) in [
        (Some("u@block.org"), "u@out.net", "error:5.7.1 not from here"),
        (Some("ann+news@x.org"), "u@out.net", "smtp:[mx.ann.net]:587"),
        (Some("ann@x.org"), "bob@x.org", "local"),
        (Some("ann@x.org"), "u@relay.org", "smtp:[house.isp]"),
        (Some("u@dunno.org"), "u@out.net", "smtp:[house.isp]"),
        (Some("u@plain.org"), "u@out.net", "smtp:[plain.isp]"),
        (Some("dunno@other.org"), "u@out.net", "smtp:[house.isp]"),
        (Some("u@other.org"), "u@out.net", "smtp:[other.isp]"),
        (Some("u@else.org"), "u@out.net", "smtp:[house.isp]"),
        (None, "u@out.net", "smtp:[bounces.isp]"),
    ] {
        let sender = sender.map(address);
        assert_eq!(
            router.route(&address(recipient), sender.as_ref()).await.expect("route").route.to_string(),
            want,
            "{sender:?} {recipient}"
        );
    }
}

#[tokio::test]
async fn envelopes_get_their_canonical_form_before_aliases() {
    let router = router(
        r#"
        virtual_mailbox_domains = ["x.org"]
        virtual_mailbox_maps = ["inline:{ ann@x.org=a, moved@x.org=m }"]
        virtual_alias_maps = ["inline:{ info@x.org=ann@x.org }"]
        relocated_maps = ["inline:{ moved@x.org=m@new.net, @gone.org=nobody }"]
        virtual_alias_domains = ["gone.org"]
        alias_domain_maps = []
        [cleanup]
        canonical_maps = ["inline:{ contact@x.org=info@x.org, a@x.org=b@x.org, b@x.org=a@x.org }"]
        recipient_canonical_maps = ["inline:{ @old.org=@x.org }"]
        masquerade_domains = ["x.org"]
        "#,
    );
    for (input, class) in [
        ("contact@x.org", Class::Alias),
        ("ann@old.org", Class::Mailbox),
        ("moved@x.org", Class::Moved),
        ("u@gone.org", Class::Moved),
        ("a@x.org", Class::UnknownUser),
        ("ann@far.net", Class::NotOurs),
    ] {
        assert_eq!(router.classify(&address(input)).await.expect("answer").class, class, "{input}");
    }
    let expansion = router.expand(None, &[mail_types::Recipient::new(address("contact@x.org"))], true).await.expect("answer");
    assert_eq!(expansion.recipients[0].recipient.address, address("ann@x.org"));
    assert_eq!(expansion.recipients[0].recipient.orcpt.as_deref(), Some("rfc822;contact@x.org"));
    let routed = router.route(&address("moved@x.org"), None).await.expect("route");
    assert_eq!(routed.route.to_string(), "error:5.1.6 user has moved to m@new.net");
    for (sender, want) in [("u@host.x.org", "u@x.org"), ("contact@x.org", "info@x.org"), ("u@old.org", "u@old.org")] {
        assert_eq!(router.rewrite_sender(&address(sender)).await.expect("answer"), address(want), "{sender}");
    }
}

/// Aliases lead on before anybody is found to have moved, at RCPT as in the queue.
#[tokio::test]
async fn an_alias_in_a_domain_that_has_moved_is_taken() {
    let router = router(
        r#"
        virtual_mailbox_domains = ["old.org", "new.org"]
        virtual_mailbox_maps = ["inline:{ ann@old.org=a, bob@old.org=b, ann@new.org=c }"]
        virtual_alias_maps = ["inline:{ info@old.org=ann@new.org, bob@old.org=ann@new.org, ann@old.org=ann@old.org, @all.org=ann@new.org }"]
        virtual_alias_domains = ["all.org"]
        relocated_maps = ["inline:{ @old.org=new.org, @all.org=new.org }"]
        "#,
    );
    for (input, taken) in [
        ("info@old.org", true),
        ("bob@old.org", true),
        ("who@all.org", true),
        ("ann@old.org", false),
        ("who@old.org", false),
        ("ann@new.org", true),
    ] {
        let got = router.classify(&address(input)).await.expect("answer");
        assert_eq!(!matches!(got.class, Class::UnknownUser | Class::Moved), taken, "{input}: {}", got.reason);
        let expansion = router.expand(None, &[mail_types::Recipient::new(address(input))], true).await.expect("answer");
        let there = &expansion.recipients[0].recipient.address;
        let routed = router.route(there, None).await.expect("route").route.to_string();
        assert_eq!(!routed.starts_with("error:"), taken, "{input}: {routed}");
    }
}

#[tokio::test]
async fn without_tables_mail_goes_to_mx_or_deliver() {
    let router = router(r#"virtual_mailbox_domains = ["x.org"]"#);
    for (input, want) in [("u@x.org", "local"), ("u@out.net", "smtp:out.net"), ("u@[192.0.2.1]", "smtp:[192.0.2.1]")] {
        assert_eq!(router.route(&address(input), None).await.expect("route").route.to_string(), want, "{input}");
    }
}

#[tokio::test]
async fn transports_of_ones_own_are_ways_like_the_others() {
    let router = router(
        r#"
        relay_domains = ["relay.org"]
        relay_transport = "relay"
        relayhost = "[hub.net]"
        transport_maps = ["inline:{ orange.fr=slow:, x.net=slow:[mx.x.net]:26, lists.net=mlm:inet:127.0.0.1:24, y.net=other: }"]
        [[qmgr.transport]]
        name = "slow"
        destination_rate_delay = "1s"
        [[qmgr.transport]]
        name = "mlm"
        protocol = "lmtp"
        "#,
    );
    for (input, route, transport) in [
        ("u@orange.fr", "smtp:orange.fr", "slow"),
        ("u@x.net", "smtp:[mx.x.net]:26", "slow"),
        ("u@lists.net", "lmtp:inet:[127.0.0.1]:24", "mlm"),
        ("u@relay.org", "smtp:[hub.net]", "relay"),
        ("u@else.net", "smtp:[hub.net]", "smtp"),
    ] {
        let routed = router.route(&address(input), None).await.expect("route");
        assert_eq!((routed.route.to_string().as_str(), &*routed.transport), (route, transport), "{input}");
    }
    let unknown = router.route(&address("u@y.net"), None).await.expect("route").route.to_string();
    assert!(unknown.starts_with("retry:4.3.5") && unknown.contains("unknown transport `other`"), "{unknown}");
}

#[test]
fn wrong_settings_are_named() {
    for (settings, want) in [
        ("relayhost = \"a b\"", "routing.relayhost: `a b` is no next hop"),
        ("transport_maps = [\"hash:/none/x\"]", "routing.transport_maps: /none/x: No such file"),
        ("local_transport = \"uucp\"", "routing.local_transport: unknown transport `uucp`"),
        ("always_bcc = \"a@\"", "routing.always_bcc: `a@`"),
        ("mydestination = [\"a..b\"]", "routing.mydestination: a..b"),
    ] {
        let error = make(settings).err().expect(settings).to_string();
        assert!(error.starts_with(want), "{error}");
    }
}

#[test]
fn settings_may_name_other_settings() {
    let router = router(
        "virtual_mailbox_domains = [\"$mydomain\"]\nvirtual_mailbox_maps = [\"inline:{ ann@x.org=a }\"]\nlocal_recipient_maps = [\"$virtual_mailbox_maps $virtual_alias_maps\"]",
    );
    assert_eq!(router.local_recipient_maps.tables().len(), 1);
}

#[test]
fn bare_names_get_myorigin() {
    let router = router("");
    assert_eq!(router.complete("postmaster").expect("name").to_string(), "postmaster@x.org");
    assert_eq!(router.complete("a@b.org").expect("address").to_string(), "a@b.org");
    assert!(router.complete("a b").is_err());
}
