//! DNS lists in restrictions, and what a client is told of them.

use crate::check::{Run, Said};
use crate::codes::reply;
use crate::restriction::{ListSubject, Subject};
use dns::lists::{Listing, Site, Subject as Asked};
use mail_types::{Address, EnhancedCode, Reply};

impl Run<'_> {
    /// `reject_rbl_client` and its kin: refuses what the list has. A list that does not answer has no say.
    pub(crate) async fn listed(&self, subject: ListSubject, site: &Site) -> (Said, String) {
        match self.look(subject, site).await {
            Some((what, Listing::Listed { code, text })) => {
                let said = self.text_of(site).await.map(|template| self.told(&template, subject, &what, site, text.as_deref()));
                let said = said.unwrap_or_else(|said| said);
                (said, format!(": {what} is {code} in {}", site.domain))
            }
            _ => (Said::Dunno, String::new()),
        }
    }

    /// `permit_dnswl_client`, `permit_rhswl_client`: takes what the list has, when we are its destination or would relay for it anyway; as in
    /// Postfix a list of strangers opens no relay.
    pub(crate) async fn welcome(&self, subject: ListSubject, site: &Site) -> Said {
        match self.look(subject, site).await {
            Some((_, Listing::Listed { .. })) => match self.facts.destination {
                Some(crate::Destination::Elsewhere { .. } | crate::Destination::Unavailable { .. }) => Said::Dunno,
                _ => Said::Permit,
            },
            Some((_, Listing::Temporary)) => {
                Said::DeferIfReject(self.about(Subject::Client, reply(450, (7, 1), "the DNS list does not answer, try again later")))
            }
            _ => Said::Dunno,
        }
    }

    async fn look(&self, subject: ListSubject, site: &Site) -> Option<(String, Listing)> {
        let lists = self.policy.dns_lists.as_ref()?;
        if subject == ListSubject::ClientAddress {
            let ip = self.facts.client_ip?;
            return Some((ip.to_canonical().to_string(), lists.ask(site, Asked::Address(ip), self.now).await));
        }
        let name = match subject {
            ListSubject::ClientAddress => return None,
            ListSubject::ClientName => self.facts.client_name?.to_owned(),
            ListSubject::ReverseName => self.facts.reverse_name?.to_owned(),
            ListSubject::Helo => self.facts.helo?.to_owned(),
            ListSubject::SenderDomain => self.facts.sender??.domain().as_str().to_owned(),
            ListSubject::RecipientDomain => self.facts.recipient?.domain().as_str().to_owned(),
        };
        // Address literals and bare names are in no list of domains.
        let name = name.trim_end_matches('.').to_lowercase();
        if name.starts_with('[') || !name.contains('.') || mail_types::Domain::parse(&name).is_err() {
            return None;
        }
        let listing = lists.ask(site, Asked::Domain(&name), self.now).await;
        Some((name, listing))
    }

    async fn text_of(&self, site: &Site) -> Result<String, Said> {
        let maps = &self.policy.rbl_reply_maps;
        for key in [site.text.as_str(), site.domain.as_str()] {
            match maps.lookup(key).await {
                Ok(Some(found)) => return Ok(found.value.to_string()),
                Ok(None) => {}
                Err(_) => return Err(crate::check::lookup_error(&site.domain)),
            }
        }
        Ok(self.policy.default_rbl_reply.clone())
    }

    fn told(&self, template: &str, subject: ListSubject, what: &str, site: &Site, reason: Option<&str>) -> Said {
        let facts = self.facts;
        let address = |address: Option<&Address>, part: &str| {
            address
                .map(|a| match part {
                    "domain" => a.domain().as_str().to_owned(),
                    "name" => a.local().to_owned(),
                    _ => a.to_string(),
                })
                .unwrap_or_default()
        };
        let code = self.policy.codes.listed;
        let value = |name: &str| {
            Some(match name {
                "rbl_code" => format!("{code} {}.7.1", code / 100),
                "rbl_class" => class(subject).to_owned(),
                "rbl_what" => what.to_owned(),
                "rbl_domain" => site.domain.clone(),
                "rbl_reason" | "rbl_txt" => reason.unwrap_or_default().to_owned(),
                "client" => self.subject_text(Subject::Client),
                "client_address" => facts.client_ip.map(|ip| ip.to_string()).unwrap_or_default(),
                "client_name" => facts.client_name.unwrap_or("unknown").to_owned(),
                "reverse_client_name" => facts.reverse_name.unwrap_or("unknown").to_owned(),
                "helo_name" => facts.helo.unwrap_or_default().to_owned(),
                "sender" => address(facts.sender.flatten(), ""),
                "sender_domain" => address(facts.sender.flatten(), "domain"),
                "sender_name" => address(facts.sender.flatten(), "name"),
                "recipient" => address(facts.recipient, ""),
                "recipient_domain" => address(facts.recipient, "domain"),
                "recipient_name" => address(facts.recipient, "name"),
                _ => return None,
            })
        };
        match expand(template, &value).as_deref().and_then(parse) {
            Some(reply) => Said::Refuse(reply),
            None => {
                tracing::warn!(list = site.domain, template, "the reply of a DNS list cannot be read (default_rbl_reply, rbl_reply_maps)");
                Said::Refuse(reply(code, (7, 1), format!("Service unavailable; {} [{what}] blocked using {}", class(subject), site.domain)))
            }
        }
    }
}

fn class(subject: ListSubject) -> &'static str {
    match subject {
        ListSubject::ClientAddress | ListSubject::ClientName => "Client host",
        ListSubject::ReverseName => "Unverified Client host",
        ListSubject::Helo => "Helo command",
        ListSubject::SenderDomain => "Sender address",
        ListSubject::RecipientDomain => "Recipient address",
    }
}

/// `$name`, `${name}`, `${name?text when it is not empty}`, `${name:text when it is empty}`, `$$`; `None` for names that do not exist.
pub(crate) fn expand(template: &str, value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            text.push('$');
            rest = tail;
        } else if let Some(inner) = after.strip_prefix(['{', '(']) {
            let (inside, tail) = inner.split_at(closing(inner)?);
            rest = &tail[1..];
            let name_ends = inside.find(['?', ':']).unwrap_or(inside.len());
            let (name, condition) = inside.split_at(name_ends);
            let found = value(name)?;
            match condition.chars().next() {
                None => text.push_str(&found),
                Some('?') if !found.is_empty() => text.push_str(&expand(&condition[1..], value)?),
                Some(':') if found.is_empty() => text.push_str(&expand(&condition[1..], value)?),
                Some(_) => {}
            }
        } else {
            let name_ends = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            text.push_str(&value(&after[..name_ends])?);
            rest = &after[name_ends..];
        }
    }
    text.push_str(rest);
    Some(text)
}

/// Where the bracket that was opened before `text` is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' | '(' => depth += 1,
            '}' | ')' if depth == 0 => return Some(at),
            '}' | ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// `554 5.7.1 text`; what others wrote into it is one line of bounded length.
fn parse(text: &str) -> Option<Reply> {
    let (code, rest) = text.trim().split_once(' ')?;
    let number: u16 = code.parse().ok().filter(|n| (400..600).contains(n))?;
    let (status, rest) = match rest.split_once(' ').map(|(word, tail)| (EnhancedCode::parse(word), tail)) {
        Some((Some(status), tail)) if u16::from(status.0) == number / 100 => (status, tail),
        _ => (EnhancedCode((number / 100) as u8, 7, 1), rest),
    };
    let line: String = rest.chars().map(|c| if c.is_control() || !c.is_ascii() { '?' } else { c }).take(450).collect();
    Some(Reply::new(number, Some(status), line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_made_from_templates() {
        let value = |reason: &str| {
            let reason = reason.to_owned();
            move |name: &str| match name {
                "rbl_code" => Some("554 5.7.1".to_owned()),
                "rbl_reason" => Some(reason.clone()),
                "rbl_what" => Some("192.0.2.7".to_owned()),
                _ => None,
            }
        };
        for (template, reason, want) in [
            ("$rbl_code [$rbl_what]${rbl_reason?; $rbl_reason}", "spam", Some("554 5.7.1 [192.0.2.7]; spam")),
            ("$rbl_code [$rbl_what]${rbl_reason?; $rbl_reason}", "", Some("554 5.7.1 [192.0.2.7]")),
            ("$rbl_code $(rbl_what)${rbl_reason:; no reason}", "", Some("554 5.7.1 192.0.2.7; no reason")),
            ("521 4.7.1 $$ odd", "", Some("521 5.7.1 4.7.1 $ odd")),
            ("$rbl_code a\r\n250 ok", "", Some("554 5.7.1 a??250 ok")),
            ("200 fine", "", None),
            ("$nosuch x", "", None),
            ("${rbl_reason", "", None),
        ] {
            let got = expand(template, &value(reason)).as_deref().and_then(parse).map(|r| r.to_string());
            assert_eq!(got.as_deref(), want, "{template}");
        }
    }
}
