//! Asking the lists.

use crate::access::{self, Word};
use crate::restriction::{Check, List, Restriction, Subject, Verb};
use crate::{Action, Destination, Effects, Facts, Ownership, Policy, Stage, Traced, Verdict};
use mail_types::{Address, Reply};
use tables::Unavailable;

/// One judgement under way.
pub(crate) struct Run<'a> {
    policy: &'a Policy,
    facts: &'a Facts<'a>,
    effects: Effects,
    defer_if_permit: Option<(Reply, String)>,
    last_permit: String,
    /// Each restriction that was asked; only for those who want to know.
    pub(crate) trace: Option<Vec<Traced>>,
}

/// What one restriction says.
enum Said {
    Permit,
    Dunno,
    Refuse(Reply),
    DeferIfPermit(Reply),
}

impl Said {
    fn text(&self, warn_only: bool) -> String {
        match self {
            Said::Permit => "permit".into(),
            Said::Dunno => "says nothing".into(),
            Said::Refuse(reply) | Said::DeferIfPermit(reply) if warn_only => format!("would refuse, warns only: {reply}"),
            Said::Refuse(reply) => format!("refuses: {reply}"),
            Said::DeferIfPermit(reply) => format!("defers, unless something refuses: {reply}"),
        }
    }
}

impl<'a> Run<'a> {
    pub(crate) fn new(policy: &'a Policy, facts: &'a Facts<'a>) -> Run<'a> {
        Run { policy, facts, effects: Effects::default(), defer_if_permit: None, last_permit: "end of all lists".into(), trace: None }
    }

    /// Asks one list; `Some` when it refuses.
    pub(crate) async fn list(&mut self, stage: Stage, list: &List) -> Option<Verdict> {
        for restriction in &list.restrictions {
            let (said, detail) = self.restriction(stage, restriction).await;
            if let Some(trace) = &mut self.trace {
                let (rule, detail) = (restriction.text.clone(), detail.clone());
                trace.push(Traced { stage, rule, said: said.text(restriction.warn_only), detail });
            }
            let reason = || format!("{}: {}{detail}", stage.setting(), restriction.text);
            match said {
                Said::Dunno => {}
                Said::Permit => {
                    self.last_permit = reason();
                    return None;
                }
                Said::Refuse(reply) | Said::DeferIfPermit(reply) if restriction.warn_only => {
                    self.effects.remarks.push(format!("{}: warn_if_reject {}{detail}: {reply}", stage.setting(), restriction.text));
                }
                Said::Refuse(reply) => return Some(self.refused(reply, reason())),
                Said::DeferIfPermit(reply) => {
                    if self.defer_if_permit.is_none() {
                        self.defer_if_permit = Some((reply, reason()));
                    }
                }
            }
        }
        None
    }

    /// The end of all lists.
    pub(crate) fn permitted(&mut self) -> Verdict {
        match self.defer_if_permit.take() {
            Some((reply, reason)) => self.refused(reply, reason),
            None => Verdict {
                action: Action::Permit,
                reason: std::mem::take(&mut self.last_permit),
                effects: std::mem::take(&mut self.effects),
            },
        }
    }

    /// The recipient is in one of our domains, and nobody knows it there.
    pub(crate) fn unlisted_recipient(&mut self, setting: &str) -> Option<Verdict> {
        match self.unlisted() {
            Said::Refuse(reply) => {
                let why = match self.facts.destination {
                    Some(Destination::Ours { reason, .. } | Destination::Unavailable { reason } | Destination::Elsewhere { reason }) => {
                        reason
                    }
                    None => "",
                };
                Some(self.refused(reply, format!("{setting}: {why}")))
            }
            _ => None,
        }
    }

    fn refused(&mut self, reply: Reply, reason: String) -> Verdict {
        Verdict { action: Action::Refuse(reply), reason, effects: std::mem::take(&mut self.effects) }
    }

    async fn restriction(&mut self, stage: Stage, restriction: &Restriction) -> (Said, String) {
        match &restriction.check {
            Check::Verb(verb) => (self.verb(*verb, stage).await, self.detail(*verb)),
            Check::Access(subject, maps) => match access::find(*subject, maps, self.facts, &self.policy.delimiters).await {
                Ok(None) => (Said::Dunno, String::new()),
                Ok(Some(found)) => {
                    let mut effects = std::mem::take(&mut self.effects);
                    let word = access::word(&found.value, &mut effects);
                    self.effects = effects;
                    (self.word(word, *subject, stage).await, format!(": {found}"))
                }
                Err(unavailable) => (lookup_error(&self.subject_text(*subject)), format!(": {unavailable}")),
            },
        }
    }

    async fn word(&mut self, word: Word, subject: Subject, stage: Stage) -> Said {
        match word {
            Word::Permit => Said::Permit,
            Word::Dunno => Said::Dunno,
            Word::Refuse(reply) => Said::Refuse(self.about(subject, reply)),
            Word::DeferIfPermit(text) => {
                let text = if text.is_empty() { "Try again later".to_owned() } else { text };
                Said::DeferIfPermit(self.about(subject, Reply::with(450, (4, 7, 1), text)))
            }
            Word::Verbs(verbs) => {
                for verb in verbs {
                    match self.verb(verb, stage).await {
                        Said::Dunno => {}
                        said => return said,
                    }
                }
                Said::Dunno
            }
            Word::Malformed => Said::Refuse(Reply::with(451, (4, 3, 5), "Server configuration error")),
        }
    }

    /// Postfix's wording: `<subject>: Sender address rejected: text`.
    fn about(&self, subject: Subject, reply: Reply) -> Reply {
        let kind = match subject {
            Subject::Client => "Client host",
            Subject::Helo => "Helo command",
            Subject::Sender => "Sender address",
            Subject::Recipient => "Recipient address",
            Subject::Login => "Login name",
        };
        let text = format!("<{}>: {kind} rejected: {}", self.subject_text(subject), reply.text());
        Reply::new(reply.code(), reply.enhanced(), text)
    }

    fn subject_text(&self, subject: Subject) -> String {
        match subject {
            Subject::Client => {
                let ip = self.facts.client_ip.map_or_else(|| "local".to_owned(), |ip| ip.to_string());
                format!("{}[{ip}]", self.facts.client_name.unwrap_or("unknown"))
            }
            Subject::Helo => self.facts.helo.unwrap_or_default().to_owned(),
            Subject::Sender => self.facts.sender.flatten().map(Address::to_string).unwrap_or_default(),
            Subject::Recipient => self.facts.recipient.map(Address::to_string).unwrap_or_default(),
            Subject::Login => self.facts.login.unwrap_or_default().to_owned(),
        }
    }

    /// What an unconditional verb refuses: the subject of its stage.
    fn stage_subject(&self, stage: Stage) -> Subject {
        match stage {
            Stage::Client => Subject::Client,
            Stage::Helo => Subject::Helo,
            Stage::Sender => Subject::Sender,
            Stage::Relay | Stage::Recipient => Subject::Recipient,
            Stage::Data | Stage::EndOfData => Subject::Client,
        }
    }

    fn refuse(&self, subject: Subject, code: u16, status: (u8, u16, u16), text: &'static str) -> Said {
        Said::Refuse(self.about(subject, Reply::with(code, status, text)))
    }

    fn detail(&self, verb: Verb) -> String {
        let about_destination = matches!(
            verb,
            Verb::RejectUnauthDestination | Verb::DeferUnauthDestination | Verb::PermitAuthDestination | Verb::RejectUnlistedRecipient
        );
        match self.facts.destination {
            Some(Destination::Ours { reason, .. } | Destination::Elsewhere { reason } | Destination::Unavailable { reason })
                if about_destination =>
            {
                format!(": {reason}")
            }
            _ => String::new(),
        }
    }

    async fn verb(&mut self, verb: Verb, stage: Stage) -> Said {
        let facts = self.facts;
        match verb {
            Verb::Nothing => Said::Dunno,
            Verb::Permit => Said::Permit,
            Verb::Reject => self.refuse(self.stage_subject(stage), 554, (5, 7, 1), "Access denied"),
            Verb::Defer => self.refuse(self.stage_subject(stage), 450, (4, 7, 1), "Try again later"),
            Verb::PermitMynetworks => match self.policy.in_mynetworks(facts).await {
                Ok(true) => Said::Permit,
                Ok(false) => Said::Dunno,
                Err(_) => lookup_error(&self.subject_text(Subject::Client)),
            },
            Verb::PermitSaslAuthenticated if facts.login.is_some() => Said::Permit,
            Verb::PermitSaslAuthenticated => Said::Dunno,
            Verb::PermitAuthDestination => match facts.destination {
                Some(Destination::Ours { .. }) => Said::Permit,
                Some(Destination::Unavailable { .. }) => lookup_error(&self.subject_text(Subject::Recipient)),
                _ => Said::Dunno,
            },
            Verb::RejectUnauthDestination => self.unauth_destination(550, (5, 7, 1)),
            Verb::DeferUnauthDestination => self.unauth_destination(454, (4, 7, 1)),
            Verb::RejectUnlistedRecipient => self.unlisted(),
            Verb::RejectPlaintextSession if !facts.tls && !facts.local => {
                Said::Refuse(Reply::with(450, (4, 7, 1), "Session encryption is required"))
            }
            Verb::RejectPlaintextSession => Said::Dunno,
            Verb::RejectMultiRecipientBounce if facts.sender == Some(None) && facts.recipients > 1 => {
                Said::Refuse(Reply::with(550, (5, 5, 3), "Multi-recipient bounce"))
            }
            Verb::RejectMultiRecipientBounce => Said::Dunno,
            Verb::RejectUnknownClient if facts.client_name.is_some() || facts.local => Said::Dunno,
            Verb::RejectUnknownClient if facts.client_name_unavailable => self.dns_failure(Subject::Client),
            Verb::RejectUnknownClient => self.refuse(Subject::Client, 450, (4, 7, 25), "cannot find your hostname"),
            Verb::RejectInvalidHelo | Verb::RejectNonFqdnHelo | Verb::RejectUnknownHelo => self.helo(verb).await,
            Verb::RejectNonFqdnSender => match facts.sender.flatten() {
                Some(address) if !is_fqdn(address) => self.refuse(Subject::Sender, 504, (5, 5, 2), "need fully-qualified address"),
                _ => Said::Dunno,
            },
            Verb::RejectNonFqdnRecipient => match facts.recipient {
                Some(address) if !is_fqdn(address) => self.refuse(Subject::Recipient, 504, (5, 5, 2), "need fully-qualified address"),
                _ => Said::Dunno,
            },
            Verb::RejectUnknownSenderDomain => match facts.sender.flatten() {
                Some(address) => self.unknown_domain(Subject::Sender, address).await,
                None => Said::Dunno,
            },
            Verb::RejectUnknownRecipientDomain => match (facts.recipient, facts.destination) {
                // We are its final destination: DNS need not know it.
                (_, Some(Destination::Ours { .. })) | (None, _) => Said::Dunno,
                (Some(address), _) => self.unknown_domain(Subject::Recipient, address).await,
            },
            Verb::RejectSenderLoginMismatch | Verb::RejectAuthenticatedSenderLoginMismatch | Verb::RejectKnownSenderLoginMismatch => {
                self.sender_login(verb).await
            }
        }
    }

    fn unauth_destination(&self, code: u16, status: (u8, u16, u16)) -> Said {
        match self.facts.destination {
            Some(Destination::Elsewhere { .. }) => {
                Said::Refuse(Reply::with(code, status, format!("<{}>: Relay access denied", self.subject_text(Subject::Recipient))))
            }
            Some(Destination::Unavailable { .. }) => lookup_error(&self.subject_text(Subject::Recipient)),
            Some(Destination::Ours { .. }) | None => Said::Dunno,
        }
    }

    fn unlisted(&self) -> Said {
        match self.facts.destination {
            Some(Destination::Ours { listed: false, .. }) => self.refuse(Subject::Recipient, 550, (5, 1, 1), "User unknown"),
            Some(Destination::Unavailable { .. }) => lookup_error(&self.subject_text(Subject::Recipient)),
            _ => Said::Dunno,
        }
    }

    async fn helo(&self, verb: Verb) -> Said {
        let Some(name) = self.facts.helo else { return Said::Dunno };
        let parsed = mail_types::Domain::parse(name.strip_suffix('.').unwrap_or(name));
        match (verb, parsed) {
            (_, Err(_)) => self.refuse(Subject::Helo, 501, (5, 5, 2), "Invalid name"),
            (_, Ok(domain)) if domain.literal().is_some() => Said::Dunno,
            (Verb::RejectNonFqdnHelo, Ok(domain)) if !domain.as_str().contains('.') => {
                self.refuse(Subject::Helo, 504, (5, 5, 2), "need fully-qualified hostname")
            }
            (Verb::RejectUnknownHelo, Ok(domain)) => match self.exists(domain.as_str()).await {
                Ok(true) => Said::Dunno,
                Ok(false) => self.refuse(Subject::Helo, 450, (4, 7, 1), "Host not found"),
                Err(_) => self.dns_failure(Subject::Helo),
            },
            _ => Said::Dunno,
        }
    }

    async fn unknown_domain(&self, subject: Subject, address: &Address) -> Said {
        if address.domain().literal().is_some() {
            return Said::Dunno;
        }
        let name = address.domain().as_str();
        let Some(resolver) = &self.policy.resolver else { return Said::Dunno };
        let known = match resolver.mx(name).await {
            Ok(records) if dns::is_null_mx(&records) => {
                // RFC 7505 §4
                let status = if subject == Subject::Sender { (5, 7, 27) } else { (5, 1, 10) };
                return self.refuse(
                    subject,
                    if subject == Subject::Sender { 550 } else { 556 },
                    status,
                    "Domain does not accept mail (nullMX)",
                );
            }
            Ok(_) => Ok(true),
            Err(dns::Error::Temporary(why)) => Err(dns::Error::Temporary(why)),
            Err(_) => self.exists(name).await,
        };
        match known {
            Ok(true) => Said::Dunno,
            Ok(false) => {
                let status = if subject == Subject::Sender { (4, 1, 8) } else { (4, 1, 2) };
                self.refuse(subject, 450, status, "Domain not found")
            }
            Err(_) => self.dns_failure(subject),
        }
    }

    /// Whether the name has an address or an MX record.
    async fn exists(&self, name: &str) -> Result<bool, dns::Error> {
        let Some(resolver) = &self.policy.resolver else { return Ok(true) };
        match resolver.addresses(name).await {
            Ok(_) => return Ok(true),
            Err(error @ dns::Error::Temporary(_)) => return Err(error),
            Err(_) => {}
        }
        match resolver.mx(name).await {
            Ok(_) => Ok(true),
            Err(error @ dns::Error::Temporary(_)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    fn dns_failure(&self, subject: Subject) -> Said {
        Said::DeferIfPermit(self.about(subject, Reply::with(450, (4, 4, 3), "Name service error, try again later")))
    }

    /// Who may use a sender address: those that `smtpd_sender_login_maps` names. Without such a table a login has its own address and
    /// the aliases that lead to it alone; nothing is known then of senders without a login, nor for `reject_known_sender_login_mismatch`.
    async fn sender_login(&self, verb: Verb) -> Said {
        let Some(sender) = self.facts.sender.flatten() else { return Said::Dunno };
        if verb == Verb::RejectAuthenticatedSenderLoginMismatch && self.facts.login.is_none() {
            return Said::Dunno;
        }
        if self.policy.sender_login_maps.is_empty() {
            return match (self.facts.login, self.facts.sender_is_own) {
                (Some(login), Some(Ownership::Foreign)) if verb != Verb::RejectKnownSenderLoginMismatch => self.not_owned(login),
                (Some(_), Some(Ownership::Unavailable)) if verb != Verb::RejectKnownSenderLoginMismatch => {
                    lookup_error(&self.subject_text(Subject::Sender))
                }
                _ => Said::Dunno,
            };
        }
        let Ok(owners) = self.policy.owners(sender).await else { return lookup_error(&self.subject_text(Subject::Sender)) };
        match (self.facts.login, &owners) {
            (Some(login), Some(owners)) if owners.has(login) => Said::Dunno,
            (Some(_), None) if verb == Verb::RejectKnownSenderLoginMismatch => Said::Dunno,
            (Some(login), _) => self.not_owned(login),
            (None, Some(_)) => self.refuse(Subject::Sender, 553, (5, 7, 1), "not logged in"),
            (None, None) => Said::Dunno,
        }
    }

    fn not_owned(&self, login: &str) -> Said {
        let text = format!("<{}>: Sender address rejected: not owned by user {login}", self.subject_text(Subject::Sender));
        Said::Refuse(Reply::with(553, (5, 7, 1), text))
    }
}

/// A value of `smtpd_sender_login_maps`: login names.
pub(crate) struct Owners(String);

impl Owners {
    pub(crate) fn has(&self, login: &str) -> bool {
        self.0.split(|c: char| c == ',' || c.is_whitespace()).any(|owner| owner.eq_ignore_ascii_case(login))
    }
}

impl Policy {
    pub(crate) async fn owners(&self, address: &Address) -> Result<Option<Owners>, Unavailable> {
        let order = tables::AddressOrder { delimiters: &self.delimiters, bare: false, catch_all: true };
        Ok(self.sender_login_maps.address(address, order).await?.map(|hit| Owners(hit.found.value.to_string())))
    }
}

/// Neither yes nor no: 451, whatever is asked.
fn lookup_error(subject: &str) -> Said {
    Said::Refuse(Reply::with(451, (4, 3, 0), format!("<{subject}>: Temporary lookup failure")))
}

fn is_fqdn(address: &Address) -> bool {
    address.domain().literal().is_some() || address.domain().as_str().contains('.')
}
