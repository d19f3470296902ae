//! The words of the control commands `session.list` and `session.kick` ([`crate::control`]), which `imapd`, `pop3d` and `smtpd` answer.
//!
//! A list has a line per session, fields with tabs between them: id, account, service, address of the client (`-`: none), `tls` or `plain`,
//! seconds since 1970 of the login. What is to be kicked is told by ids, one a line; the answer is how many there were.

use std::net::IpAddr;

/// Somebody who is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// As it stands in the log.
    pub id: String,
    pub user: String,
    /// `imap`, `pop3`, `submission`.
    pub service: String,
    pub remote: Option<IpAddr>,
    pub tls: bool,
    /// Seconds since 1970.
    pub since: u64,
}

pub fn write_list<'s>(sessions: impl Iterator<Item = &'s LoggedIn>) -> String {
    let plain = |text: &str| text.replace(|c: char| c.is_control(), "?");
    sessions
        .map(|session| {
            let remote = session.remote.map_or_else(|| "-".to_owned(), |ip| ip.to_string());
            let tls = if session.tls { "tls" } else { "plain" };
            let (id, user, service) = (plain(&session.id), plain(&session.user), plain(&session.service));
            format!("{id}\t{user}\t{service}\t{remote}\t{tls}\t{}\n", session.since)
        })
        .collect()
}

/// Lines that make no sense are left out.
pub fn parse_list(text: &str) -> impl Iterator<Item = LoggedIn> {
    text.lines().filter_map(|line| {
        let [id, user, service, remote, tls, since] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
        Some(LoggedIn {
            id: id.to_owned(),
            user: user.to_owned(),
            service: service.to_owned(),
            remote: remote.parse().ok(),
            tls: tls == "tls",
            since: since.parse().ok()?,
        })
    })
}

pub fn write_ids<'s>(ids: impl Iterator<Item = &'s str>) -> String {
    ids.map(|id| format!("{id}\n")).collect()
}

pub fn parse_ids(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_back() {
        let session = |id: &str, remote: Option<&str>| LoggedIn {
            id: id.into(),
            user: "ann@x.test".into(),
            service: "imap".into(),
            remote: remote.map(|ip| ip.parse().expect("address")),
            tls: remote.is_some(),
            since: 1_795_431_600,
        };
        let sessions = [session("a1", Some("2001:db8::1")), session("b2", None)];
        assert_eq!(parse_list(&write_list(sessions.iter())).collect::<Vec<_>>(), sessions);
        let ids = write_ids(["a1", "b2"].into_iter());
        assert_eq!(parse_ids(&ids).collect::<Vec<_>>(), ["a1", "b2"]);
        let odd = LoggedIn { user: "a\tb\n".into(), ..session("x", None) };
        assert_eq!(parse_list(&write_list(std::iter::once(&odd))).next().map(|read| read.user).as_deref(), Some("a?b?"));
        assert_eq!(parse_list("a\tb\n\n").count(), 0);
    }
}
