use super::*;
use mail_types::Address;
use std::net::IpAddr;

/// Facts that own what they point to.
pub(crate) struct Case {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) name: Option<&'static str>,
    pub(crate) helo: &'static str,
    pub(crate) login: Option<&'static str>,
    pub(crate) sender: Option<Address>,
    pub(crate) recipient: Address,
    pub(crate) destination: Destination,
    pub(crate) local: bool,
    pub(crate) recipients: usize,
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).expect("test address")
}

pub(crate) fn ours(listed: bool) -> Destination {
    Destination::Ours { listed, reason: "virtual_mailbox_maps".into() }
}

pub(crate) fn elsewhere() -> Destination {
    Destination::Elsewhere { reason: "no domain of ours".into() }
}

impl Default for Case {
    fn default() -> Case {
        Case {
            ip: Some([192, 0, 2, 7].into()),
            name: Some("mx.client.test"),
            helo: "mx.client.test",
            login: None,
            sender: Some(address("user@domain.com")),
            recipient: address("ann@here.test"),
            destination: ours(true),
            local: false,
            recipients: 1,
        }
    }
}

impl Case {
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            client_ip: self.ip,
            client_name: self.name,
            local: self.local,
            helo: Some(self.helo),
            login: self.login,
            sender: Some(self.sender.as_ref()),
            recipient: Some(&self.recipient),
            destination: Some(&self.destination),
            recipients: self.recipients,
            ..Facts::default()
        }
    }
}

pub(crate) fn policy(change: impl FnOnce(&mut config::Smtpd)) -> Result<Policy, SetupError> {
    let mut smtpd = config::Smtpd::default();
    change(&mut smtpd);
    let context = Context::local("/");
    let mynetworks = NetworkList::open("127.0.0.0/8, 10.0.0.0/8", &context).expect("networks");
    Policy::new(&smtpd, "+", mynetworks, None, &context)
}

pub(crate) fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

pub(crate) async fn judge(policy: &Policy, stage: Stage, case: &Case) -> (String, String) {
    let verdict = policy.judge(stage, &case.facts()).await;
    let action = match verdict.action {
        Action::Permit => "permit".to_owned(),
        Action::Refuse(reply) => reply.to_string(),
    };
    (action, verdict.reason)
}

pub(crate) async fn at_rcpt(words: &[&str], case: Case) -> (String, String) {
    let policy = policy(|s| s.smtpd_recipient_restrictions = list(words)).expect("policy");
    judge(&policy, Stage::Recipient, &case).await
}

#[tokio::test]
async fn strangers_reach_us_and_nobody_else() {
    let policy = policy(|_| {}).expect("policy");
    let far = || address("test@gmail.com");
    let denied = "550 5.7.1 <test@gmail.com>: Relay access denied";
    let later = "451 4.3.0 <test@gmail.com>: Temporary lookup failure";
    for (case, want) in [
        (Case::default(), "permit"),
        (Case { destination: ours(false), ..Case::default() }, "550 5.1.1 <ann@here.test>: Recipient address rejected: User unknown"),
        (Case { recipient: far(), destination: elsewhere(), ..Case::default() }, denied),
        (Case { recipient: far(), destination: elsewhere(), sender: None, ..Case::default() }, denied),
        (Case { recipient: far(), destination: elsewhere(), login: Some("ann"), ..Case::default() }, "permit"),
        (Case { recipient: far(), destination: elsewhere(), ip: Some([127, 0, 0, 1].into()), ..Case::default() }, "permit"),
        (Case { recipient: far(), destination: elsewhere(), ip: None, local: true, ..Case::default() }, "permit"),
        (Case { recipient: far(), destination: elsewhere(), ip: None, ..Case::default() }, denied),
        // Who may relay does not thereby reach users that do not exist.
        (
            Case { destination: ours(false), login: Some("ann"), ..Case::default() },
            "550 5.1.1 <ann@here.test>: Recipient address rejected: User unknown",
        ),
        (Case { recipient: far(), destination: Destination::Unavailable { reason: "authd is away".into() }, ..Case::default() }, later),
    ] {
        let facts = format!("{:?}", case.facts());
        assert_eq!(judge(&policy, Stage::Recipient, &case).await.0, want, "{facts}");
    }
}

#[tokio::test]
async fn verdicts_name_setting_table_and_key() {
    let case = Case { destination: elsewhere(), ..Case::default() };
    let policy = policy(|_| {}).expect("policy");
    assert_eq!(judge(&policy, Stage::Recipient, &case).await.1, "smtpd_relay_restrictions: reject_unauth_destination: no domain of ours");
    // The line of the guide.
    let (action, reason) = at_rcpt(&["check_sender_access", "inline:{user@domain.com=REJECT}"], Case::default()).await;
    assert_eq!(action, "554 5.7.1 <user@domain.com>: Sender address rejected: Access denied");
    assert!(reason.starts_with("smtpd_recipient_restrictions: check_sender_access inline:{user@domain.com=REJECT}: "), "{reason}");
    assert!(reason.ends_with("\"user@domain.com\" = \"REJECT\""), "{reason}");
}

#[tokio::test]
async fn the_words_of_access_tables_do_what_access_5_says() {
    for (value, want) in [
        ("OK", "permit"),
        ("1", "permit"),
        ("DUNNO", "550 5.7.1 <ann@here.test>: Relay access denied"),
        ("reject", "554 5.7.1 <user@domain.com>: Sender address rejected: Access denied"),
        ("REJECT go away", "554 5.7.1 <user@domain.com>: Sender address rejected: go away"),
        ("550 5.7.9 go away", "550 5.7.9 <user@domain.com>: Sender address rejected: go away"),
        ("450 later", "450 4.7.1 <user@domain.com>: Sender address rejected: later"),
        ("450 5.7.9 later", "450 4.7.1 <user@domain.com>: Sender address rejected: 5.7.9 later"),
        ("DEFER", "450 4.7.1 <user@domain.com>: Sender address rejected: Try again later"),
        ("HOLD", "550 5.7.1 <ann@here.test>: Relay access denied"),
        ("DISCARD", "permit"),
        ("permit_mynetworks reject", "554 5.7.1 <ann@here.test>: Recipient address rejected: Access denied"),
        ("FROBNICATE", "451 4.3.5 Server configuration error"),
        ("", "451 4.3.5 Server configuration error"),
    ] {
        let access = format!("inline:{{ {{user@domain.com = {value}}} }}");
        let policy =
            policy(|s| s.smtpd_relay_restrictions = vec![format!("check_sender_access {access}"), "reject_unauth_destination".into()]);
        let case = Case { destination: elsewhere(), ..Case::default() };
        let policy = match policy {
            Ok(policy) => policy,
            // `inline:` has no empty values.
            Err(_) if value.is_empty() => continue,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(judge(&policy, Stage::Recipient, &case).await.0, want, "{value:?}");
    }
}

#[tokio::test]
async fn effects_of_tables_are_reported() {
    let table = "inline:{ {user@domain.com = HOLD}, {x@y.test = PREPEND X-Seen: yes}, {w@y.test = WARN look} }";
    let policy = policy(|s| s.smtpd_sender_restrictions = list(&["check_sender_access", table])).expect("policy");
    let effects = async |sender: &str| {
        let case = Case { sender: Some(address(sender)), ..Case::default() };
        policy.judge(Stage::Recipient, &case.facts()).await.effects
    };
    assert!(effects("user@domain.com").await.hold);
    assert_eq!(effects("x@y.test").await.prepend, ["X-Seen: yes"]);
    assert_eq!(effects("w@y.test").await.remarks, ["look"]);
}

#[tokio::test]
async fn addresses_and_hosts_are_looked_up_from_the_whole_to_the_general() {
    let refused = |what: &str, kind: &str| format!("554 5.7.1 <{what}>: {kind} rejected: Access denied");
    for (verb, key, case, want) in [
        ("check_sender_access", "domain.com", Case::default(), refused("user@domain.com", "Sender address")),
        ("check_sender_access", "com", Case::default(), refused("user@domain.com", "Sender address")),
        ("check_sender_access", "user@", Case::default(), refused("user@domain.com", "Sender address")),
        ("check_sender_access", "<>", Case { sender: None, ..Case::default() }, refused("", "Sender address")),
        (
            "check_recipient_access",
            "ann@here.test",
            Case { recipient: address("ann+x@here.test"), ..Case::default() },
            refused("ann+x@here.test", "Recipient address"),
        ),
        ("check_helo_access", "client.test", Case::default(), refused("mx.client.test", "Helo command")),
        ("check_client_access", "192.0.2", Case::default(), refused("mx.client.test[192.0.2.7]", "Client host")),
        ("check_client_access", "client.test", Case::default(), refused("mx.client.test[192.0.2.7]", "Client host")),
        ("check_client_access", "unknown", Case { name: None, ..Case::default() }, refused("unknown[192.0.2.7]", "Client host")),
        ("check_sasl_access", "ann", Case { login: Some("ann"), ..Case::default() }, refused("ann", "Login name")),
        ("check_sender_access", "omain.com", Case::default(), "permit".into()),
    ] {
        assert_eq!(at_rcpt(&[verb, &format!("inline:{{{key}=REJECT}}")], case).await.0, want, "{verb} {key}");
    }
}

#[tokio::test]
async fn a_table_that_cannot_tell_never_permits() {
    let (action, reason) = at_rcpt(&["check_sender_access fail:"], Case::default()).await;
    assert_eq!(action, "451 4.3.0 <user@domain.com>: Temporary lookup failure");
    assert!(reason.contains("fail:"), "{reason}");
}

#[tokio::test]
async fn names_without_a_domain_can_be_refused() {
    for (word, case, want) in [
        (
            "reject_non_fqdn_sender",
            Case { sender: Some(address("root@localhost")), ..Case::default() },
            "504 5.5.2 <root@localhost>: Sender address rejected: need fully-qualified address",
        ),
        ("reject_non_fqdn_sender", Case { sender: None, ..Case::default() }, "permit"),
        (
            "reject_non_fqdn_recipient",
            Case { recipient: address("a@b"), ..Case::default() },
            "504 5.5.2 <a@b>: Recipient address rejected: need fully-qualified address",
        ),
        (
            "reject_non_fqdn_helo_hostname",
            Case { helo: "pc", ..Case::default() },
            "504 5.5.2 <pc>: Helo command rejected: need fully-qualified hostname",
        ),
        ("reject_non_fqdn_helo_hostname", Case { helo: "[192.0.2.1]", ..Case::default() }, "permit"),
        ("reject_invalid_helo_hostname", Case { helo: "a b", ..Case::default() }, "501 5.5.2 <a b>: Helo command rejected: Invalid name"),
        ("reject_multi_recipient_bounce", Case { sender: None, recipients: 2, ..Case::default() }, "550 5.5.3 Multi-recipient bounce"),
    ] {
        assert_eq!(at_rcpt(&[word], case).await.0, want, "{word}");
    }
}

#[tokio::test]
async fn warn_if_reject_only_remarks() {
    let policy = policy(|s| s.smtpd_recipient_restrictions = list(&["warn_if_reject", "reject_non_fqdn_sender"])).expect("policy");
    let case = Case { sender: Some(address("root@localhost")), ..Case::default() };
    let verdict = policy.judge(Stage::Recipient, &case.facts()).await;
    assert_eq!(verdict.action, Action::Permit);
    assert!(verdict.effects.remarks[0].contains("504 5.5.2"), "{:?}", verdict.effects);
}

#[tokio::test]
async fn without_a_table_the_login_has_its_own_address() {
    let mismatch = "553 5.7.1 <user@domain.com>: Sender address rejected: not owned by user bob";
    let later = "451 4.3.0 <user@domain.com>: Temporary lookup failure";
    for (verb, login, own, want) in [
        ("reject_authenticated_sender_login_mismatch", Some("bob"), Some(Ownership::Own), "permit"),
        ("reject_authenticated_sender_login_mismatch", Some("bob"), Some(Ownership::Foreign), mismatch),
        ("reject_authenticated_sender_login_mismatch", Some("bob"), Some(Ownership::Unavailable), later),
        ("reject_authenticated_sender_login_mismatch", None, None, "permit"),
        ("reject_sender_login_mismatch", Some("bob"), Some(Ownership::Foreign), mismatch),
        ("reject_sender_login_mismatch", None, None, "permit"),
        // "Known" is what a table has; there is none.
        ("reject_known_sender_login_mismatch", Some("bob"), Some(Ownership::Foreign), "permit"),
    ] {
        let policy = policy(|s| s.smtpd_sender_restrictions = list(&[verb])).expect("policy");
        let case = Case { login, ..Case::default() };
        let verdict = policy.judge(Stage::Recipient, &Facts { sender_is_own: own, ..case.facts() }).await;
        let got = match verdict.action {
            Action::Permit => "permit".to_owned(),
            Action::Refuse(reply) => reply.to_string(),
        };
        assert_eq!(got, want, "{verb} {login:?} {own:?}");
    }
}

#[tokio::test]
async fn a_sender_belongs_to_its_login() {
    let policy = policy(|s| {
        s.smtpd_sender_login_maps = list(&["inline:{ user@domain.com=ann, @here.test=bob }"]);
        s.smtpd_sender_restrictions = list(&["reject_sender_login_mismatch"]);
    })
    .expect("policy");
    let mismatch = "553 5.7.1 <user@domain.com>: Sender address rejected: not owned by user bob";
    for (login, sender, want) in [
        (Some("ann"), "user@domain.com", "permit"),
        (Some("bob"), "any@here.test", "permit"),
        (Some("bob"), "user@domain.com", mismatch),
        (Some("bob"), "x@free.test", "553 5.7.1 <x@free.test>: Sender address rejected: not owned by user bob"),
        (None, "user@domain.com", "553 5.7.1 <user@domain.com>: Sender address rejected: not logged in"),
        (None, "x@free.test", "permit"),
    ] {
        let case = Case { login, sender: Some(address(sender)), ..Case::default() };
        assert_eq!(judge(&policy, Stage::Recipient, &case).await.0, want, "{login:?} {sender}");
    }
}

#[tokio::test]
async fn lists_wait_until_rcpt_unless_told_otherwise() {
    let reject_helo = |delay| {
        policy(move |s| {
            s.smtpd_delay_reject = delay;
            s.smtpd_helo_restrictions = list(&["check_helo_access inline:{mx.client.test=REJECT}"]);
        })
        .expect("policy")
    };
    assert!(!reject_helo(true).concerns(Stage::Helo));
    assert!(judge(&reject_helo(true), Stage::Recipient, &Case::default()).await.0.starts_with("554"));
    assert!(reject_helo(false).concerns(Stage::Helo));
    assert!(judge(&reject_helo(false), Stage::Helo, &Case::default()).await.0.starts_with("554"));
    assert_eq!(judge(&reject_helo(false), Stage::Recipient, &Case::default()).await.0, "permit");
}

#[test]
fn lists_that_relay_for_everybody_or_make_no_sense_do_not_start() {
    let fault = |relay: &[&str], recipient: &[&str]| {
        policy(|s| {
            s.smtpd_relay_restrictions = list(relay);
            s.smtpd_recipient_restrictions = list(recipient);
        })
        .err()
        .map(|error| error.to_string())
    };
    let open = Some("smtpd_relay_restrictions or smtpd_recipient_restrictions need one of reject_unauth_destination, defer_unauth_destination, reject, defer: without it this server would relay mail for everybody".to_owned());
    for (relay, recipient, want) in [
        (&[][..], &[][..], open.clone()),
        (&["permit_mynetworks", "permit", "reject"], &[], open.clone()),
        (&["warn_if_reject", "reject"], &[], open),
        (&["permit_mynetworks, reject_unauth_destination"], &["$smtpd_relay_restrictions"], None),
        (&[], &["permit_sasl_authenticated", "reject"], None),
        (
            &["reject_unauth_destinations"],
            &[],
            Some(
                "smtpd_relay_restrictions: \"reject_unauth_destinations\" is no restriction; did you mean reject_unauth_destination?"
                    .into(),
            ),
        ),
        (&["reject"], &["check_sender_access"], Some("smtpd_recipient_restrictions: check_sender_access needs a table behind it".into())),
        (
            &["reject", "$smtpd_recipient_restrictions"],
            &["$smtpd_relay_restrictions"],
            Some("smtpd_recipient_restrictions: the lists refer to each other in a circle".into()),
        ),
    ] {
        let got = fault(relay, recipient);
        match &want {
            Some(text) if text.contains("circle") => assert!(got.expect("a fault").contains("circle")),
            _ => assert_eq!(got, want, "{relay:?} {recipient:?}"),
        }
    }
    assert!(fault(&["reject"], &["check_sender_access nosuch:table"]).is_some());
}

#[tokio::test]
async fn the_guides_lists_work_as_they_stand_there() {
    let policy = policy(|s| {
        s.smtpd_relay_restrictions = list(&["permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination"]);
        s.smtpd_recipient_restrictions = list(&["$smtpd_relay_restrictions"]);
    })
    .expect("policy");
    assert_eq!(judge(&policy, Stage::Recipient, &Case::default()).await.0, "permit");
    let case = Case { destination: elsewhere(), ..Case::default() };
    assert!(judge(&policy, Stage::Recipient, &case).await.0.starts_with("550 5.7.1"));
}

#[tokio::test]
async fn a_client_with_a_listed_certificate_or_key_may_relay() {
    let policy = policy(|s| {
        s.smtpd_relay_restrictions = list(&["permit_tls_clientcerts", "reject_unauth_destination"]);
        s.relay_clientcerts = list(&["inline:{AA:BB=its.certificate}", "inline:{CC:DD=its.key}"]);
    })
    .expect("policy");
    let case = Case { destination: elsewhere(), ..Case::default() };
    for (shown, want) in [(&["AA:BB", "11:22"][..], true), (&["33:44", "CC:DD"], true), (&["33:44", "11:22"], false), (&[], false)] {
        let fingerprints = list(shown);
        let facts = Facts { client_fingerprints: &fingerprints, ..case.facts() };
        let verdict = policy.judge(Stage::Relay, &facts).await;
        assert_eq!(matches!(verdict.action, Action::Permit), want, "{shown:?}");
    }
}
