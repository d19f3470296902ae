//! The restrictions that are one word.

use crate::check::{Run, Said, lookup_error};
use crate::codes::reply;
use crate::restriction::{Subject, Verb};
use crate::{Destination, Ownership, Policy, Stage};
use config::TempfailAction;
use mail_types::{Address, Reply};
use tables::Unavailable;

impl Run<'_> {
    pub(crate) fn detail(&self, verb: Verb) -> String {
        let about_destination = matches!(
            verb,
            Verb::RejectUnauthDestination | Verb::DeferUnauthDestination | Verb::PermitAuthDestination | Verb::RejectUnlistedRecipient
        );
        match self.facts.destination {
            Some(destination) if about_destination => format!(": {}", destination.reason()),
            _ => String::new(),
        }
    }

    pub(crate) async fn verb(&mut self, verb: Verb, stage: Stage) -> Said {
        let (facts, codes) = (self.facts, &self.policy.codes);
        match verb {
            // Has an answer with a detail of its own, see `Run::greylisted`.
            Verb::Nothing | Verb::CheckGreylist => Said::Dunno,
            Verb::Permit => Said::Permit,
            Verb::Reject => self.refuse(self.stage_subject(stage), codes.reject, (7, 1), "Access denied"),
            Verb::Defer => self.refuse(self.stage_subject(stage), codes.defer, (3, 2), "Try again later"),
            Verb::DeferIfPermit => {
                Said::DeferIfPermit(self.about(self.stage_subject(stage), reply(codes.access_defer, (7, 0), "defer_if_permit requested")))
            }
            Verb::DeferIfReject => {
                Said::DeferIfReject(self.about(self.stage_subject(stage), reply(codes.access_defer, (7, 0), "defer_if_reject requested")))
            }
            Verb::PermitMynetworks => match self.policy.in_mynetworks(facts).await {
                Ok(true) => Said::Permit,
                Ok(false) => Said::Dunno,
                Err(_) => lookup_error(&self.subject_text(Subject::Client)),
            },
            Verb::PermitSaslAuthenticated if facts.login.is_some() => Said::Permit,
            Verb::PermitSaslAuthenticated => Said::Dunno,
            Verb::PermitAuthDestination => match facts.destination {
                Some(Destination::Ours { .. } | Destination::Moved { .. }) => Said::Permit,
                Some(Destination::Unavailable { .. }) => lookup_error(&self.subject_text(Subject::Recipient)),
                _ => Said::Dunno,
            },
            Verb::PermitMxBackup => self.mx_backup().await,
            Verb::PermitTlsClientcerts => match self.policy.is_relay_client(facts.client_fingerprints).await {
                Ok(true) => Said::Permit,
                Ok(false) => Said::Dunno,
                Err(_) => lookup_error(&self.subject_text(Subject::Client)),
            },
            Verb::RejectUnauthDestination => self.unauth_destination(codes.relay),
            Verb::DeferUnauthDestination => self.unauth_destination(454),
            Verb::RejectUnlistedRecipient => self.unlisted(),
            Verb::RejectUnlistedSender => self.unlisted_sender(),
            Verb::RejectUnauthPipelining if facts.unauth_pipelining => {
                self.refuse(self.stage_subject(stage), 503, (5, 0), "Improper use of SMTP command pipelining")
            }
            Verb::RejectUnauthPipelining => Said::Dunno,
            Verb::RejectPlaintextSession if !facts.tls && !facts.local => {
                Said::Refuse(reply(codes.plaintext, (7, 1), "Session encryption is required"))
            }
            Verb::RejectPlaintextSession => Said::Dunno,
            Verb::RejectMultiRecipientBounce if facts.sender == Some(None) && facts.recipients > 1 => {
                Said::Refuse(reply(codes.multi_recipient_bounce, (5, 3), "Multi-recipient bounce"))
            }
            Verb::RejectMultiRecipientBounce => Said::Dunno,
            Verb::RejectUnknownClient if facts.client_name.is_some() || facts.local => Said::Dunno,
            Verb::RejectUnknownClient if facts.client_name_unavailable => self.dns_failure(Subject::Client),
            Verb::RejectUnknownClient => self.refuse(Subject::Client, codes.unknown_client, (7, 25), "cannot find your hostname"),
            Verb::RejectUnknownReverseClient if facts.reverse_name.is_some() || facts.local => Said::Dunno,
            Verb::RejectUnknownReverseClient if facts.reverse_name_unavailable => self.dns_failure(Subject::Client),
            Verb::RejectUnknownReverseClient => {
                self.refuse(Subject::Client, codes.unknown_client, (7, 25), "cannot find your reverse hostname")
            }
            Verb::RejectInvalidHelo | Verb::RejectNonFqdnHelo | Verb::RejectUnknownHelo => self.helo(verb).await,
            Verb::RejectNonFqdnSender => match facts.sender.flatten() {
                Some(address) if !is_fqdn(address) => self.refuse(Subject::Sender, codes.non_fqdn, (5, 2), "need fully-qualified address"),
                _ => Said::Dunno,
            },
            Verb::RejectNonFqdnRecipient => match facts.recipient {
                Some(address) if !is_fqdn(address) => {
                    self.refuse(Subject::Recipient, codes.non_fqdn, (5, 2), "need fully-qualified address")
                }
                _ => Said::Dunno,
            },
            Verb::RejectUnknownSenderDomain => match (facts.sender.flatten(), facts.sender_destination) {
                // We are its final destination: DNS need not know it.
                (_, Some(Destination::Ours { .. } | Destination::Moved { .. })) | (None, _) => Said::Dunno,
                (Some(address), _) => self.unknown_domain(Subject::Sender, address).await,
            },
            Verb::RejectUnknownRecipientDomain => match (facts.recipient, facts.destination) {
                (_, Some(Destination::Ours { .. } | Destination::Moved { .. })) | (None, _) => Said::Dunno,
                (Some(address), _) => self.unknown_domain(Subject::Recipient, address).await,
            },
            Verb::RejectSenderLoginMismatch
            | Verb::RejectAuthenticatedSenderLoginMismatch
            | Verb::RejectUnauthenticatedSenderLoginMismatch
            | Verb::RejectKnownSenderLoginMismatch => self.sender_login(verb).await,
        }
    }

    fn unauth_destination(&self, code: u16) -> Said {
        match self.facts.destination {
            Some(Destination::Elsewhere { .. }) => {
                Said::Refuse(reply(code, (7, 1), format!("<{}>: Relay access denied", self.subject_text(Subject::Recipient))))
            }
            Some(Destination::Unavailable { .. }) => lookup_error(&self.subject_text(Subject::Recipient)),
            Some(Destination::Ours { .. } | Destination::Moved { .. }) | None => Said::Dunno,
        }
    }

    pub(crate) fn unlisted_sender(&self) -> Said {
        match self.facts.sender_destination {
            Some(Destination::Ours { listed: false, .. }) => self.refuse(Subject::Sender, 550, (1, 0), "User unknown"),
            Some(Destination::Moved { to, .. }) => {
                Said::Refuse(self.about(Subject::Sender, reply(550, (1, 6), format!("User has moved to {to}"))))
            }
            Some(Destination::Unavailable { .. }) => lookup_error(&self.subject_text(Subject::Sender)),
            _ => Said::Dunno,
        }
    }

    pub(crate) fn unlisted(&self) -> Said {
        match self.facts.destination {
            Some(Destination::Ours { listed: false, .. }) => self.refuse(Subject::Recipient, 550, (1, 1), "User unknown"),
            // RFC 3463 §3.2, X.1.6: "destination mailbox has moved, no forwarding address"; 551 would promise that we forward nothing.
            Some(Destination::Moved { to, .. }) => {
                Said::Refuse(self.about(Subject::Recipient, reply(550, (1, 6), format!("User has moved to {to}"))))
            }
            Some(Destination::Unavailable { .. }) => lookup_error(&self.subject_text(Subject::Recipient)),
            _ => Said::Dunno,
        }
    }

    /// We are a backup for the domain: an MX record names us, and another with a lower preference.
    async fn mx_backup(&self) -> Said {
        let facts = self.facts;
        let (Some(recipient), Some(destination)) = (facts.recipient, facts.destination) else { return Said::Dunno };
        match destination {
            Destination::Ours { .. } | Destination::Moved { .. } => return Said::Permit,
            Destination::Unavailable { .. } => return lookup_error(&self.subject_text(Subject::Recipient)),
            Destination::Elsewhere { .. } => {}
        }
        // A source route would lead through us to anywhere.
        if recipient.domain().literal().is_some() || recipient.local().contains(['@', '%', '!']) {
            return Said::Dunno;
        }
        let Some(resolver) = &self.policy.resolver else { return Said::Dunno };
        match self.is_backup(&**resolver, recipient.domain().as_str()).await {
            Ok(true) => Said::Permit,
            Ok(false) => Said::Dunno,
            Err(_) => {
                Said::DeferIfReject(self.about(Subject::Recipient, reply(450, (4, 4), "Unable to look up mail exchanger information")))
            }
        }
    }

    async fn is_backup(&self, resolver: &dyn dns::Resolver, domain: &str) -> Result<bool, ()> {
        let records = match resolver.mx(domain).await {
            Ok(records) => records,
            Err(dns::Error::Temporary(_)) => return Err(()),
            Err(_) => return Ok(false),
        };
        let Some(best) = records.first().map(|mx| mx.preference) else { return Ok(false) };
        let networks = &self.policy.permit_mx_backup_networks;
        // Every address of every best host has to be one of ours: a stranger's MX may have one of ours among others.
        let (mut ours, mut primary_fits) = (None, true);
        for mx in &records {
            let addresses = match resolver.addresses(&mx.host).await {
                Ok(addresses) => addresses,
                Err(dns::Error::Temporary(_)) => return Err(()),
                Err(_) => Vec::new(),
            };
            let named = self.facts.server_name.is_some_and(|name| name.eq_ignore_ascii_case(&mx.host));
            if named || self.facts.server_ip.is_some_and(|ip| addresses.iter().any(|a| a.to_canonical() == ip.to_canonical())) {
                ours = ours.or(Some(mx.preference));
            }
            if mx.preference == best && !networks.is_empty() {
                primary_fits &= !addresses.is_empty();
                for address in addresses {
                    primary_fits &= networks.contains(address).await.map_err(|_| ())?;
                }
            }
        }
        Ok(primary_fits && ours.is_some_and(|ours| ours > best))
    }

    async fn helo(&self, verb: Verb) -> Said {
        let Some(name) = self.facts.helo else { return Said::Dunno };
        let parsed = mail_types::Domain::parse(name.strip_suffix('.').unwrap_or(name));
        let codes = &self.policy.codes;
        match (verb, parsed) {
            (_, Err(_)) => self.refuse(Subject::Helo, codes.invalid_hostname, (5, 2), "Invalid name"),
            (_, Ok(domain)) if domain.literal().is_some() => Said::Dunno,
            // A bare address is no name either.
            (Verb::RejectNonFqdnHelo, Ok(domain)) if !domain.as_str().contains('.') || is_numeric(domain.as_str()) => {
                self.refuse(Subject::Helo, codes.non_fqdn, (5, 2), "need fully-qualified hostname")
            }
            (Verb::RejectUnknownHelo, Ok(domain)) => match self.exists(domain.as_str()).await {
                Ok(true) => Said::Dunno,
                Ok(false) => self.refuse(Subject::Helo, codes.unknown_hostname, (7, 1), "Host not found"),
                Err(_) => self.tempfail(Subject::Helo, self.policy.helo_tempfail),
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
                let status = if subject == Subject::Sender { (7, 27) } else { (1, 10) };
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
                let status = if subject == Subject::Sender { (1, 8) } else { (1, 2) };
                self.refuse(subject, self.policy.codes.unknown_address, status, "Domain not found")
            }
            Err(_) => self.tempfail(subject, self.policy.address_tempfail),
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

    /// A name could not be looked up.
    pub(crate) fn dns_failure(&self, subject: Subject) -> Said {
        self.tempfail(subject, self.policy.tempfail)
    }

    fn tempfail(&self, subject: Subject, action: TempfailAction) -> Said {
        let reply = self.about(subject, Reply::with(450, (4, 4, 3), "Name service error, try again later"));
        let action = if action == TempfailAction::Usual { self.policy.tempfail } else { action };
        if action == TempfailAction::Defer { Said::Refuse(reply) } else { Said::DeferIfPermit(reply) }
    }

    /// Who may use a sender address: those that `smtpd_sender_login_maps` names. Without such a table a login has its own address and
    /// the aliases that lead to it alone; nothing is known then of senders without a login, nor for `reject_known_sender_login_mismatch`.
    async fn sender_login(&self, verb: Verb) -> Said {
        let Some(sender) = self.facts.sender.flatten() else { return Said::Dunno };
        if verb == Verb::RejectAuthenticatedSenderLoginMismatch && self.facts.login.is_none() {
            return Said::Dunno;
        }
        if verb == Verb::RejectUnauthenticatedSenderLoginMismatch && self.facts.login.is_some() {
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
            (None, Some(_)) => self.refuse(Subject::Sender, 553, (7, 1), "not logged in"),
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
    /// Whether `relay_clientcerts` has one of these.
    async fn is_relay_client(&self, fingerprints: &[String]) -> Result<bool, Unavailable> {
        for fingerprint in fingerprints {
            if self.relay_clientcerts.lookup(fingerprint).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) async fn owners(&self, address: &Address) -> Result<Option<Owners>, Unavailable> {
        let order = tables::AddressOrder { delimiters: &self.delimiters, bare: false, catch_all: true };
        Ok(self.sender_login_maps.address(address, order).await?.map(|hit| Owners(hit.found.value.to_string())))
    }
}

/// All labels are numbers, as in `192.0.2.7`.
fn is_numeric(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn is_fqdn(address: &Address) -> bool {
    address.domain().literal().is_some() || address.domain().as_str().contains('.')
}
