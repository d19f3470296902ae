//! Access tables (Postfix access(5)): what to look for, and what the found word means.

use crate::restriction::{Subject, Verb, verb};
use crate::{Effects, Facts};
use mail_types::{Address, EnhancedCode, Reply};
use std::net::IpAddr;
use tables::{Found, Maps, Unavailable, order};

/// What a table's value says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    Permit,
    Dunno,
    /// Code and text as the table has them; text may be empty.
    Refuse(Reply),
    DeferIfPermit(String),
    /// Further restrictions.
    Verbs(Vec<Verb>),
    Malformed,
}

/// Looks for the subject of a restriction. `Ok(None)` also when the subject is not known yet.
pub(crate) async fn find(subject: Subject, maps: &Maps, facts: &Facts<'_>, delimiters: &str) -> Result<Option<Found>, Unavailable> {
    match subject {
        Subject::Sender => match facts.sender {
            None => Ok(None),
            // Postfix smtpd_null_access_lookup_key
            Some(None) => maps.lookup("<>").await,
            Some(Some(address)) => find_address(maps, address, delimiters).await,
        },
        Subject::Recipient => match facts.recipient {
            Some(address) => find_address(maps, address, delimiters).await,
            None => Ok(None),
        },
        Subject::Helo => match facts.helo {
            Some(name) => find_host(maps, &name.to_lowercase()).await,
            None => Ok(None),
        },
        Subject::Login => match facts.login {
            Some(login) => maps.lookup(login).await,
            None => Ok(None),
        },
        Subject::Client => {
            if let Some(found) = find_host(maps, facts.client_name.unwrap_or("unknown")).await? {
                return Ok(Some(found));
            }
            match facts.client_ip {
                Some(ip) => find_ip(maps, ip).await,
                None => Ok(None),
            }
        }
    }
}

/// `user+detail@domain`, `user@domain`, `domain` and its parents, `user+detail@`, `user@`.
async fn find_address(maps: &Maps, address: &Address, delimiters: &str) -> Result<Option<Found>, Unavailable> {
    let domain = address.domain().as_str();
    let plain = |a: &Address| format!("{}@{domain}", a.local());
    if let Some(found) = maps.lookup(&plain(address)).await? {
        return Ok(Some(found));
    }
    let user = address.split_detail(delimiters).map(|(user, _)| user);
    let mut keys: Vec<String> = user.iter().map(plain).collect();
    keys.push(domain.to_owned());
    keys.extend(order::parents(domain).map(str::to_owned));
    keys.push(format!("{}@", address.local()));
    keys.extend(user.iter().map(|user| format!("{}@", user.local())));
    for key in keys {
        if let Some(found) = maps.lookup_part(&key).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

async fn find_host(maps: &Maps, name: &str) -> Result<Option<Found>, Unavailable> {
    if let Some(found) = maps.lookup(name).await? {
        return Ok(Some(found));
    }
    for parent in order::parents(name) {
        if let Some(found) = maps.lookup_part(parent).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The address, then its networks by whole groups: `192.0.2.1`, `192.0.2`, `192.0`, `192`.
async fn find_ip(maps: &Maps, ip: IpAddr) -> Result<Option<Found>, Unavailable> {
    let keys = order::network_keys(ip);
    for (at, key) in keys.iter().enumerate() {
        let found = if at == 0 { maps.lookup(key).await? } else { maps.lookup_part(key).await? };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Reads a value (access(5), ACTIONS).
pub(crate) fn word(value: &str, effects: &mut Effects) -> Word {
    let value = value.trim();
    let (first, rest) = value.split_once(|c: char| c.is_whitespace()).unwrap_or((value, ""));
    let rest = rest.trim();
    let refuse = |code: u16, status: EnhancedCode, default: &'static str| {
        let (status, text) = split_status(rest, status);
        let text = if text.is_empty() { default.to_owned() } else { text.to_owned() };
        Word::Refuse(Reply::new(code, Some(status), text))
    };
    match first.to_ascii_uppercase().as_str() {
        "OK" | "RELAY" | "PERMIT" => Word::Permit,
        "DUNNO" => Word::Dunno,
        "REJECT" => refuse(554, EnhancedCode(5, 7, 1), "Access denied"),
        "DEFER" | "DEFER_IF_REJECT" => refuse(450, EnhancedCode(4, 7, 1), "Try again later"),
        "DEFER_IF_PERMIT" => Word::DeferIfPermit(rest.to_owned()),
        "HOLD" => {
            effects.hold = true;
            Word::Dunno
        }
        "DISCARD" => {
            effects.discard = true;
            Word::Permit
        }
        "PREPEND" if is_header(rest) => {
            effects.prepend.push(rest.to_owned());
            Word::Dunno
        }
        "WARN" | "INFO" => {
            effects.remarks.push(rest.to_owned());
            Word::Dunno
        }
        code if code.len() == 3 && matches!(code.as_bytes()[0], b'4' | b'5') && code.bytes().all(|b| b.is_ascii_digit()) => {
            let number: u16 = code.parse().expect("three digits");
            refuse(number, EnhancedCode((number / 100) as u8, 7, 1), "Access denied")
        }
        // "An all-numeric result" is OK.
        word if !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()) => Word::Permit,
        _ => value
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|w| !w.is_empty())
            .map(verb)
            .collect::<Option<Vec<_>>>()
            .filter(|verbs| !verbs.is_empty())
            .map_or(Word::Malformed, Word::Verbs),
    }
}

/// `5.7.9 text` in a table overrides the code that would stand there.
fn split_status(text: &str, default: EnhancedCode) -> (EnhancedCode, &str) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match EnhancedCode::parse(first).filter(|e| e.0 == default.0) {
        Some(status) => (status, rest.trim()),
        None => (default, text),
    }
}

fn is_header(text: &str) -> bool {
    text.split_once(':').is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|b| (33..127).contains(&b)))
        && !text.contains(char::is_control)
}
