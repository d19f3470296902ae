//! GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208 §4.1). An account has one quota root, when it has a limit.

use crate::answer::Answer;
use crate::session::Session;
use imap_proto::{Mailbox, encode};
use mailstore::{Quota, Rights};

/// As Dovecot names it.
const ROOT: &str = "User quota";

pub async fn get(session: &mut Session, root: &str) -> Answer {
    if root != ROOT || session.account.quota_limits() == (0, 0) {
        return Answer::no("NONEXISTENT", "No such quota root");
    }
    tell(session, "Getquota completed").await
}

pub async fn get_root(session: &mut Session, mailbox: &Mailbox) -> Answer {
    let spot = match session.locate(mailbox) {
        Ok(spot) => spot,
        Err(answer) => return answer,
    };
    // RFC 9208 §4.1.2: the mailbox need not exist; §6: where it does, `r` is needed.
    let place = session.place(mailbox, Rights::READ).await;
    if let Err(answer) = place
        && !(spot.own && answer.code == "NONEXISTENT")
    {
        return answer;
    }
    let has_root = spot.own && session.account.quota_limits() != (0, 0);
    let (enabled, out) = (session.enabled, &mut session.connection.wire.out);
    // RFC 9208 §7: `quotaroot-response = "QUOTAROOT" SP mailbox *(SP quota-root-name)`
    out.extend_from_slice(b"* QUOTAROOT ");
    enabled.write_name(out, spot.shown.as_str());
    if has_root {
        out.push(b' ');
        encode::astring(out, ROOT.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if has_root { tell(session, "Getquotaroot completed").await } else { Answer::ok("Getquotaroot completed") }
}

/// Limits are the administrator's, who sets them in the user database; QUOTASET is not announced (RFC 9208 §4.1.3).
pub fn set() -> Answer {
    Answer::no("NOPERM", "Quota is set by the administrator")
}

async fn tell(session: &mut Session, done: &'static str) -> Answer {
    match session.with_account(|account| account.quota()).await {
        Ok(quota) => {
            write(&mut session.connection.wire.out, &quota);
            Answer::ok(done)
        }
        Err(error) => error.into(),
    }
}

/// RFC 9208 §7: `quota-response = "QUOTA" SP quota-root-name SP quota-list`; §5.1: STORAGE counts units of 1024 octets.
fn write(out: &mut Vec<u8>, quota: &Quota) {
    out.extend_from_slice(b"* QUOTA ");
    encode::astring(out, ROOT.as_bytes());
    let resources =
        [("STORAGE", quota.bytes.div_ceil(1024), quota.bytes_limit.div_ceil(1024)), ("MESSAGE", quota.messages, quota.messages_limit)];
    let mut before = b'(';
    out.push(b' ');
    for (name, used, limit) in resources.into_iter().filter(|(_, _, limit)| *limit > 0) {
        out.push(before);
        out.extend_from_slice(format!("{name} {used} {limit}").as_bytes());
        before = b' ';
    }
    out.extend_from_slice(b")\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_limited_is_told() {
        let text = |bytes_limit, messages_limit| {
            let mut out = Vec::new();
            write(&mut out, &Quota { bytes: 1025, messages: 3, bytes_limit, messages_limit });
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(10240, 0), "* QUOTA \"User quota\" (STORAGE 2 10)\r\n");
        assert_eq!(text(10240, 5), "* QUOTA \"User quota\" (STORAGE 2 10 MESSAGE 3 5)\r\n");
        assert_eq!(text(0, 5), "* QUOTA \"User quota\" (MESSAGE 3 5)\r\n");
    }
}
