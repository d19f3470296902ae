//! `facteur who` and `facteur kick`: sessions of imapd, pop3d and smtpd.

use crate::cli::Globals;
use crate::table;
use anyhow::bail;
use ipc::control::{ControlClient, ControlError};
use ipc::session::{LoggedIn, parse_list, write_ids};
use mail_types::printable;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Those that people log in at.
const DAEMONS: [&str; 3] = ["imapd", "pop3d", "smtpd"];

/// Show who is logged in, and from where
#[derive(Debug, clap::Args)]
pub struct Who {
    /// A line for each session
    #[arg(short = '1', long)]
    each: bool,
    #[command(flatten)]
    which: Which,
}

/// End sessions; the clients may come back
#[derive(Debug, clap::Args)]
pub struct Kick {
    /// The sessions with these ids, as `who --each` and the log have them
    #[arg(long, value_name = "ID", conflicts_with = "account")]
    session: Vec<String>,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Only this account; * and ? stand for others
    #[arg(value_name = "USER")]
    account: Option<String>,
    /// Only from this address or network (192.0.2.1, 192.0.2.0/24)
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Only this service: imap, pop3, or the name of one of smtpd's, such as submission
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
}

impl Which {
    fn filter(&self) -> anyhow::Result<impl Fn(&LoggedIn) -> bool> {
        let network = self.from.as_deref().map(network).transpose()?;
        Ok(move |session: &LoggedIn| {
            self.account.as_ref().is_none_or(|mask| crate::mail::fits(mask, &session.user))
                && self.service.as_ref().is_none_or(|service| *service == session.service)
                && network.is_none_or(|network| session.remote.is_some_and(|ip| holds(network, ip)))
        })
    }
}

fn network(text: &str) -> anyhow::Result<(IpAddr, u8)> {
    let wrong = || crate::usage::Usage::error(format!("{} is no address and no network", printable(text)));
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(longest), str::parse).map_err(|_| wrong())?;
    if bits > longest { Err(wrong()) } else { Ok((address, bits)) }
}

fn holds((network, bits): (IpAddr, u8), ip: IpAddr) -> bool {
    let same = |a: u128, b: u128, width: u8| bits == 0 || (a ^ b) >> (width - bits) == 0;
    match (network, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

/// The sessions of each daemon that runs.
async fn sessions(globals: &Globals) -> anyhow::Result<Vec<(ControlClient, Vec<LoggedIn>)>> {
    let config = globals.settings()?;
    let mut found = Vec::new();
    for daemon in DAEMONS {
        let mut client = match ControlClient::connect(&config.socket("control").join(daemon)).await {
            Ok(client) => client,
            // nobody is logged in where nothing runs
            Err(ControlError::Unreachable(_, error)) if error.kind() != std::io::ErrorKind::PermissionDenied => continue,
            Err(error) => return Err(error.into()),
        };
        let text = client.command_text("session.list", "").await?;
        found.push((client, parse_list(&text).collect()));
    }
    Ok(found)
}

pub async fn who(globals: Globals, arguments: Who) -> anyhow::Result<ExitCode> {
    let wanted = arguments.which.filter()?;
    let mut all: Vec<LoggedIn> = sessions(&globals).await?.into_iter().flat_map(|(_, sessions)| sessions).filter(wanted).collect();
    all.sort_by(|a, b| (&a.user, &a.service, a.since).cmp(&(&b.user, &b.service, b.since)));
    if globals.json {
        let rows: Vec<Value> = all.iter().map(row).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else if arguments.each {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let rows = all.iter().map(|session| {
            let age = table::age(now.saturating_sub(session.since));
            vec![session.user.clone(), session.service.clone(), address(session), tls(session).into(), age, session.id.clone()]
        });
        table::print(&["user", "service", "address", "tls", "since", "session"], rows);
    } else {
        let mut groups: BTreeMap<(&str, &str), (usize, BTreeSet<String>)> = BTreeMap::new();
        for session in &all {
            let (count, addresses) = groups.entry((&session.user, &session.service)).or_default();
            *count += 1;
            addresses.insert(address(session));
        }
        let rows = groups.into_iter().map(|((user, service), (count, addresses))| {
            vec![user.to_owned(), count.to_string(), service.to_owned(), addresses.into_iter().collect::<Vec<_>>().join(" ")]
        });
        table::print(&["user", "sessions", "service", "addresses"], rows);
    }
    Ok(ExitCode::SUCCESS)
}

fn address(session: &LoggedIn) -> String {
    session.remote.map_or_else(|| "local".into(), |ip| ip.to_string())
}

fn tls(session: &LoggedIn) -> &'static str {
    if session.tls { "yes" } else { "no" }
}

fn row(session: &LoggedIn) -> Value {
    json!({
        "session": session.id,
        "user": session.user,
        "service": session.service,
        "address": session.remote.map(|ip| ip.to_string()),
        "tls": session.tls,
        "since": session.since,
    })
}

/// Ends what an account has open, as far as we may; for commands that put other mail in the place of what clients see.
pub async fn end_sessions(globals: &Globals, user: &str) {
    let Ok(found) = sessions(globals).await else { return };
    for (mut client, sessions) in found {
        let of_user = sessions.iter().filter(|session| session.user == user && session.service != "submission");
        let ids = write_ids(of_user.map(|session| session.id.as_str()));
        if !ids.is_empty() {
            let _ = client.command("session.kick", &ids).await;
        }
    }
}

pub async fn kick(globals: Globals, arguments: Kick) -> anyhow::Result<ExitCode> {
    let which = &arguments.which;
    if which.account.is_none() && which.from.is_none() && which.service.is_none() && arguments.session.is_empty() {
        return Err(crate::usage::Usage::error("whose sessions? USER ('*': all), --from, --service or --session"));
    }
    let wanted = which.filter()?;
    let mut kicked = Vec::new();
    for (mut client, sessions) in sessions(&globals).await? {
        let by_id = |session: &LoggedIn| arguments.session.is_empty() || arguments.session.contains(&session.id);
        let doomed: Vec<LoggedIn> = sessions.into_iter().filter(|session| wanted(session) && by_id(session)).collect();
        if !doomed.is_empty() {
            client.command("session.kick", &write_ids(doomed.iter().map(|session| session.id.as_str()))).await?;
            kicked.extend(doomed);
        }
    }
    if globals.json {
        println!("{}", serde_json::to_string_pretty(&kicked.iter().map(row).collect::<Vec<_>>())?);
    } else {
        kicked.iter().for_each(|session| println!("{} {} {}", printable(&session.user), session.service, address(session)));
    }
    if kicked.is_empty() {
        bail!("no session was meant");
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        for (text, ip, want) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.0/24", "192.0.2.200", true),
            ("192.0.2.0/24", "192.0.3.1", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("::/0", "2001:db8::1", true),
        ] {
            assert_eq!(holds(network(text).expect(text), ip.parse().expect(ip)), want, "{text} {ip}");
        }
        for text in ["", "x", "192.0.2.1/33", "192.0.2.1/x"] {
            assert!(network(text).is_err(), "{text}");
        }
    }
}
