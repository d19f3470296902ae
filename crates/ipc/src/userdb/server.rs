//! The server's side of the auth master protocol: questions read, answers written. Pure.

use super::LINE_LIMIT_BYTES;
use crate::tabbed::{self, Line};

/// A line of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientLine {
    Version {
        major: u32,
    },
    User {
        id: u32,
        name: String,
        service: String,
    },
    Pass {
        id: u32,
        name: String,
        service: String,
    },
    List {
        id: u32,
    },
    /// A command we do not have; answered with a failure when it has a number.
    Unknown {
        id: Option<u32>,
    },
}

/// Reads a line without its LF. `Err` is a client that does not speak the protocol: its connection is to be closed.
pub fn parse(line: &[u8]) -> Result<ClientLine, &'static str> {
    let (word, mut fields) = tabbed::command(line, LINE_LIMIT_BYTES)?;
    match word.as_str() {
        "VERSION" => Ok(ClientLine::Version { major: tabbed::version(&mut fields)? }),
        "USER" | "PASS" => {
            let id = fields.number().ok_or("a question has no number")?;
            let name = fields.text().and_then(Result::ok).ok_or("a question names no user")?;
            let service = fields.pairs().into_iter().find(|(name, _)| name == "service").map(|(_, value)| value).unwrap_or_default();
            Ok(if word == "USER" { ClientLine::User { id, name, service } } else { ClientLine::Pass { id, name, service } })
        }
        "LIST" => Ok(ClientLine::List { id: fields.number().ok_or("a question has no number")? }),
        _ => Ok(ClientLine::Unknown { id: fields.number() }),
    }
}

/// What the server says first.
pub fn greeting() -> Vec<u8> {
    let mut out = Line::new("VERSION").field("1").field("1").end();
    out.extend(Line::new("SPID").field(std::process::id().to_string()).end());
    out
}

/// The user is known, with these fields (`uid`, `gid`, `home`, `mail`, `quota_rule`, …).
pub fn user(id: u32, name: &str, fields: &[(String, String)]) -> Vec<u8> {
    with_fields(Line::new("USER").field(id.to_string()).field(name), fields)
}

/// The user has a password; these fields go with it.
pub fn pass(id: u32, name: &str, fields: &[(String, String)]) -> Vec<u8> {
    with_fields(Line::new("PASS").field(id.to_string()).pair("user", name), fields)
}

fn with_fields(line: Line, fields: &[(String, String)]) -> Vec<u8> {
    fields.iter().fold(line, |line, (name, value)| if value.is_empty() { line.field(name) } else { line.pair(name, value) }).end()
}

/// There is no such user.
pub fn not_found(id: u32) -> Vec<u8> {
    Line::new("NOTFOUND").field(id.to_string()).end()
}

/// It cannot be told now.
pub fn fail(id: u32, reason: &str) -> Vec<u8> {
    Line::new("FAIL").field(id.to_string()).pair("reason", reason).end()
}

/// A name of a list.
pub fn listed(id: u32, name: &str) -> Vec<u8> {
    Line::new("LIST").field(id.to_string()).field(name).end()
}

/// The end of a list; `whole` when it has all users.
pub fn done(id: u32, whole: bool) -> Vec<u8> {
    Line::new("DONE").field(id.to_string()).flag("fail", !whole).end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_as_dovecot_writes_them() {
        let user = |name: &str| ClientLine::User { id: 1, name: name.into(), service: "lmtp".into() };
        assert_eq!(parse(b"USER\t1\tann@example.org\tservice=lmtp\tdebug"), Ok(user("ann@example.org")));
        assert_eq!(parse(b"USER\t1\ta\x01tb\tservice=lmtp"), Ok(user("a\tb")));
        assert_eq!(parse(b"LIST\t2\tservice=doveadm"), Ok(ClientLine::List { id: 2 }));
        assert_eq!(parse(b"CACHE-FLUSH\t3"), Ok(ClientLine::Unknown { id: Some(3) }));
        assert!(parse(b"USER\t1").is_err());
        assert!(parse(b"USER\tx\tann").is_err());
    }

    #[test]
    fn answers_are_one_line_each() {
        assert_eq!(
            super::user(4, "ann", &[("uid".into(), "5000".into()), ("home".into(), "/h\n".into())]),
            b"USER\t4\tann\tuid=5000\thome=/h\x01n\n"
        );
        assert_eq!(done(5, false), b"DONE\t5\tfail\n");
        assert_eq!(done(5, true), b"DONE\t5\n");
    }
}
