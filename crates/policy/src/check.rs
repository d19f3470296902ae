//! Asking the lists.

use crate::access::{self, Word};
use crate::delegation;
use crate::hosts::find_hosts;
use crate::restriction::{Check, List, Restriction, Subject, Verb};
use crate::{Action, Destination, Effects, Facts, Policy, Stage, Traced, Verdict};
use mail_types::{Address, Reply};
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;
use tables::Found;

/// Classes that tables lead to may lead to further tables: so deep, and no further.
const DEPTH_LIMIT: u32 = 20;

/// One judgement under way.
pub(crate) struct Run<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) now: Instant,
    effects: Effects,
    /// The stage that is judged; its lists may be those of earlier ones.
    at: Stage,
    defer_if_permit: Option<(Reply, String)>,
    defer_if_reject: Option<(Reply, String)>,
    last_permit: String,
    depth: u32,
    /// Each restriction that was asked; only for those who want to know.
    pub(crate) trace: Option<Vec<Traced>>,
}

/// What one restriction says.
pub(crate) enum Said {
    Permit,
    Dunno,
    Refuse(Reply),
    /// We cannot tell, and it is our fault: `warn_if_reject` does not make it good.
    Fault(Reply),
    DeferIfPermit(Reply),
    DeferIfReject(Reply),
    /// A list inside has decided; the reason is its own.
    Decided(Box<Verdict>),
}

/// How a list ends.
enum Ended {
    Undecided,
    Permitted,
    Refused(Verdict),
}

impl Said {
    fn text(&self, warn_only: bool) -> String {
        match self {
            Said::Permit => "permit".into(),
            Said::Dunno => "says nothing".into(),
            Said::Refuse(reply) | Said::DeferIfPermit(reply) if warn_only => format!("would refuse, warns only: {reply}"),
            Said::Refuse(reply) | Said::Fault(reply) => format!("refuses: {reply}"),
            Said::DeferIfPermit(reply) => format!("defers, unless something refuses: {reply}"),
            Said::DeferIfReject(_) if warn_only => "says nothing".into(),
            Said::DeferIfReject(reply) => format!("makes a refusal a deferral: {reply}"),
            Said::Decided(verdict) => match &verdict.action {
                Action::Permit => "permit".into(),
                Action::Refuse(reply) => format!("refuses: {reply}"),
            },
        }
    }
}

impl<'a> Run<'a> {
    pub(crate) fn new(policy: &'a Policy, at: Stage, facts: &'a Facts<'a>) -> Run<'a> {
        Run {
            policy,
            facts,
            now: Instant::now(),
            effects: Effects::default(),
            at,
            defer_if_permit: None,
            defer_if_reject: None,
            last_permit: "end of all lists".into(),
            depth: 0,
            trace: None,
        }
    }

    /// Asks one list; `Some` when it refuses.
    pub(crate) async fn list(&mut self, stage: Stage, list: &List) -> Option<Verdict> {
        self.forget_defer_if_reject();
        match self.restrictions(stage, stage.setting(), list, false).await {
            Ended::Refused(verdict) => Some(verdict),
            Ended::Permitted | Ended::Undecided => None,
        }
    }

    /// Asks restrictions in order. `warn_only`: nothing in them refuses.
    fn restrictions<'s>(
        &'s mut self,
        stage: Stage,
        place: &'s str,
        list: &'s List,
        warn_only: bool,
    ) -> Pin<Box<dyn Future<Output = Ended> + Send + 's>> {
        Box::pin(async move {
            for restriction in &list.restrictions {
                let warn = warn_only || restriction.warn_only;
                let (said, detail) = self.restriction(stage, place, restriction, warn).await;
                if let Some(trace) = &mut self.trace {
                    let (rule, detail) = (restriction.text.clone(), detail.clone());
                    trace.push(Traced { stage, rule, said: said.text(warn), detail });
                }
                let reason = || format!("{place}: {}{detail}", restriction.text);
                match said {
                    Said::Dunno => {}
                    Said::Permit => {
                        self.last_permit = reason();
                        return Ended::Permitted;
                    }
                    Said::Decided(verdict) if verdict.action == Action::Permit => return Ended::Permitted,
                    Said::Decided(verdict) => return Ended::Refused(*verdict),
                    Said::Refuse(reply) | Said::DeferIfPermit(reply) if warn => {
                        self.effects.remarks.push(format!("{place}: warn_if_reject {}{detail}: {reply}", restriction.text));
                    }
                    Said::Refuse(reply) | Said::Fault(reply) => return Ended::Refused(self.refused(reply, reason())),
                    Said::DeferIfPermit(reply) => self.defer_if_permit = self.defer_if_permit.take().or_else(|| Some((reply, reason()))),
                    Said::DeferIfReject(_) if warn => {}
                    Said::DeferIfReject(reply) => self.defer_if_reject = self.defer_if_reject.take().or_else(|| Some((reply, reason()))),
                }
            }
            Ended::Undecided
        })
    }

    /// What would have made a refusal a deferral held for its list only (Postfix smtpd_check).
    pub(crate) fn forget_defer_if_reject(&mut self) {
        self.defer_if_reject = None;
    }

    /// A table wants the message thrown away: then it is to be taken, whatever further lists say.
    pub(crate) fn discards(&self) -> bool {
        self.effects.discard
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
        let why = self.facts.destination.map_or("", Destination::reason);
        match self.unlisted() {
            Said::Refuse(reply) | Said::Fault(reply) => Some(self.refused(reply, format!("{setting}: {why}"))),
            _ => None,
        }
    }

    /// The same of the sender.
    pub(crate) fn unlisted_sender_refused(&mut self, setting: &str) -> Option<Verdict> {
        match self.unlisted_sender() {
            Said::Refuse(reply) | Said::Fault(reply) => Some(self.refused(reply, setting.to_owned())),
            _ => None,
        }
    }

    /// A refusal for good waits when something that could have permitted was not to be had.
    fn refused(&mut self, reply: Reply, reason: String) -> Verdict {
        let (reply, reason) = match self.defer_if_reject.take() {
            Some(earlier) if reply.code() >= 500 => earlier,
            _ => (reply, reason),
        };
        Verdict { action: Action::Refuse(reply), reason, effects: std::mem::take(&mut self.effects) }
    }

    async fn restriction(&mut self, stage: Stage, place: &str, restriction: &Restriction, warn: bool) -> (Said, String) {
        match &restriction.check {
            Check::Verb(Verb::CheckGreylist) => self.greylisted().await,
            Check::Verb(verb) => (self.verb(*verb, stage).await, self.detail(*verb)),
            Check::Access(subject, maps) => match access::find(*subject, maps, self.facts, &self.policy.delimiters).await {
                Ok(None) => (Said::Dunno, String::new()),
                // What a client may write into the DNS by itself gives it no rights.
                Ok(Some(found)) if *subject == Subject::ReverseClient => self.found(&found, *subject, stage, place, warn, false).await,
                Ok(Some(found)) => self.found(&found, *subject, stage, place, warn, true).await,
                Err(unavailable) => (lookup_error(&self.subject_text(*subject)), format!(": {unavailable}")),
            },
            Check::Hosts(subject, hosts, maps) => match find_hosts(self, *subject, *hosts, maps).await {
                Ok(None) => (Said::Dunno, String::new()),
                Ok(Some(found)) => self.found(&found, *subject, stage, place, warn, false).await,
                Err(said) => (said, String::new()),
            },
            Check::Listed(subject, site) => self.listed(*subject, site).await,
            Check::Welcome(subject, site) => (self.welcome(*subject, site).await, String::new()),
            Check::Service(service) => {
                let question = delegation::question(self.at, self.facts, &service.context);
                let (action, detail) = match self.policy.outside.ask(service, &question).await {
                    Ok(action) => (action, String::new()),
                    Err(why) => {
                        tracing::warn!(service = restriction.text, reason = %mail_types::printable(&why), "a policy service does not answer");
                        (service.default_action.clone(), format!(": {why}"))
                    }
                };
                let word = self.read(&action);
                let detail = format!("{detail}: action={}", mail_types::printable(&action));
                (self.word(word, self.stage_subject(stage), stage, place, warn).await, detail)
            }
            Check::Sleep(time) => {
                self.policy.outside.sleep(*time).await;
                (Said::Dunno, String::new())
            }
            Check::Class(list) => {
                let place = format!("{place}: {}", restriction.text);
                (self.inside(stage, &place, list, warn).await, String::new())
            }
        }
    }

    /// A table has the subject. `may_permit`: whether it may be taken for what the table says.
    async fn found(&mut self, found: &Found, subject: Subject, stage: Stage, place: &str, warn: bool, may_permit: bool) -> (Said, String) {
        let word = self.read(&found.value);
        let wrong = match &word {
            Word::Malformed(why) => Some(*why),
            Word::Permit if !may_permit => Some("OK is not allowed here; DUNNO is"),
            _ => None,
        };
        if let Some(why) = wrong {
            tracing::warn!(entry = %mail_types::printable(&found.to_string()), why, "an entry of an access table cannot be used");
            return (configuration_error(), format!(": {found}: {why}"));
        }
        (self.word(word, subject, stage, place, warn).await, format!(": {found}"))
    }

    fn read(&mut self, value: &str) -> Word {
        let late = self.at == Stage::EndOfData;
        let mut nowhere = Effects::default();
        // ETRN brings no message.
        let effects = if self.at == Stage::Etrn { &mut nowhere } else { &mut self.effects };
        access::word(value, &self.policy.codes, &self.policy.classes, late, effects)
    }

    async fn word(&mut self, word: Word, subject: Subject, stage: Stage, place: &str, warn: bool) -> Said {
        match word {
            Word::Permit => Said::Permit,
            Word::Dunno => Said::Dunno,
            Word::Refuse(reply) => Said::Refuse(self.about(subject, reply)),
            Word::DeferIfPermit(reply) => Said::DeferIfPermit(self.about(subject, reply)),
            Word::DeferIfReject(reply) => Said::DeferIfReject(self.about(subject, reply)),
            Word::Restrictions(list) => self.inside(stage, place, &list, warn).await,
            Word::Malformed(_) => configuration_error(),
        }
    }

    async fn inside(&mut self, stage: Stage, place: &str, list: &List, warn: bool) -> Said {
        if self.depth >= DEPTH_LIMIT {
            return configuration_error();
        }
        self.depth += 1;
        let ended = self.restrictions(stage, place, list, warn).await;
        self.depth -= 1;
        match ended {
            Ended::Undecided => Said::Dunno,
            Ended::Refused(verdict) => Said::Decided(Box::new(verdict)),
            Ended::Permitted => {
                Said::Decided(Box::new(Verdict { action: Action::Permit, reason: String::new(), effects: Effects::default() }))
            }
        }
    }

    /// Postfix's wording: `<subject>: Sender address rejected: text`.
    pub(crate) fn about(&self, subject: Subject, reply: Reply) -> Reply {
        let text = format!("<{}>: {} rejected: {}", self.subject_text(subject), kind(subject), reply.text());
        Reply::new(reply.code(), reply.enhanced(), text)
    }

    pub(crate) fn subject_text(&self, subject: Subject) -> String {
        let ip = || self.facts.client_ip.map_or_else(|| "local".to_owned(), |ip| ip.to_string());
        match subject {
            Subject::Client => format!("{}[{}]", self.facts.client_name.unwrap_or("unknown"), ip()),
            Subject::ReverseClient => format!("{}[{}]", self.facts.reverse_name.unwrap_or("unknown"), ip()),
            Subject::Helo => self.facts.helo.unwrap_or_default().to_owned(),
            Subject::Sender => self.facts.sender.flatten().map(Address::to_string).unwrap_or_default(),
            Subject::Recipient => self.facts.recipient.map(Address::to_string).unwrap_or_default(),
            Subject::Login => self.facts.login.unwrap_or_default().to_owned(),
            Subject::Etrn => self.facts.etrn_domain.unwrap_or_default().to_owned(),
        }
    }

    /// What an unconditional verb refuses: the subject of its stage.
    pub(crate) fn stage_subject(&self, stage: Stage) -> Subject {
        match stage {
            Stage::Client => Subject::Client,
            Stage::Helo => Subject::Helo,
            Stage::Sender => Subject::Sender,
            Stage::Relay | Stage::Recipient => Subject::Recipient,
            Stage::Data | Stage::EndOfData => Subject::Client,
            Stage::Etrn => Subject::Etrn,
        }
    }

    pub(crate) fn refuse(&self, subject: Subject, code: u16, status: (u16, u16), text: &'static str) -> Said {
        Said::Refuse(self.about(subject, crate::codes::reply(code, status, text)))
    }
}

/// What a subject is called in replies.
pub(crate) fn kind(subject: Subject) -> &'static str {
    match subject {
        Subject::Client => "Client host",
        Subject::ReverseClient => "Unverified Client host",
        Subject::Helo => "Helo command",
        Subject::Sender => "Sender address",
        Subject::Recipient => "Recipient address",
        Subject::Login => "Login name",
        Subject::Etrn => "Etrn command",
    }
}

fn configuration_error() -> Said {
    Said::Fault(Reply::with(451, (4, 3, 5), "Server configuration error"))
}

/// Neither yes nor no: 451, whatever is asked.
pub(crate) fn lookup_error(subject: &str) -> Said {
    Said::Fault(Reply::with(451, (4, 3, 0), format!("<{subject}>: Temporary lookup failure")))
}
