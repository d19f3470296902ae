//! The restrictions that need DNS, classes, services, or a second look.

use crate::tests::{Case, address, at_rcpt, elsewhere, list, ours, policy};
use crate::*;
use std::pin::Pin;
use std::time::Duration;

const ZONES: &str = "client.test NS ns.bad.test
    x.test MX 10 mx.bad.test
    x.test A 192.0.2.80
    y.test A 203.0.113.9
    mx.bad.test A 203.0.113.5
    ns.bad.test A 203.0.113.6
    sub.zone.test A 192.0.2.81
    zone.test NS ns.bad.test
    broken.test SERVFAIL
    backup.test MX 10 mx.first.test
    backup.test MX 20 us.here.test
    primary.test MX 10 us.here.test
    primary.test MX 20 mx.first.test
    mx.first.test A 198.51.100.1
    mixed.test MX 10 mx.mixed.test
    mixed.test MX 20 us.here.test
    mx.mixed.test A 198.51.100.1
    mx.mixed.test A 203.0.113.9
    two.test MX 10 mx.first.test
    two.test MX 10 mx.bad.test
    two.test MX 20 us.here.test
    gone.test MX 10 mx.gone.test
    gone.test MX 20 us.here.test
    us.here.test A 192.0.2.25
    2.0.0.127.bl.test A 127.0.0.2
    7.2.0.192.bl.test A 127.0.0.4
    7.2.0.192.bl.test TXT seen in traps
    7.2.0.192.wl.test A 127.0.0.4
    2.0.0.127.wl.test A 127.0.0.2
    7.2.0.192.down.test SERVFAIL
    domain.com.names.test A 127.0.1.2
    mx.client.test.names.test A 127.0.1.2";

fn text(verdict: &Verdict) -> String {
    match &verdict.action {
        Action::Permit => "permit".to_owned(),
        Action::Refuse(reply) => reply.to_string(),
    }
}

struct Zones {
    dns: Arc<dyn dns::Resolver>,
    _server: testkit::FakeDns,
}

async fn zones() -> Zones {
    let server = testkit::FakeDns::start(ZONES).await;
    let settings = config::Dns { nameservers: vec![server.address()], attempts: 1, ..config::Dns::default() };
    Zones { dns: Arc::new(dns::Dns::new(&settings).expect("dns")), _server: server }
}

impl Zones {
    /// The verdict of these recipient restrictions.
    async fn at_rcpt(&self, words: &[&str], facts: Facts<'_>) -> String {
        let mut smtpd = config::Smtpd { smtpd_recipient_restrictions: list(words), ..config::Smtpd::default() };
        smtpd.rbl_reply_maps = list(&["inline:{ {other.test = 521 $client_address go away} }"]);
        let context = Context::local("/");
        let networks = NetworkList::open("127.0.0.0/8", &context).expect("networks");
        let policy = Policy::new(&smtpd, "+", networks, Some(self.dns.clone()), &context).expect("policy");
        text(&policy.judge(Stage::Recipient, &facts).await)
    }
}

#[tokio::test]
async fn deferring_waits_for_the_end_and_refusing_may_wait_too() {
    let rejected = "554 5.7.1 <ann@here.test>: Recipient address rejected: Access denied";
    for (words, want) in [
        (&["defer"][..], "450 4.3.2 <ann@here.test>: Recipient address rejected: Try again later"),
        (&["defer_if_permit"], "450 4.7.0 <ann@here.test>: Recipient address rejected: defer_if_permit requested"),
        (&["defer_if_permit", "permit"], "450 4.7.0 <ann@here.test>: Recipient address rejected: defer_if_permit requested"),
        (&["defer_if_permit", "reject"], rejected),
        (&["defer_if_reject"], "permit"),
        (&["defer_if_reject", "reject"], "450 4.7.0 <ann@here.test>: Recipient address rejected: defer_if_reject requested"),
        (&["warn_if_reject", "defer_if_permit"], "permit"),
        (&["warn_if_reject", "defer_if_reject", "reject"], rejected),
        (
            &["check_sender_access", "inline:{ {domain.com = DEFER_IF_REJECT wait} }", "reject"],
            "450 4.7.1 <user@domain.com>: Sender address rejected: wait",
        ),
        (&["check_sender_access", "inline:{ {domain.com = DEFER_IF_REJECT wait} }"], "permit"),
        (&["sleep", "1", "reject"], rejected),
    ] {
        assert_eq!(at_rcpt(words, Case::default()).await.0, want, "{words:?}");
    }
}

#[tokio::test]
async fn classes_are_lists_with_a_name() {
    let classes = list(&["strict = reject_non_fqdn_sender, reject", "mild = permit", "outer = strict"]);
    let with = |words: &[&str]| {
        let (classes, words) = (classes.clone(), list(words));
        policy(move |s| {
            s.smtpd_restriction_classes = classes;
            s.smtpd_recipient_restrictions = words;
        })
        .expect("policy")
    };
    for (words, want, reason) in [
        (&["strict"][..], "554 5.7.1", "smtpd_recipient_restrictions: strict: reject"),
        (&["outer"], "554 5.7.1", "smtpd_recipient_restrictions: outer: strict: reject"),
        (&["mild", "reject"], "permit", "smtpd_recipient_restrictions: mild: permit"),
        (&["warn_if_reject", "strict"], "permit", ""),
        (&["check_sender_access", "inline:{ domain.com=strict }"], "554 5.7.1", ""),
        (&["check_sender_access", "inline:{ {domain.com = mild} }", "reject"], "permit", ""),
        (&["check_sender_access", "inline:{ {domain.com = warn_if_reject, strict} }"], "permit", ""),
    ] {
        let verdict = with(words).judge(Stage::Recipient, &Case::default().facts()).await;
        assert!(text(&verdict).starts_with(want), "{words:?} {verdict:?}");
        assert!(verdict.reason.contains(reason), "{words:?} {verdict:?}");
    }
    for lines in [&["a"][..], &["reject = permit"], &["a = permit", "a = reject"], &["a = b", "b = a"], &["a = hash"], &["a b = reject"]] {
        assert!(policy(|s| s.smtpd_restriction_classes = list(lines)).is_err(), "{lines:?}");
    }
}

#[tokio::test]
async fn tables_send_mail_elsewhere() {
    let table = "inline:{ {user@domain.com = REDIRECT boss@here.test}, {x@y.test = BCC log@here.test}, {w@y.test = REDIRECT boss} }";
    let policy = policy(|s| s.smtpd_sender_restrictions = list(&["check_sender_access", table])).expect("policy");
    let judged = async |sender: &str| {
        let case = Case { sender: Some(address(sender)), ..Case::default() };
        policy.judge(Stage::Recipient, &case.facts()).await
    };
    assert_eq!(judged("user@domain.com").await.effects.redirect, Some(address("boss@here.test")));
    assert_eq!(judged("x@y.test").await.effects.bcc, [address("log@here.test")]);
    assert_eq!(text(&judged("w@y.test").await), "451 4.3.5 Server configuration error");
}

#[tokio::test]
async fn what_a_table_cannot_do_is_no_silence() {
    for (action, filter, said) in [
        ("FILTER smtp:[::1]:10024", Some("smtp:[::1]:10024"), "permit"),
        ("FILTER lmtp:inet:127.0.0.1:24", Some("lmtp:inet:127.0.0.1:24"), "permit"),
        ("FILTER", None, "451 4.3.5 Server configuration error"),
        ("FILTER :10024", None, "451 4.3.5 Server configuration error"),
    ] {
        let table = format!("static:{{{action}}}");
        let policy = policy(|s| s.smtpd_recipient_restrictions = list(&["check_sender_access", &table])).expect("policy");
        let verdict = policy.judge(Stage::Recipient, &Case::default().facts()).await;
        assert_eq!((verdict.effects.filter.as_deref(), text(&verdict).as_str()), (filter, said), "{action}");
    }
    let late = policy(|s| s.smtpd_end_of_data_restrictions = list(&["check_sender_access static:{PREPEND X-A: b}"])).expect("policy");
    assert_eq!(text(&late.judge(Stage::EndOfData, &Case::default().facts()).await), "451 4.3.5 Server configuration error");
}

#[tokio::test]
async fn codes_are_settings() {
    let policy = policy(|s| {
        s.smtpd_recipient_restrictions = list(&["reject_non_fqdn_sender", "reject_unauth_destination", "reject"]);
        (s.non_fqdn_reject_code, s.relay_domains_reject_code, s.reject_code) = (450, 554, 521);
    })
    .expect("policy");
    for (case, want) in [
        (Case { sender: Some(address("root@localhost")), ..Case::default() }, "450 4.5.2 "),
        (Case { destination: elsewhere(), ..Case::default() }, "554 5.7.1 "),
        (Case::default(), "521 5.7.1 "),
    ] {
        let got = text(&policy.judge(Stage::Recipient, &case.facts()).await);
        assert!(got.starts_with(want), "{got}");
    }
}

#[tokio::test]
async fn hosts_behind_names_are_looked_up() {
    let zones = zones().await;
    let bad = "inline:{ {bad.test = REJECT bad hosts}, {203.0.113 = REJECT bad net}, {192.0.2.80 = OK} }";
    for (verb, sender, helo, want) in [
        ("check_sender_mx_access", "a@x.test", "h", "554 5.7.1 <a@x.test>: Sender address rejected: bad hosts"),
        ("check_sender_mx_access", "a@y.test", "h", "554 5.7.1 <a@y.test>: Sender address rejected: bad net"),
        ("check_sender_mx_access", "a@none.test", "h", "permit"),
        ("check_sender_mx_access", "a@[203.0.113.5]", "h", "554 5.7.1 <a@[203.0.113.5]>: Sender address rejected: bad net"),
        (
            "check_sender_mx_access",
            "a@broken.test",
            "h",
            "450 4.4.3 <a@broken.test>: Sender address rejected: Name service error, try again later",
        ),
        ("check_sender_ns_access", "a@sub.zone.test", "h", "554 5.7.1 <a@sub.zone.test>: Sender address rejected: bad hosts"),
        ("check_sender_a_access", "a@y.test", "h", "554 5.7.1 <a@y.test>: Sender address rejected: bad net"),
        // Whoever has such a host may not thereby do more.
        ("check_sender_a_access", "a@x.test", "h", "451 4.3.5 Server configuration error"),
        ("check_helo_a_access", "a@x.test", "y.test", "554 5.7.1 <y.test>: Helo command rejected: bad net"),
        ("check_client_ns_access", "a@x.test", "h", "554 5.7.1 <mx.client.test[192.0.2.7]>: Client host rejected: bad hosts"),
        ("check_recipient_a_access", "a@x.test", "h", "permit"),
    ] {
        let case = Case { sender: Some(address(sender)), helo, ..Case::default() };
        assert_eq!(zones.at_rcpt(&[verb, bad], case.facts()).await, want, "{verb} {sender}");
    }
}

#[tokio::test]
async fn the_unconfirmed_name_of_a_client_can_only_harm_it() {
    let table = "inline:{ dial.test=REJECT, good.test=OK }";
    for (name, want) in [
        (Some("pc7.dial.test"), "554 5.7.1 <pc7.dial.test[192.0.2.7]>: Unverified Client host rejected: Access denied"),
        (Some("mx.good.test"), "451 4.3.5 Server configuration error"),
        (Some("other.test"), "permit"),
        (None, "permit"),
    ] {
        let policy = policy(|s| s.smtpd_recipient_restrictions = list(&["check_reverse_client_hostname_access", table])).expect("policy");
        assert!(policy.wants_reverse_name());
        let case = Case::default();
        let facts = Facts { reverse_name: name, ..case.facts() };
        assert_eq!(text(&policy.judge(Stage::Recipient, &facts).await), want, "{name:?}");
    }
    let policy = policy(|s| s.smtpd_recipient_restrictions = list(&["reject_unknown_reverse_client_hostname"])).expect("policy");
    let got = async |facts: Facts<'_>| text(&policy.judge(Stage::Recipient, &facts).await);
    let unknown = "450 4.7.25 <mx.client.test[192.0.2.7]>: Client host rejected: cannot find your reverse hostname";
    assert_eq!(got(Case::default().facts()).await, unknown);
    assert_eq!(got(Facts { reverse_name: Some("x"), ..Case::default().facts() }).await, "permit");
    assert!(got(Facts { reverse_name_unavailable: true, ..Case::default().facts() }).await.starts_with("450 4.4.3"));
}

#[tokio::test]
async fn dns_lists_refuse_and_welcome() {
    let zones = zones().await;
    let blocked = "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using bl.test; seen in traps";
    let down = "450 4.7.1 <mx.client.test[192.0.2.7]>: Client host rejected: the DNS list does not answer, try again later";
    for (words, want) in [
        (&["reject_rbl_client", "bl.test"][..], blocked),
        (&["reject_rbl_client", "bl.test=127.0.0.[2..3]"], "permit"),
        (&["reject_rbl_client", "down.test"], "permit"),
        (&["reject_rbl_client", "none.test"], "permit"),
        (&["warn_if_reject", "reject_rbl_client", "bl.test"], "permit"),
        (&["reject_rhsbl_sender", "names.test"], "554 5.7.1 Service unavailable; Sender address [domain.com] blocked using names.test"),
        (&["reject_rhsbl_helo", "names.test"], "554 5.7.1 Service unavailable; Helo command [mx.client.test] blocked using names.test"),
        (&["reject_rhsbl_client", "names.test"], "554 5.7.1 Service unavailable; Client host [mx.client.test] blocked using names.test"),
        (&["reject_rhsbl_recipient", "names.test"], "permit"),
        (&["reject_rhsbl_reverse_client", "names.test"], "permit"),
        (&["permit_dnswl_client", "wl.test", "reject"], "permit"),
        (&["permit_dnswl_client", "down.test", "reject"], down),
        (&["permit_rhswl_client", "names.test", "reject"], "permit"),
    ] {
        assert_eq!(zones.at_rcpt(words, Case::default().facts()).await, want, "{words:?}");
    }
    // A list of strangers makes nobody a relay.
    let case = Case { destination: elsewhere(), ..Case::default() };
    let got = zones.at_rcpt(&["permit_dnswl_client", "wl.test", "reject_unauth_destination"], case.facts()).await;
    assert!(got.starts_with("550 5.7.1"), "{got}");
    for wrong in ["bl.test=127.0.0", "a b", "bl.test=127.0.0.2*x"] {
        assert!(policy(|s| s.smtpd_recipient_restrictions = list(&["reject_rbl_client", wrong])).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_backup_takes_mail_for_a_domain_whose_better_server_is_another() {
    let zones = zones().await;
    for (recipient, want) in [
        ("a@backup.test", "permit"),
        ("a@primary.test", "554"),
        ("a@x.test", "554"),
        ("a@none.test", "554"),
        ("a%b@backup.test", "554"),
        ("a@broken.test", "450"),
    ] {
        let case = Case { recipient: address(recipient), destination: elsewhere(), ..Case::default() };
        let facts = Facts { server_name: Some("here.test"), server_ip: Some([192, 0, 2, 25].into()), ..case.facts() };
        // The relay list has its say as well; this is about the recipient list.
        let smtpd = config::Smtpd { smtpd_relay_restrictions: list(&["permit_mx_backup", "reject"]), ..config::Smtpd::default() };
        let context = Context::local("/");
        let policy = Policy::new(&smtpd, "+", NetworkList::default(), Some(zones.dns.clone()), &context).expect("policy");
        assert!(text(&policy.judge(Stage::Recipient, &facts).await).starts_with(want), "{recipient}");
    }
}

#[tokio::test]
async fn one_known_address_among_others_makes_no_known_primary() {
    let zones = zones().await;
    for (networks, recipient, want) in [
        ("198.51.100.0/24", "a@backup.test", "permit"),
        ("203.0.113.0/24", "a@backup.test", "554"),
        ("198.51.100.0/24", "a@mixed.test", "554"),
        ("198.51.100.0/24", "a@two.test", "554"),
        ("198.51.100.0/24", "a@gone.test", "554"),
    ] {
        let case = Case { recipient: address(recipient), destination: elsewhere(), ..Case::default() };
        let facts = Facts { server_name: Some("us.here.test"), ..case.facts() };
        let smtpd = config::Smtpd {
            smtpd_relay_restrictions: list(&["permit_mx_backup", "reject"]),
            permit_mx_backup_networks: list(&[networks]),
            ..config::Smtpd::default()
        };
        let policy = Policy::new(&smtpd, "+", NetworkList::default(), Some(zones.dns.clone()), &Context::local("/")).expect("policy");
        assert!(text(&policy.judge(Stage::Recipient, &facts).await).starts_with(want), "{networks} {recipient}");
    }
}

#[tokio::test]
async fn what_one_list_leaves_behind_does_not_change_the_next() {
    let denied = "550 5.7.1 <ann@here.test>: Relay access denied";
    let unknown = "550 5.1.1 <ann@here.test>: Recipient address rejected: User unknown";
    for (words, destination, want) in [
        (&["defer_if_reject"][..], elsewhere(), denied),
        (&["defer_if_reject"], ours(false), unknown),
        (&["check_client_access", "inline:{ {192.0.2.7 = DISCARD} }"], ours(false), "permit"),
        (&["check_client_access", "inline:{ {192.0.2.7 = DISCARD} }"], elsewhere(), "permit"),
        (&["check_client_access", "inline:{ {192.0.2.7 = HOLD} }"], elsewhere(), denied),
    ] {
        let policy = policy(|s| s.smtpd_client_restrictions = list(words)).expect("policy");
        let case = Case { destination, ..Case::default() };
        assert_eq!(text(&policy.judge(Stage::Recipient, &case.facts()).await), want, "{words:?}");
    }
}

#[tokio::test]
async fn only_faults_of_ours_are_no_warning() {
    let zones = zones().await;
    let policy =
        policy(|s| s.smtpd_recipient_restrictions = list(&["warn_if_reject", "check_policy_service", "unix:policy"])).expect("policy");
    let policy = policy.in_world(Arc::new(Says(Err("away"))), Arc::new(Lists::new(zones.dns.clone(), true)));
    assert_eq!(text(&policy.judge(Stage::Recipient, &Case::default().facts()).await), "permit", "the trial of a service");
    let words = &["warn_if_reject", "check_sender_access", "inline:{ {domain.com = 451 4.3.0 busy} }"];
    assert_eq!(at_rcpt(words, Case::default()).await.0, "permit");
    let words = &["warn_if_reject", "check_sender_access", "inline:{ {domain.com = REDIRECT nobody} }"];
    assert_eq!(at_rcpt(words, Case::default()).await.0, "451 4.3.5 Server configuration error");
}

#[tokio::test]
async fn our_own_domains_need_not_be_in_the_dns() {
    let zones = zones().await;
    let case = Case { sender: Some(address("ann@intranet.test")), ..Case::default() };
    let judged = async |destination: Destination| {
        let facts = Facts { sender_destination: Some(&destination), ..case.facts() };
        zones.at_rcpt(&["reject_unknown_sender_domain"], facts).await
    };
    assert_eq!(judged(ours(true)).await, "permit");
    assert_eq!(judged(elsewhere()).await, "450 4.1.8 <ann@intranet.test>: Sender address rejected: Domain not found");
    let with = policy(|s| s.smtpd_sender_restrictions = list(&["reject_unknown_sender_domain"])).expect("policy");
    assert!(with.wants_sender_destination());
}

#[tokio::test]
async fn an_address_is_no_name() {
    for (helo, want) in [
        ("192.0.2.7", "504 5.5.2 <192.0.2.7>: Helo command rejected: need fully-qualified hostname"),
        ("mail", "504 5.5.2 <mail>: Helo command rejected: need fully-qualified hostname"),
        ("[192.0.2.7]", "permit"),
        ("1.test", "permit"),
    ] {
        assert_eq!(at_rcpt(&["reject_non_fqdn_helo_hostname"], Case { helo, ..Case::default() }).await.0, want);
    }
    assert_eq!(at_rcpt(&["reject_invalid_helo_hostname"], Case { helo: "192.0.2.7", ..Case::default() }).await.0, "permit");
}

#[tokio::test]
async fn senders_of_ours_have_to_exist_when_asked() {
    let unknown = "550 5.1.0 <user@domain.com>: Sender address rejected: User unknown";
    for (destination, want) in [
        (ours(true), "permit"),
        (ours(false), unknown),
        (elsewhere(), "permit"),
        (Destination::Unavailable { reason: String::new() }, "451 4.3.0 <user@domain.com>: Temporary lookup failure"),
    ] {
        for by_setting in [true, false] {
            let policy = policy(|s| match by_setting {
                true => s.smtpd_reject_unlisted_sender = true,
                false => s.smtpd_sender_restrictions = list(&["reject_unlisted_sender"]),
            })
            .expect("policy");
            assert!(policy.wants_sender_destination());
            let case = Case::default();
            let facts = Facts { sender_destination: Some(&destination), ..case.facts() };
            assert_eq!(text(&policy.judge(Stage::Recipient, &facts).await), want, "{destination:?}");
        }
    }
}

#[tokio::test]
async fn facts_of_the_session_refuse() {
    let with = |words: &[&str]| policy(|s| s.smtpd_recipient_restrictions = list(words)).expect("policy");
    let pipelined = Facts { unauth_pipelining: true, ..Facts::default() };
    let case = Case::default();
    let verb = with(&["reject_unauth_pipelining"]);
    let facts = Facts { unauth_pipelining: pipelined.unauth_pipelining, ..case.facts() };
    assert!(text(&verb.judge(Stage::Recipient, &facts).await).starts_with("503 5.5.0"));
    assert_eq!(text(&verb.judge(Stage::Recipient, &case.facts()).await), "permit");
    let table = policy(|s| {
        s.smtpd_sender_login_maps = list(&["inline:{ user@domain.com=ann }"]);
        s.smtpd_recipient_restrictions = list(&["reject_unauthenticated_sender_login_mismatch"]);
    })
    .expect("policy");
    let got = async |login| text(&table.judge(Stage::Recipient, &Case { login, ..Case::default() }.facts()).await);
    assert_eq!(got(Some("bob")).await, "permit");
    assert_eq!(got(None).await, "553 5.7.1 <user@domain.com>: Sender address rejected: not logged in");
    let etrn = policy(|s| s.smtpd_etrn_restrictions = list(&["check_etrn_access", "inline:{ x.test=OK }", "reject"])).expect("policy");
    let flush = async |domain| text(&etrn.judge(Stage::Etrn, &Facts { etrn_domain: Some(domain), ..Facts::default() }).await);
    assert_eq!(flush("X.test").await, "permit");
    assert_eq!(flush("y.test").await, "554 5.7.1 <y.test>: Etrn command rejected: Access denied");
    // What was put off until RCPT holds for ETRN too.
    let etrn = policy(|s| s.smtpd_client_restrictions = list(&["check_client_access", "inline:{ {192.0.2.7 = REJECT} }"])).expect("policy");
    let facts = Facts { etrn_domain: Some("x.test"), client_ip: Some([192, 0, 2, 7].into()), ..Facts::default() };
    assert!(text(&etrn.judge(Stage::Etrn, &facts).await).starts_with("554 5.7.1"));
}

/// A policy service that says one thing.
struct Says(Result<&'static str, &'static str>);

impl Outside for Says {
    fn ask<'a>(&'a self, _: &'a PolicyService, question: &'a str) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        assert!(question.contains("\nprotocol_state=RCPT\n") && question.contains("\nrecipient=ann@here.test\n"), "{question}");
        Box::pin(std::future::ready(self.0.map(String::from).map_err(String::from)))
    }

    fn sleep<'a>(&'a self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn a_policy_service_is_obeyed_and_its_absence_defers() {
    let zones = zones().await;
    let about = str::to_owned;
    for (service, says, want) in [
        ("inet:127.0.0.1:10023", Ok("DUNNO"), about("permit")),
        ("inet:127.0.0.1:10023", Ok("OK"), about("permit")),
        ("inet:127.0.0.1:10023", Ok("REJECT no"), about("554 5.7.1 <ann@here.test>: Recipient address rejected: no")),
        (
            "inet:127.0.0.1:10023",
            Ok("DEFER_IF_PERMIT Greylisted"),
            about("450 4.7.1 <ann@here.test>: Recipient address rejected: Greylisted"),
        ),
        ("inet:127.0.0.1:10023", Ok("what?"), about("451 4.3.5 Server configuration error")),
        ("unix:policy", Err("away"), about("451 4.3.5 <ann@here.test>: Recipient address rejected: Server configuration problem")),
        ("{ unix:policy, default_action=DUNNO }", Err("away"), about("permit")),
    ] {
        let policy = policy(|s| s.smtpd_recipient_restrictions = list(&["check_policy_service", service])).expect("policy");
        let policy = policy.in_world(Arc::new(Says(says)), Arc::new(Lists::new(zones.dns.clone(), true)));
        assert_eq!(text(&policy.judge(Stage::Recipient, &Case::default().facts()).await), want, "{says:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_looked_up_defers_as_the_settings_say() {
    use config::TempfailAction::{Defer, DeferIfPermit, Usual};
    let zones = zones().await;
    let sender = address("a@broken.test");
    let (domain, helo) = ("reject_unknown_sender_domain", "reject_unknown_helo_hostname");
    for (word, all, of_address, of_helo, at_once) in [
        (domain, DeferIfPermit, Usual, Usual, false),
        (domain, Defer, Usual, Usual, true),
        (domain, DeferIfPermit, Defer, Usual, true),
        (domain, Defer, DeferIfPermit, Usual, false),
        (helo, DeferIfPermit, Defer, Usual, false),
        (helo, DeferIfPermit, Usual, Defer, true),
    ] {
        let mut smtpd = config::Smtpd { smtpd_recipient_restrictions: list(&[word, "reject"]), ..config::Smtpd::default() };
        smtpd.reject_tempfail_action = all;
        smtpd.unknown_address_tempfail_action = of_address;
        smtpd.unknown_helo_hostname_tempfail_action = of_helo;
        let context = Context::local("/");
        let networks = NetworkList::open("127.0.0.0/8", &context).expect("networks");
        let policy = Policy::new(&smtpd, "+", networks, Some(zones.dns.clone()), &context).expect("policy");
        let (ann, ours) = (address("ann@here.test"), ours(true));
        let facts = Facts {
            sender: Some(Some(&sender)),
            helo: Some("broken.test"),
            recipient: Some(&ann),
            destination: Some(&ours),
            ..Facts::default()
        };
        let said = text(&policy.judge(Stage::Recipient, &facts).await);
        let want = if at_once { "450 4.4.3 " } else { "554 5.7.1 " };
        assert!(said.starts_with(want), "{word} {all:?} {of_address:?} {of_helo:?}: {said}");
    }
}

#[tokio::test]
async fn who_has_moved_is_told_with_the_place() {
    let moved = Destination::Moved { to: "ann@new.test".into(), reason: "relocated_maps".into() };
    let sender = address("user@domain.com");
    let ann = address("ann@here.test");
    let policy = policy(|_| {}).expect("policy");
    let facts = Facts { sender: Some(Some(&sender)), recipient: Some(&ann), destination: Some(&moved), ..Facts::default() };
    let verdict = policy.judge(Stage::Recipient, &facts).await;
    assert_eq!(text(&verdict), "550 5.1.6 <ann@here.test>: Recipient address rejected: User has moved to ann@new.test");
    assert_eq!(verdict.reason, "smtpd_reject_unlisted_recipient: relocated_maps");
}

#[tokio::test]
async fn strangers_are_greylisted_and_nobody_else() {
    use crate::greylist::{Seen, Terms};
    let settings = config::Greylist {
        whitelist_clients: list(&["inline:{ good.test=yes }"]),
        whitelist_senders: list(&["inline:{ friend.test=OK }"]),
        whitelist_recipients: list(&["inline:{ postmaster@=x }"]),
        ..config::Greylist::default()
    };
    let terms = Arc::new(Terms::new(&settings, &Context::local("/")).expect("terms"));
    let judged = async |words: &[&str], facts: Facts<'_>| {
        let words = list(words);
        let policy = policy(move |s| s.smtpd_recipient_restrictions = words).expect("policy");
        text(&policy.with_greylist(terms.clone(), Arc::new(Seen::new(100))).judge(Stage::Recipient, &facts).await)
    };
    let (sender, friend) = (address("user@domain.com"), address("a@friend.test"));
    let (ann, postmaster) = (address("ann@here.test"), address("postmaster@here.test"));
    let (ours, unlisted, elsewhere) = (ours(true), ours(false), elsewhere());
    let stranger = Facts {
        client_ip: Some("192.0.2.7".parse().expect("ip")),
        sender: Some(Some(&sender)),
        recipient: Some(&ann),
        destination: Some(&ours),
        ..Facts::default()
    };
    let greylisted = "450 4.2.0 <ann@here.test>: Recipient address rejected: Greylisted for 300 seconds";
    for (what, facts, want) in [
        ("a stranger", stranger, greylisted),
        ("a bounce", Facts { sender: Some(None), ..stranger }, greylisted),
        ("a login", Facts { login: Some("ann"), ..stranger }, "permit"),
        ("the local socket", Facts { client_ip: None, local: true, ..stranger }, "permit"),
        ("mynetworks", Facts { client_ip: Some("127.0.0.1".parse().expect("ip")), ..stranger }, "permit"),
        ("a client in the table", Facts { client_name: Some("mx.good.test"), ..stranger }, "permit"),
        ("a sender in the table", Facts { sender: Some(Some(&friend)), ..stranger }, "permit"),
        ("a recipient in the table", Facts { recipient: Some(&postmaster), ..stranger }, "permit"),
        (
            "an unknown user, who is refused at once",
            Facts { destination: Some(&unlisted), ..stranger },
            "550 5.1.1 <ann@here.test>: Recipient address rejected: User unknown",
        ),
        ("a foreign domain", Facts { destination: Some(&elsewhere), ..stranger }, "550 5.7.1 <ann@here.test>: Relay access denied"),
    ] {
        assert_eq!(judged(&["check_greylist"], facts).await, want, "{what}");
    }
    // A refusal for good does not wait.
    assert!(judged(&["check_greylist", "reject"], stranger).await.starts_with("554 "));
    assert_eq!(judged(&["permit", "check_greylist"], stranger).await, "permit");
    assert_eq!(judged(&["warn_if_reject", "check_greylist"], stranger).await, "permit");
    assert_eq!(judged(&["check_client_access", "inline:{ {192.0.2.7 = check_greylist} }"], stranger).await, greylisted);
}
