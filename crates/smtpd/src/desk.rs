//! Answers the machine's questions: policy, routing, logins, the spool.

use crate::auth::Exchange;
use crate::client_name::{PeerName, name_of, reverse_of};
use crate::intake::{Intake, Terms};
use crate::rates::Event;
use crate::server::{Server, World};
use crate::service::Service;
use crate::session::{End, over_rate};
use crate::wishes;
use daemon::{Login, Peer, Shutdown, TlsInfo};
use ipc::auth::{AuthRequest, Channel};
use mail_types::{Address, Client, Envelope, Protocol, Recipient, Reply, Secret, Wishes, printable};
use message::Date;
use message::trace::Received;
use policy::{Action, Destination, Effects, Facts, Ownership, Stage, Verdict};
use routing::Class;
use smtp_proto::server::{Answer, MailFrom, Question, Session, Transaction};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) struct Desk {
    pub(crate) server: Arc<Server>,
    pub(crate) world: Arc<World>,
    pub(crate) service: Arc<Service>,
    pub(crate) peer: Peer,
    session: String,
    /// The user behind a local socket.
    local_user: Option<String>,
    pub(crate) name: PeerName,
    /// The name that the client has in the DNS without being confirmed.
    pub(crate) reverse: (Option<String>, bool),
    tls: Option<String>,
    tls_info: Option<TlsInfo>,
    /// What is known of the client's TLS connection.
    channel: Channel,
    mechanism: Option<String>,
    exchange: Option<Exchange>,
    pub(crate) effects: Effects,
    /// What lists for client and HELO asked for, when they are judged at once.
    session_effects: Effects,
    /// Whose the sender of the transaction is, when somebody asks.
    sender_destination: Option<Destination>,
    /// Transactions so far, for the name of the present one.
    transactions: u32,
    instance: String,
    /// The rate limits hold for this client.
    rated: bool,
    /// What a client that failed before the greeting gets at RCPT.
    screened: Option<Reply>,
    /// From whom XFORWARD says the messages are.
    pub(crate) forwarded: Option<(u64, Client)>,
    /// What the transaction asks of transport, as far as it is granted.
    pub(crate) wishes: Wishes,
    /// Whether the sender of the transaction is the login's own.
    sender_is_own: Option<Ownership>,
    intake: Option<Intake>,
    accepted: u32,
    rejected: u32,
    /// Of the program, or of this connection alone.
    pub(crate) end: Shutdown,
    /// Since somebody is logged in.
    login: Option<Login>,
}

impl Desk {
    pub(crate) async fn new(
        server: Arc<Server>,
        world: Arc<World>,
        service: Arc<Service>,
        peer: Peer,
        session: String,
        tls: Option<TlsInfo>,
        channel: Channel,
    ) -> Desk {
        let (name, reverse) = (name_of(&server, &service, &peer), reverse_of(&peer));
        let local_user = match peer.credentials {
            Some((uid, _, _)) if peer.addr.is_none() => Some(user_name(uid).await),
            _ => None,
        };
        tracing::debug!(service = %service.name, user = local_user.as_deref(), "connected");
        let end = server.shutdown.of_session();
        let mut desk = Desk {
            server,
            world,
            service,
            peer,
            session,
            local_user,
            name,
            reverse,
            tls: None,
            tls_info: None,
            channel: Channel::default(),
            mechanism: None,
            exchange: None,
            effects: Effects::default(),
            session_effects: Effects::default(),
            sender_destination: None,
            transactions: 0,
            instance: String::new(),
            rated: false,
            screened: None,
            forwarded: None,
            wishes: Wishes::default(),
            sender_is_own: None,
            intake: None,
            accepted: 0,
            rejected: 0,
            end,
            login: None,
        };
        desk.tls_started(tls, channel);
        desk
    }

    /// What was found out about the client before the greeting.
    pub(crate) fn begins(&mut self, rated: bool, screened: Option<Reply>) {
        (self.rated, self.screened) = (rated, screened);
    }

    /// After XCLIENT: nothing of the former client holds.
    pub(crate) async fn another_client(&mut self) {
        (self.effects, self.session_effects) = (Effects::default(), Effects::default());
        (self.intake, self.screened, self.sender_destination, self.forwarded) = (None, None, None, None);
        self.login = None;
        self.rated = match self.peer.ip() {
            Some(ip) => self.service.is_rated(ip).await,
            None => false,
        };
    }

    fn over_rate(&self, event: Event) -> bool {
        self.rated && self.peer.ip().is_some_and(|ip| over_rate(&self.server, &self.service, ip, event))
    }

    /// `name[address]`, as replies about rates have it.
    pub(crate) fn client_text(&self) -> String {
        self.peer.ip().map_or_else(|| "local".to_owned(), |ip| format!("[{ip}]"))
    }

    pub(crate) fn hostname(&self) -> &str {
        &self.service.hostname
    }

    pub(crate) fn min_data_rate(&self) -> u32 {
        self.service.smtpd.smtpd_min_data_rate
    }

    /// Notes what TLS agreed on.
    pub(crate) fn tls_started(&mut self, tls: Option<TlsInfo>, channel: Channel) {
        self.channel = channel;
        self.tls = tls.as_ref().map(describe);
        self.tls_info = tls;
        // RFC 3207 §4.2: who logged in before is nobody again
        self.login = None;
        let Some(tls) = self.tls.as_deref() else { return };
        if self.service.smtpd.smtpd_tls_loglevel > 0 {
            tracing::info!(tls, "TLS started");
        } else {
            tracing::debug!(tls, "TLS started");
        }
    }

    pub(crate) fn cancel_auth(&mut self) {
        self.exchange = None;
    }

    /// Drops what has come of a message.
    pub(crate) fn abandon(&mut self) {
        self.intake = None;
    }

    pub(crate) async fn piece(&mut self, piece: Vec<u8>) {
        if let Some(intake) = &mut self.intake {
            intake.append(piece, &self.server.spool).await;
        }
    }

    pub(crate) async fn answer(&mut self, machine: &Session, question: Question) -> Answer {
        match question {
            Question::Connect => self.judge(Stage::Client, machine, None, None).await,
            Question::Hello { name, extended } => match self.judge(Stage::Helo, machine, Some(&name), None).await {
                Answer::Accept if extended && self.service.smtpd.smtpd_sasl_auth_enable => {
                    Answer::Mechanisms(self.service.mechanisms(machine.is_tls(), &self.channel).await)
                }
                answer => answer,
            },
            Question::StartTls if self.over_rate(Event::NewTls) => {
                tracing::info!("refused: too many new TLS sessions (smtpd_client_new_tls_session_rate_limit)");
                let text = format!("{} Error: too many new TLS sessions from {}", self.service.hostname, self.client_text());
                Answer::Disconnect(Reply::with(421, (4, 7, 0), text))
            }
            Question::StartTls => Answer::Accept,
            Question::Etrn(domain) => self.etrn(machine, &domain).await,
            Question::XClient(attributes) => self.xclient(&attributes).await,
            Question::XForward(attributes) => self.xforward(machine, &attributes),
            Question::Auth { .. } if self.over_rate(Event::Auth) => {
                tracing::info!("refused: too many AUTH commands (smtpd_client_auth_rate_limit)");
                Answer::Reply(Reply::with(450, (4, 7, 1), format!("Error: too many AUTH commands from {}", self.client_text())))
            }
            Question::Auth { mechanism, initial } => self.begin_auth(machine, mechanism, initial).await,
            Question::AuthResponse(response) => {
                let Some(mut exchange) = self.exchange.take() else {
                    return Answer::Reply(Reply::with(454, (4, 7, 0), "Temporary authentication failure"));
                };
                let answer = exchange.answer(&response).await;
                self.went_on(exchange, answer)
            }
            Question::Mail(mail) => self.mail(machine, &mail).await,
            Question::Recipient(recipient) => self.recipient(machine, &recipient).await,
            Question::Data => self.data(machine).await,
            // In boxes of their own: every question would pay for their size.
            Question::Message(transaction) => Box::pin(self.message(machine, &transaction)).await,
        }
    }

    async fn begin_auth(&mut self, machine: &Session, mechanism: String, initial: Option<Secret>) -> Answer {
        let request = AuthRequest {
            mechanism: mechanism.clone(),
            service: "smtp",
            secured: machine.is_tls() || self.peer.addr.is_none(),
            remote: self.peer.addr,
            local: self.peer.local,
            realm: self.service.smtpd.smtpd_sasl_local_domain.clone(),
            channel: self.channel.clone(),
            session: self.session.clone(),
            initial: None,
        };
        self.mechanism = Some(mechanism.clone());
        let mut exchange = Exchange::new(mechanism);
        let answer = exchange.begin(&self.service.auth, request, initial).await;
        self.went_on(exchange, answer)
    }

    fn went_on(&mut self, exchange: Exchange, answer: Answer) -> Answer {
        match &answer {
            Answer::Challenge(_) => self.exchange = Some(exchange),
            Answer::Authenticated(user) => {
                tracing::info!(user = %printable(user), "logged in");
                let tls = self.tls_info.is_some();
                // the old entry goes first: both have this session's name
                self.login = None;
                self.login = Some(self.server.logins.enter(&self.session, user, &self.service.name, &self.peer, tls, &self.end));
            }
            _ => {}
        }
        answer
    }

    async fn mail(&mut self, machine: &Session, mail: &MailFrom) -> Answer {
        self.effects = self.session_effects.clone();
        self.intake = None;
        self.transactions += 1;
        self.instance = format!("{}.{}", self.session, self.transactions);
        if self.over_rate(Event::Message) {
            tracing::info!("refused: too much mail (smtpd_client_message_rate_limit)");
            return Answer::Reply(Reply::with(450, (4, 7, 1), format!("Error: too much mail from {}", self.client_text())));
        }
        self.sender_destination = match &mail.sender {
            Some(sender) if self.service.policy.wants_sender_destination() => Some(self.destination(sender).await),
            _ => None,
        };
        if let Err(error) = self.server.spool.check_space(mail.size.unwrap_or(0)) {
            tracing::warn!(%error, "mail refused for now");
            return Answer::Reply(match error {
                spool::Error::Full(_) => Reply::with(452, (4, 3, 1), "Insufficient system storage"),
                _ => Reply::with(451, (4, 3, 0), "Error: the queue is not available"),
            });
        }
        self.sender_is_own = match (machine.login(), &mail.sender) {
            (Some(login), Some(sender)) if !self.service.policy.has_sender_logins() => Some(Box::pin(self.owns(login, sender)).await),
            _ => None,
        };
        let answer = self.judge_sender(machine, mail.sender.as_ref()).await;
        self.take_wishes(machine, mail, answer).await
    }

    async fn judge_sender(&mut self, machine: &Session, sender: Option<&Address>) -> Answer {
        if !self.service.policy.concerns(Stage::Sender) {
            return Answer::Accept;
        }
        self.know_name().await;
        let facts = Facts { sender: Some(sender), sender_destination: self.sender_destination.as_ref(), ..self.facts(machine, None) };
        let verdict = self.service.policy.judge(Stage::Sender, &facts).await;
        self.settle(Stage::Sender, machine, verdict, sender, None)
    }

    /// Judges a stage that has no address of its own.
    async fn judge(&mut self, stage: Stage, machine: &Session, helo: Option<&str>, transaction: Option<&Transaction>) -> Answer {
        if !self.service.policy.concerns(stage) {
            return Answer::Accept;
        }
        self.know_name().await;
        let transaction = transaction.or(machine.transaction());
        // With one recipient it is known whom the message is for (Postfix smtpd_check_data).
        let only = transaction.and_then(|t| match t.recipients.as_slice() {
            [only] => Some(&only.address),
            _ => None,
        });
        let destination = match only {
            Some(address) => Some(self.destination(address).await),
            None => None,
        };
        let mut facts = Facts { recipient: only, destination: destination.as_ref(), ..self.facts(machine, transaction) };
        facts.helo = helo.or(facts.helo);
        let verdict = self.service.policy.judge(stage, &facts).await;
        let sender = transaction.and_then(|t| t.mail.sender.as_ref());
        self.settle(stage, machine, verdict, sender, None)
    }

    async fn recipient(&mut self, machine: &Session, recipient: &Recipient) -> Answer {
        if self.over_rate(Event::Recipient) {
            tracing::info!("refused: too many recipients (smtpd_client_recipient_rate_limit)");
            return Answer::Reply(Reply::with(450, (4, 7, 1), format!("Error: too many recipients from {}", self.client_text())));
        }
        if let Some(reply) = &self.screened {
            self.rejected += 1;
            tracing::info!(to = %printable(&recipient.address.to_string()), reply = %reply, "rejected");
            return Answer::Reply(reply.clone());
        }
        self.know_name().await;
        let destination = self.destination(&recipient.address).await;
        let transaction = machine.transaction();
        let facts = Facts { recipient: Some(&recipient.address), destination: Some(&destination), ..self.facts(machine, transaction) };
        let verdict = self.service.policy.judge(Stage::Recipient, &facts).await;
        let sender = transaction.and_then(|t| t.mail.sender.as_ref());
        self.settle(Stage::Recipient, machine, verdict, sender, Some(&recipient.address))
    }

    async fn destination(&self, address: &Address) -> Destination {
        match self.world.router.classify(address).await {
            Err(unavailable) => Destination::Unavailable { reason: unavailable.to_string() },
            Ok(found) => {
                let reason = found.reason.to_string();
                match found.class {
                    Class::Mailbox | Class::Alias | Class::Relay => Destination::Ours { listed: true, reason },
                    Class::UnknownUser => Destination::Ours { listed: false, reason },
                    Class::Moved => Destination::Moved { to: found.moved_to.unwrap_or_default(), reason },
                    Class::NotOurs => Destination::Elsewhere { reason },
                }
            }
        }
    }

    pub(crate) fn facts<'a>(&'a self, machine: &'a Session, transaction: Option<&'a Transaction>) -> Facts<'a> {
        let (client_name, client_name_unavailable) = match &self.name {
            PeerName::Known { name, unavailable } => (name.as_deref(), *unavailable),
            PeerName::Asked(_) => (None, true),
        };
        let (reverse_name, reverse_name_unavailable) = (self.reverse.0.as_deref(), self.reverse.1);
        let tls = self.tls_info.as_ref();
        Facts {
            client_ip: self.peer.ip(),
            client_port: self.peer.addr.map(|a| a.port()),
            client_name,
            client_name_unavailable,
            reverse_name,
            reverse_name_unavailable,
            local: self.peer.addr.is_none(),
            server_name: Some(&self.service.hostname),
            server_ip: self.peer.local.map(|a| a.ip()),
            server_port: self.peer.local.map(|a| a.port()),
            helo: machine.hello(),
            extended: machine.is_extended(),
            tls: machine.is_tls(),
            tls_terms: tls.map(|tls| (tls.version, tls.cipher.as_str(), tls.bits)),
            client_fingerprints: tls.map_or(&[], |tls| &tls.client_fingerprints),
            login: machine.login(),
            mechanism: self.mechanism.as_deref().filter(|_| machine.login().is_some()),
            sender: transaction.map(|t| t.mail.sender.as_ref()),
            sender_destination: self.sender_destination.as_ref().filter(|_| transaction.is_some()),
            recipient: None,
            destination: None,
            recipients: transaction.map_or(0, |t| t.recipients.len()),
            size: match &self.intake {
                Some(intake) => intake.size,
                None => transaction.and_then(|t| t.mail.size).unwrap_or(0),
            },
            queue_id: self.intake.as_ref().map(|intake| intake.envelope.id.as_str()),
            instance: &self.instance,
            etrn_domain: None,
            unauth_pipelining: machine.ran_ahead(),
            sender_is_own: self.sender_is_own,
        }
    }

    /// Turns a verdict into an answer, and logs what was refused and why.
    pub(crate) fn settle(
        &mut self,
        stage: Stage,
        machine: &Session,
        verdict: Verdict,
        sender: Option<&Address>,
        recipient: Option<&Address>,
    ) -> Answer {
        for remark in &verdict.effects.remarks {
            tracing::info!(remark = %printable(remark), stage = stage.setting(), "remark of a restriction");
        }
        let effects = Effects { remarks: Vec::new(), ..verdict.effects };
        // Tables that let the client be hold for its whole session; the others for the message.
        let of_session = matches!(stage, Stage::Client | Stage::Helo);
        if of_session { &mut self.session_effects } else { &mut self.effects }.merge(effects);
        let reply = match verdict.action {
            Action::Permit => {
                tracing::debug!(reason = %verdict.reason, stage = stage.setting(), "permitted");
                return Answer::Accept;
            }
            Action::Refuse(reply) => reply,
        };
        // A client that may log in is told to (RFC 4954 §6): "access denied" would be passed on to a person. Whoever is refused before
        // the answer to EHLO cannot.
        let plain_reject = verdict.reason.ends_with(": reject") && reply.code() == 554;
        let may_log_in = self.service.smtpd.smtpd_sasl_auth_enable && machine.login().is_none() && machine.hello().is_some();
        let reply = if plain_reject && may_log_in { Reply::with(530, (5, 7, 0), "Authentication required") } else { reply };
        self.rejected += 1;
        tracing::info!(
            helo = %printable(machine.hello().unwrap_or_default()),
            login = machine.login(),
            from = %Path(sender),
            to = recipient.map(|a| a.to_string()),
            reply = %reply,
            reason = %printable(&verdict.reason),
            "rejected"
        );
        Answer::Reply(reply)
    }

    async fn data(&mut self, machine: &Session) -> Answer {
        match self.judge(Stage::Data, machine, None, None).await {
            Answer::Accept => {}
            refusal => return refusal,
        }
        self.know_name().await;
        let Some(transaction) = machine.transaction() else { return Answer::Reply(Reply::with(451, (4, 3, 0), "Internal error")) };
        let mut envelope = self.envelope(machine, transaction);
        if let Some(sender) = &envelope.sender {
            match self.world.router.rewrite_sender(sender).await {
                Ok(sender) => envelope.sender = Some(sender),
                Err(error) => {
                    tracing::warn!(%error, from = %sender, "mail refused for now: the sender cannot be rewritten");
                    return Answer::Reply(Reply::with(451, (4, 3, 0), "Temporary lookup failure"));
                }
            }
        }
        // Postfix smtpd: what tables put in front stands above our own Received.
        let mut front: String = self.effects.prepend.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect();
        let received = Received {
            client: &envelope.client,
            by: &self.service.hostname,
            id: envelope.id,
            smtputf8: envelope.smtputf8,
            tls: self.tls.as_deref(),
            show_login: false,
            // RFC 5321 §7.6: a list of recipients would betray one to the other.
            recipient: match envelope.recipients.as_slice() {
                [only] => Some(&only.address),
                _ => None,
            },
            priority: envelope.wishes.priority,
            date: Date::new(i64::try_from(envelope.arrived_micros / 1_000_000).unwrap_or(i64::MAX), 0),
        };
        front.push_str(&received.to_field());
        let smtpd = &self.service.smtpd;
        let bytes = |size: config::Size| usize::try_from(size.0).unwrap_or(usize::MAX);
        let terms = Terms {
            front,
            submission: smtpd.always_add_missing_headers,
            authors: machine.login().is_some() && smtpd.smtpd_reject_header_from_mismatch,
            trusted: self.is_trusted_relay(machine).await,
            hostname: self.service.hostname.clone(),
            hopcount_limit: self.world.hopcount_limit,
            tls_required: smtpd.tls_required_enable,
            priority_limit: self.header_priority_limit(machine, &transaction.mail).await,
            header_limit: bytes(smtpd.smtpd_message_header_limit),
            journal_limit: bytes(smtpd.journal_message_limit),
        };
        let own = machine.login().is_some() || self.peer.ip().is_none_or(|ip| ip.to_canonical().is_loopback());
        let scan = self.world.router.cleanup().scan(own);
        self.intake = Some(Intake::new(envelope, terms, scan));
        Answer::Accept
    }

    /// A mail system of ours, such as a content filter that hands mail back; people on the local socket and logins are none.
    async fn is_trusted_relay(&self, machine: &Session) -> bool {
        let facts = self.facts(machine, None);
        !facts.local && facts.login.is_none() && matches!(self.service.policy.in_mynetworks(&facts).await, Ok(true))
    }

    fn envelope(&self, machine: &Session, transaction: &Transaction) -> Envelope {
        let name = match &self.name {
            PeerName::Known { name, .. } => name.clone(),
            PeerName::Asked(_) => None,
        };
        let mail = &transaction.mail;
        Envelope {
            id: self.server.spool.next_id(),
            arrived_micros: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)),
            sender: mail.sender.clone(),
            recipients: transaction.recipients.clone(),
            body: mail.body,
            smtputf8: mail.smtputf8,
            ret: mail.ret,
            envid: mail.envid.clone(),
            wishes: self.wishes,
            hold: self.effects.hold,
            filter: self.filter(),
            client: Client {
                ip: self.peer.ip(),
                helo: machine.hello().unwrap_or_default().to_owned(),
                name,
                login: machine.login().map(str::to_owned).or_else(|| self.local_user.clone()),
                protocol: Protocol { local: self.peer.addr.is_none(), ..machine.protocol() },
            },
        }
    }

    async fn message(&mut self, machine: &Session, transaction: &Transaction) -> Answer {
        match self.judge(Stage::EndOfData, machine, None, Some(transaction)).await {
            Answer::Accept => {}
            refusal => {
                self.intake = None;
                return refusal;
            }
        }
        let Some(mut intake) = self.intake.take() else { return Answer::Reply(Reply::with(451, (4, 3, 0), "Internal error")) };
        let id = intake.envelope.id;
        // The end of data may have named another; what the content asks for comes last.
        intake.envelope.filter = self.filter();
        let whole = intake.finish(&self.server.spool).await;
        if let Err(reply) = match whole {
            Ok(()) => self.inspect(machine, &intake).await,
            refused => refused,
        } {
            self.rejected += 1;
            return Answer::Reply(reply);
        }
        if self.effects.discard || intake.discard {
            tracing::info!(queue_id = %id, from = %Path(intake.envelope.sender.as_ref()), "discarded, as a table says");
            return Answer::Reply(queued(id));
        }
        intake.envelope.hold |= self.effects.hold;
        self.send_elsewhere(&mut intake.envelope);
        if let Some((resets, client)) = self.forwarded.take()
            && resets == machine.resets()
        {
            intake.envelope.client = Client { protocol: intake.envelope.client.protocol, ..client };
        }
        let (receipt, intake) = match intake.commit(&self.server.spool).await {
            Ok(kept) => kept,
            Err(reply) => {
                self.rejected += 1;
                return Answer::Reply(reply);
            }
        };
        self.server.hint(receipt);
        self.accepted += 1;
        let envelope = &intake.envelope;
        tracing::info!(
            queue_id = %id,
            client = envelope.client.name.as_deref(),
            helo = %printable(&envelope.client.helo),
            login = envelope.client.login.as_deref(),
            protocol = envelope.client.protocol.name(envelope.smtputf8),
            from = %Path(envelope.sender.as_ref()),
            recipients = envelope.recipients.len(),
            size = intake.size,
            message_id = (!intake.message_id.is_empty()).then_some(&*intake.message_id),
            wishes = wishes::shown(&envelope.wishes),
            hold = envelope.hold.then_some(true),
            "received"
        );
        Answer::Reply(queued(id))
    }

    /// The last word about a session.
    pub(crate) fn ended(&self, machine: &Session, end: End) {
        let (accepted, rejected, errors) = (self.accepted, self.rejected, machine.errors());
        match end {
            End::Closed => tracing::debug!(accepted, rejected, errors, "disconnected"),
            End::Timeout => tracing::info!(accepted, rejected, errors, during = during(machine), "timeout"),
            End::TlsFailed(error) => tracing::info!(reason = %error, "TLS handshake failed"),
            End::Lost(error) => {
                let reason = error.map(|e| e.to_string());
                tracing::info!(accepted, rejected, errors, during = during(machine), reason, "lost connection");
            }
        }
    }
}

fn during(machine: &Session) -> &'static str {
    match machine.transaction() {
        _ if machine.is_receiving() => "message",
        Some(_) => "transaction",
        None if machine.hello().is_none() => "greeting",
        None => "idle",
    }
}

fn queued(id: mail_types::QueueId) -> Reply {
    Reply::with(250, (2, 0, 0), format!("Ok: queued as {id}"))
}

/// The user's name, or the number where there is none.
async fn user_name(uid: u32) -> String {
    let found = tokio::task::spawn_blocking(move || nix::unistd::User::from_uid(uid.into())).await;
    match found {
        Ok(Ok(Some(user))) => user.name,
        _ => format!("uid={uid}"),
    }
}

fn describe(tls: &TlsInfo) -> String {
    format!("{} with cipher {}, {} bits", tls.version, tls.cipher, tls.bits)
}

/// An envelope sender in a log line; the null sender is `<>`.
pub(crate) struct Path<'a>(pub(crate) Option<&'a Address>);

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => f.write_str(&printable(&address.to_string())),
            None => f.write_str("<>"),
        }
    }
}
