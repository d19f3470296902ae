//! Mechanisms that do not show the password.

use super::*;
use ipc::auth::Channel;
use sasl::client::choose;

const USERS: &str = "ann@x.org:{PLAIN}pass word\nbob@x.org:{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH\n\
    cat@x.org:{SCRAM-SHA-256}4096,rbLkIvSJRPc39c9BBN4vhQ==,4Vg8SJy/OcteDlyszsCTk4qGPRkBHeqvtSlvLCxQ4W8=,l09APc/Le/155ZmJmljAwFNwjxPs6L5AcpXIWTWVfQ8=\n\
    eve@other.test:{PLAIN}pass word\ndan@x.org:{CRAM-MD5}e6375315f3bc32a29f29724fca27208f863b87be908d51f621d80f0f948692f7\nempty@x.org:\nnone@x.org:{PLAIN}\n";

async fn start(settings: &str) -> Running {
    start_with(&format!("auth_penalty_after = 1000\n{settings}")).await
}

async fn start_with(settings: &str) -> Running {
    let dir = Arc::new(tempfile::tempdir().expect("directory"));
    std::fs::write(dir.path().join("users"), USERS).expect("write");
    let all = "\"plain\", \"scram-sha-256\", \"scram-sha-256-plus\", \"scram-sha-1\", \"cram-md5\", \"external\"";
    Running::start_in(dir, &format!("auth_mechanisms = [{all}]\n{settings}{FILE}")).await
}

pub(super) fn begin(mechanism: &str) -> AuthRequest {
    AuthRequest { mechanism: mechanism.into(), initial: None, ..login("", "") }
}

/// A whole login by our own client.
pub(super) async fn log_in(client: &AuthClient, mechanism: &str, user: &str, password: &str) -> Result<String, AuthFail> {
    log_in_with(client, begin(mechanism), user, password).await
}

pub(super) async fn log_in_with(client: &AuthClient, request: AuthRequest, user: &str, password: &str) -> Result<String, AuthFail> {
    let mut side = choose([request.mechanism.as_str()], user, &mail_types::Secret::new(password), "client-nonce").expect("known");
    let mut step = client.begin(AuthRequest { initial: side.initial(), ..request }).await;
    loop {
        step = match step {
            AuthStep::Continue(pending) => {
                let answer = side.respond(pending.challenge()).expect("the server keeps to the mechanism");
                pending.answer(&answer).await
            }
            AuthStep::Ok(ok) => {
                assert!(side.finished(), "the server has not proved itself");
                return Ok(ok.user);
            }
            AuthStep::Fail(fail) => return Err(fail),
        };
    }
}

#[tokio::test]
async fn passwords_that_are_stored_in_a_fitting_form_serve() {
    let authd = start("").await;
    let client = authd.auth();
    for (mechanism, user, password, want) in [
        ("SCRAM-SHA-256", "ann@x.org", "pass word", "ann@x.org"),
        ("SCRAM-SHA-1", "Ann", "pass word", "ann@x.org"),
        ("CRAM-MD5", "ann", "pass word", "ann@x.org"),
        ("SCRAM-SHA-256", "ann@x.org", "pass wor", "refused"),
        ("CRAM-MD5", "ann@x.org", "pass wor", "refused"),
        ("SCRAM-SHA-256", "cat@x.org", "clé 42", "cat@x.org"),
        ("PLAIN", "cat@x.org", "clé 42", "cat@x.org"),
        ("SCRAM-SHA-1", "cat@x.org", "clé 42", "refused"),
        ("CRAM-MD5", "dan@x.org", "clé 42", "dan@x.org"),
        ("SCRAM-SHA-256", "bob@x.org", "clé 42", "refused"),
        ("CRAM-MD5", "bob@x.org", "clé 42", "refused"),
        ("SCRAM-SHA-256", "empty@x.org", "x", "refused"),
        ("SCRAM-SHA-256", "none@x.org", "", "refused"),
        ("SCRAM-SHA-1", "none@x.org", "", "refused"),
        ("CRAM-MD5", "none@x.org", "", "refused"),
        ("SCRAM-SHA-256", "nobody@x.org", "x", "refused"),
        ("CRAM-MD5", "nobody@x.org", "x", "refused"),
        ("SCRAM-SHA-256", "a/b", "x", "refused"),
    ] {
        assert_eq!(word(&log_in(&client, mechanism, user, password).await), want, "{mechanism} {user} {password}");
    }
    authd.stop().await;
}

#[tokio::test]
async fn the_front_end_says_to_which_domain_names_without_one_belong() {
    let authd = start("").await;
    let client = authd.auth();
    let in_realm = |mechanism: &str, realm: &str| AuthRequest { realm: realm.into(), ..begin(mechanism) };
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"] {
        for (realm, user, want) in [
            ("other.test", "eve", "eve@other.test"),
            ("OTHER.test", "Eve", "eve@other.test"),
            ("other.test", "ann@x.org", "ann@x.org"),
            ("other.test", "ann", "refused"),
            ("", "ann", "ann@x.org"),
            ("", "eve", "refused"),
            ("other.test@x.org", "eve", "refused"),
        ] {
            let got = log_in_with(&client, in_realm(mechanism, realm), user, "pass word").await;
            assert_eq!(word(&got), want, "{mechanism} {user} in {realm}");
        }
    }
    // As whom to act is meant in the same domain.
    for (identity, want) in [("eve", "eve@other.test"), ("eve@x.org", "refused"), ("ann", "refused")] {
        let initial = Some(format!("{identity}\0eve\0pass word").into_bytes().into());
        let got = client.login(AuthRequest { initial, ..in_realm("PLAIN", "other.test") }).await.map(|ok| ok.user);
        assert_eq!(word(&got), want, "PLAIN as {identity}");
    }
    // Whom a certificate names is the same everywhere; as whom its owner wants to act is typed.
    for (certificate, identity, want) in [
        ("eve@other.test", "eve", "eve@other.test"),
        ("eve@other.test", "", "eve@other.test"),
        ("ann", "", "ann@x.org"),
        ("ann", "ann@x.org", "ann@x.org"),
        ("ann", "ann", "refused"),
        ("eve", "", "refused"),
        ("eve", "eve", "refused"),
    ] {
        let channel = Channel { certificate: Some(certificate.into()), ..Channel::default() };
        let request = AuthRequest { initial: Some(identity.as_bytes().to_vec().into()), channel, ..in_realm("EXTERNAL", "other.test") };
        let got = client.login(request).await.map(|ok| ok.user);
        assert_eq!(word(&got), want, "EXTERNAL: {certificate} as {identity}");
    }
    authd.stop().await;
}

#[tokio::test]
async fn a_salt_does_not_tell_who_exists() {
    let authd = start("").await;
    let client = authd.auth();
    let salt = async |user: &str| {
        let first = format!("n,,n={user},r=c");
        let step = client.begin(AuthRequest { initial: Some(first.into_bytes().into()), ..begin("SCRAM-SHA-256") }).await;
        let AuthStep::Continue(pending) = step else { panic!("{user}: {step:?}") };
        let text = String::from_utf8(pending.challenge().to_vec()).expect("text");
        text.split_once(",s=").expect("a salt").1.to_owned()
    };
    for user in ["ann@x.org", "bob@x.org", "nobody@x.org", "a/b"] {
        assert_eq!(salt(user).await, salt(user).await, "{user}");
        assert!(salt(user).await.ends_with(",i=4096"), "{user}");
    }
    assert_eq!(salt("Nobody").await, salt("nobody@x.org").await);
    assert_ne!(salt("nobody@x.org").await, salt("ann@x.org").await);
    assert_eq!(salt("cat@x.org").await, "rbLkIvSJRPc39c9BBN4vhQ==,i=4096");
    authd.stop().await;
}

#[tokio::test]
async fn neither_the_hash_nor_the_iterations_tell_who_exists() {
    let authd = start("auth_scram_iterations = 5000\n").await;
    let client = authd.auth();
    let told = async |mechanism: &str, user: &str| {
        let first = format!("n,,n={user},r=c");
        let step = client.begin(AuthRequest { initial: Some(first.into_bytes().into()), ..begin(mechanism) }).await;
        let AuthStep::Continue(pending) = step else { panic!("{user}: {step:?}") };
        let text = String::from_utf8(pending.challenge().to_vec()).expect("text");
        text.split_once(",s=").expect("a salt").1.to_owned()
    };
    for user in ["ann@x.org", "bob@x.org", "nobody@x.org", "a/b"] {
        let (one, other) = (told("SCRAM-SHA-1", user).await, told("SCRAM-SHA-256", user).await);
        assert!(one.ends_with(",i=5000") && other.ends_with(",i=5000"), "{user}: {one} {other}");
        assert_ne!(one, other, "{user}");
    }
    assert_eq!(word(&log_in(&client, "SCRAM-SHA-256", "ann@x.org", "pass word").await), "ann@x.org");
    authd.stop().await;
}

#[tokio::test]
async fn who_sees_the_exchange_cannot_use_it_again() {
    let authd = start("").await;
    let client = authd.auth();
    let first = || AuthRequest { initial: Some(b"n,,n=ann,r=c".to_vec().into()), ..begin("SCRAM-SHA-256") };
    let mut side = choose(["SCRAM-SHA-256"], "ann", &mail_types::Secret::new("pass word"), "c").expect("known");
    side.initial();
    let AuthStep::Continue(pending) = client.begin(first()).await else { panic!("a challenge") };
    let proof = side.respond(pending.challenge()).expect("a proof");
    let AuthStep::Continue(pending) = pending.answer(&proof).await else { panic!("the server's signature") };
    assert!(matches!(pending.answer(b"").await, AuthStep::Ok(ok) if ok.user == "ann@x.org"));
    // The server's nonce is another one now.
    let AuthStep::Continue(pending) = client.begin(first()).await else { panic!("a challenge") };
    assert!(matches!(pending.answer(&proof).await, AuthStep::Fail(fail) if !fail.temporary));
    authd.stop().await;
}

#[tokio::test]
async fn mechanisms_of_tls_are_for_programs_that_know_of_it() {
    let authd = start("").await;
    let client = authd.auth();
    let offered = client.mechanisms().await.expect("there");
    let for_whom = |channel: Channel| offered.iter().filter(|m| m.fits(&channel)).map(|m| m.name.clone()).collect::<Vec<_>>();
    assert_eq!(for_whom(Channel::default()), ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"]);
    let bound = Channel { bindings: vec![("tls-exporter".into(), vec![7; 32])], ..Channel::default() };
    assert!(for_whom(bound.clone()).contains(&"SCRAM-SHA-256-PLUS".to_owned()));
    let certificate = Channel { certificate: Some("ann@x.org".into()), ..Channel::default() };
    assert!(for_whom(certificate.clone()).contains(&"EXTERNAL".to_owned()));

    let external = async |identity: &[u8], channel: Channel| {
        let request = AuthRequest { initial: Some(identity.to_vec().into()), channel, ..begin("EXTERNAL") };
        client.login(request).await.map(|ok| ok.user)
    };
    assert_eq!(word(&external(b"", certificate.clone()).await), "ann@x.org");
    assert_eq!(word(&external(b"ANN", certificate.clone()).await), "ann@x.org");
    assert_eq!(word(&external(b"cat@x.org", certificate).await), "refused");
    assert_eq!(word(&external(b"ann@x.org", Channel::default()).await), "refused");
    let stranger = Channel { certificate: Some("nobody@x.org".into()), ..Channel::default() };
    assert_eq!(word(&external(b"", stranger).await), "refused");

    // A client that was offered -PLUS and says that it saw none was lied to.
    let downgraded = AuthRequest { initial: Some(b"y,,n=ann,r=c".to_vec().into()), channel: bound.clone(), ..begin("SCRAM-SHA-256") };
    assert!(matches!(client.begin(downgraded).await, AuthStep::Fail(fail) if fail.malformed));
    let plus = AuthRequest { initial: Some(b"p=tls-exporter,,n=ann,r=c".to_vec().into()), channel: bound, ..begin("SCRAM-SHA-256-PLUS") };
    assert!(matches!(client.begin(plus).await, AuthStep::Continue(_)));
    authd.stop().await;
}

/// An exchange that is broken off costs as much as one to its end, so it counts as much.
#[tokio::test]
async fn who_breaks_off_after_the_challenge_has_failed() {
    for way in ["cancelled", "malformed"] {
        let authd = start_with("auth_penalty_after = 1\n").await;
        let client = authd.auth();
        let first = |n: u16| {
            let initial = Some(b"n,,n=nobody,r=c".to_vec().into());
            let remote = Some(([192, 0, 2, 1], 1000 + n).into());
            client.begin(AuthRequest { initial, remote, ..begin("SCRAM-SHA-256") })
        };
        let mut put_off = false;
        // Each failure makes the next wait longer, and two at once are one too many.
        for n in 0..20 {
            let (one, other) = tokio::join!(first(2 * n), first(2 * n + 1));
            for step in [one, other] {
                match step {
                    AuthStep::Continue(pending) if way == "cancelled" => drop(pending),
                    AuthStep::Continue(pending) => {
                        assert!(matches!(pending.answer(b"nonsense").await, AuthStep::Fail(fail) if fail.malformed));
                    }
                    AuthStep::Fail(fail) => put_off |= fail.temporary,
                    AuthStep::Ok(_) => panic!("logged in"),
                }
            }
            if put_off {
                break;
            }
        }
        assert!(put_off, "{way}");
        authd.stop().await;
    }
}

/// However long the client takes over its proof.
#[tokio::test]
async fn the_answer_to_a_wrong_proof_is_as_late_as_to_a_wrong_password() {
    let authd = start_with("auth_penalty_after = 2\n").await;
    let mut config = (*authd.ctx.config.get()).clone();
    config.authd.auth_failure_delay = Duration::from_millis(100);
    let state = State::open(&config, None).await.expect("state");
    let attempt = crate::login::Attempt { service: "imap".into(), mechanism: "SCRAM-SHA-256", ..Default::default() };
    let find = async || {
        let identity = sasl::server::Identity { authorization: String::new(), authentication: "ann@x.org".into() };
        state.desk.find(&attempt, identity, sasl::server::Kind::Scram(sasl::scram::Hash::Sha256)).await.expect("keys").0
    };
    let search = find().await;
    tokio::time::sleep(config.authd.auth_failure_delay).await;
    let proof_came = std::time::Instant::now();
    assert!(state.desk.conclude_search(&attempt, search, false).await.is_err());
    assert!(proof_came.elapsed() >= config.authd.auth_failure_delay);
    // Another fails while this one makes its proof, which has to wait its turn then.
    let (search, other) = (find().await, find().await);
    drop(other);
    let proof_came = std::time::Instant::now();
    assert!(state.desk.conclude_search(&attempt, search, true).await.is_ok());
    assert!(proof_came.elapsed() >= Duration::from_millis(500));
    authd.stop().await;
}

#[tokio::test]
async fn a_token_lets_in_whom_it_names_and_nobody_else() {
    use aws_lc_rs::hmac;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
    let secret = [7; 32];
    let dir = Arc::new(tempfile::tempdir().expect("directory"));
    std::fs::write(dir.path().join("users"), USERS).expect("write");
    let keys = format!("{{\"keys\":[{{\"kty\":\"oct\",\"k\":\"{}\"}}]}}", BASE64URL.encode(secret));
    std::fs::write(dir.path().join("keys.json"), keys).expect("write");
    let settings = "auth_penalty_after = 1000\nauth_mechanisms = [\"oauthbearer\", \"xoauth2\"]\noauth2_key_file = \"keys.json\"\noauth2_audience = \"mail\"\n";
    let authd = Running::start_in(dir, &format!("{settings}{FILE}")).await;
    let client = authd.auth();
    let token = |user: &str, audience: &str| {
        let claims = format!("{{\"email\":\"{user}\",\"aud\":\"{audience}\",\"exp\":99999999999}}");
        let signed = format!("{}.{}", BASE64URL.encode("{\"alg\":\"HS256\"}"), BASE64URL.encode(claims));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        format!("{signed}.{}", BASE64URL.encode(signature.as_ref()))
    };
    let bearer = async |user: &str, token: String| {
        let message = format!("n,a={user},\u{1}auth=Bearer {token}\u{1}\u{1}");
        let step = client.begin(AuthRequest { initial: Some(message.into_bytes().into()), ..begin("OAUTHBEARER") }).await;
        match step {
            AuthStep::Ok(ok) => ok.user,
            AuthStep::Continue(pending) => {
                assert_eq!(pending.challenge(), b"{\"status\":\"invalid_token\"}");
                match pending.answer(b"\x01").await {
                    AuthStep::Fail(fail) if !fail.temporary => "refused".to_owned(),
                    step => panic!("{step:?}"),
                }
            }
            AuthStep::Fail(fail) => panic!("{fail:?}"),
        }
    };
    assert_eq!(bearer("ann@x.org", token("ann@x.org", "mail")).await, "ann@x.org");
    assert_eq!(bearer("Ann", token("ann@x.org", "mail")).await, "ann@x.org");
    assert_eq!(bearer("bob@x.org", token("ann@x.org", "mail")).await, "refused");
    assert_eq!(bearer("ann@x.org", token("ann@x.org", "web")).await, "refused");
    assert_eq!(bearer("nobody@x.org", token("nobody@x.org", "mail")).await, "refused");
    assert_eq!(bearer("ann@x.org", token("ann@x.org", "mail").replace('.', "..")).await, "refused");
    // A name without a domain is the same user's at each service that the token is shown to.
    for (realm, named, user, want) in
        [("other.test", "ann", "", "ann@x.org"), ("other.test", "ann", "ann", "refused"), ("other.test", "eve", "", "refused")]
    {
        let message = format!(
            "n,{},\u{1}auth=Bearer {}\u{1}\u{1}",
            if user.is_empty() { String::new() } else { format!("a={user}") },
            token(named, "mail")
        );
        let request = AuthRequest { realm: realm.into(), initial: Some(message.into_bytes().into()), ..begin("OAUTHBEARER") };
        let got = match client.begin(request).await {
            AuthStep::Ok(ok) => ok.user,
            AuthStep::Continue(_) => "refused".to_owned(),
            AuthStep::Fail(fail) => panic!("{fail:?}"),
        };
        assert_eq!(got, want, "{named} as {user:?} in {realm}");
    }
    let message = format!("user=ann@x.org\u{1}auth=Bearer {}\u{1}\u{1}", token("ann@x.org", "mail"));
    let request = AuthRequest { initial: Some(message.into_bytes().into()), ..begin("XOAUTH2") };
    assert_eq!(word(&client.login(request).await.map(|ok| ok.user)), "ann@x.org");
    authd.stop().await;
}
