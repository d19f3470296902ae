//! The grammar of commands (RFC 1939 §9, RFC 2449 §4, RFC 5034 §4).

use mail_types::Secret;

/// Longest command, with its line end: twice what RFC 2449 §4 allows, for long names and passwords.
pub const LINE_LIMIT_BYTES: usize = 512;

/// Longest AUTH command and SASL response (RFC 4954 §4 names 12,288 octets for base64).
pub const SASL_LINE_LIMIT_BYTES: usize = 12_288 + 64;

/// A command. Message numbers are as the client wrote them and may name nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    User(String),
    Pass(Secret),
    /// Without a mechanism the client asks for the list (RFC 5034 §4 forbids it, Outlook Express does it).
    Auth {
        mechanism: Option<String>,
        initial: Option<Secret>,
    },
    Stls,
    Utf8,
    /// Which language the texts are to have, or which there are (RFC 6856 §3).
    Lang(Option<String>),
    Capa,
    Noop,
    Quit,
    Stat,
    List(Option<u64>),
    Uidl(Option<u64>),
    Retr(u64),
    Dele(u64),
    Top(u64, u64),
    Rset,
    Last,
}

/// Where a command may be given (RFC 1939 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Authorization,
    Transaction,
    Anywhere,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    TooLong,
    Unknown,
    /// What the command wants.
    Syntax(&'static str),
    /// The message number is no number of a message.
    Number,
}

type Parse = fn(&str) -> Result<Command, Wrong>;

// verb, where, arguments. RFC 1939 §3: keywords are of three or four characters, in any case.
const TABLE: &[(&str, Place, Parse)] = &[
    ("CAPA", Place::Anywhere, |a| alone(a, Command::Capa)),
    ("NOOP", Place::Anywhere, |a| alone(a, Command::Noop)),
    ("QUIT", Place::Anywhere, |a| alone(a, Command::Quit)),
    ("LANG", Place::Anywhere, lang),
    ("USER", Place::Authorization, user),
    ("PASS", Place::Authorization, |a| Ok(Command::Pass(Secret::new(a)))),
    ("AUTH", Place::Authorization, auth),
    ("STLS", Place::Authorization, |a| alone(a, Command::Stls)),
    ("UTF8", Place::Authorization, |a| alone(a, Command::Utf8)),
    ("STAT", Place::Transaction, |a| alone(a, Command::Stat)),
    ("LIST", Place::Transaction, |a| Ok(Command::List(optional(a)?))),
    ("UIDL", Place::Transaction, |a| Ok(Command::Uidl(optional(a)?))),
    ("RETR", Place::Transaction, |a| Ok(Command::Retr(number(a, "RETR message")?))),
    ("DELE", Place::Transaction, |a| Ok(Command::Dele(number(a, "DELE message")?))),
    ("TOP", Place::Transaction, top),
    ("RSET", Place::Transaction, |a| alone(a, Command::Rset)),
    ("LAST", Place::Transaction, |a| alone(a, Command::Last)),
];

impl Command {
    /// Parses a line without its line end.
    pub fn parse(line: &[u8]) -> Result<(Command, Place), Wrong> {
        let long = line.len() + 2 > LINE_LIMIT_BYTES;
        let is_auth = line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"));
        if long && (!is_auth || line.len() + 2 > SASL_LINE_LIMIT_BYTES) {
            return Err(Wrong::TooLong);
        }
        let line = std::str::from_utf8(line).map_err(|_| Wrong::Syntax("text in UTF-8"))?;
        // `accepts_space_around_commands`: some clients send a space behind the verb or in front of it. The argument of PASS keeps
        // all of its spaces (RFC 1939 §7: it may have them).
        let line = line.trim_start_matches(' ');
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let (_, place, parse) = TABLE.iter().find(|(name, ..)| verb.eq_ignore_ascii_case(name)).ok_or(Wrong::Unknown)?;
        // PASS passwords may hold any character but NUL; a CR or control elsewhere is an attack or a broken client.
        let is_pass = verb.eq_ignore_ascii_case("PASS");
        if argument.contains('\0') || (!is_pass && argument.contains(char::is_control)) {
            return Err(Wrong::Syntax("no control characters"));
        }
        Ok((parse(if is_pass { argument } else { argument.trim_matches(' ') })?, *place))
    }
}

fn alone(argument: &str, command: Command) -> Result<Command, Wrong> {
    if argument.is_empty() { Ok(command) } else { Err(Wrong::Syntax("no argument")) }
}

// RFC 6856 §3.2: "LANG" [SP lang-range]
fn lang(argument: &str) -> Result<Command, Wrong> {
    let sound = argument.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'*'));
    if !sound {
        return Err(Wrong::Syntax("LANG [language]"));
    }
    Ok(Command::Lang((!argument.is_empty()).then(|| argument.to_owned())))
}

fn user(argument: &str) -> Result<Command, Wrong> {
    if argument.is_empty() { Err(Wrong::Syntax("USER name")) } else { Ok(Command::User(argument.to_owned())) }
}

// RFC 5034 §4: "AUTH" SP mechanism [SP initial-response]
fn auth(argument: &str) -> Result<Command, Wrong> {
    let mut words = argument.split(' ').filter(|w| !w.is_empty());
    let mechanism = words.next().map(str::to_owned);
    let initial = words.next().map(Secret::new);
    let sound = mechanism.as_ref().is_none_or(|m| m.len() <= 20 && m.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    if words.next().is_some() || !sound {
        return Err(Wrong::Syntax("AUTH mechanism [initial-response]"));
    }
    Ok(Command::Auth { mechanism, initial })
}

fn optional(argument: &str) -> Result<Option<u64>, Wrong> {
    if argument.is_empty() { Ok(None) } else { number(argument, "a message number").map(Some) }
}

// Digits alone: a sign, 0 and 2^64 are no message.
fn number(argument: &str, want: &'static str) -> Result<u64, Wrong> {
    if argument.is_empty() || argument.contains(' ') {
        return Err(Wrong::Syntax(want));
    }
    let digits = argument.bytes().all(|b| b.is_ascii_digit());
    argument.parse().ok().filter(|n| digits && *n > 0).ok_or(Wrong::Number)
}

fn top(argument: &str) -> Result<Command, Wrong> {
    const WANT: &str = "TOP message lines";
    let (message, lines) = argument.split_once(' ').ok_or(Wrong::Syntax(WANT))?;
    let lines = lines.trim_start_matches(' ');
    let count = lines.parse().ok().filter(|_| lines.bytes().all(|b| b.is_ascii_digit()));
    Ok(Command::Top(number(message, WANT)?, count.ok_or(Wrong::Syntax(WANT))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_parsed_or_refused() {
        let long = "x".repeat(LINE_LIMIT_BYTES);
        let blob = "A".repeat(10_000);
        for (line, want) in [
            ("user ann", Ok(Command::User("ann".into()))),
            ("USER  ann lee ", Ok(Command::User("ann lee".into()))),
            ("PASS  a b ", Ok(Command::Pass(Secret::new(" a b ")))),
            ("PASS", Ok(Command::Pass(Secret::new("")))),
            ("PASS a\tb", Ok(Command::Pass(Secret::new("a\tb")))),
            ("CAPA ", Ok(Command::Capa)),
            (" NOOP", Ok(Command::Noop)),
            ("LIST", Ok(Command::List(None))),
            ("LIST 2", Ok(Command::List(Some(2)))),
            ("RETR 007", Ok(Command::Retr(7))),
            ("TOP 1 0", Ok(Command::Top(1, 0))),
            ("TOP 1  10", Ok(Command::Top(1, 10))),
            ("AUTH", Ok(Command::Auth { mechanism: None, initial: None })),
            ("auth plain =", Ok(Command::Auth { mechanism: Some("plain".into()), initial: Some(Secret::new("=")) })),
            (&format!("AUTH PLAIN {blob}"), Ok(Command::Auth { mechanism: Some("PLAIN".into()), initial: Some(Secret::new(&*blob)) })),
            ("AUTH PLAIN a b", Err(Wrong::Syntax("AUTH mechanism [initial-response]"))),
            ("AUTH PL\"AIN", Err(Wrong::Syntax("AUTH mechanism [initial-response]"))),
            ("USER", Err(Wrong::Syntax("USER name"))),
            ("USER a\rb", Err(Wrong::Syntax("no control characters"))),
            ("PASS a\0b", Err(Wrong::Syntax("no control characters"))),
            ("NOOP x", Err(Wrong::Syntax("no argument"))),
            ("RETR", Err(Wrong::Syntax("RETR message"))),
            ("RETR 1 2", Err(Wrong::Syntax("RETR message"))),
            ("RETR 0", Err(Wrong::Number)),
            ("RETR -1", Err(Wrong::Number)),
            ("RETR +1", Err(Wrong::Number)),
            ("DELE 18446744073709551616", Err(Wrong::Number)),
            ("RETR 4294967296", Ok(Command::Retr(4_294_967_296))),
            ("TOP 1", Err(Wrong::Syntax("TOP message lines"))),
            ("TOP 1 -1", Err(Wrong::Syntax("TOP message lines"))),
            ("TOP 1 99999999999999999999", Err(Wrong::Syntax("TOP message lines"))),
            ("APOP ann digest", Err(Wrong::Unknown)),
            ("", Err(Wrong::Unknown)),
            (&format!("USER {long}"), Err(Wrong::TooLong)),
            (&format!("AUTH {}", blob.repeat(2)), Err(Wrong::TooLong)),
        ] {
            assert_eq!(Command::parse(line.as_bytes()).map(|(command, _)| command), want, "{line:?}");
        }
        assert_eq!(Command::parse(b"USER \xff"), Err(Wrong::Syntax("text in UTF-8")));
    }
}
