//! Takes the letters that `sendmail` left in `maildrop` and hands them to smtpd, as soon as that answers.
//!
//! smtpd stays the only way in: its restrictions, its limits and its journal hold for these letters too. What it refuses for good comes
//! back to the sender, since nobody waits for an exit code any more. The file goes once smtpd has said 250; a crash in between
//! hands the letter in again (`sendmail::maildrop` says how the two are known), a bounce or a removal that fails does not.
//! Owners take turns: whoever has many letters there, or letters that wait, does not delay those of others.

use config::Config;
use daemon::{Reloadable, Shutdown};
use mail_types::{Address, EnhancedCode, QueueId, Reply, printable};
use message::Date;
use message::dsn::{Action, Dsn, Status};
use sendmail::Letter;
use sendmail::maildrop::{self, Kept};
use sendmail::submit::{Failure, Partly, Submitted, submit};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// A letter that smtpd cannot judge waits so long at first, and never longer than that.
const WAIT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
/// What nobody has finished for so long is nobody's.
const UNFINISHED: Duration = Duration::from_secs(86_400);
/// Letters of one owner that are looked at in one round, beside those whose time has not come.
const ROUND: usize = 1000;
/// A round ends after this time, so that what has come meanwhile gets its turn.
const ROUND_TIME: Duration = Duration::from_secs(10);
/// Letters whose waits are remembered; what goes beyond is tried in each round.
const REMEMBERED: usize = 100_000;

/// How long the program's end waits for the letter in hand.
const LAST: Duration = Duration::from_secs(2);

/// Recipients that were refused, by their place.
type Refused = Vec<(usize, Reply)>;

/// What one letter came to.
#[derive(Debug)]
enum Fate {
    Gone,
    /// smtpd is away, so the others need not be tried.
    Away,
    Later,
    /// smtpd has it, and must not get it again. What is left: to tell the sender who was refused, and to remove it.
    Taken(Refused),
}

/// What is remembered from round to round.
#[derive(Debug, Default)]
struct Memory {
    waiting: HashMap<String, Waiting>,
    /// Whose letter was the last. The next round begins with the next owner.
    last: u32,
}

/// A letter that was tried.
#[derive(Debug)]
struct Waiting {
    until: Instant,
    pause: Duration,
    taken: Option<Refused>,
}

impl Memory {
    fn waits(&mut self, name: String, taken: Option<Refused>) {
        let pause = self.waiting.get(&name).map_or(WAIT.0, |before| (before.pause * 2).min(WAIT.1));
        if taken.is_some() || self.waiting.len() < REMEMBERED {
            self.waiting.insert(name, Waiting { until: Instant::now() + pause, pause, taken });
        }
    }
}

/// A letter that may be tried now.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Due {
    name: String,
    owner: u32,
    tried: bool,
}

/// Owners take turns, beginning with the one after `last`; of each the letters that were not tried yet go first, the oldest first.
fn in_turns(due: Vec<Due>, last: u32) -> Vec<Due> {
    let mut owners: BTreeMap<(bool, u32), Vec<Due>> = BTreeMap::new();
    for letter in due {
        owners.entry((letter.owner <= last, letter.owner)).or_default().push(letter);
    }
    let mut turns: Vec<_> = owners
        .into_values()
        .map(|mut letters| {
            // Names begin with the second, in hexadecimal digits without leading zeros.
            letters.sort_by(|a, b| (a.tried, a.name.len(), &a.name).cmp(&(b.tried, b.name.len(), &b.name)));
            letters.into_iter()
        })
        .collect();
    let mut order = Vec::new();
    while !turns.is_empty() {
        turns.retain_mut(|letters| letters.next().map(|letter| order.push(letter)).is_some());
    }
    order
}

/// Runs until the program stops.
pub async fn run(config: Reloadable<Config>, stop: Shutdown) {
    let stopping = Arc::new(AtomicBool::new(false));
    let mut memory = Memory::default();
    loop {
        let (settings, told) = (config.get(), stopping.clone());
        let mut round = tokio::task::spawn_blocking(move || {
            round(&settings, &mut memory, &told);
            memory
        });
        memory = tokio::select! {
            done = &mut round => done.unwrap_or_default(),
            () = stop.wait() => {
                // The letter in hand may come to its end, so that it is not handed in twice.
                stopping.store(true, Ordering::Relaxed);
                let _ = tokio::time::timeout(LAST, round).await;
                return;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.wait() => return,
        }
    }
}

fn round(config: &Config, memory: &mut Memory, stopping: &AtomicBool) {
    let desk = Desk::new(config);
    let due = match desk.look(memory) {
        Ok(due) => due,
        Err(error) => return tracing::error!(folder = %desk.folder.display(), %error, "cannot be looked at"),
    };
    let began = Instant::now();
    for Due { name, owner, .. } in in_turns(due, memory.last) {
        if stopping.load(Ordering::Relaxed) || began.elapsed() > ROUND_TIME {
            return;
        }
        memory.last = owner;
        let taken = memory.waiting.get_mut(&name).and_then(|before| before.taken.take());
        match desk.pick(&name, taken) {
            Fate::Gone => drop(memory.waiting.remove(&name)),
            Fate::Away => return,
            Fate::Later => memory.waits(name, None),
            Fate::Taken(refused) => memory.waits(name, Some(refused)),
        }
    }
}

struct Desk<'a> {
    config: &'a Config,
    folder: PathBuf,
    socket: PathBuf,
}

impl Desk<'_> {
    fn new(config: &Config) -> Desk<'_> {
        let folder = config.main.spool_directory.join("maildrop");
        let listen = config.services.get("submit").map(|service| service.listener.listen.as_slice()).unwrap_or_default();
        let unix = listen.iter().find_map(|endpoint| match endpoint {
            config::Endpoint::Unix(path) => Some(path.clone()),
            config::Endpoint::Tcp(_) => None,
        });
        Desk { config, folder, socket: unix.unwrap_or_else(|| config.socket("submit")) }
    }

    /// Finished letters that may be tried now. Removes what was left unfinished long ago, and forgets what is gone.
    fn look(&self, memory: &mut Memory) -> io::Result<Vec<Due>> {
        let (mut due, mut seen) = (Vec::new(), HashSet::new());
        let mut of_owner: HashMap<u32, usize> = HashMap::new();
        let now = Instant::now();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let before = memory.waiting.get(&name);
            if before.is_some() {
                seen.insert(name.clone());
            }
            if maildrop::is_letter(&name) && before.is_none_or(|before| before.until <= now) {
                let Ok(found) = entry.metadata() else { continue };
                let count = of_owner.entry(found.uid()).or_default();
                *count += 1;
                if *count <= ROUND {
                    due.push(Due { name, owner: found.uid(), tried: before.is_some() });
                }
            } else if maildrop::is_unfinished(&name) {
                // Just finished, or given up, by its writer: then there is nothing to do.
                let Ok(found) = entry.metadata() else { continue };
                if found.modified()?.elapsed().unwrap_or_default() > UNFINISHED {
                    tracing::info!(file = name, "an unfinished letter is removed");
                    std::fs::remove_file(entry.path())?;
                }
            }
        }
        memory.waiting.retain(|name, _| seen.contains(name));
        Ok(due)
    }

    /// `taken`: smtpd has it already.
    fn pick(&self, name: &str, taken: Option<Refused>) -> Fate {
        let smtpd = self.config.services.get("submit").map_or(&self.config.smtpd, |service| &service.smtpd);
        let kept = match maildrop::read(&self.folder.join(name), smtpd.message_size_limit.0.saturating_add(64 << 10)) {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Fate::Gone,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return self.set_aside(name, &error.to_string(), taken),
            Err(error) => {
                tracing::error!(file = name, %error, "a letter cannot be read");
                return taken.map_or(Fate::Later, Fate::Taken);
            }
        };
        let Kept { mut letter, uid, since } = kept;
        letter.message = [self.received(name, uid, since).as_bytes(), &letter.message].concat();
        let refused = match taken.map_or_else(|| self.hand_in(name, &letter, uid, since), Ok) {
            Ok(refused) => refused,
            Err(fate) => return fate,
        };
        if !refused.is_empty() {
            match self.answer(name, &letter, since, &refused) {
                Ok(true) => {}
                Ok(false) => return self.set_aside(name, "refused, and nobody is told: it has no sender", Some(refused)),
                Err(error) => {
                    tracing::error!(file = name, %error, "a bounce cannot be written");
                    return Fate::Taken(refused);
                }
            }
        }
        self.remove(name)
    }

    /// Who was refused, for good; the others have it.
    fn hand_in(&self, name: &str, letter: &Letter, uid: u32, since: u64) -> Result<Refused, Fate> {
        let expired = now().saturating_sub(since) > self.config.qmgr.maximal_queue_lifetime.as_secs();
        let partly = if expired { Partly::Expired } else { Partly::Refused };
        let all = |reply: Reply| (0..letter.recipients.len()).map(|at| (at, reply.clone())).collect();
        match submit(&self.socket, letter, partly, &mut |line| tracing::trace!(file = name, "{line}")) {
            Ok(Submitted { accepted, refused }) => {
                if let Some(reply) = accepted {
                    tracing::info!(file = name, uid, reply = %reply, "picked up");
                }
                Ok(refused)
            }
            Err(Failure::Refused(reply)) => Ok(all(reply)),
            Err(Failure::Away(reason)) => {
                tracing::debug!(reason, "letters wait for smtpd");
                Err(Fate::Away)
            }
            Err(Failure::Later(reason)) if expired => {
                Ok(all(Reply::with(550, (5, 4, 7), format!("not taken in time; the last reason: {reason}"))))
            }
            Err(Failure::Later(reason)) => {
                tracing::info!(file = name, uid, reason = %printable(&reason), "a letter waits");
                Err(Fate::Later)
            }
        }
    }

    fn remove(&self, name: &str) -> Fate {
        let removed = std::fs::remove_file(self.folder.join(name)).and_then(|()| std::fs::File::open(&self.folder)?.sync_all());
        if let Err(error) = removed {
            tracing::error!(file = name, %error, "a letter that was picked up cannot be removed");
            return Fate::Taken(Vec::new());
        }
        Fate::Gone
    }

    /// Into `corrupt`, for the administrator.
    fn set_aside(&self, name: &str, why: &str, taken: Option<Refused>) -> Fate {
        let place = self.config.main.spool_directory.join("corrupt").join(name);
        match std::fs::rename(self.folder.join(name), &place) {
            Ok(()) => {
                tracing::error!(file = %place.display(), reason = why, "a letter is set aside");
                Fate::Gone
            }
            Err(error) => {
                tracing::error!(file = name, reason = why, %error, "a letter cannot be set aside");
                taken.map_or(Fate::Later, Fate::Taken)
            }
        }
    }

    /// Says who wrote the letter and how it came: smtpd sees qmgr only.
    fn received(&self, name: &str, uid: u32, since: u64) -> String {
        let user = nix::unistd::User::from_uid(uid.into()).ok().flatten().map_or_else(|| "unknown".into(), |user| user.name);
        let date = Date::new(i64::try_from(since).unwrap_or(i64::MAX), 0);
        format!("Received: by {} (Facteur, user {} uid {uid})\r\n\tid {name}; {date}\r\n", self.config.main.hostname, word(&user))
    }

    /// Tells the sender who was refused: a letter of its own, which is durable before the first one goes. `false`: there is no sender.
    fn answer(&self, name: &str, letter: &Letter, since: u64, refused: &[(usize, Reply)]) -> io::Result<bool> {
        for (at, reply) in refused {
            tracing::info!(file = name, to = %letter.recipients[*at], reply = %reply, "a letter is refused");
        }
        let Some(sender) = &letter.sender else { return Ok(false) };
        // `NEVER`, or a list without it.
        if !letter.notify.is_empty() && !letter.notify.contains("FAILURE") {
            return Ok(true);
        }
        let bounce = self.bounce(name, letter, sender, since, refused);
        let random = getrandom::u64().map_err(io::Error::other)?;
        maildrop::keep(&self.folder, &maildrop::name(now(), random), &bounce)?;
        Ok(true)
    }

    fn bounce(&self, name: &str, letter: &Letter, sender: &Address, since: u64, refused: &[(usize, Reply)]) -> Letter {
        let date = Date::new(i64::try_from(now()).unwrap_or(i64::MAX), 0);
        let host = self.config.main.hostname.as_str();
        let statuses: Vec<Status<'_>> = refused
            .iter()
            .map(|(at, reply)| {
                let code = reply.enhanced().unwrap_or(EnhancedCode(5, 0, 0));
                Status {
                    original: None,
                    recipient: &letter.recipients[*at],
                    action: Action::Failed,
                    status: EnhancedCode(5, code.1, code.2),
                    remote: Some((host, reply)),
                    reason: "",
                    last_attempt: Some(date),
                    retry_until: None,
                }
            })
            .collect();
        let id = QueueId::derived(xxh3_128(name.as_bytes()));
        let notification = Dsn {
            host,
            id,
            to: sender,
            date,
            message_id: &message::trace::message_id(now(), xxh3_64(name.as_bytes()), host),
            envid: (!letter.envid.is_empty()).then_some(letter.envid.as_str()),
            arrival: Date::new(i64::try_from(since).unwrap_or(i64::MAX), 0),
            recipients: &statuses,
            original: &letter.message,
            // RFC 8689 §5: what had to be under TLS all the way is not told to whoever reads the report.
            returned: (letter.ret == "HDRS" || letter.require_tls).then_some(mail_types::DsnReturn::Headers),
            wishes: Default::default(),
            full_limit: usize::try_from(self.config.qmgr.bounce_size_limit.0).unwrap_or(usize::MAX),
            postmaster: false,
            smtputf8: sender.is_utf8(),
        }
        .build();
        Letter { sender: None, recipients: vec![sender.clone()], notify: "NEVER".into(), message: notification.bytes, ..Letter::default() }
    }
}

/// A user's name as it may stand in a comment.
fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '?' }).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
#[path = "pickup_tests.rs"]
mod tests;
