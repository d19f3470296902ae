//! Before the greeting (Postfix postscreen): who speaks before it is greeted, and whom DNS lists have.
//!
//! A mail server waits for the greeting; many a program that only sends does not. An unknown client is given the first line of the greeting and
//! waits for the second. Meanwhile DNS lists are asked. Whoever passed is remembered, in bounded memory.

use crate::server::Server;
use crate::service::Service;
use config::ScreenAction;
use daemon::{Peer, Stream};
use dns::lists::{Listing, Lists, Subject};
use mail_types::Reply;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Clients that are remembered, at most twice as many.
const PASSED: usize = 50_000;
/// What an early client is read of.
const EARLY_LIMIT: usize = 512;

/// What came out.
pub(crate) enum Screened {
    /// What the client has said already, to be taken after the greeting; and the refusal it gets at RCPT.
    Goes(Vec<u8>, Option<Reply>),
    /// It is told this and sent away.
    Leaves(Reply),
    /// It went by itself.
    Gone,
}

/// Who has passed, until when. Two generations, as in `dns`.
#[derive(Default)]
pub(crate) struct Passed(Mutex<(HashMap<IpAddr, Instant>, HashMap<IpAddr, Instant>)>);

impl Passed {
    fn has(&self, ip: IpAddr, now: Instant) -> bool {
        let generations = self.0.lock();
        [&generations.0, &generations.1].into_iter().any(|known| known.get(&ip).is_some_and(|until| *until > now))
    }

    fn add(&self, ip: IpAddr, until: Instant) {
        let mut generations = self.0.lock();
        if generations.0.len() >= PASSED {
            generations.1 = std::mem::take(&mut generations.0);
        }
        generations.0.insert(ip, until);
    }
}

/// Tests a client, if it is to be tested.
pub(crate) async fn screen(server: &Server, service: &Service, stream: &mut Stream, peer: &Peer, under_load: bool) -> Screened {
    let smtpd = &service.smtpd;
    let asks = !smtpd.postscreen_dnsbl_sites.is_empty();
    let waits = smtpd.postscreen_greet_action != ScreenAction::Ignore;
    let trusted = async |ip| matches!(service.mynetworks.contains(ip).await, Ok(true));
    let Some(ip) = peer.ip().filter(|_| (asks || waits) && !service.wrapped && !smtpd.smtpd_sasl_auth_enable) else {
        return Screened::Goes(Vec::new(), None);
    };
    if server.passed.has(ip, Instant::now()) || trusted(ip).await {
        return Screened::Goes(Vec::new(), None);
    }
    let wait = if under_load { smtpd.postscreen_greet_wait / 3 } else { smtpd.postscreen_greet_wait };
    let lists = async {
        if asks {
            tokio::time::timeout(smtpd.postscreen_dnsbl_timeout, score(&server.dns_lists, service, ip)).await.unwrap_or_default()
        } else {
            Score::default()
        }
    };
    let greeting = async { if waits { greet(stream, &service.hostname, &smtpd.smtpd_banner, wait).await } else { Some(Vec::new()) } };
    let (early, score) = tokio::join!(greeting, lists);
    let Some(early) = early else { return Screened::Gone };
    judge(server, service, ip, early, &score)
}

fn judge(server: &Server, service: &Service, ip: IpAddr, early: Vec<u8>, score: &Score) -> Screened {
    let smtpd = &service.smtpd;
    let mut refusal = None;
    if !early.is_empty() {
        tracing::info!(early = %mail_types::printable(&String::from_utf8_lossy(&early)), "the client spoke before it was greeted");
        match smtpd.postscreen_greet_action {
            ScreenAction::Drop => return Screened::Leaves(Reply::with(521, (5, 5, 1), "Protocol error")),
            ScreenAction::Enforce => refusal = Some(Reply::with(550, (5, 5, 1), "Protocol error")),
            ScreenAction::Ignore => {}
        }
    }
    if score.sum >= i64::from(smtpd.postscreen_dnsbl_threshold) {
        tracing::info!(score = score.sum, lists = score.lists.join(" "), "DNS lists have the client");
        let text = format!("Service unavailable; client [{ip}] blocked using {}", score.lists.first().map_or("", String::as_str));
        match smtpd.postscreen_dnsbl_action {
            ScreenAction::Drop => return Screened::Leaves(Reply::with(521, (5, 7, 1), text)),
            ScreenAction::Enforce => refusal = refusal.or(Some(Reply::with(550, (5, 7, 1), text))),
            ScreenAction::Ignore => {}
        }
    } else if early.is_empty() {
        let asks = !smtpd.postscreen_dnsbl_sites.is_empty();
        let waits = smtpd.postscreen_greet_action != ScreenAction::Ignore;
        let times = [(asks, smtpd.postscreen_dnsbl_ttl), (waits, smtpd.postscreen_greet_ttl)];
        let time = times.into_iter().filter(|(holds, _)| *holds).map(|(_, time)| time).min().unwrap_or_default();
        server.passed.add(ip, Instant::now() + time);
    }
    Screened::Goes(early, refusal)
}

/// Says the first line of the greeting and waits. What the client says meanwhile; `None` when it is gone.
async fn greet(stream: &mut Stream, hostname: &str, banner: &str, wait: Duration) -> Option<Vec<u8>> {
    let line = format!("220-{hostname} {banner}\r\n");
    stream.write_all(line.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    let mut early = vec![0; EARLY_LIMIT];
    match tokio::time::timeout(wait, stream.read(&mut early)).await {
        Err(_) => Some(Vec::new()),
        Ok(Ok(count)) if count > 0 => {
            early.truncate(count);
            Some(early)
        }
        Ok(_) => None,
    }
}

#[derive(Debug, Default)]
struct Score {
    sum: i64,
    /// Those that speak against the client.
    lists: Vec<String>,
}

async fn score(lists: &Arc<Lists>, service: &Service, ip: IpAddr) -> Score {
    let mut asked = tokio::task::JoinSet::new();
    for site in service.screen_sites.iter().cloned() {
        let lists = lists.clone();
        asked.spawn(async move { (lists.ask(&site, Subject::Address(ip), Instant::now()).await, site) });
    }
    let mut score = Score::default();
    while let Some(answered) = asked.join_next().await {
        if let Ok((Listing::Listed { .. }, site)) = answered {
            score.sum += i64::from(site.weight);
            if site.weight > 0 {
                score.lists.push(site.domain);
            }
        }
    }
    score
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_passed_is_known_for_its_time_and_memory_is_bounded() {
        let passed = Passed::default();
        let now = Instant::now();
        let ip = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..200_000 {
            passed.add(ip(n), now + Duration::from_secs(10));
        }
        assert!(passed.has(ip(199_999), now) && !passed.has(ip(0), now));
        assert!(!passed.has(ip(199_999), now + Duration::from_secs(10)));
        let generations = passed.0.lock();
        assert!(generations.0.len() + generations.1.len() <= 2 * PASSED);
    }
}
