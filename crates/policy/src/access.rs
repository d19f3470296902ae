//! Access tables (Postfix access(5)): what to look for, and what the found word means.

use crate::codes::Codes;
use crate::restriction::{List, Subject, plain_list};
use crate::{Effects, Facts};
use mail_types::{Address, EnhancedCode, Reply};
use std::net::IpAddr;
use std::sync::Arc;
use tables::{Found, Maps, Unavailable, order};

/// What a table's value says.
#[derive(Debug, Clone)]
pub(crate) enum Word {
    Permit,
    Dunno,
    /// Code and text as the table has them.
    Refuse(Reply),
    DeferIfPermit(Reply),
    DeferIfReject(Reply),
    /// Further restrictions.
    Restrictions(List),
    /// With what is wrong.
    Malformed(&'static str),
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
        Subject::Etrn => match facts.etrn_domain {
            Some(name) => find_host(maps, &name.to_lowercase()).await,
            None => Ok(None),
        },
        Subject::Login => match facts.login {
            Some(login) => maps.lookup(login).await,
            None => Ok(None),
        },
        Subject::Client => find_client(maps, facts.client_name, facts.client_ip).await,
        Subject::ReverseClient => find_client(maps, facts.reverse_name, facts.client_ip).await,
    }
}

async fn find_client(maps: &Maps, name: Option<&str>, ip: Option<IpAddr>) -> Result<Option<Found>, Unavailable> {
    if let Some(found) = find_host(maps, name.unwrap_or("unknown")).await? {
        return Ok(Some(found));
    }
    match ip {
        Some(ip) => find_ip(maps, ip).await,
        None => Ok(None),
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

pub(crate) async fn find_host(maps: &Maps, name: &str) -> Result<Option<Found>, Unavailable> {
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
pub(crate) async fn find_ip(maps: &Maps, ip: IpAddr) -> Result<Option<Found>, Unavailable> {
    let keys = order::network_keys(ip);
    for (at, key) in keys.iter().enumerate() {
        let found = if at == 0 { maps.lookup(key).await? } else { maps.lookup_part(key).await? };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Reads a value (access(5), ACTIONS). `late`: the message has come already, so that its header cannot be added to.
pub(crate) fn word(value: &str, codes: &Codes, classes: &[(String, Arc<List>)], late: bool, effects: &mut Effects) -> Word {
    let value = value.trim();
    let (first, rest) = value.split_once(|c: char| c.is_whitespace()).unwrap_or((value, ""));
    let rest = rest.trim();
    let refuse = |code: u16, default: &'static str| {
        let (status, text) = split_status(rest, EnhancedCode((code / 100) as u8, 7, 1));
        Reply::new(code, Some(status), if text.is_empty() { default.to_owned() } else { text.to_owned() })
    };
    let upper = first.to_ascii_uppercase();
    match upper.as_str() {
        "OK" | "RELAY" => Word::Permit,
        "DUNNO" => Word::Dunno,
        "REJECT" => Word::Refuse(refuse(codes.access_reject, "Access denied")),
        "DEFER" => Word::Refuse(refuse(codes.access_defer, "Try again later")),
        "DEFER_IF_PERMIT" => Word::DeferIfPermit(refuse(codes.access_defer, "Service unavailable")),
        "DEFER_IF_REJECT" => Word::DeferIfReject(refuse(codes.access_defer, "Service unavailable")),
        "HOLD" => {
            effects.hold = true;
            Word::Dunno
        }
        "DISCARD" => {
            effects.discard = true;
            Word::Permit
        }
        "REDIRECT" | "BCC" => match Address::parse(rest) {
            Ok(address) if upper == "BCC" => {
                effects.bcc.push(address);
                Word::Dunno
            }
            Ok(address) => {
                effects.redirect = Some(address);
                Word::Dunno
            }
            Err(_) => Word::Malformed("REDIRECT and BCC need user@domain"),
        },
        "PREPEND" if late => Word::Malformed("PREPEND comes too late in smtpd_end_of_data_restrictions"),
        "PREPEND" if is_header(rest) => {
            effects.prepend.push(rest.to_owned());
            Word::Dunno
        }
        "PREPEND" => Word::Malformed("PREPEND needs a header field"),
        // Whether the transport exists is known where mail leaves; what is written wrong there waits.
        "FILTER" if rest.split_once(':').is_some_and(|(transport, _)| !transport.is_empty()) => {
            effects.filter = Some(rest.to_owned());
            Word::Dunno
        }
        "FILTER" => Word::Malformed("FILTER needs transport:destination"),
        "WARN" | "INFO" => {
            effects.remarks.push(rest.to_owned());
            Word::Dunno
        }
        code if code.len() == 3 && matches!(code.as_bytes()[0], b'4' | b'5') && code.bytes().all(|b| b.is_ascii_digit()) => {
            Word::Refuse(refuse(code.parse().expect("three digits"), "Access denied"))
        }
        // "An all-numeric result" is OK.
        word if !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()) => Word::Permit,
        _ => plain_list(value, classes).map_or(Word::Malformed("this is no action"), Word::Restrictions),
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
