//! The filter for fail2ban in etc/, on lines as our log writes them.

use std::path::Path;

/// `failregex` with `<ADDR>` as fail2ban has it, roughly.
fn filter() -> regex::Regex {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc/fail2ban/filter.d/facteur.conf");
    let text = std::fs::read_to_string(path).expect("the filter");
    let line = text.lines().find_map(|line| line.strip_prefix("failregex = ")).expect("failregex");
    regex::Regex::new(&line.replace("<ADDR>", "(?P<ip>[0-9a-fA-F:.]+)")).expect("a regular expression")
}

#[test]
fn failed_logins_are_found_and_nothing_a_client_sends_is() {
    let filter = filter();
    let failed = "remote=192.0.2.1 user=ann@x.org service=imap mechanism=PLAIN session=1.0 reason=\"password mismatch\"";
    for (line, want) in [
        // A file, after fail2ban took the time away; the journal; the journal as text.
        (format!(" authd info login failed {failed}"), Some("192.0.2.1")),
        (format!("authd[12]: info login failed {failed}"), Some("192.0.2.1")),
        (format!("mx.x.org facteur-authd[12]: info login failed {failed}"), Some("192.0.2.1")),
        ("authd info login failed remote=2001:db8::1 user=x service=smtp".into(), Some("2001:db8::1")),
        ("authd info login failed remote=local user=\"x remote=198.51.100.7 y\" service=smtp".into(), None),
        (
            "authd info login failed remote=192.0.2.1 user=\"authd info login failed remote=198.51.100.7 \" service=smtp".to_string(),
            Some("192.0.2.1"),
        ),
        (format!("smtpd info rejected id=1.0 helo=\"authd info login failed {failed}\""), None),
        (format!("authd info login {failed}"), None),
    ] {
        let found = filter.captures(&line).map(|found| found["ip"].to_owned());
        assert_eq!(found.as_deref(), want, "{line}");
    }
}
