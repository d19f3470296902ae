//! Against a real server, as Dovecot's file would have it.

use super::*;
use crate::login::Attempt;
use crate::state::State;
use sasl::Credentials;
use testkit::directories::{READER, READER_PASSWORD, SUFFIX, Slapd};
use tokio::io::AsyncWriteExt;

/// Ann's and Zoé's password is `clé 42`; there are two entries of one address, and one that may not log in.
fn entries() -> String {
    let person = |uid: &str, mail: &str, more: &str| {
        format!(
            "dn: uid={uid},ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\nuid: {uid}\ncn: {uid}\nsn: {uid}\nmail: {mail}\n\
             uidNumber: 5000\ngidNumber: 5000\nhomeDirectory: /home/vmail/{uid}\nuserPassword: {{SSHA}}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH\n{more}\n"
        )
    };
    let mut text = format!("dn: ou=people,{SUFFIX}\nobjectClass: organizationalUnit\nou: people\n\n");
    text += &person("ann", "ann@x.org", "employeeNumber: 1000000\n");
    text += &person("zoe", "zoe@x.org", "");
    text += &person("two", "two@x.org", "");
    text += &person("three", "two@x.org", "");
    text += &person("off", "off@x.org", "employeeType: y\n");
    // Whom a filter that is not escaped would find.
    text += &person("a\\2ab", "star@x.org", "").replace("uid: a\\2ab", "uid: a*b").replace("vmail/a\\2ab", "vmail/star");
    text
}

const FILTER: &str = "(&(objectClass=inetOrgPerson)(mail=%u))";

fn file(uri: &str, more: &str) -> String {
    format!(
        "uris = {uri}\ndn = {READER}\ndnpass = {READER_PASSWORD}\nbase = {SUFFIX}\npass_filter = {FILTER}\npass_attrs = mail=user, userPassword=password, employeeType=nologin\n\
         user_filter = {FILTER}\nuser_attrs = mail=user, =home=/home/vmail/%{{ldap:uid}}, employeeNumber=quota_rule=*:bytes=%$\n\
         iterate_filter = (objectClass=inetOrgPerson)\niterate_attrs = mail=user\n{more}\n"
    )
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(file: &str) -> Place {
        let folder = testkit::temp_dir();
        std::fs::write(folder.path().join("dovecot-ldap.conf.ext"), file).expect("write");
        Place { folder }
    }

    fn source(&self) -> LdapSource {
        LdapSource::open(&self.folder.path().join("dovecot-ldap.conf.ext")).unwrap_or_else(|e| panic!("{e:#}"))
    }

    async fn state(&self) -> State {
        let text = "hostname = \"mx.x.org\"\nmydomain = \"x.org\"\nstate_directory = \".\"\n[authd]\nauth_failure_delay = \"0s\"\nauth_penalty_after = 1000\n\
                    auth_username_chars = \"\"\nauth_cache_negative_ttl = \"0s\"\n[[authd.passdb]]\ndriver = \"ldap\"\nargs = \"dovecot-ldap.conf.ext\"\n[[authd.userdb]]\ndriver = \"ldap\"\n\
                    args = \"dovecot-ldap.conf.ext\"\n";
        let file = self.folder.path().join("facteur.toml");
        let config = config::Config::from_texts(&file, &[(file.clone(), text.to_owned())]).unwrap_or_else(|e| panic!("{e}"));
        State::open(&config, None).await.unwrap_or_else(|e| panic!("{e:#}"))
    }
}

/// Who is let in, or `no`, or `?` when nothing is decided.
async fn login(state: &State, user: &str, password: &str) -> String {
    let attempt = Attempt { service: "imap".into(), mechanism: "PLAIN", ..Attempt::default() };
    let credentials = Credentials { authorization: String::new(), authentication: user.to_owned(), password: Secret::new(password) };
    match state.desk.check(&attempt, credentials).await {
        Ok(user) => user,
        Err(fail) if fail.temporary => "?".into(),
        Err(_) => "no".into(),
    }
}

fn start() -> Option<Slapd> {
    let server = Slapd::start(&entries());
    if server.is_none() {
        eprintln!("skipped: slapd is not installed");
    }
    server
}

#[tokio::test]
async fn people_of_a_directory_log_in_however_passwords_are_compared() {
    let Some(server) = start() else { return };
    let dn = format!("auth_bind = yes\nauth_bind_userdn = uid=%n,ou=people,{SUFFIX}");
    for (uri, more) in [(server.uri(), ""), (server.uri(), "auth_bind = yes"), (server.socket_uri(), dn.as_str())] {
        let place = Place::new(&file(&uri, more));
        let state = place.state().await;
        for (user, password, want) in [
            ("ann@x.org", "clé 42", "ann@x.org"),
            ("Ann", "clé 42", "ann@x.org"),
            ("ann@x.org", "wrong", "no"),
            // RFC 4513 §5.1.2: a name without a password is nobody, to which servers say yes.
            ("ann@x.org", "", "no"),
            ("nobody@x.org", "clé 42", "no"),
            ("nobody@x.org", "", "no"),
            ("*", "clé 42", "no"),
            ("an*@x.org", "clé 42", "no"),
            ("*)(uid=*", "clé 42", "no"),
            ("ann)(uid=zoe@x.org", "clé 42", "no"),
            ("ann\\@x.org", "clé 42", "no"),
            ("zoe,ou=people", "clé 42", "no"),
            ("", "clé 42", "no"),
        ] {
            assert_eq!(login(&state, user, password).await, want, "{more}: {user:?} {password:?}");
        }
        if !more.contains("userdn") {
            assert_eq!(login(&state, "two@x.org", "clé 42").await, "?", "{more}: two entries decide nothing");
            assert_eq!(login(&state, "off@x.org", "clé 42").await, "no", "{more}: nologin");
        }
        // Nobody but the reader sees entries: those who logged in have not become who searches.
        let found = state.desk.directory.user("ann").await.unwrap_or_else(|e| panic!("{more}: {e:#}")).expect("there");
        let field = |name: &str| found.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!(
            (found.name.as_str(), field("home"), field("quota_rule")),
            ("ann@x.org", Some("/home/vmail/ann"), Some("*:bytes=1000000"))
        );
        assert!(state.desk.directory.user("nobody@x.org").await.expect("answer").is_none());
        assert!(state.desk.directory.user("two@x.org").await.is_err(), "two entries");
        let names = state.desk.directory.list().await.unwrap_or_else(|e| panic!("{more}: {e:#}"));
        assert_eq!(names, ["ann@x.org", "off@x.org", "star@x.org", "two@x.org", "zoe@x.org"]);
    }
}

/// Names that the layers above would not let through.
#[tokio::test]
async fn hostile_names_find_and_bind_nobody_else() {
    let Some(server) = start() else { return };
    let uid = file(&server.uri(), "").replace("(mail=%u)", "(uid=%u)").replace("mail=user, ", "uid=user, ");
    let source = Place::new(&uid).source();
    let dn = Place::new(&(uid + &format!("auth_bind = yes\nauth_bind_userdn = uid=%u,ou=people,{SUFFIX}\n"))).source();
    for (name, want) in [
        ("ann", Some("ann")),
        // A name that has a star in it, and means that.
        ("a*b", Some("a*b")),
        ("a*", None),
        ("*", None),
        (")(uid=ann", None),
        ("ann)(|(uid=*)", None),
        ("ann\0", None),
        ("a\\6en", None),
        ("ann\\", None),
        ("ann,ou=people", None),
        ("ann+cn=ann", None),
    ] {
        let found = source.password(name, "imap", None, true).await.unwrap_or_else(|e| panic!("{name:?}: {e:#}"));
        assert_eq!(found.as_ref().and_then(|(fields, _)| fields.get("user")), want, "{name:?}");
        let (_, binding) = dn.password(name, "imap", None, true).await.expect("answer").expect("not looked for");
        let proven = binding.expect("to be bound").proves(&Secret::new("clé 42")).await;
        assert_eq!(proven.unwrap_or_else(|e| panic!("{name:?}: {e:#}")), want.is_some(), "{name:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_decides_nothing_and_is_found_again() {
    let Some(mut server) = start() else { return };
    let (plain, binding) = (Place::new(&file(&server.uri(), "")), Place::new(&file(&server.uri(), "auth_bind = yes")));
    let states = [plain.state().await, binding.state().await];
    for state in &states {
        assert_eq!(login(state, "ann", "clé 42").await, "ann@x.org");
    }
    server.stop();
    for state in &states {
        for (user, password) in [("ann", "clé 42"), ("ann", "wrong"), ("nobody", "x")] {
            assert_eq!(login(state, user, password).await, "?", "{user}");
        }
        assert!(state.desk.directory.user("nobody").await.is_err(), "mail is not refused");
    }
    server.resume();
    for state in &states {
        // It is left alone for a moment after each failure.
        while login(state, "ann", "clé 42").await == "?" {
            tokio::task::yield_now().await;
        }
        assert_eq!(login(state, "ann", "clé 42").await, "ann@x.org");
    }
    // Connections that broke while nobody used them are replaced without a failure.
    server.stop();
    server.resume();
    for state in &states {
        assert_eq!(login(state, "ann", "clé 42").await, "ann@x.org");
    }
}

#[tokio::test]
async fn the_servers_certificate_is_verified_with_its_name() {
    let Some(server) = start() else { return };
    let trusted = format!("tls_ca_cert_file = {}\n", server.certificate().display());
    let other = testkit::temp_dir();
    testkit::databases::certify(other.path());
    let others = format!("tls_ca_cert_file = {}\n", other.path().join("tls.pem").display());
    for (uri, more, works) in [
        (server.uri(), format!("tls = yes\n{trusted}"), true),
        (server.tls_uri(), trusted.clone(), true),
        (server.uri(), format!("tls = yes\n{others}"), false),
        (server.tls_uri(), others, false),
        // It is for 127.0.0.1.
        (server.uri().replace("127.0.0.1", "localhost"), format!("tls = yes\n{trusted}"), false),
        (server.tls_uri().replace("127.0.0.1", "localhost"), trusted, false),
    ] {
        let found = Place::new(&file(&uri, &more)).source().user("ann@x.org").await;
        match (found, works) {
            (Ok(Some(_)), true) => {}
            (Err(error), false) => assert!(format!("{error:#}").to_lowercase().contains("certificate"), "{uri} {more}: {error:#}"),
            (found, _) => panic!("{uri} {more}: {:?}", found.map(|fields| fields.map(|fields| fields.0))),
        }
    }
}

#[tokio::test]
async fn a_dn_that_may_not_log_in_is_no_answer() {
    let Some(server) = start() else { return };
    let wrong = file(&server.uri(), "").replace(READER_PASSWORD, "wrong");
    let error = Place::new(&wrong).source().user("ann@x.org").await.err().expect("no answer");
    assert!(format!("{error:#}").contains("dn may not log in"), "{error:#}");
    let base = file(&server.uri(), "").replace(&format!("base = {SUFFIX}"), "base = dc=elsewhere");
    assert!(Place::new(&base).source().user("ann@x.org").await.is_err(), "the suffix of the settings is wrong");
    let varies = file(&server.uri(), "").replace(&format!("base = {SUFFIX}"), &format!("base = ou=%d,{SUFFIX}"));
    assert!(Place::new(&varies).source().user("ann@x.org").await.expect("answer").is_none(), "this domain is not there");
}

/// What is not LDAP, and what is but ends early.
#[tokio::test]
async fn a_server_that_talks_nonsense_is_away() {
    for nonsense in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"0\x0c\x02\x01\x01a\x07\x0a\x01\x00\x04\x00",
        b"0\x03\x02\x01\x01",
        b"0\x05\x02\x01\x01a\x00",
        b"0\x00",
        b"",
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("address").port();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(nonsense).await;
            }
        });
        let place = Place::new(&file(&format!("ldap://127.0.0.1:{port}"), "auth_bind = yes"));
        assert!(place.source().user("ann@x.org").await.is_err(), "{nonsense:?}");
        serving.abort();
    }
}
