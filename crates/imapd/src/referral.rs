//! Where an account is served that is not served here (RFC 2221).

use ipc::auth::AuthOk;

/// Longest URL.
const LONGEST: usize = 1000;

/// What Dovecot's passdb fields say: `host`, perhaps with `port` and `destuser`, the name there.
pub fn of_login(ok: &AuthOk) -> Option<String> {
    let host = ok.field("host")?;
    let port = match ok.field("port") {
        None | Some("143") => String::new(),
        Some(port) => format!(":{}", port.parse::<u16>().ok()?),
    };
    // an address of IPv6 without its brackets
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    // RFC 2221 §3: `;AUTH=*`, so that nobody falls back to anonymous
    checked(&format!("imap://{};AUTH=*@{host}{port}/", encoded(ok.field("destuser").unwrap_or(&ok.user))))
}

/// An IMAP URL (RFC 5092) that can stand in a response code.
pub fn checked(url: &str) -> Option<String> {
    let rest = url.strip_prefix("imap://").or_else(|| url.strip_prefix("imaps://"))?;
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '<' | '>' | '{' | '}' | '^' | '`' | '|');
    // the code ends with the first `]` that a client sees, so an address in brackets cannot be told
    let whole = !rest.is_empty() && !rest.starts_with('/') && url.len() <= LONGEST;
    (whole && url.chars().all(fits) && !url.contains(['[', ']'])).then(|| url.to_owned())
}

/// RFC 5092 §11: `enc-user = 1*achar`.
fn encoded(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    for byte in user.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &str)]) -> Option<String> {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        of_login(&AuthOk { user: "ann@example.org".into(), fields })
    }

    #[test]
    fn fields_of_the_password_database_become_a_url() {
        for (fields, want) in [
            (&[("host", "mail2.example.org")][..], Some("imap://ann%40example.org;AUTH=*@mail2.example.org/")),
            (&[("host", "10.0.0.1"), ("port", "1143"), ("destuser", "ann b")], Some("imap://ann%20b;AUTH=*@10.0.0.1:1143/")),
            (&[("host", "x"), ("port", "143")], Some("imap://ann%40example.org;AUTH=*@x/")),
            (&[("host", "x"), ("port", "many")], None),
            (&[("host", "evil]\r\n* BYE")], None),
            (&[("host", "2001:db8::1")], None),
            (&[("destuser", "x")], None),
        ] {
            assert_eq!(of(fields).as_deref(), want, "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_url_is_not_told() {
        assert_eq!(checked("imap://ann@mail2.example.org/").as_deref(), Some("imap://ann@mail2.example.org/"));
        for url in ["", "imap://", "imap:///x", "http://x/", "imap://x/ y", "imap://x/]", "imap://x/\"", "imap://x/\n"] {
            assert_eq!(checked(url), None, "{url:?}");
        }
    }
}
