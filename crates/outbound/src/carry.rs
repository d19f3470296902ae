//! One message to one destination: which hosts, in which order, and what becomes of each recipient.

use crate::attempt::{Attempt, Trouble, TroubleKind, is_protocol_trouble};
use crate::bind::Bind;
use crate::connection::{Connection, OpenError, Sent};
use crate::form::{self, Converted, Forms};
use crate::hosts::{self, Host, Wanted};
use crate::logins::Logins;
use crate::policy::{NameMatch, Policies};
use crate::pool::{Pool, Way};
use crate::tls::{ClientTls, Trust};
use crate::verdict::{self, Verdict};
use crate::wire::Wire;
use crate::{Destination, Message, NamedBy, Settings, SetupError, Tables, demands};
use config::{SmtpTlsLevel, SrvService};
use dns::Resolver;
use mail_types::{Domain, Failure, Outcome, Recipient, TlsWish};
use smtp_proto::client::{self, Credentials, TlsUse};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Carries messages. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Outbound(Arc<Inner>);

struct Inner {
    settings: Arc<Settings>,
    resolver: Arc<dyn Resolver>,
    tls: ClientTls,
    policies: Policies,
    logins: Logins,
    fallback: Vec<Destination>,
    bind: Bind,
    pool: Arc<Pool>,
    forms: Forms,
}

/// A way with the secret that belongs to it.
struct Leaving {
    way: Way,
    credentials: Option<Credentials>,
}

impl Leaving {
    /// Whether SRV records may name the hosts. As an MX record, one may be forged: a password goes where the certificate has the name of the
    /// next hop, whatever the host is called.
    fn srv(&self, settings: &Settings) -> Option<SrvService> {
        let policy = &self.way.policy;
        let forgeable = self.credentials.is_some() && policy.names.contains(&NameMatch::Hostname);
        self.way.destination.srv(settings).filter(|_| !forgeable)
    }
}

/// The recipients of a message on their way.
struct Job<'a> {
    message: &'a Message,
    recipients: &'a [Recipient],
    outcomes: Vec<Option<Outcome>>,
    /// The last word about those that have no outcome.
    soft: Vec<Option<Failure>>,
    /// Those about whom the present host has said something, on whichever connection.
    asked: Vec<bool>,
    repeat: bool,
    relay: Option<String>,
    tls: Option<String>,
    tried: bool,
    reached: bool,
    recognises: bool,
    repeatable: bool,
    unreadable: bool,
    passed_on: Vec<bool>,
    told_time: Vec<bool>,
    trouble: Option<Trouble>,
    converted: Option<Converted>,
}

/// What is to be done after a message was sent on a connection.
enum Next {
    /// All recipients are decided.
    Done,
    /// Some got a temporary refusal: another host may take them.
    OtherHost,
    /// The connection was dead before the server read anything.
    Stale,
    /// The host may not have the message, of which it has heard nothing.
    Unfit,
    /// The server takes no more on this connection, and may have the rest on a new one.
    NewConnection,
}

impl Outbound {
    /// Reads the certificates of those who vouch for others, where hosts may have to be verified.
    pub fn new(settings: Settings, tables: Tables, resolver: Arc<dyn Resolver>) -> Result<Outbound, SetupError> {
        let section = &settings.section;
        let policies = Policies::new(section, tables.tls_policy)?;
        let verifies = settings.relay_login.is_some() || !tables.passwords.is_empty() || policies.may_verify();
        let tls = ClientTls::new(&settings.ca_file, verifies, policies.digest())?;
        let wrong = |setting, why: String| SetupError::Value { setting, why };
        let fallback = section.smtp_fallback_relay.iter().map(|text| Destination::parse(text));
        let fallback = fallback.collect::<Result<_, _>>().map_err(|why| wrong("smtp_fallback_relay", why))?;
        let bind = Bind::new(section)?;
        let logins = Logins { maps: tables.passwords, by_sender: section.smtp_sender_dependent_authentication };
        let settings = Arc::new(settings);
        let pool = Pool::new(settings.clone());
        Ok(Outbound(Arc::new(Inner { settings, resolver, tls, policies, logins, fallback, bind, pool, forms: Forms::default() })))
    }

    /// Takes a message to a destination. Never fails as a whole: each recipient has its outcome. Bounded by the time-outs of the settings,
    /// for each host tried.
    pub async fn deliver(&self, destination: &Destination, message: &Message, recipients: &[Recipient]) -> Attempt {
        let mut job = Job {
            message,
            recipients,
            outcomes: vec![None; recipients.len()],
            soft: vec![None; recipients.len()],
            asked: vec![false; recipients.len()],
            repeat: message.repeat,
            relay: None,
            tls: None,
            tried: false,
            reached: false,
            recognises: false,
            repeatable: false,
            unreadable: false,
            passed_on: vec![false; recipients.len()],
            told_time: vec![false; recipients.len()],
            trouble: None,
            converted: None,
        };
        self.0.carry(destination, message.named_by, &mut job).await;
        if matches!(destination, Destination::Smtp { .. }) && !self.0.fallback.contains(destination) {
            for relay in &self.0.fallback {
                if job.is_done() {
                    break;
                }
                self.0.carry(relay, NamedBy::Relay, &mut job).await;
            }
        }
        job.into_attempt(destination)
    }

    /// Whether the destination is ready for mail now. The connection is kept for the next message.
    pub async fn greets(&self, destination: &Destination) -> bool {
        let inner = &self.0;
        let Ok(leaving) = inner.leaving(destination, NamedBy::Transport, None).await else { return false };
        let opened = match destination {
            Destination::LmtpUnix(path) => inner.open_unix(path).await.ok(),
            _ => {
                let Some((name, port, mx)) = destination.tcp(&inner.settings) else { return false };
                let wanted = Wanted { host: name, port, mx, srv: leaving.srv(&inner.settings), configured: true };
                let hosts = hosts::find(wanted, &inner.settings, &*inner.resolver).await;
                match hosts.unwrap_or_default().first() {
                    Some(host) => inner.open_tcp(&leaving, host).await.ok(),
                    None => None,
                }
            }
        };
        let there = opened.is_some();
        opened.into_iter().for_each(|connection| inner.keep(&leaving.way, connection, true));
        there
    }

    /// Says goodbye on all idle connections.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }
}

impl Inner {
    /// The TLS policy and the login of a destination. `Err`: one of them cannot be told now.
    async fn leaving(&self, destination: &Destination, named_by: NamedBy, message: Option<&Message>) -> Result<Leaving, Outcome> {
        let sender = message.and_then(|m| m.sender.as_ref());
        let credentials = self.logins.of(destination, named_by, sender, &self.settings).await?;
        let by_srv = destination.srv(&self.settings).is_some();
        let policy = self.policies.of(destination, credentials.is_some(), by_srv).await?;
        // Notifications are not lost for want of TLS (RFC 8689 §5).
        let policy = match message.map(|m| m.wishes.tls) {
            Some(TlsWish::Required) if sender.is_some() => self.policies.required(policy, destination)?,
            Some(TlsWish::Optional) if credentials.is_none() => self.policies.optional(policy)?,
            _ => policy,
        };
        let way = Way { destination: destination.clone(), policy, login: credentials.as_ref().map(|c| c.login.clone()) };
        Ok(Leaving { way, credentials })
    }

    async fn carry(&self, destination: &Destination, named_by: NamedBy, job: &mut Job<'_>) {
        let leaving = match self.leaving(destination, named_by, Some(job.message)).await {
            Ok(leaving) => leaving,
            Err(outcome) => return job.fail_undecided(outcome),
        };
        job.tried = true;
        let way = &leaving.way;
        let mut sessions = 0;
        let mut tried = None;
        if let Some(mut connection) = self.pool.take(way).await {
            let host = connection.host.clone();
            match self.send(way, &mut connection, job).await {
                (Next::Done, usable) => return self.keep(way, connection, usable),
                (next @ (Next::OtherHost | Next::Unfit), usable) => {
                    self.keep(way, connection, usable);
                    sessions += usize::from(matches!(next, Next::OtherHost));
                    tried = Some(host);
                }
                // The others have waited longer still.
                (Next::Stale, _) => self.pool.forget(way),
                (Next::NewConnection, _) => self.part(connection),
            }
        }
        match destination {
            Destination::LmtpUnix(path) => {
                while sessions == 0 {
                    let opened = self.open_unix(path).await;
                    sessions += usize::from(!matches!(self.send_to(way, opened, job).await, Next::NewConnection));
                }
            }
            _ => self.carry_tcp(&leaving, job, sessions, tried).await,
        }
    }

    async fn carry_tcp(&self, leaving: &Leaving, job: &mut Job<'_>, mut sessions: usize, tried: Option<String>) {
        let destination = &leaving.way.destination;
        let Some((name, port, mx)) = destination.tcp(&self.settings) else { return };
        // A password goes to the host that the administrator named, whose certificate is checked; an MX record, which anybody may have
        // forged, cannot name another.
        let mx = mx && leaving.credentials.is_none();
        let configured = destination.is_lmtp() || job.recipients.iter().any(|r| r.address.domain() != name);
        let wanted = Wanted { host: name, port, mx, srv: leaving.srv(&self.settings), configured };
        let hosts = match hosts::find(wanted, &self.settings, &*self.resolver).await {
            Ok(hosts) => hosts,
            // What is not found may be known to a fallback relay; that mail is not wanted, or loops, is the last word.
            Err(Outcome::Bounced(failure)) if (failure.status.1, failure.status.2) != (4, 4) => {
                return job.fail_all(Outcome::Bounced(failure));
            }
            Err(outcome) => return job.fail_undecided(outcome),
        };
        let mut attempts = 0;
        for host in hosts {
            let shown = host.to_string();
            if attempts == self.settings.address_limit || sessions == self.settings.session_limit {
                break;
            }
            if tried.as_deref() == Some(&shown) {
                continue;
            }
            let mut opened = self.open_tcp(leaving, &host).await;
            // An address family that this machine does not have costs nothing and counts for nothing.
            if !matches!(&opened, Err(Unopened { unreachable: true, .. })) {
                attempts += 1;
            }
            loop {
                let was_open = opened.is_ok();
                match self.send_to(&leaving.way, opened, job).await {
                    Next::Done => return,
                    Next::NewConnection => opened = self.open_tcp(leaving, &host).await,
                    Next::Unfit => break,
                    Next::OtherHost | Next::Stale => {
                        sessions += usize::from(was_open);
                        break;
                    }
                }
            }
        }
    }

    /// Sends over a connection that was just made, or notes why there is none.
    async fn send_to(&self, way: &Way, opened: Result<Connection, Unopened>, job: &mut Job<'_>) -> Next {
        match opened {
            Err(Unopened { insecure: true, outcome, .. }) if demands::demands_tls(job.message) => {
                job.fail_undecided(encryption_needed(outcome));
                Next::OtherHost
            }
            Err(unopened) => {
                job.trouble = job.trouble.take().or(unopened.trouble);
                job.fail_undecided(unopened.outcome);
                Next::OtherHost
            }
            Ok(mut connection) => {
                let (next, usable) = self.send(way, &mut connection, job).await;
                match next {
                    Next::NewConnection => self.part(connection),
                    _ => self.keep(way, connection, usable),
                }
                next
            }
        }
    }

    /// Ends a connection that is of no more use, without waiting for the server's goodbye.
    fn part(&self, connection: Connection) {
        let settings = self.settings.clone();
        tokio::spawn(async move { connection.quit(&settings).await });
    }

    fn keep(&self, way: &Way, connection: Connection, usable: bool) {
        if usable {
            self.pool.put(way, connection);
        }
    }

    /// Sends the message to those recipients that have no outcome yet, in several transactions when the server takes only some at a time.
    /// Also tells whether the connection can be used again.
    async fn send(&self, way: &Way, connection: &mut Connection, job: &mut Job<'_>) -> (Next, bool) {
        let reused = connection.used > 0;
        job.reached = true;
        job.recognises = connection.capabilities().xfacteur;
        if job.relay.replace(connection.host.clone()).as_ref() != Some(&connection.host) {
            job.asked.fill(false);
        }
        job.tls = connection.tls.clone();
        // A mailbox is where all wishes end.
        let unmet = demands::unmet(job.message, connection.capabilities(), demands::now_seconds());
        if let Some(failure) = unmet.filter(|_| !way.destination.is_lmtp()) {
            job.fail_undecided(Outcome::Bounced(Failure { reason: format!("{} ({})", failure.reason, connection.host), ..failure }));
            return (Next::Unfit, true);
        }
        let proved = way.policy.is_verified() && connection.tls.is_some();
        loop {
            let limits = connection.capabilities().limits;
            let open = batch(job.recipients, limits, |at| job.outcomes[at].is_none() && !job.asked[at]);
            if open.is_empty() {
                return (if job.is_done() { Next::Done } else { Next::OtherHost }, true);
            }
            if connection.is_exhausted() {
                return (Next::NewConnection, false);
            }
            let (chosen, capabilities) = (job.chosen(&open), connection.capabilities());
            let tunnelled = self.settings.section.smtp_priority_header && !capabilities.priority && !way.destination.is_lmtp();
            let host = form::Host { capabilities, proved, tunnelled };
            let formed = self.forms.of(job.message, chosen, job.repeat, host, &mut job.converted).await;
            let (message, body) = match formed {
                Ok(formed) => formed,
                // What this host cannot take another may.
                Err(outcome @ Outcome::Bounced(_)) => {
                    job.fail_undecided(outcome);
                    return (Next::Unfit, true);
                }
                Err(outcome) => {
                    job.unreadable = true;
                    job.fail_all(outcome);
                    return (Next::Done, true);
                }
            };
            let Sent { report, lost, local_fault } = connection.send(message, &body, &self.settings).await;
            if let Some((kind, why)) = trouble(&report, lost.as_ref(), local_fault.as_ref()) {
                let (host, transcript) = (connection.host.clone(), connection.transcript());
                job.trouble.get_or_insert(Trouble { kind, host, transcript, why });
            }
            if let Some(error) = local_fault {
                tracing::error!(queue_id = job.message.id.as_str(), %error, "the message cannot be read from the spool");
                job.unreadable = true;
                job.fail_all(Outcome::Deferred(Failure::local((4, 3, 0), "the message cannot be read from the spool at the moment")));
                return (Next::Done, false);
            }
            if reused && lost.as_ref().is_some_and(|(error, timed_out)| !timed_out && was_idle_too_long(error, &report)) {
                // Had the server read all of it and only the answer was lost, our deliver finds out by XREPEAT.
                job.repeat = true;
                // Others have nothing of it: they get the message itself after their replies.
                job.repeatable = true;
                return (Next::Stale, false);
            }
            let (mut progress, mut too_many) = (false, Vec::new());
            for (at, said) in open.iter().zip(&report.recipients) {
                let Some(said) = said else { continue };
                match verdict::of_reply(said, &connection.host) {
                    Verdict::Final(outcome) => {
                        let (capabilities, taken) = (connection.capabilities(), matches!(outcome, Outcome::Delivered { .. }));
                        job.passed_on[*at] = taken && capabilities.dsn;
                        job.told_time[*at] = taken && capabilities.deliver_by.is_some();
                        job.outcomes[*at] = Some(outcome);
                        progress = true;
                    }
                    Verdict::Soft(failure) => {
                        job.soft[*at] = Some(failure);
                        job.asked[*at] = true;
                    }
                    Verdict::TooMany(failure) => {
                        job.soft[*at] = Some(failure);
                        too_many.push(*at);
                    }
                }
            }
            if let Some((error, timed_out)) = lost {
                job.unreadable |= matches!(error, client::Error::BodySize);
                let outcome = soft(verdict::of_error(&error, &connection.host, timed_out));
                let has_nothing = has_nothing_of_the_message(&error) && !job.recognises;
                job.repeatable = job.recognises || has_nothing;
                if has_nothing {
                    job.fail_undecided(outcome);
                } else {
                    // Perhaps the server has the message and only its answer was lost: asking another host at once would make two of it.
                    for (at, _) in open.iter().zip(&report.recipients).filter(|(_, said)| said.is_none()) {
                        job.outcomes[*at] = Some(outcome.clone());
                    }
                }
                return (if job.is_done() { Next::Done } else { Next::OtherHost }, false);
            }
            // Where not even one was taken, the next transaction would end no better.
            too_many.iter().filter(|_| !progress).for_each(|at| job.asked[*at] = true);
        }
    }

    async fn open_unix(&self, path: &std::path::Path) -> Result<Connection, Unopened> {
        let shown = format!("unix:{}", path.display());
        let stream = match timeout(self.settings.connect_timeout, daemon::connect_unix(path)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Unopened::connect(&shown, &error)),
            Err(_) => return Err(Unopened::connect(&shown, &std::io::ErrorKind::TimedOut.into())),
        };
        let choices = client::Settings { transcript: self.settings.transcript, ..client::Settings::lmtp(&self.settings.helo_name) };
        let trust = Trust { tls: &self.tls, host: "", nexthop: "", policy: self.policies.clear() };
        Connection::open(Wire::Unix(stream), shown.clone(), choices, &self.settings, trust).await.map_err(|e| Unopened::session(&shown, e))
    }

    async fn open_tcp(&self, leaving: &Leaving, host: &Host) -> Result<Connection, Unopened> {
        let shown = host.to_string();
        let Way { destination, policy, .. } = &leaving.way;
        let tls = match policy.level {
            _ if destination.is_lmtp() => TlsUse::Never,
            _ if host.wrapped => TlsUse::Wrapped,
            SmtpTlsLevel::None => TlsUse::Never,
            SmtpTlsLevel::May => TlsUse::May,
            _ => TlsUse::Require,
        };
        let choices = client::Settings {
            lmtp: destination.is_lmtp(),
            chunking: destination.is_lmtp(),
            tls,
            credentials: leaving.credentials.clone(),
            transcript: self.settings.transcript,
            bdat: self.settings.section.smtp_chunking,
            ..client::Settings::smtp(&self.settings.helo_name)
        };
        let nexthop = destination.certificate_name();
        let trust = Trust { tls: &self.tls, host: &host.name, nexthop: &nexthop, policy };
        let wire = Wire::Tcp(self.connect(host.address, &shown).await?);
        match Connection::open(wire, shown.clone(), choices.clone(), &self.settings, trust).await {
            Err(OpenError::Tls(error)) if tls == TlsUse::May => {
                tracing::info!(host = %shown, %error, "TLS failed, trying in clear text (smtp_tls_security_level = may)");
                let wire = Wire::Tcp(self.connect(host.address, &shown).await?);
                let choices = client::Settings { tls: TlsUse::Never, ..choices };
                Connection::open(wire, shown.clone(), choices, &self.settings, trust).await
            }
            other => other,
        }
        .map_err(|e| Unopened::session(&shown, e))
    }

    async fn connect(&self, address: SocketAddr, shown: &str) -> Result<TcpStream, Unopened> {
        match timeout(self.settings.connect_timeout, self.bind.connect(address)).await {
            Ok(Ok(stream)) => {
                // A command waits for its answer: there is nothing for the kernel to collect.
                let _ = stream.set_nodelay(true);
                Ok(stream)
            }
            Ok(Err(error)) => Err(Unopened::connect(shown, &error)),
            Err(_) => Err(Unopened::connect(shown, &std::io::ErrorKind::TimedOut.into())),
        }
    }
}

/// Why there is no connection, as the outcome it means when no other host is left.
struct Unopened {
    outcome: Outcome,
    unreachable: bool,
    /// TLS could not be made, or did not prove who the host is.
    insecure: bool,
    trouble: Option<Trouble>,
}

impl Unopened {
    fn connect(host: &str, error: &std::io::Error) -> Unopened {
        let unreachable = error.kind() == std::io::ErrorKind::NetworkUnreachable;
        let outcome = Outcome::Deferred(Failure::local((4, 4, 1), format!("connect to {host}: {}", verdict::words(error))));
        Unopened { outcome, unreachable, insecure: false, trouble: None }
    }

    fn session(host: &str, error: OpenError) -> Unopened {
        let insecure = match &error {
            OpenError::Session { error, .. } => matches!(error, client::Error::TlsNotOffered | client::Error::TlsRefused(_)),
            // Other faults are the network's.
            OpenError::Tls(error) => error.kind() == std::io::ErrorKind::InvalidData,
        };
        let trouble = match &error {
            OpenError::Session { error: error @ client::Error::PeerMisbehaved(_), transcript, .. } => {
                Some(Trouble { kind: TroubleKind::Protocol, host: host.to_owned(), transcript: transcript.clone(), why: error.to_string() })
            }
            _ => None,
        };
        let outcome = match error {
            OpenError::Session { error, timed_out, .. } => verdict::of_error(&error, host, timed_out),
            OpenError::Tls(error) => Outcome::Deferred(Failure::local((4, 7, 5), format!("TLS with host {host}: {error}"))),
        };
        Unopened { outcome, unreachable: false, insecure, trouble }
    }
}

impl Job<'_> {
    fn chosen(&self, open: &[usize]) -> Vec<Recipient> {
        open.iter().map(|at| self.recipients[*at].clone()).collect()
    }

    fn is_done(&self) -> bool {
        self.outcomes.iter().all(Option::is_some)
    }

    /// Decides about all that are not decided.
    fn fail_all(&mut self, outcome: Outcome) {
        for place in self.outcomes.iter_mut().filter(|o| o.is_none()) {
            *place = Some(outcome.clone());
        }
    }

    /// A host that could not be spoken to; its word counts when no other host has one.
    fn fail_undecided(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Bounced(failure) | Outcome::Deferred(failure) => {
                for (place, outcome) in self.soft.iter_mut().zip(&self.outcomes) {
                    let counts = place.as_ref().is_none_or(|before| match (before.status.0, failure.status.0) {
                        // It bounces only when every host refuses for good.
                        (5, 4) => true,
                        (4, 5) => false,
                        // What a host said about the recipient says more than that the next host was down.
                        _ => before.remote.is_none() || failure.remote.is_some(),
                    });
                    if outcome.is_none() && counts {
                        *place = Some(failure.clone());
                    }
                }
            }
            Outcome::Delivered { .. } => {}
        }
    }

    fn into_attempt(self, destination: &Destination) -> Attempt {
        let undecided = || Failure::local((4, 4, 1), format!("no host of {destination} could be reached"));
        let decide = |(outcome, soft): (Option<Outcome>, Option<Failure>)| {
            outcome.unwrap_or_else(|| {
                let failure = soft.unwrap_or_else(undecided);
                // A host that never takes mail, or refuses our name for good, and no other was left.
                if failure.status.0 == 5 { Outcome::Bounced(failure) } else { Outcome::Deferred(failure) }
            })
        };
        let outcomes = self.outcomes.into_iter().zip(self.soft).map(decide).collect();
        Attempt {
            outcomes,
            relay: self.relay,
            tls: self.tls,
            reached: self.reached,
            untried: !self.tried,
            recognises: self.recognises,
            repeatable: self.repeatable,
            unreadable: self.unreadable,
            passed_on: self.passed_on,
            told_time: self.told_time,
            trouble: self.trouble,
        }
    }
}

/// What the postmaster may want to hear of what became of a message on a connection.
fn trouble(
    report: &client::Report,
    lost: Option<&(client::Error, bool)>,
    local_fault: Option<&std::io::Error>,
) -> Option<(TroubleKind, String)> {
    if let Some(error) = local_fault {
        return Some((TroubleKind::Resource, format!("the message cannot be read from the spool: {error}")));
    }
    if let Some((error @ client::Error::PeerMisbehaved(_), _)) = lost {
        return Some((TroubleKind::Protocol, error.to_string()));
    }
    let odd = report.recipients.iter().flatten().find(|said| is_protocol_trouble(said))?;
    Some((TroubleKind::Protocol, format!("the server said: {}", odd.reply)))
}

/// Recipients of the next transaction: the first ones, as many as the server takes at once (RFC 9422 §4.2, 4.3).
fn batch(recipients: &[Recipient], limits: client::Limits, is_open: impl Fn(usize) -> bool) -> Vec<usize> {
    let most = |limit: Option<u32>| limit.map_or(usize::MAX, |limit| limit as usize);
    let mut domains: HashSet<&Domain> = HashSet::new();
    let mut fits = |at: &usize| {
        let domain = recipients[*at].address.domain();
        domains.contains(domain) || (domains.len() < most(limits.recipient_domains) && domains.insert(domain))
    };
    (0..recipients.len()).filter(|at| is_open(*at)).filter(|at| fits(at)).take(most(limits.recipients)).collect()
}

/// RFC 8689 §4.2.1: what could not be sent safely is returned, not tried again.
fn encryption_needed(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Deferred(failure) => Outcome::Bounced(Failure {
            status: mail_types::EnhancedCode(5, 7, 10),
            reason: format!("Encryption needed: {}", failure.reason),
            ..failure
        }),
        other => other,
    }
}

/// A lost connection never bounces by itself.
fn soft(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Bounced(failure) => {
            Outcome::Deferred(Failure { status: mail_types::EnhancedCode(4, failure.status.1, failure.status.2), ..failure })
        }
        other => other,
    }
}

/// The server closed the idle connection, with or without saying so, before it took notice of the next message.
fn was_idle_too_long(error: &client::Error, report: &client::Report) -> bool {
    match error {
        client::Error::Closed("at MAIL FROM") => report.recipients.iter().all(Option::is_none),
        client::Error::Closing(_) => {
            report.recipients.iter().flatten().all(|said| said.stage == client::Stage::Mail && said.reply.code() == 421 && !said.local)
        }
        _ => false,
    }
}

/// The connection was lost before a server was sent the message itself, unless that goes ahead of the replies, as to our `deliver`.
fn has_nothing_of_the_message(error: &client::Error) -> bool {
    matches!(error, client::Error::Closed("at MAIL FROM" | "at RCPT TO" | "at DATA"))
}
