//! Command lines: verbs, paths, parameters. Text in, checked types out; no state.

use crate::XFacteur;
use crate::server::MailFrom;
use mail_types::{
    Address, AddressError, BodyType, ByMode, Domain, DsnNotify, DsnReturn, QueueId, Recipient, Reply, timestamp, xtext_decode,
};

/// Why an argument is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the argument is not as the command has it")]
    Syntax,
    #[error("the address is malformed: {0}")]
    Address(#[from] AddressError),
    #[error("the address has no domain, and there is none to complete it")]
    NoDomain,
    #[error("the address needs SMTPUTF8")]
    NeedsSmtpUtf8,
    #[error("the parameter has a wrong value or came twice")]
    ParameterValue,
    #[error("the parameter is not known")]
    ParameterUnknown,
    #[error("the size of the chunk is malformed")]
    ChunkSize,
}

impl Error {
    /// What the peer is told. `sender` tells which side of the envelope an address was for.
    pub fn reply(self, sender: bool) -> Reply {
        match self {
            Error::Syntax => Reply::with(501, (5, 5, 4), if sender { "Syntax: MAIL FROM:<address>" } else { "Syntax: RCPT TO:<address>" }),
            Error::Address(cause) => {
                let status = if sender { (5, 1, 7) } else { (5, 1, 3) };
                Reply::with(501, status, format!("Bad {} address syntax: {cause}", if sender { "sender" } else { "recipient" }))
            }
            Error::NoDomain => Reply::with(501, if sender { (5, 1, 7) } else { (5, 1, 3) }, "The address needs a domain"),
            // RFC 6531 §3.5
            Error::NeedsSmtpUtf8 => Reply::with(553, (5, 6, 7), "The address needs SMTPUTF8"),
            Error::ParameterValue => Reply::with(501, (5, 5, 4), "Wrong value of a parameter"),
            // RFC 5321 §4.1.1.11
            Error::ParameterUnknown => Reply::with(555, (5, 5, 4), "Parameter not known or not implemented"),
            Error::ChunkSize => Reply::with(501, (5, 5, 4), "Syntax: BDAT size [LAST]"),
        }
    }
}

/// Splits a line into its verb (upper case) and the rest without blanks at its ends.
pub fn verb(line: &str) -> (String, &str) {
    let line = line.trim_matches(' ');
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    (verb.to_ascii_uppercase(), rest.trim_matches(' '))
}

/// Strips `keyword` (`FROM:`) in any case, and the blanks that some clients put behind it.
///
/// `accepts_space_after_colon`: RFC 5321 §3.3 forbids it, telnet users and old clients write it.
fn after_keyword<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let head = text.get(..keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| text[keyword.len()..].trim_start_matches(' '))
}

// RFC 5321 §4.1.2
//   Reverse-path = Path / "<>"
//   Path         = "<" [ A-d-l ":" ] Mailbox ">"
//
/// Cuts a path off the front of `text`; returns what is between the brackets and the rest.
///
/// `accepts_path_without_brackets`: `MAIL FROM: root@localhost`, as people type it; it then ends at the next space.
fn cut_path(text: &str) -> Option<(&str, &str)> {
    let (inner_start, end_mark) = if text.starts_with('<') { (1, '>') } else { (0, ' ') };
    let mut quoted = false;
    let mut escaped = false;
    let mut end = None;
    for (at, c) in text.char_indices().skip(inner_start) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == end_mark && !quoted => {
                end = Some(at);
                break;
            }
            _ => {}
        }
    }
    let (inner, rest) = match (end, end_mark) {
        (Some(at), '>') => (&text[1..at], &text[at + 1..]),
        (Some(at), _) => (&text[..at], &text[at..]),
        (None, ' ') if !quoted && !text.is_empty() => (text, ""),
        _ => return None,
    };
    (rest.is_empty() || rest.starts_with(' ')).then_some((inner, rest))
}

/// The address inside a path. A source route (RFC 5321 §4.1.2 A-d-l) is read over, as §3.6.1 wants.
fn mailbox(inner: &str, origin: Option<&Domain>) -> Result<Address, Error> {
    let text = match inner.strip_prefix('@') {
        Some(route) => route.split_once(':').ok_or(Error::Syntax)?.1,
        None => inner,
    };
    match Address::parse(text) {
        // RFC 5321 §4.5.1: `<postmaster>` has to be taken; other names without a domain are ours as well.
        Err(AddressError::NoDomain) => {
            let origin = origin.ok_or(Error::NoDomain)?;
            Ok(Address::parse(&format!("{text}@{origin}"))?)
        }
        other => Ok(other?),
    }
}

/// `KEY` or `KEY=value`, the key in upper case. RFC 5321 §4.1.2 esmtp-param.
fn parameters(rest: &str) -> impl Iterator<Item = (String, Option<&str>)> {
    rest.split(' ').filter(|p| !p.is_empty()).map(|p| match p.split_once('=') {
        Some((key, value)) => (key.to_ascii_uppercase(), Some(value)),
        None => (p.to_ascii_uppercase(), None),
    })
}

/// Stores a parameter that may come only once.
fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), Error> {
    match (place.is_none(), value) {
        (true, Some(value)) => {
            *place = Some(value);
            Ok(())
        }
        _ => Err(Error::ParameterValue),
    }
}

fn number(text: Option<&str>) -> Option<u64> {
    // RFC 1870 §3: size-value = 1*20DIGIT
    text.filter(|t| (1..=20).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// BY= of MAIL (RFC 2852 §4): seconds from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct By {
    pub seconds: i64,
    pub mode: ByMode,
    pub trace: bool,
}

impl By {
    /// What `BY=` can say: nine digits.
    pub const MOST: i64 = 999_999_999;

    /// ```abnf
    /// by-value = ["-" / "+"]1*9DIGIT ";" ("N" / "R") ["T"]                ; RFC 2852 §4
    /// ```
    /// A time that is over makes no sense with R.
    fn parse(value: &str) -> Option<By> {
        let (time, mode) = value.split_once(';')?;
        let (negative, digits) = match time.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, time.strip_prefix('+').unwrap_or(time)),
        };
        let seconds = i64::try_from(number(Some(digits)).filter(|_| digits.len() <= 9)?).ok()?;
        let seconds = if negative { -seconds } else { seconds };
        let (mode, trace) = match mode.to_ascii_uppercase().as_str() {
            "N" => (ByMode::Notify, false),
            "NT" => (ByMode::Notify, true),
            "R" => (ByMode::Return, false),
            "RT" => (ByMode::Return, true),
            _ => return None,
        };
        (mode == ByMode::Notify || seconds > 0).then_some(By { seconds, mode, trace })
    }
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mode = if self.mode == ByMode::Return { 'R' } else { 'N' };
        write!(f, "{};{mode}{}", self.seconds.clamp(-By::MOST, By::MOST), if self.trace { "T" } else { "" })
    }
}

/// HOLDFOR= or HOLDUNTIL= of MAIL (RFC 4865 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Seconds.
    For(u64),
    /// Seconds since 1970.
    Until(u64),
}

// priority-value = (["-"] NZDIGIT) / "0"                                      ; RFC 6710 §7
fn priority(value: &str) -> Option<i8> {
    let digit = value.strip_prefix('-').unwrap_or(value);
    let sound = digit.len() == 1 && digit.bytes().all(|b| b.is_ascii_digit()) && value != "-0";
    value.parse().ok().filter(|_| sound)
}

/// Parses what follows MAIL.
///
/// ```abnf
/// mail = "FROM:" Reverse-path [SP Mail-parameters]          ; RFC 5321 §4.1.1.2
/// ```
///
/// SIZE (RFC 1870 §6), BODY (RFC 6152 §2, RFC 3030 §3), SMTPUTF8 (RFC 6531 §3.4), RET and ENVID (RFC 3461 §4.3, 4.4), AUTH (RFC 4954 §5, checked
/// and not used: nobody but our own users is trusted with it), BY (RFC 2852 §4), HOLDFOR and HOLDUNTIL (RFC 4865 §3), MT-PRIORITY
/// (RFC 6710 §7), REQUIRETLS (RFC 8689 §2); `xfacteur` allows XID, XTIME, XREPEAT.
pub fn mail_from(text: &str, origin: Option<&Domain>, xfacteur: bool) -> Result<MailFrom, Error> {
    let text = after_keyword(text, "FROM:").ok_or(Error::Syntax)?;
    let (inner, rest) = cut_path(text).ok_or(Error::Syntax)?;
    let sender = if inner.is_empty() { None } else { Some(mailbox(inner, origin)?) };
    let (mut size, mut body, mut utf8, mut ret, mut envid, mut auth) = (None, None, None, None, None, None);
    let (mut by, mut hold, mut urgency, mut tls) = (None, None, None, None);
    let (mut xid, mut xtime, mut xrepeat) = (None, None, None);
    for (key, value) in parameters(rest) {
        match key.as_str() {
            "SIZE" => once(&mut size, number(value))?,
            "BODY" => once(
                &mut body,
                value.and_then(|v| match v.to_ascii_uppercase().as_str() {
                    "7BIT" => Some(BodyType::SevenBit),
                    "8BITMIME" => Some(BodyType::EightBitMime),
                    "BINARYMIME" => Some(BodyType::BinaryMime),
                    _ => None,
                }),
            )?,
            "SMTPUTF8" => once(&mut utf8, value.is_none().then_some(()))?,
            "RET" => once(
                &mut ret,
                value.and_then(|v| match v.to_ascii_uppercase().as_str() {
                    "FULL" => Some(DsnReturn::Full),
                    "HDRS" => Some(DsnReturn::Headers),
                    _ => None,
                }),
            )?,
            // RFC 3461 §4.4: at most 100 characters
            "ENVID" => once(&mut envid, value.filter(|v| !v.is_empty() && v.len() <= 100).and_then(xtext_decode))?,
            "AUTH" => once(&mut auth, value.filter(|v| *v == "<>" || xtext_decode(v).is_some()).map(|_| ()))?,
            "BY" => once(&mut by, value.and_then(By::parse))?,
            "HOLDFOR" => once(&mut hold, number(value).filter(|n| (1..1_000_000_000).contains(n)).map(Hold::For))?,
            "HOLDUNTIL" => once(&mut hold, value.and_then(timestamp::parse).map(Hold::Until))?,
            "MT-PRIORITY" => once(&mut urgency, value.and_then(priority))?,
            "REQUIRETLS" => once(&mut tls, value.is_none().then_some(()))?,
            "XID" if xfacteur => once(&mut xid, value.and_then(|v| QueueId::parse(v).ok()))?,
            "XTIME" if xfacteur => once(&mut xtime, number(value))?,
            "XREPEAT" if xfacteur => once(&mut xrepeat, value.is_none().then_some(()))?,
            _ => return Err(Error::ParameterUnknown),
        }
    }
    if utf8.is_none() && sender.as_ref().is_some_and(Address::is_utf8) {
        return Err(Error::NeedsSmtpUtf8);
    }
    let xfacteur = match (xid, xtime) {
        (Some(id), Some(time_seconds)) => Some(XFacteur { id, time_seconds, repeat: xrepeat.is_some() }),
        (None, None) if xrepeat.is_none() => None,
        _ => return Err(Error::ParameterValue),
    };
    let (body, smtputf8, require_tls) = (body.unwrap_or_default(), utf8.is_some(), tls.is_some());
    Ok(MailFrom { sender, body, smtputf8, size, ret, envid, by, hold, priority: urgency, require_tls, xfacteur })
}

/// Parses what follows RCPT.
///
/// ```abnf
/// rcpt = "TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) [SP Rcpt-parameters]     ; RFC 5321 §4.1.1.3
/// ```
///
/// NOTIFY and ORCPT (RFC 3461 §4.1, 4.2).
pub fn rcpt_to(text: &str, origin: Option<&Domain>, smtputf8: bool) -> Result<Recipient, Error> {
    let text = after_keyword(text, "TO:").ok_or(Error::Syntax)?;
    let (inner, rest) = cut_path(text).ok_or(Error::Syntax)?;
    if inner.is_empty() {
        return Err(Error::Syntax);
    }
    let address = mailbox(inner, origin)?;
    if !smtputf8 && address.is_utf8() {
        return Err(Error::NeedsSmtpUtf8);
    }
    let (mut notify, mut orcpt) = (None, None);
    for (key, value) in parameters(rest) {
        match key.as_str() {
            "NOTIFY" => once(&mut notify, value.and_then(dsn_notify))?,
            "ORCPT" => once(&mut orcpt, value.filter(|v| v.len() <= 500).and_then(original_recipient))?,
            _ => return Err(Error::ParameterUnknown),
        }
    }
    Ok(Recipient { address, notify: notify.unwrap_or_default(), orcpt })
}

/// ```abnf
/// notify-esmtp-value  = "NEVER" / 1#notify-list-element                  ; RFC 3461 §4.1
/// notify-list-element = "SUCCESS" / "FAILURE" / "DELAY"
/// ```
fn dsn_notify(value: &str) -> Option<DsnNotify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(DsnNotify::NEVER);
    }
    let mut notify = DsnNotify { given: true, ..DsnNotify::default() };
    for word in value.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => notify.success = true,
            "FAILURE" => notify.failure = true,
            "DELAY" => notify.delay = true,
            _ => return None,
        }
    }
    Some(notify)
}

/// ```abnf
/// orcpt-parameter = "ORCPT=" addr-type ";" xtext                         ; RFC 3461 §4.2
/// ```
/// A UTF-8 address (RFC 6533 §3, `utf-8;…`) may stand there as it is when the client uses SMTPUTF8.
fn original_recipient(value: &str) -> Option<String> {
    let (kind, address) = value.split_once(';')?;
    if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') || address.is_empty() {
        return None;
    }
    let address = if address.is_ascii() { xtext_decode(address)? } else { address.to_string() };
    Some(format!("{kind};{address}"))
}

/// ```abnf
/// bdat-cmd = "BDAT" SP chunk-size [ SP "LAST" ]                           ; RFC 3030 §2
/// ```
pub fn bdat(text: &str) -> Result<(u64, bool), Error> {
    let (size, last) = match text.split_once(' ') {
        Some((size, word)) if word.trim_matches(' ').eq_ignore_ascii_case("LAST") => (size, true),
        None => (text, false),
        _ => return Err(Error::ChunkSize),
    };
    number(Some(size)).map(|size| (size, last)).ok_or(Error::ChunkSize)
}

/// Whether the text is base64 as RFC 4648 §4 has it: padded, no blanks, no stray bits.
pub fn is_base64(text: &str) -> bool {
    use base64::Engine;
    text.len().is_multiple_of(4) && base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Domain {
        Domain::parse("here.test").expect("domain")
    }

    #[test]
    fn mail_arguments_are_parsed_or_refused() {
        for (input, want) in [
            ("FROM:<a@b.test>", Ok(Some("a@b.test"))),
            ("from:<>", Ok(None)),
            ("FROM: <a@b.test>", Ok(Some("a@b.test"))),
            ("from: root@localhost", Ok(Some("root@localhost"))),
            ("from: root@localhost SIZE=10", Ok(Some("root@localhost"))),
            ("FROM:<root>", Ok(Some("root@here.test"))),
            ("FROM:<\"a > b\"@x.test> SIZE=1", Ok(Some("\"a > b\"@x.test"))),
            ("FROM:<@relay.test,@b.test:a@b.test>", Ok(Some("a@b.test"))),
            ("FROM:<a@b.test> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb AUTH=<>", Ok(Some("a@b.test"))),
            ("FROM:<pelé@b.test> SMTPUTF8", Ok(Some("pelé@b.test"))),
            ("FROM:<pelé@b.test>", Err(Error::NeedsSmtpUtf8)),
            ("FROM:<a@b.test>SIZE=1", Err(Error::Syntax)),
            ("FROM:<a@b.test", Err(Error::Syntax)),
            ("FROM:", Err(Error::Syntax)),
            ("TO:<a@b.test>", Err(Error::Syntax)),
            ("FROM:<@relay.test>", Err(Error::Syntax)),
            ("FROM:<a@b.test> SIZE=-1", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> SIZE=", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> SIZE=1 SIZE=1", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> SIZE=99999999999999999999", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> BY=120;R", Ok(Some("a@b.test"))),
            ("FROM:<a@b.test> by=-999999999;nt", Ok(Some("a@b.test"))),
            ("FROM:<a@b.test> BY=+1;RT MT-PRIORITY=-9 REQUIRETLS", Ok(Some("a@b.test"))),
            ("FROM:<a@b.test> BY=0;R", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> BY=-1;R", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> BY=1;X", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> BY=1;TR", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> BY=1234567890;N", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> BY=;N", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> BY", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> HOLDFOR=60", Ok(Some("a@b.test"))),
            ("FROM:<a@b.test> HOLDUNTIL=2030-01-01T00:00:00Z", Ok(Some("a@b.test"))),
            ("FROM:<a@b.test> HOLDFOR=0", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> HOLDFOR=-60", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> HOLDUNTIL=tomorrow", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> HOLDFOR=60 HOLDUNTIL=2030-01-01T00:00:00Z", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> MT-PRIORITY=9", Ok(Some("a@b.test"))),
            ("FROM:<a@b.test> MT-PRIORITY=10", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> MT-PRIORITY=+1", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> MT-PRIORITY=-0", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> MT-PRIORITY=1 MT-PRIORITY=1", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> REQUIRETLS=yes", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> BODY=BinaryMime", Ok(Some("a@b.test"))),
            ("FROM:<a@b.test> BODY=BINARY", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> ENVID=+0D+0A", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> AUTH=+0A", Err(Error::ParameterValue)),
            ("FROM:<a@b.test> XID=0123456789ABCDEFG XTIME=1", Err(Error::ParameterUnknown)),
            ("FROM:<a@b.test> X", Err(Error::ParameterUnknown)),
        ] {
            let got = mail_from(input, Some(&origin()), false).map(|m| m.sender.map(|a| a.to_string()));
            assert_eq!(got, want.map(|w| w.map(String::from)), "{input:?}");
        }
        assert_eq!(mail_from("FROM:<root>", None, false), Err(Error::NoDomain));
    }

    #[test]
    fn an_attack_in_an_address_is_data_or_refused() {
        for (input, ok) in [
            ("FROM:<;touch /tmp/p;>", false),
            ("FROM:<$(id)@x.test>", false),
            ("FROM:<`id`@x.test>", true),
            ("FROM:<|id@x.test>", true),
            ("FROM:<\"|id\"@x.test>", true),
            ("FROM:<../../x@x.test>", true),
            ("FROM:<-oX@x.test>", true),
            ("FROM:<\"a\\\nb\"@x.test>", false),
            ("FROM:<${run{id}}@x.test>", true),
            ("FROM:<\"\"@x.test>", false),
            ("FROM:<a@[IPv6:::1]>", true),
            ("FROM:<a@x.>", false),
            ("FROM:<a@ext@us.test>", false),
            ("FROM:<a@ext,b@us.test>", false),
        ] {
            assert_eq!(mail_from(input, Some(&origin()), false).is_ok(), ok, "{input:?}");
        }
    }

    #[test]
    fn trusted_peers_name_the_message() {
        let got = mail_from("FROM:<> XID=0123456789ABCDEFG XTIME=17 XREPEAT", None, true).expect("parsed").xfacteur.expect("there");
        assert_eq!((got.id.as_str(), got.time_seconds, got.repeat), ("0123456789ABCDEFG", 17, true));
        let mut text = Vec::new();
        got.write(&mut text);
        assert_eq!(String::from_utf8_lossy(&text), " XID=0123456789ABCDEFG XTIME=17 XREPEAT");
        for bad in ["XID=0123456789ABCDEFG", "XTIME=1", "XREPEAT", "XID=../x XTIME=1"] {
            assert_eq!(mail_from(&format!("FROM:<> {bad}"), None, true), Err(Error::ParameterValue), "{bad}");
        }
    }

    #[test]
    fn rcpt_arguments_are_parsed_or_refused() {
        for (input, want) in [
            ("TO:<a@b.test>", Ok("a@b.test")),
            ("to: test@gmail.com", Ok("test@gmail.com")),
            ("TO:<Postmaster>", Ok("Postmaster@here.test")),
            ("TO:<a@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c.test", Ok("a@b.test")),
            ("TO:<a@b.test> NOTIFY=never", Ok("a@b.test")),
            ("TO:<>", Err(Error::Syntax)),
            ("TO:<a@b.test> NOTIFY=NEVER,SUCCESS", Err(Error::ParameterValue)),
            ("TO:<a@b.test> NOTIFY=", Err(Error::ParameterValue)),
            ("TO:<a@b.test> ORCPT=rfc822;a+0D+0Ab", Err(Error::ParameterValue)),
            ("TO:<a@b.test> ORCPT=;a", Err(Error::ParameterValue)),
            ("TO:<a@b.test> SIZE=1", Err(Error::ParameterUnknown)),
        ] {
            let got = rcpt_to(input, Some(&origin()), false).map(|r| r.address.to_string());
            assert_eq!(got.as_deref().map_err(|e| *e), want, "{input:?}");
        }
        let got = rcpt_to("TO:<a@b.test> NOTIFY=SUCCESS ORCPT=rfc822;a+2Bb@c.test", None, false).expect("parsed");
        assert!(got.notify.wants_success() && !got.notify.wants_failure());
        assert_eq!(got.orcpt.as_deref(), Some("rfc822;a+b@c.test"));
    }

    #[test]
    fn chunk_sizes_are_parsed_or_refused() {
        for (input, want) in [
            ("5", Ok((5, false))),
            ("0 LAST", Ok((0, true))),
            ("5 last", Ok((5, true))),
            ("9223372036854775808", Ok((9_223_372_036_854_775_808, false))),
            ("99999999999999999999", Err(Error::ChunkSize)),
            ("-1", Err(Error::ChunkSize)),
            ("+1", Err(Error::ChunkSize)),
            ("", Err(Error::ChunkSize)),
            ("5 LAST x", Err(Error::ChunkSize)),
            ("0x5", Err(Error::ChunkSize)),
        ] {
            assert_eq!(bdat(input), want, "{input:?}");
        }
    }

    #[test]
    fn base64_is_strict() {
        for (input, want) in
            [("", true), ("AGEAYg==", true), ("AGEAYg=", false), ("AGEAYg", false), ("AGEA Yg==", false), ("AB==", false), ("é===", false)]
        {
            assert_eq!(is_base64(input), want, "{input:?}");
        }
    }
}
