//! The words of a restriction list.

use crate::Stage;
use crate::delegation::{PolicyService, duration};
use dns::lists::Site;
use std::sync::Arc;
use std::time::Duration;
use tables::{Context, Maps, split_list};

/// Why the restrictions cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{setting}: {word:?} is no restriction{hint}")]
    Unknown { setting: String, word: String, hint: String },
    #[error("{setting}: {verb} needs a {what} behind it")]
    NoArgument { setting: String, verb: &'static str, what: &'static str },
    #[error("{setting}: {verb}: {why}")]
    Argument { setting: String, verb: &'static str, why: String },
    #[error("{setting}: {error}")]
    Table { setting: String, error: tables::Error },
    #[error("{setting}: the lists refer to each other in a circle")]
    Circle { setting: String },
    #[error(
        "smtpd_restriction_classes: {line:?} is not of the form name = restriction, restriction, or its name is a restriction or there twice"
    )]
    Class { line: String },
    #[error(
        "smtpd_relay_restrictions or smtpd_recipient_restrictions need one of reject_unauth_destination, defer_unauth_destination, reject, defer: \
         without it this server would relay mail for everybody"
    )]
    OpenRelay,
}

/// One restriction.
#[derive(Debug, Clone)]
pub(crate) struct Restriction {
    pub(crate) check: Check,
    /// As it stands in the setting.
    pub(crate) text: String,
    /// `warn_if_reject` stands in front.
    pub(crate) warn_only: bool,
}

/// What a restriction looks at.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    Verb(Verb),
    Access(Subject, Maps),
    /// The hosts behind a name: its mail servers, name servers or addresses.
    Hosts(Subject, Hosts, Maps),
    /// Refuses what a DNS list has.
    Listed(ListSubject, Site),
    /// Takes what a DNS list has.
    Welcome(ListSubject, Site),
    Service(Arc<PolicyService>),
    Sleep(Duration),
    Class(Arc<List>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hosts {
    Mx,
    Ns,
    A,
}

/// What is looked for in a DNS list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListSubject {
    ClientAddress,
    ClientName,
    ReverseName,
    Helo,
    SenderDomain,
    RecipientDomain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Permit,
    Reject,
    Defer,
    DeferIfPermit,
    DeferIfReject,
    PermitMynetworks,
    PermitSaslAuthenticated,
    PermitAuthDestination,
    PermitMxBackup,
    PermitTlsClientcerts,
    RejectUnauthDestination,
    DeferUnauthDestination,
    RejectUnlistedRecipient,
    RejectUnlistedSender,
    RejectNonFqdnHelo,
    RejectInvalidHelo,
    RejectUnknownHelo,
    RejectNonFqdnSender,
    RejectNonFqdnRecipient,
    RejectUnknownSenderDomain,
    RejectUnknownRecipientDomain,
    RejectUnknownClient,
    RejectUnknownReverseClient,
    RejectPlaintextSession,
    RejectMultiRecipientBounce,
    RejectUnauthPipelining,
    RejectSenderLoginMismatch,
    RejectAuthenticatedSenderLoginMismatch,
    RejectUnauthenticatedSenderLoginMismatch,
    RejectKnownSenderLoginMismatch,
    CheckGreylist,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Client,
    ReverseClient,
    Helo,
    Sender,
    Recipient,
    Login,
    Etrn,
}

pub(crate) const VERBS: &[(&str, Verb)] = &[
    ("permit", Verb::Permit),
    ("reject", Verb::Reject),
    ("defer", Verb::Defer),
    ("defer_if_permit", Verb::DeferIfPermit),
    ("defer_if_reject", Verb::DeferIfReject),
    ("permit_mynetworks", Verb::PermitMynetworks),
    ("permit_sasl_authenticated", Verb::PermitSaslAuthenticated),
    ("permit_auth_destination", Verb::PermitAuthDestination),
    ("permit_mx_backup", Verb::PermitMxBackup),
    ("permit_tls_clientcerts", Verb::PermitTlsClientcerts),
    ("reject_unauth_destination", Verb::RejectUnauthDestination),
    ("defer_unauth_destination", Verb::DeferUnauthDestination),
    ("reject_unlisted_recipient", Verb::RejectUnlistedRecipient),
    ("reject_unlisted_sender", Verb::RejectUnlistedSender),
    ("check_recipient_maps", Verb::RejectUnlistedRecipient),
    ("reject_unknown_reverse_client_hostname", Verb::RejectUnknownReverseClient),
    ("reject_non_fqdn_helo_hostname", Verb::RejectNonFqdnHelo),
    ("reject_invalid_helo_hostname", Verb::RejectInvalidHelo),
    ("reject_unknown_helo_hostname", Verb::RejectUnknownHelo),
    ("reject_non_fqdn_sender", Verb::RejectNonFqdnSender),
    ("reject_non_fqdn_recipient", Verb::RejectNonFqdnRecipient),
    ("reject_unknown_sender_domain", Verb::RejectUnknownSenderDomain),
    ("reject_unknown_recipient_domain", Verb::RejectUnknownRecipientDomain),
    ("reject_unknown_client_hostname", Verb::RejectUnknownClient),
    ("reject_plaintext_session", Verb::RejectPlaintextSession),
    ("reject_multi_recipient_bounce", Verb::RejectMultiRecipientBounce),
    ("reject_sender_login_mismatch", Verb::RejectSenderLoginMismatch),
    ("reject_authenticated_sender_login_mismatch", Verb::RejectAuthenticatedSenderLoginMismatch),
    ("reject_unauthenticated_sender_login_mismatch", Verb::RejectUnauthenticatedSenderLoginMismatch),
    ("reject_known_sender_login_mismatch", Verb::RejectKnownSenderLoginMismatch),
    ("reject_unauth_pipelining", Verb::RejectUnauthPipelining),
    ("check_greylist", Verb::CheckGreylist),
    ("dunno", Verb::Nothing),
];

const TABLE_VERBS: &[(&str, Subject)] = &[
    ("check_client_access", Subject::Client),
    ("check_reverse_client_hostname_access", Subject::ReverseClient),
    ("check_helo_access", Subject::Helo),
    ("check_sender_access", Subject::Sender),
    ("check_recipient_access", Subject::Recipient),
    ("check_sasl_access", Subject::Login),
    ("check_etrn_access", Subject::Etrn),
];

const HOST_VERBS: &[(&str, Subject, Hosts)] = &[
    ("check_client_mx_access", Subject::Client, Hosts::Mx),
    ("check_client_ns_access", Subject::Client, Hosts::Ns),
    ("check_client_a_access", Subject::Client, Hosts::A),
    ("check_reverse_client_hostname_mx_access", Subject::ReverseClient, Hosts::Mx),
    ("check_reverse_client_hostname_ns_access", Subject::ReverseClient, Hosts::Ns),
    ("check_reverse_client_hostname_a_access", Subject::ReverseClient, Hosts::A),
    ("check_helo_mx_access", Subject::Helo, Hosts::Mx),
    ("check_helo_ns_access", Subject::Helo, Hosts::Ns),
    ("check_helo_a_access", Subject::Helo, Hosts::A),
    ("check_sender_mx_access", Subject::Sender, Hosts::Mx),
    ("check_sender_ns_access", Subject::Sender, Hosts::Ns),
    ("check_sender_a_access", Subject::Sender, Hosts::A),
    ("check_recipient_mx_access", Subject::Recipient, Hosts::Mx),
    ("check_recipient_ns_access", Subject::Recipient, Hosts::Ns),
    ("check_recipient_a_access", Subject::Recipient, Hosts::A),
];

const LIST_VERBS: &[(&str, ListSubject, bool)] = &[
    ("reject_rbl_client", ListSubject::ClientAddress, false),
    ("reject_rhsbl_client", ListSubject::ClientName, false),
    ("reject_rhsbl_reverse_client", ListSubject::ReverseName, false),
    ("reject_rhsbl_helo", ListSubject::Helo, false),
    ("reject_rhsbl_sender", ListSubject::SenderDomain, false),
    ("reject_rhsbl_recipient", ListSubject::RecipientDomain, false),
    ("permit_dnswl_client", ListSubject::ClientAddress, true),
    ("permit_rhswl_client", ListSubject::ClientName, true),
];

const SERVICE: &str = "check_policy_service";
const SLEEP: &str = "sleep";
const WARN: &str = "warn_if_reject";

fn verb(word: &str) -> Option<Verb> {
    VERBS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, verb)| *verb)
}

/// Every word with a meaning, for hints and against classes of the same name.
fn known_words() -> impl Iterator<Item = &'static str> {
    let verbs = VERBS.iter().map(|(name, _)| *name);
    let tables = TABLE_VERBS.iter().map(|(name, _)| *name).chain(HOST_VERBS.iter().map(|(name, ..)| *name));
    verbs.chain(tables).chain(LIST_VERBS.iter().map(|(name, ..)| *name)).chain([SERVICE, SLEEP, WARN])
}

/// Restrictions in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    pub(crate) restrictions: Vec<Restriction>,
}

/// `smtpd_restriction_classes`, as words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Classes(Vec<(String, Vec<String>)>);

impl Classes {
    pub(crate) fn parse(lines: &[String]) -> Result<Classes, SetupError> {
        let mut all: Vec<(String, Vec<String>)> = Vec::new();
        for line in lines {
            let wrong = || SetupError::Class { line: line.clone() };
            let (name, words) = line.split_once('=').ok_or_else(wrong)?;
            let name = name.trim();
            let odd = name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            if odd || known_words().any(|known| known == name) || all.iter().any(|(other, _)| other == name) {
                return Err(wrong());
            }
            all.push((name.to_owned(), split_list(words).into_iter().map(str::to_owned).collect()));
        }
        Ok(Classes(all))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// Reads words into restrictions.
pub(crate) struct Parser<'a> {
    /// What faults name.
    pub(crate) setting: &'a str,
    /// The stage whose access table a bare `hash:table` is; none inside of classes and tables.
    pub(crate) stage: Option<Stage>,
    pub(crate) smtpd: &'a config::Smtpd,
    pub(crate) classes: &'a Classes,
    pub(crate) context: &'a Context,
}

impl Parser<'_> {
    pub(crate) fn list(&self, words: &[String]) -> Result<List, SetupError> {
        self.nested(words, 0)
    }

    /// A class by its name.
    pub(crate) fn class(&self, name: &str, depth: usize) -> Result<Option<List>, SetupError> {
        let Some((name, words)) = self.classes.0.iter().find(|(class, _)| class == name) else { return Ok(None) };
        if depth > self.classes.0.len() {
            return Err(SetupError::Circle { setting: self.setting.to_owned() });
        }
        let setting = format!("{}: {name}", self.setting);
        Parser { setting: &setting, stage: None, ..*self }.nested(words, depth + 1).map(Some)
    }

    fn nested(&self, words: &[String], depth: usize) -> Result<List, SetupError> {
        let mut words = words.iter().map(String::as_str);
        let mut list = List::default();
        let mut warn_only = false;
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case(WARN) {
                warn_only = true;
                continue;
            }
            let (check, text) = match self.with_argument(word, &mut words)? {
                Some(found) => found,
                None => (self.alone(word, depth)?, word.to_owned()),
            };
            list.restrictions.push(Restriction { check, text, warn_only: std::mem::take(&mut warn_only) });
        }
        Ok(list)
    }

    /// A restriction of one word.
    fn alone(&self, word: &str, depth: usize) -> Result<Check, SetupError> {
        if let Some(verb) = verb(word) {
            return Ok(Check::Verb(verb));
        }
        if let Some(list) = self.class(word, depth)? {
            return Ok(Check::Class(Arc::new(list)));
        }
        match self.stage {
            // Postfix: a table alone is the access table of its stage.
            Some(stage) if word.contains(':') => Ok(Check::Access(subject_of(stage), self.open(word)?)),
            _ => Err(SetupError::Unknown { setting: self.setting.to_owned(), word: word.to_owned(), hint: hint(word) }),
        }
    }

    fn with_argument<'w>(&self, word: &str, words: &mut impl Iterator<Item = &'w str>) -> Result<Option<(Check, String)>, SetupError> {
        let is = |name: &&str| name.eq_ignore_ascii_case(word);
        let setting = || self.setting.to_owned();
        let mut next = |verb: &'static str, what| {
            let argument = words.next().ok_or_else(|| SetupError::NoArgument { setting: setting(), verb, what })?;
            Ok::<_, SetupError>((argument, format!("{verb} {argument}")))
        };
        let wrong = |verb: &'static str, why| SetupError::Argument { setting: setting(), verb, why };
        let found = if let Some((name, subject)) = TABLE_VERBS.iter().find(|(name, _)| is(name)) {
            let (spec, text) = next(name, "table")?;
            (Check::Access(*subject, self.open(spec)?), text)
        } else if let Some((name, subject, hosts)) = HOST_VERBS.iter().find(|(name, ..)| is(name)) {
            let (spec, text) = next(name, "table")?;
            (Check::Hosts(*subject, *hosts, self.open(spec)?), text)
        } else if let Some((name, subject, welcome)) = LIST_VERBS.iter().find(|(name, ..)| is(name)) {
            let (domain, text) = next(name, "DNS list")?;
            let site = Site::parse(domain).map_err(|why| wrong(name, why))?;
            (if *welcome { Check::Welcome(*subject, site) } else { Check::Listed(*subject, site) }, text)
        } else if is(&SERVICE) {
            let (service, text) = next(SERVICE, "policy service")?;
            let service = PolicyService::parse(service, self.smtpd).map_err(|why| wrong(SERVICE, why))?;
            (Check::Service(Arc::new(service)), text)
        } else if is(&SLEEP) {
            let (time, text) = next(SLEEP, "time")?;
            let limit = Duration::from_secs(600);
            let time = duration(time).filter(|t| *t <= limit).ok_or_else(|| wrong(SLEEP, format!("{time:?} is no time up to 10m")))?;
            (Check::Sleep(time), text)
        } else {
            return Ok(None);
        };
        Ok(Some(found))
    }

    fn open(&self, spec: &str) -> Result<Maps, SetupError> {
        Maps::open(spec, self.context).map_err(|error| SetupError::Table { setting: self.setting.to_owned(), error })
    }
}

/// Reads the value of a table that is a list of restrictions without arguments. `None`: it is none.
pub(crate) fn plain_list(value: &str, classes: &[(String, Arc<List>)]) -> Option<List> {
    let mut list = List::default();
    let mut warn_only = false;
    for word in split_list(value) {
        let check = match (verb(word), classes.iter().find(|(name, _)| name == word)) {
            _ if word.eq_ignore_ascii_case(WARN) => {
                warn_only = true;
                continue;
            }
            (Some(verb), _) => Check::Verb(verb),
            (None, Some((_, class))) => Check::Class(class.clone()),
            (None, None) => return None,
        };
        list.restrictions.push(Restriction { check, text: word.to_owned(), warn_only: std::mem::take(&mut warn_only) });
    }
    (!list.is_empty()).then_some(list)
}

impl List {
    pub(crate) fn parse(stage: Stage, smtpd: &config::Smtpd, classes: &Classes, context: &Context) -> Result<List, SetupError> {
        let words = words(stage, smtpd, 0)?;
        Parser { setting: stage.setting(), stage: Some(stage), smtpd, classes, context }.list(&words)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.restrictions.is_empty()
    }

    /// Strangers do not come through this list with a foreign recipient.
    pub(crate) fn guards_relaying(&self) -> bool {
        let unconditional =
            |verb: &Verb| matches!(verb, Verb::RejectUnauthDestination | Verb::DeferUnauthDestination | Verb::Reject | Verb::Defer);
        // What stands behind a plain `permit` is never reached.
        self.restrictions
            .iter()
            .take_while(|r| !matches!(r.check, Check::Verb(Verb::Permit)))
            .any(|r| !r.warn_only && matches!(&r.check, Check::Verb(verb) if unconditional(verb)))
    }

    /// Whether some restriction is such, in classes too.
    pub(crate) fn any(&self, is: &dyn Fn(&Check) -> bool) -> bool {
        self.restrictions.iter().any(|r| match &r.check {
            Check::Class(list) => list.any(is),
            check => is(check),
        })
    }
}

/// The words of a setting; `$smtpd_relay_restrictions` stands for the words of that one.
fn words(stage: Stage, smtpd: &config::Smtpd, depth: usize) -> Result<Vec<String>, SetupError> {
    if depth > Stage::ALL.len() {
        return Err(SetupError::Circle { setting: stage.setting().to_owned() });
    }
    let lines = match stage {
        Stage::Client => &smtpd.smtpd_client_restrictions,
        Stage::Helo => &smtpd.smtpd_helo_restrictions,
        Stage::Sender => &smtpd.smtpd_sender_restrictions,
        Stage::Relay => &smtpd.smtpd_relay_restrictions,
        Stage::Recipient => &smtpd.smtpd_recipient_restrictions,
        Stage::Data => &smtpd.smtpd_data_restrictions,
        Stage::EndOfData => &smtpd.smtpd_end_of_data_restrictions,
        Stage::Etrn => &smtpd.smtpd_etrn_restrictions,
    };
    let mut all = Vec::new();
    for word in lines.iter().flat_map(|line| split_list(line)) {
        match Stage::ALL.iter().find(|other| word.strip_prefix('$') == Some(other.setting())) {
            Some(other) => all.extend(self::words(*other, smtpd, depth + 1)?),
            None => all.push(word.to_owned()),
        }
    }
    Ok(all)
}

fn subject_of(stage: Stage) -> Subject {
    match stage {
        Stage::Client => Subject::Client,
        Stage::Helo => Subject::Helo,
        Stage::Sender => Subject::Sender,
        Stage::Relay | Stage::Recipient | Stage::Data | Stage::EndOfData => Subject::Recipient,
        Stage::Etrn => Subject::Etrn,
    }
}

/// Names that share most of the word, for a slip of the pen.
fn hint(word: &str) -> String {
    let same = |name: &str| name.chars().zip(word.chars()).take_while(|(a, b)| a == b).count();
    match known_words().max_by_key(|name| same(name)) {
        Some(name) if same(name) >= 6 => format!("; did you mean {name}?"),
        _ => String::new(),
    }
}
