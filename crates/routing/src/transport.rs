//! The way of one address: by the transport table, else by the class of its domain.

use crate::router::{DomainClass, Router};
use crate::{LmtpTarget, NextHop, Reason};
use config::TransportProtocol;
use mail_types::{Address, EnhancedCode, Failure, Outcome};
use std::fmt;
use std::sync::Arc;
use tables::{AddressOrder, Found, Maps, Unavailable};

/// By which way mail leaves qmgr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// By LMTP to our own `deliver`.
    Local,
    /// By LMTP to somebody else.
    Lmtp(LmtpTarget),
    Smtp(NextHop),
    /// Not at all: bounced or deferred with this text.
    Error(Outcome),
    /// Taken and thrown away.
    Discard,
}

/// A route, and what decided.
#[derive(Debug, Clone)]
pub struct Routed {
    pub route: Route,
    /// The name of the transport: what its pace is set by.
    pub transport: Arc<str>,
    pub reason: Reason,
}

impl Routed {
    /// Whether mail goes to the hosts of the recipient's own domain.
    pub fn is_by_recipient(&self, address: &Address) -> bool {
        matches!(&self.route, Route::Smtp(hop) if *hop == NextHop::of_domain(address.domain()))
    }

    /// Whether a setting named the host for the sender, or for all that leaves: a relay host.
    pub fn is_by_relayhost(&self) -> bool {
        let settings = ["relayhost", "sender_dependent_relayhost_maps", "sender_dependent_default_transport_maps", "default_transport"];
        settings.contains(&self.reason.setting)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::Local => f.write_str("local"),
            Route::Lmtp(target) => write!(f, "lmtp:{target}"),
            Route::Smtp(hop) => write!(f, "smtp:{hop}"),
            Route::Error(Outcome::Deferred(failure)) => write!(f, "retry:{} {}", failure.status, failure.reason),
            Route::Error(Outcome::Bounced(failure)) => write!(f, "error:{} {}", failure.status, failure.reason),
            Route::Error(Outcome::Delivered { .. }) => f.write_str("error"),
            Route::Discard => f.write_str("discard"),
        }
    }
}

impl Router {
    /// The way of a final address (one that [`Router::expand`] gave). `sender` chooses the relay host where
    /// `sender_dependent_relayhost_maps` is set, and the transport where `sender_dependent_default_transport_maps` is.
    pub async fn route(&self, address: &Address, sender: Option<&Address>) -> Result<Routed, Unavailable> {
        if !self.relocated_maps.is_empty() {
            let (class, _) = self.domain_class(address.domain()).await?;
            if let Some(found) = self.relocated(address, class).await? {
                let failure = Failure::local((5, 1, 6), format!("user has moved to {}", found.value));
                let reason = Reason::new("relocated_maps", found.to_string());
                return Ok(Routed { route: Route::Error(Outcome::Bounced(failure)), transport: "error".into(), reason });
            }
        }
        if !self.transport_maps.is_empty()
            && let Some(found) = self.transport_maps.transport(address, &self.delimiters).await?
        {
            let reason = Reason::new("transport_maps", found.to_string());
            let (transport, nexthop) = found.value.trim().split_once(':').unwrap_or((found.value.trim(), ""));
            let (transport, nexthop) = (transport.trim(), nexthop.trim());
            // `:` alone is as if the table had nothing to say (transport(5)).
            if !transport.is_empty() {
                return Ok(self.transport(address, transport, nexthop, reason));
            }
            if !nexthop.is_empty() {
                let usual = self.usual_route(address, sender).await?;
                return Ok(match usual.route {
                    Route::Smtp(_) | Route::Lmtp(_) => self.transport(address, &usual.transport, nexthop, reason),
                    _ => Routed { reason, ..usual },
                });
            }
        }
        self.usual_route(address, sender).await
    }

    /// The way to a content filter, written `transport:next hop`: it stands for all others. `content_filter` is what it is called in Postfix.
    pub fn filtered(&self, filter: &str, address: &Address) -> Routed {
        let (transport, nexthop) = filter.split_once(':').unwrap_or((filter, ""));
        self.transport(address, transport.trim(), nexthop.trim(), Reason::new("content_filter", filter.to_owned()))
    }

    async fn usual_route(&self, address: &Address, sender: Option<&Address>) -> Result<Routed, Unavailable> {
        let (class, reason) = self.domain_class(address.domain()).await?;
        let by_sender = match class {
            DomainClass::Other => self.of_sender(&self.sender_transport_maps, sender).await?,
            _ => None,
        };
        let (setting, text) = match (class, &by_sender) {
            (_, Some(found)) => ("sender_dependent_default_transport_maps", found.value.trim()),
            (DomainClass::Local, _) => ("local_transport", self.local_transport.as_str()),
            (DomainClass::Mailbox, _) => ("virtual_transport", self.virtual_transport.as_str()),
            (DomainClass::Relay, _) => ("relay_transport", self.relay_transport.as_str()),
            (DomainClass::Other, _) => ("default_transport", self.default_transport.as_str()),
            (DomainClass::Alias, _) => {
                let failure = Failure::local((5, 1, 1), format!("<{address}>: no such user in the virtual alias tables"));
                return Ok(Routed { route: Route::Error(Outcome::Bounced(failure)), transport: "error".into(), reason });
            }
        };
        let (transport, nexthop) = text.split_once(':').unwrap_or((text, ""));
        if !nexthop.is_empty() || self.protocol(transport) != Some(TransportProtocol::Smtp) {
            let detail = match &by_sender {
                Some(found) => found.to_string(),
                None => format!("{text} (the domain is in {reason})"),
            };
            return Ok(self.transport(address, transport, nexthop, Reason::new(setting, detail)));
        }
        if let Some(found) = self.of_sender(&self.sender_relayhost_maps, sender).await? {
            let reason = Reason::new("sender_dependent_relayhost_maps", found.to_string());
            return Ok(self.transport(address, transport, found.value.trim(), reason));
        }
        let (hop, reason) = match &self.relayhost {
            Some(hop) => (hop.clone(), Reason::new("relayhost", hop.to_string())),
            None => (NextHop::of_domain(address.domain()), reason),
        };
        Ok(Routed { route: Route::Smtp(hop), transport: transport.into(), reason })
    }

    /// What a table has for a sender; the null sender is looked up as `<>`, and `DUNNO` is no answer (postconf(5)).
    async fn of_sender(&self, maps: &Maps, sender: Option<&Address>) -> Result<Option<Found>, Unavailable> {
        if maps.is_empty() {
            return Ok(None);
        }
        let order = AddressOrder { delimiters: &self.delimiters, bare: false, catch_all: true };
        let found = match sender {
            Some(sender) => maps.address(sender, order).await?.map(|hit| hit.found),
            None => maps.lookup("<>").await?,
        };
        Ok(found.filter(|found| !found.value.trim().eq_ignore_ascii_case("dunno")))
    }

    /// A transport with its next hop. What cannot be understood defers, so that an error in a table loses nothing.
    fn transport(&self, address: &Address, transport: &str, nexthop: &str, reason: Reason) -> Routed {
        let route = self.parse_transport(address, transport, nexthop).unwrap_or_else(|why| {
            tracing::error!(recipient = %address, %reason, "transport: {why}");
            Route::Error(Outcome::Deferred(Failure::local((4, 3, 5), format!("mail system configuration error: {why}"))))
        });
        Routed { route, transport: transport.into(), reason }
    }

    /// What is spoken over a transport; `None`: nothing, or there is none of this name.
    fn protocol(&self, transport: &str) -> Option<TransportProtocol> {
        match transport {
            "smtp" | "relay" => Some(TransportProtocol::Smtp),
            "lmtp" => Some(TransportProtocol::Lmtp),
            _ => self.transports.iter().find(|(name, _)| name == transport).map(|(_, protocol)| *protocol),
        }
    }

    fn parse_transport(&self, address: &Address, transport: &str, nexthop: &str) -> Result<Route, String> {
        match self.protocol(transport) {
            Some(TransportProtocol::Lmtp) => return LmtpTarget::parse(nexthop, &self.run_directory).map(Route::Lmtp),
            Some(TransportProtocol::Smtp) if nexthop.is_empty() => return Ok(Route::Smtp(NextHop::of_domain(address.domain()))),
            Some(TransportProtocol::Smtp) => return NextHop::parse(nexthop.strip_prefix("inet:").unwrap_or(nexthop)).map(Route::Smtp),
            None => {}
        }
        match transport {
            "local" | "virtual" | "deliver" => Ok(Route::Local),
            "error" => Ok(Route::Error(Outcome::Bounced(failure(nexthop, 5, "mail for this address is not taken")))),
            "retry" => Ok(Route::Error(Outcome::Deferred(failure(nexthop, 4, "mail for this address has to wait")))),
            "discard" => Ok(Route::Discard),
            _ => Err(format!(
                "unknown transport `{transport}` (smtp, relay, lmtp, local, virtual, error, retry, discard, and those of qmgr.transport)"
            )),
        }
    }

    pub(crate) fn check_transport(&self, text: &str) -> Result<(), String> {
        let example = Address::new("user", self.origin.clone()).map_err(|e| e.to_string())?;
        let (transport, nexthop) = text.split_once(':').unwrap_or((text, ""));
        self.parse_transport(&example, transport, nexthop).map(drop)
    }
}

/// `5.1.2 text` or `text`; the code stands only when its class fits.
fn failure(text: &str, class: u8, default: &str) -> Failure {
    let text = if text.is_empty() { default } else { text };
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match EnhancedCode::parse(first) {
        Some(status) if status.0 == class => Failure::local((status.0, status.1, status.2), rest.trim()),
        _ => Failure::local((class, 0, 0), text),
    }
}
