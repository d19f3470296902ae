//! Logins: the server's side of Dovecot's auth client protocol ([`ipc::auth`]).
//!
//! Any number of logins run on a connection at a time. Each has its own number; a fault in one (bad base64, wrong order) ends that
//! one only. A client that breaks the protocol itself is cut off, and with it all its logins.

use crate::exchange::{Exchange, Next};
use crate::login::{Attempt, temporary};
use crate::state::State;
use arc_swap::ArcSwap;
use ipc::Input;
use ipc::auth::server::{self, AuthCommand, ClientLine, Response};
use ipc::auth::{AuthFail, LINE_LIMIT_BYTES};
use mail_types::printable;
use sasl::server::Step;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Logins of one connection that wait for their client or for a check.
const OPEN_LIMIT: usize = 4_096;
/// A login whose client says nothing for this long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(150);
/// How often those are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Connected, and has not said the protocol's version.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(30);

const NO_BASE64: &str = "the response is no base64";

/// A login that waits for its client.
struct Waiting {
    exchange: Exchange,
    since: Instant,
}

impl Waiting {
    fn is_forgotten(&self) -> bool {
        self.since.elapsed() >= FORGOTTEN_AFTER
    }
}

/// Whether the client still waits for what a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Wanted,
    Cancelled,
}

struct Conversation<'a> {
    state: &'a Arc<ArcSwap<State>>,
    waiting: HashMap<u32, Waiting>,
    checking: HashMap<u32, Check>,
    checks: JoinSet<(u32, Next)>,
    /// Answers that are ready to be written.
    out: Vec<u8>,
}

pub(super) async fn serve(stream: daemon::Stream, state: &Arc<ArcSwap<State>>) -> anyhow::Result<()> {
    static CONNECTIONS: AtomicU32 = AtomicU32::new(1);
    let (mut read, mut write) = tokio::io::split(stream);
    let mut cookie = [0; 16];
    getrandom::fill(&mut cookie)?;
    let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    super::write(&mut write, &server::greeting(&state.load().mechanisms(), number, &cookie)).await?;

    let mut input = Input::default();
    if !tokio::time::timeout(HANDSHAKE_DEADLINE, handshake(&mut read, &mut input)).await?? {
        return Ok(());
    }
    let mut conversation = Conversation::new(state);
    // The reader has its own task, as reading is not to be cut off in the middle when an answer is ready.
    let (lines, mut lines_in) = mpsc::channel(256);
    let reader = read_lines(read, input, lines);
    let answers = async {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                line = lines_in.recv() => match line {
                    Some(line) => conversation.take(&line)?,
                    None => return anyhow::Ok(()),
                },
                Some(done) = conversation.checks.join_next(), if !conversation.checks.is_empty() => conversation.checked(done),
                _ = sweep.tick() => conversation.sweep(),
            }
            // Everything that is ready goes out in one write.
            while let Ok(line) = lines_in.try_recv() {
                conversation.take(&line)?;
            }
            while let Some(done) = conversation.checks.try_join_next() {
                conversation.checked(done);
            }
            if !conversation.out.is_empty() {
                super::write(&mut write, &conversation.out).await?;
                conversation.out.clear();
            }
        }
    };
    tokio::select! {
        ended = reader => ended,
        ended = answers => ended,
    }
}

/// Reads the client's version; a wrong one or none ends the conversation. `false`: the client left before it said anything.
async fn handshake(read: &mut (impl AsyncRead + Unpin), input: &mut Input) -> anyhow::Result<bool> {
    loop {
        if let Some(line) = input.line(LINE_LIMIT_BYTES).map_err(anyhow::Error::msg)? {
            match server::parse(line).map_err(anyhow::Error::msg)? {
                ClientLine::Version { major: 1 } => return Ok(true),
                ClientLine::Version { .. } => anyhow::bail!("the client speaks another version of the protocol"),
                _ => anyhow::bail!("the client does not say its version first"),
            }
        }
        if input.fill(read).await? == 0 {
            return Ok(false);
        }
    }
}

async fn read_lines(
    mut read: impl AsyncRead + Unpin,
    mut input: Input,
    lines: mpsc::Sender<zeroize::Zeroizing<Vec<u8>>>,
) -> anyhow::Result<()> {
    loop {
        while let Some(line) = input.line(LINE_LIMIT_BYTES).map_err(anyhow::Error::msg)? {
            let line = zeroize::Zeroizing::new(line.to_vec());
            if lines.send(line).await.is_err() {
                return Ok(());
            }
        }
        if input.fill(&mut read).await? == 0 {
            return Ok(());
        }
    }
}

impl Conversation<'_> {
    fn new(state: &Arc<ArcSwap<State>>) -> Conversation<'_> {
        Conversation { state, waiting: HashMap::new(), checking: HashMap::new(), checks: JoinSet::new(), out: Vec::new() }
    }

    fn take(&mut self, line: &[u8]) -> anyhow::Result<()> {
        match server::parse(line).map_err(anyhow::Error::msg)? {
            ClientLine::Auth(command) => self.begin(*command),
            ClientLine::Continue { id, response } => {
                // A number that is not waiting: forgotten, or answered meanwhile.
                match self.waiting.remove(&id) {
                    Some(waiting) if !waiting.is_forgotten() => self.respond(id, waiting.exchange, response),
                    None if self.checking.get(&id) == Some(&Check::Wanted) => {
                        anyhow::bail!("the client answers a question that was not asked")
                    }
                    _ => self.out.extend(server::fail(id, &AuthFail::default())),
                }
                Ok(())
            }
            ClientLine::Cancel(id) => {
                // A check that runs comes to its end, or guessing could be done without ever waiting for an answer; but nobody hears of it.
                if let Some(check) = self.checking.get_mut(&id) {
                    *check = Check::Cancelled;
                }
                if let Some(mut waiting) = self.waiting.remove(&id) {
                    let exchange = &mut waiting.exchange;
                    if let Some(search) = exchange.search.take() {
                        self.state.load().desk.given_up(&exchange.attempt, Some(search), "the client gave up");
                    }
                }
                Ok(())
            }
            ClientLine::Version { .. } | ClientLine::Cpid(_) | ClientLine::Unknown => Ok(()),
        }
    }

    fn begin(&mut self, command: AuthCommand) -> anyhow::Result<()> {
        let id = command.id;
        if self.waiting.contains_key(&id) || self.checking.contains_key(&id) {
            anyhow::bail!("the client uses a number twice");
        }
        if self.waiting.len() + self.checking.len() >= OPEN_LIMIT {
            self.sweep();
            if self.waiting.len() + self.checking.len() >= OPEN_LIMIT {
                self.out.extend(server::fail(id, &temporary(None)));
                return Ok(());
            }
        }
        let state = self.state.load();
        let Some(offer) = state.offers.iter().find(|offer| offer.name == command.mechanism) else {
            tracing::info!(mechanism = %printable(&command.mechanism), service = %printable(&command.service), "login with a mechanism that is not offered");
            self.out
                .extend(server::fail(id, &AuthFail { reason: Some("Unsupported authentication mechanism".into()), ..AuthFail::default() }));
            return Ok(());
        };
        let attempt = Attempt {
            service: command.service,
            mechanism: offer.name,
            remote: command.remote,
            session: command.session,
            realm: command.realm,
            no_penalty: command.no_penalty,
            certificate: command.certificate,
        };
        let setup = state.setup(command.bindings)?;
        let mut exchange = Exchange::new(offer.begin(setup), attempt);
        match command.initial {
            Some(Response::NotBase64) => self.malformed(id, exchange, NO_BASE64),
            Some(Response::Bytes(bytes)) => {
                let step = exchange.start(Some(&bytes));
                self.step(id, exchange, step);
            }
            None => {
                let step = exchange.start(None);
                self.step(id, exchange, step);
            }
        }
        Ok(())
    }

    fn respond(&mut self, id: u32, mut exchange: Exchange, response: Response) {
        match response {
            Response::NotBase64 => self.malformed(id, exchange, NO_BASE64),
            Response::Bytes(bytes) => {
                let step = exchange.respond(&bytes);
                self.step(id, exchange, step);
            }
        }
    }

    fn step(&mut self, id: u32, exchange: Exchange, step: Result<Step, sasl::Malformed>) {
        match step {
            Ok(Step::Challenge(challenge)) => self.ask(id, exchange, &challenge),
            Ok(step) => {
                let state = self.state.load_full();
                self.checking.insert(id, Check::Wanted);
                let mut check = Box::pin(async move { (id, exchange.go_on(&state.desk, step).await) });
                // What is known by heart is answered at once; only other checks get a task.
                match check.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(done) => self.checked(Ok(done)),
                    Poll::Pending => drop(self.checks.spawn(check)),
                }
            }
            Err(error) => self.malformed(id, exchange, &error.to_string()),
        }
    }

    fn sweep(&mut self) {
        self.waiting.retain(|_, waiting| !waiting.is_forgotten());
    }

    fn ask(&mut self, id: u32, exchange: Exchange, challenge: &[u8]) {
        self.out.extend(server::cont(id, challenge));
        self.waiting.insert(id, Waiting { exchange, since: Instant::now() });
    }

    fn malformed(&mut self, id: u32, mut exchange: Exchange, reason: &str) {
        let fail = self.state.load().desk.malformed(&exchange.attempt, exchange.search.take(), reason);
        self.out.extend(server::fail(id, &fail));
    }

    fn checked(&mut self, done: Result<(u32, Next), tokio::task::JoinError>) {
        // A check that panicked has no answer; its client meets the deadline, which is a temporary failure.
        let Ok((id, next)) = done else { return };
        if self.checking.remove(&id) == Some(Check::Cancelled) {
            return;
        }
        match next {
            Next::Ask(exchange, challenge) => self.ask(id, *exchange, &challenge),
            Next::User(user) => self.out.extend(server::ok(id, &user, &[])),
            Next::Fail(fail) => self.out.extend(server::fail(id, &fail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn state(dir: &std::path::Path) -> Arc<ArcSwap<State>> {
        std::fs::write(dir.join("users"), "ann@x.org:{PLAIN}pass word\n").expect("write");
        let text = "hostname = \"mx.x.org\"\nstate_directory = \".\"\n[authd]\nauth_mechanisms = [\"scram-sha-256\", \"login\"]\n\
                    [[authd.passdb]]\ndriver = \"passwd-file\"\nargs = \"users\"\n";
        let file = dir.join("facteur.toml");
        let config = config::Config::from_texts(&file, &[(file.clone(), text.into())]).unwrap_or_else(|e| panic!("{e}"));
        Arc::new(ArcSwap::from_pointee(State::open(&config, None).await.expect("state")))
    }

    #[tokio::test]
    async fn a_login_that_was_cancelled_during_its_check_does_not_come_back() {
        let dir = tempfile::tempdir().expect("directory");
        let state = state(dir.path()).await;
        let mut conversation = Conversation::new(&state);
        // a check that runs for as long as it takes the client to give up
        conversation.checking.insert(1, Check::Wanted);
        conversation.checks.spawn(async { (1, Next::Fail(AuthFail::default())) });
        conversation.take(b"CANCEL\t1").expect("taken");
        let done = conversation.checks.join_next().await.expect("a check");
        conversation.checked(done);
        assert!(conversation.waiting.is_empty() && conversation.checking.is_empty());
        assert!(conversation.out.is_empty(), "{}", String::from_utf8_lossy(&conversation.out));
    }

    #[tokio::test]
    async fn who_is_silent_for_long_is_forgotten() {
        let dir = tempfile::tempdir().expect("directory");
        let state = state(dir.path()).await;
        let mut conversation = Conversation::new(&state);
        for id in 1..=2 {
            conversation.take(format!("AUTH\t{id}\tLOGIN\tservice=imap").as_bytes()).expect("taken");
        }
        conversation.sweep();
        assert_eq!(conversation.waiting.len(), 2);
        conversation.waiting.values_mut().for_each(|waiting| waiting.since -= FORGOTTEN_AFTER);
        conversation.out.clear();
        conversation.take(b"CONT\t1\tYW5u").expect("taken");
        assert_eq!(conversation.out, b"FAIL\t1\n");
        conversation.sweep();
        assert!(conversation.waiting.is_empty());
    }
}
