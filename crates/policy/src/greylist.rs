//! Greylisting (`check_greylist`), as postgrey and sqlgrey do it.
//!
//! Who was never heard of is told to come again; what comes again after [`Times::delay_seconds`] and before the end of the retry window is taken,
//! and remembered. What is remembered is the triplet of client, sender and recipient: the client by its network (/24, IPv6 /64), for large
//! senders come back from a neighbour; the addresses without what differs from one try to the next ([`constant_sender`]). A client that came again
//! a few times is known by itself.
//!
//! [`Seen`] is the memory: pure, in bounded space. What waits and what has passed are kept apart, so that a flood of strangers drives out
//! strangers only. Each book has two generations of half its size: whoever is asked for moves to the young one, and when that is full
//! the old one is forgotten, which is as good as the least recently used and costs nothing to keep in order. Losing it costs a delay, never mail.

use crate::access;
use crate::check::{Run, Said, lookup_error};
use crate::codes::reply;
use crate::restriction::Subject;
use crate::{Destination, Policy};
use mail_types::Address;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tables::{Context, Maps};

/// The first line of [`Seen::to_text`].
const VERSION: &str = "facteur-greylist 1";
/// Longer triplets are cut: long senders become one.
const KEY_LIMIT: usize = 400;
/// One success of a client counts for so long (postgrey).
const COUNTED_SECONDS: u64 = 3600;

/// The settings of the section `greylist`, ready for use.
#[derive(Debug)]
pub struct Terms {
    pub(crate) clients: Maps,
    pub(crate) senders: Maps,
    pub(crate) recipients: Maps,
    pub(crate) text: String,
    pub(crate) times: Times,
}

/// The numbers of the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub delay_seconds: u64,
    pub window_seconds: u64,
    pub max_age_seconds: u64,
    /// Successes after which a client is known; 0: never.
    pub client_successes: u32,
}

/// What the memory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Known,
    /// Came again in time, after so many seconds.
    CameAgain(u64),
    /// Is to come again in so many seconds.
    Wait(u64),
}

impl Terms {
    /// Opens the tables of exceptions. Blocks on the disk.
    pub fn new(settings: &config::Greylist, context: &Context) -> Result<Terms, String> {
        let maps =
            |setting: &str, tables: &[String]| Maps::open(&tables.join(", "), context).map_err(|error| format!("{setting}: {error}"));
        Ok(Terms {
            clients: maps("greylist.whitelist_clients", &settings.whitelist_clients)?,
            senders: maps("greylist.whitelist_senders", &settings.whitelist_senders)?,
            recipients: maps("greylist.whitelist_recipients", &settings.whitelist_recipients)?,
            text: settings.text.clone(),
            times: Times {
                delay_seconds: settings.delay.as_secs(),
                window_seconds: settings.retry_window.as_secs(),
                max_age_seconds: settings.max_age.as_secs(),
                client_successes: settings.auto_whitelist_clients,
            },
        })
    }
}

impl Policy {
    /// With a memory for `check_greylist`, which is shared with other services; without one that restriction says nothing.
    pub fn with_greylist(mut self, terms: Arc<Terms>, seen: Arc<Seen>) -> Policy {
        self.greylist = Some((terms, seen));
        self
    }
}

impl Run<'_> {
    /// `check_greylist`. Asked about recipients that would be taken: the others are refused anyway, and need no memory. Whoever has
    /// logged in, or is one of us, has no need to come again.
    pub(crate) async fn greylisted(&self) -> (Said, String) {
        let facts = self.facts;
        let nothing = |why: &str| (Said::Dunno, format!(": {why}"));
        let (Some(client), Some(sender), Some(recipient)) = (facts.client_ip, facts.sender, facts.recipient) else {
            return nothing("there is no client, sender or recipient to remember");
        };
        if facts.login.is_some() || facts.local {
            return nothing("the client is known by its login");
        }
        match self.policy.in_mynetworks(facts).await {
            Ok(false) => {}
            Ok(true) => return nothing("the client is in mynetworks"),
            Err(_) => return (lookup_error(&self.subject_text(Subject::Client)), String::new()),
        }
        if !matches!(facts.destination, Some(Destination::Ours { listed: true, .. })) {
            return nothing("the recipient is none of ours");
        }
        let Some((terms, seen)) = &self.policy.greylist else {
            return nothing("an unknown client would have to come again; only smtpd knows who is known");
        };
        for (subject, maps) in
            [(Subject::Client, &terms.clients), (Subject::Sender, &terms.senders), (Subject::Recipient, &terms.recipients)]
        {
            match access::find(subject, maps, facts, &self.policy.delimiters).await {
                Ok(None) => {}
                Ok(Some(found)) => return nothing(&format!("an exception: {found}")),
                Err(unavailable) => return (lookup_error(&self.subject_text(subject)), format!(": {unavailable}")),
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        match seen.ask(now, client, sender, recipient, &self.policy.delimiters, &terms.times) {
            Answer::Known => nothing("known"),
            Answer::CameAgain(seconds) => {
                tracing::info!(client = %client, to = %recipient, seconds, "greylisted before, came again");
                nothing("came again")
            }
            Answer::Wait(seconds) => {
                let text = terms.text.replace("%s", &seconds.to_string());
                (Said::DeferIfPermit(self.about(Subject::Recipient, reply(450, (2, 0), text))), String::new())
            }
        }
    }
}

/// Who was heard of.
#[derive(Debug)]
pub struct Seen(Mutex<Books>);

#[derive(Debug)]
struct Books {
    /// Triplets that have to come again, with the second of their first try.
    waiting: Book<Box<str>, u64>,
    /// Triplets that came again, with the second when they were last here.
    passed: Book<Box<str>, u64>,
    clients: Book<IpAddr, Client>,
    changed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Client {
    successes: u32,
    /// When the last one was counted, and when it was last here.
    counted: u64,
    last: u64,
}

/// One line for `facteur greylist list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `waiting`, `passed` or `client`.
    pub state: &'static str,
    /// Network of the client, or its address.
    pub client: String,
    pub sender: String,
    pub recipient: String,
    /// The first try of what waits; the last message of the others.
    pub seconds: u64,
    pub successes: u32,
}

impl Seen {
    /// Remembers about so many triplets of each kind, and as many clients.
    pub fn new(entries: usize) -> Seen {
        Seen(Mutex::new(Books { waiting: Book::new(entries), passed: Book::new(entries), clients: Book::new(entries), changed: false }))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Each change is one insertion: a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another limit from now on.
    pub fn set_entries(&self, entries: usize) {
        let mut books = self.books();
        let half = entries.div_ceil(2).max(1);
        (books.waiting.half, books.passed.half, books.clients.half) = (half, half, half);
    }

    /// Whether this message may come now, and remembers that it was here.
    pub fn ask(&self, now: u64, client: IpAddr, sender: Option<&Address>, recipient: &Address, delimiters: &str, times: &Times) -> Answer {
        let address = alone(client);
        let key = key(client, sender, recipient, delimiters);
        let mut books = self.books();
        books.changed = true;
        if let Some(known) = books.clients.get(&address).copied()
            && times.client_successes > 0
            && known.successes >= times.client_successes
            && now.saturating_sub(known.last) <= times.max_age_seconds
        {
            books.clients.put(address, Client { last: now, ..known });
            return Answer::Known;
        }
        if let Some(last) = books.passed.get(&key).copied()
            && now.saturating_sub(last) <= times.max_age_seconds
        {
            books.passed.put(key, now);
            books.count(now, address, times);
            return Answer::Known;
        }
        let waited = books.waiting.get(&key).map(|first| now.saturating_sub(*first));
        match waited {
            Some(age) if age <= times.window_seconds && age < times.delay_seconds => Answer::Wait(times.delay_seconds - age),
            Some(age) if age <= times.window_seconds => {
                books.waiting.remove(&key);
                books.passed.put(key, now);
                books.count(now, address, times);
                Answer::CameAgain(age)
            }
            _ => {
                books.waiting.put(key, now);
                Answer::Wait(times.delay_seconds)
            }
        }
    }

    /// Waiting triplets, passed ones, clients.
    pub fn counts(&self) -> (usize, usize, usize) {
        let books = self.books();
        (books.waiting.len(), books.passed.len(), books.clients.len())
    }

    /// Everything, in no order.
    pub fn lines(&self) -> Vec<Line> {
        let books = self.books();
        let triplets = [("waiting", &books.waiting), ("passed", &books.passed)];
        let triplets = triplets.into_iter().flat_map(|(state, book)| book.iter().map(move |(key, seconds)| triplet(state, key, *seconds)));
        let clients = books.clients.iter().map(|(ip, client)| Line {
            state: "client",
            client: ip.to_string(),
            sender: String::new(),
            recipient: String::new(),
            seconds: client.last,
            successes: client.successes,
        });
        triplets.chain(clients).collect()
    }

    /// Forgets what `wanted` has; says how many.
    pub fn forget(&self, wanted: impl Fn(&Line) -> bool) -> usize {
        let gone: Vec<Line> = self.lines().into_iter().filter(wanted).collect();
        let mut books = self.books();
        books.changed |= !gone.is_empty();
        let was_there = |line: &&Line| {
            let key = format!("{}\t{}\t{}", line.client, line.recipient, line.sender);
            match line.state {
                "waiting" => books.waiting.remove(key.as_str()).is_some(),
                "passed" => books.passed.remove(key.as_str()).is_some(),
                _ => line.client.parse().is_ok_and(|ip: IpAddr| books.clients.remove(&ip).is_some()),
            }
        };
        gone.iter().filter(was_there).count()
    }

    /// What a file may keep, when something has changed since it was last asked for. Lines of `waiting`, `passed` or `client`, a second
    /// and, parted by tabs, network, recipient and sender, or successes and address.
    pub fn to_text(&self) -> Option<String> {
        if !std::mem::take(&mut self.books().changed) {
            return None;
        }
        let mut text = format!("{VERSION}\n");
        for line in self.lines() {
            let Line { state, client, sender, recipient, seconds, successes } = line;
            text.push_str(&match state {
                "client" => format!("{state}\t{seconds}\t{successes}\t{client}\n"),
                _ => format!("{state}\t{seconds}\t{client}\t{recipient}\t{sender}\n"),
            });
        }
        Some(text)
    }

    /// Reads what [`Seen::to_text`] wrote; lines that are no such are passed over and counted.
    pub fn read(&self, text: &str) -> Result<usize, String> {
        let mut lines = text.lines();
        match lines.next() {
            Some(VERSION) => {}
            other => return Err(format!("does not begin with `{VERSION}` but with {:?}", other.unwrap_or_default())),
        }
        let mut books = self.books();
        let read = |books: &mut Books, line: &str| {
            let (state, rest) = line.split_once('\t')?;
            let (seconds, rest) = rest.split_once('\t')?;
            let seconds = seconds.parse().ok()?;
            match state {
                "waiting" => books.waiting.put(rest.into(), seconds),
                "passed" => books.passed.put(rest.into(), seconds),
                "client" => {
                    let (successes, ip) = rest.split_once('\t')?;
                    let client = Client { successes: successes.parse().ok()?, counted: seconds, last: seconds };
                    books.clients.put(ip.parse().ok()?, client);
                }
                _ => return None,
            }
            Some(())
        };
        Ok(lines.filter(|line| read(&mut books, line).is_none()).count())
    }
}

impl Books {
    /// A message of the client has passed.
    fn count(&mut self, now: u64, client: IpAddr, times: &Times) {
        let known = self.clients.get(&client).copied().filter(|known| now.saturating_sub(known.last) <= times.max_age_seconds);
        let counted = match known {
            None => Client { successes: 1, counted: now, last: now },
            Some(known) if now.saturating_sub(known.counted) >= COUNTED_SECONDS => {
                Client { successes: known.successes.saturating_add(1), counted: now, last: now }
            }
            Some(known) => Client { last: now, ..known },
        };
        self.clients.put(client, counted);
    }
}

/// A map of bounded size that forgets what was not asked for longest, more or less.
#[derive(Debug)]
struct Book<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Hash + Eq, V> Book<K, V> {
    fn new(entries: usize) -> Book<K, V> {
        Book { young: HashMap::new(), old: HashMap::new(), half: entries.div_ceil(2).max(1) }
    }

    fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn put(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// The old ones first, so that reading it again keeps the order.
    fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.old.iter().chain(&self.young)
    }
}

/// The addresses last: what is cut off is the end of the sender.
fn key(client: IpAddr, sender: Option<&Address>, recipient: &Address, delimiters: &str) -> Box<str> {
    let recipient = recipient.split_detail(delimiters).map_or_else(|| recipient.clone(), |(user, _)| user);
    let sender = sender.map(constant_sender).unwrap_or_default();
    let mut key = format!("{}\t{}\t{sender}", network(client), recipient.to_string().to_lowercase());
    if key.len() > KEY_LIMIT {
        key.truncate((0..=KEY_LIMIT).rev().find(|at| key.is_char_boundary(*at)).unwrap_or(0));
    }
    key.into()
}

fn triplet(state: &'static str, key: &str, seconds: u64) -> Line {
    let mut parts = key.splitn(3, '\t').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Line { state, client: next(), recipient: next(), sender: next(), seconds, successes: 0 }
}

/// The part of a sender that stays the same from one try to the next, and from one message of a list to the next:
///
/// - BATV and SRS (`prvs=0123abcdef=ann`, `SRS0=hash=time=domain=user`) lose their tags;
/// - an extension is cut off (`list+ann=here.test`), whichever delimiter the other side has;
/// - words with digits become `#` (`bounce-4711-17@`, message numbers in VERP addresses).
fn constant_sender(sender: &Address) -> String {
    let local = sender.local().to_lowercase();
    let mut rest = local.as_str();
    if let Some(signed) = rest.strip_prefix("prvs=") {
        // draft-levine-smtp-batv-01 §4: the tag first; some put it behind, with a slash.
        rest = signed.split_once(['=', '/']).map_or(signed, |(a, b)| if is_batv_tag(a) { b } else { a });
    } else if rest.starts_with("srs0") || rest.starts_with("srs1") {
        // The address that was rewritten stands at the end, as `domain=user`.
        let from = rest.rmatch_indices('=').nth(1).map_or(0, |(at, _)| at + 1);
        rest = &rest[from..];
    }
    let rest = match rest.find('+') {
        Some(at) if at > 0 => &rest[..at],
        _ => rest,
    };
    let mut constant = String::with_capacity(local.len());
    for word in rest.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let (word, end) = match word.char_indices().next_back() {
            Some((at, c)) if !c.is_alphanumeric() => word.split_at(at),
            _ => (word, ""),
        };
        constant.push_str(if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
        constant.push_str(end);
    }
    format!("{constant}@{}", sender.domain())
}

/// KDDDSSSSSS: digits of key and day, and six hexadecimal ones.
fn is_batv_tag(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|b| b.is_ascii_hexdigit()) && text.bytes().take(4).all(|b| b.is_ascii_digit())
}

/// `192.0.2.0/24`, `2001:db8::/64`.
fn network(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            format!("{}/24", Ipv4Addr::new(a, b, c, 0))
        }
        ip => format!("{}/64", alone(ip)),
    }
}

/// One client; it has a whole /64 of IPv6.
fn alone(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { delay_seconds: 300, window_seconds: 172_800, max_age_seconds: 3_024_000, client_successes: 2 };

    fn address(text: &str) -> Address {
        Address::parse(text).expect("address")
    }

    fn ask(seen: &Seen, now: u64, client: &str, sender: &str, recipient: &str) -> Answer {
        let sender = (!sender.is_empty()).then(|| address(sender));
        seen.ask(now, client.parse().expect("ip"), sender.as_ref(), &address(recipient), "+", &TIMES)
    }

    #[test]
    fn a_stranger_comes_again_in_time_and_is_known_from_then_on() {
        let seen = Seen::new(100);
        for (now, client, sender, recipient, want) in [
            (1000, "192.0.2.1", "a@x.test", "ann@here.test", Answer::Wait(300)),
            (1001, "192.0.2.1", "a@x.test", "ann@here.test", Answer::Wait(299)),
            // The clock was set back.
            (900, "192.0.2.1", "a@x.test", "ann@here.test", Answer::Wait(300)),
            // Another recipient, another sender, another network: strangers all.
            (1300, "192.0.2.1", "a@x.test", "bob@here.test", Answer::Wait(300)),
            (1300, "192.0.2.1", "", "ann@here.test", Answer::Wait(300)),
            (1300, "192.0.3.1", "a@x.test", "ann@here.test", Answer::Wait(300)),
            // From a neighbour, with an extension.
            (1300, "192.0.2.200", "a+17@x.test", "Ann+lists@here.test", Answer::CameAgain(300)),
            (1301, "192.0.2.1", "a@x.test", "ann@here.test", Answer::Known),
            // Too late, and then in time.
            (1300 + 172_801, "192.0.3.1", "a@x.test", "ann@here.test", Answer::Wait(300)),
            (1300 + 173_200, "192.0.3.1", "a@x.test", "ann@here.test", Answer::CameAgain(399)),
            // Forgotten.
            (1301 + 3_024_001, "192.0.2.1", "a@x.test", "ann@here.test", Answer::Wait(300)),
            (1000, "2001:db8::1", "a@x.test", "ann@here.test", Answer::Wait(300)),
            (1400, "2001:db8::2:1", "a@x.test", "ann@here.test", Answer::CameAgain(400)),
            (1400, "2001:db8:0:1::1", "a@x.test", "ann@here.test", Answer::Wait(300)),
        ] {
            assert_eq!(ask(&seen, now, client, sender, recipient), want, "{client} {sender} {recipient} at {now}");
        }
    }

    #[test]
    fn a_client_that_came_again_often_is_known_by_itself() {
        let seen = Seen::new(100);
        for (now, sender, want) in [
            (0, "a@x.test", Answer::Wait(300)),
            (300, "a@x.test", Answer::CameAgain(300)),
            // Counted once an hour.
            (400, "a@x.test", Answer::Known),
            (401, "b@x.test", Answer::Wait(300)),
            (3900, "a@x.test", Answer::Known),
            (3901, "c@x.test", Answer::Known),
            (3902 + 3_024_000, "d@x.test", Answer::Wait(300)),
        ] {
            assert_eq!(ask(&seen, now, "192.0.2.1", sender, "ann@here.test"), want, "{sender} at {now}");
        }
        assert_eq!(ask(&seen, 3902, "192.0.2.2", "c@x.test", "ann@here.test"), Answer::Wait(300));
    }

    #[test]
    fn what_differs_between_tries_does_not_count() {
        for (sender, want) in [
            ("Ann@X.test", "ann@x.test"),
            ("prvs=1234abcdef=ann@x.test", "ann@x.test"),
            ("prvs=ann/1234abcdef@x.test", "ann@x.test"),
            ("SRS0=HHHH=TT=other.test=ann@x.test", "other.test=ann@x.test"),
            ("SRS0+HHHH=TT=other.test=ann@x.test", "other.test=ann@x.test"),
            ("SRS1=HHHH=first.test==HHH=TT=other.test=ann@x.test", "other.test=ann@x.test"),
            ("list+bob=here.test@x.test", "list@x.test"),
            ("list-return-4711-bob=here.test@x.test", "list-return-#-bob=here.test@x.test"),
            ("0102018c2f3e-7a1b-4c2d-000000@mail.test", "#-#-#-#@mail.test"),
            ("bounces.ab12cd@x.test", "bounces.#@x.test"),
            ("+x@x.test", "+x@x.test"),
            ("prvs=@x.test", "@x.test"),
            ("\"a b\"@x.test", "a b@x.test"),
        ] {
            let Ok(parsed) = Address::parse(sender) else { continue };
            assert_eq!(constant_sender(&parsed), want, "{sender}");
        }
    }

    #[test]
    fn memory_is_bounded_and_strangers_drive_out_strangers_only() {
        let seen = Seen::new(1000);
        ask(&seen, 0, "203.0.113.1", "a@x.test", "ann@here.test");
        ask(&seen, 300, "203.0.113.1", "a@x.test", "ann@here.test");
        for n in 0..10_000_u32 {
            let ip = IpAddr::from((n << 8).to_be_bytes()).to_string();
            ask(&seen, 301, &ip, &format!("a{}@x.test", "y".repeat(60)), "ann@here.test");
        }
        assert_eq!(ask(&seen, 302, "203.0.113.1", "a@x.test", "ann@here.test"), Answer::Known);
        let (waiting, passed, clients) = seen.counts();
        assert!(waiting <= 1000 && passed == 1 && clients == 1, "{waiting} {passed} {clients}");
    }

    #[test]
    fn what_is_written_is_read_again_and_rubbish_is_passed_over() {
        let seen = Seen::new(100);
        assert_eq!(seen.to_text(), None);
        for (now, sender) in [(0, "a@x.test"), (300, "a@x.test"), (300, "b@x.test"), (301, "")] {
            ask(&seen, now, "192.0.2.1", sender, "ann@here.test");
        }
        let text = seen.to_text().expect("changed");
        assert_eq!(seen.to_text(), None);
        let again = Seen::new(100);
        assert_eq!(again.read(&format!("{text}rubbish\nwaiting\tx\ny\npassed\t5")), Ok(4));
        let sorted = |seen: &Seen| {
            let mut lines = seen.lines();
            lines.sort_by_key(|line| format!("{line:?}"));
            lines
        };
        assert_eq!(sorted(&again), sorted(&seen));
        assert_eq!(ask(&again, 302, "192.0.2.9", "a@x.test", "ann@here.test"), Answer::Known);
        assert!(again.read("other 7\n").is_err());
        assert_eq!(again.forget(|line| line.sender == "a@x.test"), 1);
        assert_eq!(ask(&again, 303, "192.0.2.9", "a@x.test", "ann@here.test"), Answer::Wait(300));
        let (waiting, passed, clients) = again.counts();
        assert_eq!(again.forget(|_| true), waiting + passed + clients);
        assert_eq!(again.counts(), (0, 0, 0));
    }
}
