//! Clients that speak for others (XCLIENT, XFORWARD), that ask for their mail (ETRN), and messages that go elsewhere.

use crate::client_name::{PeerName, name_of, reverse_of};
use crate::desk::Desk;
use ipc::queue::Hint;
use mail_types::{DsnNotify, Envelope, Recipient, Reply, printable};
use policy::{Action, Facts, Stage};
use smtp_proto::server::{Answer, Session, TEMPORARILY_UNAVAILABLE, UNAVAILABLE};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

impl Desk {
    /// The client speaks for another one from now on (Postfix XCLIENT_README).
    pub(crate) async fn xclient(&mut self, attributes: &[(String, String)]) -> Answer {
        let wrong = || Answer::Reply(Reply::with(501, (5, 5, 4), "Error: bad attribute value"));
        let (mut client, mut own) = (self.peer.addr, self.peer.local);
        let (mut name, mut reverse) = (None, None);
        for (attribute, value) in attributes {
            let known = is_known(value);
            match attribute.as_str() {
                "ADDR" => match address(value) {
                    Some(ip) => client = Some(SocketAddr::new(ip, client.map_or(0, |a| a.port()))),
                    None => return wrong(),
                },
                "DESTADDR" if known => match (address(value), own) {
                    (Some(ip), at) => own = Some(SocketAddr::new(ip, at.map_or(0, |a| a.port()))),
                    (None, _) => return wrong(),
                },
                "PORT" | "DESTPORT" if known => match (value.parse(), attribute.as_str()) {
                    (Ok(port), "PORT") => client = client.map(|a| SocketAddr::new(a.ip(), port)),
                    (Ok(port), _) => own = own.map(|a| SocketAddr::new(a.ip(), port)),
                    (Err(_), _) => return wrong(),
                },
                "NAME" | "REVERSE_NAME" => {
                    if known && mail_types::Domain::parse(value).is_err() {
                        return wrong();
                    }
                    let told = (known.then(|| value.to_ascii_lowercase()), value == TEMPORARILY_UNAVAILABLE);
                    if attribute == "NAME" { name = Some(told) } else { reverse = Some(told) }
                }
                // The machine has HELO and LOGIN; how the other one spoke changes nothing.
                _ => {}
            }
        }
        let moved = client.map(|a| a.ip()) != self.peer.ip();
        (self.peer.addr, self.peer.local) = (client, own);
        match name {
            // A name that is confirmed is a name that the address has.
            Some((name, unavailable)) => {
                self.reverse = (name.clone(), unavailable);
                self.name = PeerName::Known { name, unavailable };
            }
            None if moved => {
                self.name = name_of(&self.server, &self.service, &self.peer);
                self.reverse = reverse_of(&self.peer);
            }
            None => {}
        }
        if let Some(reverse) = reverse {
            self.know_name().await;
            self.reverse = reverse;
        }
        self.another_client().await;
        tracing::info!(client = %self.peer, "XCLIENT: the session is that of another client");
        Answer::Accept
    }

    /// The next message is from another client, for logs and the queue (Postfix XFORWARD_README); RSET and EHLO undo it.
    pub(crate) fn xforward(&mut self, machine: &Session, attributes: &[(String, String)]) -> Answer {
        let resets = machine.resets();
        let mut client = self.forwarded.take().filter(|(before, _)| *before == resets).map(|(_, client)| client).unwrap_or_default();
        for (attribute, value) in attributes {
            let known = is_known(value).then(|| value.clone());
            match attribute.as_str() {
                "ADDR" => client.ip = known.as_deref().and_then(address),
                "NAME" => client.name = known.filter(|name| mail_types::Domain::parse(name).is_ok()),
                "HELO" => client.helo = known.unwrap_or_default(),
                "IDENT" => tracing::info!(ident = %printable(value), "the message has another queue id before us"),
                _ => {}
            }
        }
        self.forwarded = Some((resets, client));
        Answer::Accept
    }

    /// ETRN: tries the queue for a domain now, when it is one of those that may be asked for (RFC 1985).
    pub(crate) async fn etrn(&mut self, machine: &Session, domain: &str) -> Answer {
        self.know_name().await;
        let facts = Facts { etrn_domain: Some(domain), ..self.facts(machine, None) };
        let verdict = self.service.policy.judge(Stage::Etrn, &facts).await;
        if let Action::Refuse(_) = verdict.action {
            return self.settle(Stage::Etrn, machine, verdict, None, None);
        }
        let known = match mail_types::Domain::parse(domain) {
            Ok(parsed) => self.service.flush_domains.contains(&parsed).await,
            Err(_) => Ok(false),
        };
        match known {
            Ok(true) => {
                tracing::info!(domain, "ETRN: the queue for this domain is tried");
                self.server.queue.hint(Hint::Flush { domain: domain.to_owned() });
                Answer::Reply(Reply::with(250, (2, 0, 0), format!("Queuing for node <{domain}> started")))
            }
            Ok(false) => Answer::Reply(Reply::with(459, (4, 7, 1), format!("<{domain}>: service unavailable"))),
            Err(_) => Answer::Reply(Reply::with(458, (4, 3, 0), format!("<{domain}>: unable to queue messages"))),
        }
    }

    /// The content filter of the message: that of an access table before that of the service.
    pub(crate) fn filter(&self) -> Option<String> {
        let usual = &self.service.smtpd.content_filter;
        self.effects.filter.clone().or_else(|| (!usual.is_empty()).then(|| usual.clone()))
    }

    /// REDIRECT and BCC of access tables.
    pub(crate) fn send_elsewhere(&self, envelope: &mut Envelope) {
        if let Some(address) = &self.effects.redirect {
            tracing::info!(queue_id = %envelope.id, to = %printable(&address.to_string()), "redirected, as a table says");
            envelope.recipients = vec![Recipient::new(address.clone())];
        }
        for address in &self.effects.bcc {
            // Nobody learns of it (Postfix cleanup).
            envelope.recipients.push(Recipient { notify: DsnNotify::NEVER, ..Recipient::new(address.clone()) });
        }
    }
}

fn is_known(value: &str) -> bool {
    !value.is_empty() && value != UNAVAILABLE && value != TEMPORARILY_UNAVAILABLE
}

/// `192.0.2.7`, `IPV6:2001:db8::7`; what is not known is an address that nobody has, and no local client.
fn address(value: &str) -> Option<IpAddr> {
    if !is_known(value) {
        return Some(Ipv4Addr::UNSPECIFIED.into());
    }
    let bare = value.get(..5).filter(|head| head.eq_ignore_ascii_case("IPV6:")).map_or(value, |_| &value[5..]);
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}
