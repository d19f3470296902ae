//! LOGIN, AUTHENTICATE, ID, ENABLE.

use super::Result;
use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::ParseError;
use mail_types::Secret;

/// RFC 3501 §9: `login = "LOGIN" SP userid SP password`, both astrings. UTF-8 passwords are let through, as Dovecot does.
pub(super) fn login(cursor: &mut Cursor<'_>) -> Result<Command> {
    cursor.space()?;
    let user = cursor.astring_text("Expected a user name")?;
    cursor.space()?;
    let password = Secret::new(cursor.astring_text("Expected a password")?);
    Ok(Command::Login { user, password })
}

/// RFC 4959 §7: `authenticate = "AUTHENTICATE" [SP initial-resp]`, `initial-resp = (base64 / "=")`.
/// The response stays in base64: only authd reads it.
pub(super) fn authenticate(cursor: &mut Cursor<'_>) -> Result<Command> {
    cursor.space()?;
    let mechanism = cursor.atom("Expected a SASL mechanism")?.to_ascii_uppercase();
    let initial = if cursor.take(b' ') && !cursor.is_done() {
        if cursor.take(b'=') {
            Some(Secret::default())
        } else {
            let word = cursor.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
            Some(base64_text(word)?)
        }
    } else {
        None
    };
    Ok(Command::Authenticate { mechanism, initial })
}

/// Checks that a SASL response is base64 and keeps it as it is.
pub fn base64_text(word: &[u8]) -> Result<Secret> {
    use base64::Engine;
    const WHAT: ParseError = ParseError::syntax("Invalid base64 in SASL response");
    let text = std::str::from_utf8(word).map_err(|_| WHAT)?;
    if text.is_empty() || base64::engine::general_purpose::STANDARD.decode(text).is_err() {
        return Err(WHAT);
    }
    Ok(Secret::new(text))
}

/// RFC 2971 §4: `id = "ID" SP id_params_list`, `id_params_list = "(" #(string SP nstring) ")" / nil`; at most 30 pairs,
/// names up to 30 and values up to 1,024 bytes (§3.3). Longer ones are cut, not refused: clients should not fail for it.
pub(super) fn id(cursor: &mut Cursor<'_>) -> Result<Command> {
    cursor.space()?;
    if cursor.take_word("NIL") {
        return Ok(Command::Id(Vec::new()));
    }
    let text = |bytes: &[u8], limit: usize| String::from_utf8_lossy(&bytes[..bytes.len().min(limit)]).into_owned();
    let pairs = cursor.list(true, 30, |c| {
        let name = text(&c.astring("Expected a field name")?, 30);
        c.space()?;
        let value = c.nstring("Expected a value or NIL")?.map(|v| text(&v, 1024));
        Ok((name, value))
    })?;
    Ok(Command::Id(pairs))
}

/// RFC 4978 §5: `compress = "COMPRESS" SP algorithm`
pub(super) fn compress(cursor: &mut Cursor<'_>) -> Result<Command> {
    cursor.space()?;
    Ok(Command::Compress(cursor.atom("Expected a compression algorithm")?.to_ascii_uppercase()))
}

/// RFC 5161 §4: `enable = "ENABLE" 1*(SP capability)`
pub(super) fn enable(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mut names = Vec::new();
    while cursor.take(b' ') && !cursor.is_done() {
        if names.len() == 100 {
            return Err(ParseError::too_big("Too many capabilities"));
        }
        names.push(cursor.atom("Expected a capability")?.to_ascii_uppercase());
    }
    if names.is_empty() { Err(ParseError::syntax("Expected a capability")) } else { Ok(Command::Enable(names)) }
}

#[cfg(test)]
mod tests {
    use crate::command::Command;
    use crate::parse::tests::read;
    use mail_types::Secret;

    #[test]
    fn login_takes_any_astring_pair() {
        for text in ["LOGIN me pw", "LOGIN \"me\" \"pw\"", "LOGIN {2}\r\nme {2}\r\npw", "login me {2+}\r\npw"] {
            let want = Command::Login { user: "me".into(), password: Secret::new("pw") };
            assert_eq!(read(text.as_bytes()), Ok(Some(want)), "{text}");
        }
        for bad in ["LOGIN", "LOGIN me", "LOGIN me pw x", "LOGIN  me pw", "LOGIN me \"p\nw\""] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn sasl_ir_is_checked_as_base64() {
        let auth = |initial| Ok(Some(Command::Authenticate { mechanism: "PLAIN".into(), initial }));
        assert_eq!(read(b"AUTHENTICATE plain"), auth(None));
        assert_eq!(read(b"AUTHENTICATE PLAIN AGEAYg=="), auth(Some(Secret::new("AGEAYg=="))));
        assert_eq!(read(b"AUTHENTICATE PLAIN ="), auth(Some(Secret::default())));
        for bad in ["AUTHENTICATE", "AUTHENTICATE PLAIN AGEAYg=", "AUTHENTICATE PLAIN !", "AUTHENTICATE PLAIN A A"] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn id_with_and_without_fields() {
        assert_eq!(read(b"ID NIL"), Ok(Some(Command::Id(vec![]))));
        assert_eq!(
            read(b"ID (\"name\" \"Thunderbird\" \"os\" NIL)"),
            Ok(Some(Command::Id(vec![("name".into(), Some("Thunderbird".into())), ("os".into(), None)])))
        );
        assert!(read(b"ID (\"name\")").is_err());
    }

    #[test]
    fn enable_wants_a_name() {
        assert_eq!(read(b"ENABLE utf8=accept X"), Ok(Some(Command::Enable(vec!["UTF8=ACCEPT".into(), "X".into()]))));
        assert!(read(b"ENABLE").is_err());
    }
}
