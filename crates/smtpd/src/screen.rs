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
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Clients that are remembered, at most twice as many.
const PASSED: usize = 50_000;
/// What an early client is read of.
const EARLY_LIMIT: usize = 512;

/// How long a client has passed when not every list answered.
const IN_PART: Duration = Duration::from_secs(60);

/// What came out.
pub(crate) enum Screened {
    /// What the client has said already, to be taken after the greeting; and the refusal it gets at RCPT.
    Goes(Vec<u8>, Option<Reply>),
    /// It is told this and sent away.
    Leaves(Reply),
    /// It went by itself.
    Gone,
}

/// Who has passed which test, until when. Two generations, as in `dns`.
#[derive(Default)]
pub(crate) struct Passed(Mutex<(Generation, Generation)>);

type Generation = HashMap<(IpAddr, Test), Instant>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Test {
    Greeting,
    /// Of these lists.
    Lists(u64),
}

impl Passed {
    fn has(&self, ip: IpAddr, test: Test, now: Instant) -> bool {
        let generations = self.0.lock();
        [&generations.0, &generations.1].into_iter().any(|known| known.get(&(ip, test)).is_some_and(|until| *until > now))
    }

    fn add(&self, ip: IpAddr, test: Test, until: Instant) {
        let mut generations = self.0.lock();
        if generations.0.len() >= PASSED {
            generations.1 = std::mem::take(&mut generations.0);
        }
        generations.0.insert((ip, test), until);
    }
}

/// The test of the lists of a service: other lists, another test.
fn test_of(sites: &[String]) -> Test {
    let mut hasher = std::hash::DefaultHasher::new();
    sites.hash(&mut hasher);
    Test::Lists(hasher.finish())
}

/// Tests a client, if it is to be tested.
pub(crate) async fn screen(server: &Server, service: &Service, stream: &mut Stream, peer: &Peer, under_load: bool) -> Screened {
    let smtpd = &service.smtpd;
    let Some(ip) = peer.ip().filter(|_| !service.wrapped && !smtpd.smtpd_sasl_auth_enable) else {
        return Screened::Goes(Vec::new(), None);
    };
    let now = Instant::now();
    let lists = test_of(&smtpd.postscreen_dnsbl_sites);
    let asks = !smtpd.postscreen_dnsbl_sites.is_empty() && !server.passed.has(ip, lists, now);
    let waits = smtpd.postscreen_greet_action != ScreenAction::Ignore && !server.passed.has(ip, Test::Greeting, now);
    if (!asks && !waits) || matches!(service.mynetworks.contains(ip).await, Ok(true)) {
        return Screened::Goes(Vec::new(), None);
    }
    let wait = if under_load { smtpd.postscreen_greet_wait / 3 } else { smtpd.postscreen_greet_wait };
    let score = async { if asks { score(&server.dns_lists, service, ip, smtpd.postscreen_dnsbl_timeout).await } else { Score::default() } };
    let greeting = async { if waits { greet(stream, &service.hostname, &smtpd.smtpd_banner, wait).await } else { Some(Vec::new()) } };
    let (early, score) = tokio::join!(greeting, score);
    let Some(early) = early else { return Screened::Gone };
    let verdict = judge(service, ip, early, &score);
    if matches!(&verdict, Screened::Goes(early, None) if early.is_empty()) && score.sum < i64::from(smtpd.postscreen_dnsbl_threshold) {
        let now = Instant::now();
        if waits {
            server.passed.add(ip, Test::Greeting, now + smtpd.postscreen_greet_ttl);
        }
        if asks {
            // A list that did not answer may have the client.
            let time = if score.is_whole { smtpd.postscreen_dnsbl_ttl } else { smtpd.postscreen_dnsbl_ttl.min(IN_PART) };
            server.passed.add(ip, lists, now + time);
        }
    }
    verdict
}

fn judge(service: &Service, ip: IpAddr, early: Vec<u8>, score: &Score) -> Screened {
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
    /// Every list has answered.
    is_whole: bool,
}

/// What the lists say that answer within `patience`.
async fn score(lists: &Arc<Lists>, service: &Service, ip: IpAddr, patience: Duration) -> Score {
    let mut asked = tokio::task::JoinSet::new();
    for site in service.screen_sites.iter().cloned() {
        let lists = lists.clone();
        asked.spawn(async move { (lists.ask(&site, Subject::Address(ip), Instant::now()).await, site) });
    }
    let mut score = Score { is_whole: true, ..Score::default() };
    let late = tokio::time::sleep(patience);
    tokio::pin!(late);
    loop {
        let answered = tokio::select! {
            answered = asked.join_next() => answered,
            () = &mut late => return Score { is_whole: false, ..score },
        };
        match answered {
            None => return score,
            Some(Ok((Listing::Listed { .. }, site))) => {
                score.sum += i64::from(site.weight);
                if site.weight > 0 {
                    score.lists.push(site.domain);
                }
            }
            Some(Ok((Listing::NotListed, _))) => {}
            Some(Ok((Listing::Temporary | Listing::Unusable, _)) | Err(_)) => score.is_whole = false,
        }
    }
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
            passed.add(ip(n), Test::Greeting, now + Duration::from_secs(10));
        }
        assert!(passed.has(ip(199_999), Test::Greeting, now) && !passed.has(ip(0), Test::Greeting, now));
        assert!(!passed.has(ip(199_999), Test::Greeting, now + Duration::from_secs(10)));
        assert!(!passed.has(ip(199_999), test_of(&["l.test".into()]), now), "another test");
        assert_ne!(test_of(&["l.test".into()]), test_of(&["m.test".into()]));
        let generations = passed.0.lock();
        assert!(generations.0.len() + generations.1.len() <= 2 * PASSED);
    }
}
