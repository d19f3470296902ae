//! Policy services (Postfix SMTPD_POLICY_README): who is asked, the words of the question, and of the answer.
//!
//! The question is `name=value` lines and an empty line; the answer is `action=…`, an action of an access table, and an empty line.
//! Sockets are not known here: [`Outside`] carries the text.

use crate::{Facts, Stage};
use mail_types::{Address, printable};
use std::fmt::Write;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use tables::split_list;

/// What restrictions need of the world beside tables and DNS.
pub trait Outside: Send + Sync {
    /// Asks a policy service; the answer is the text behind `action=`, or why there is none in time.
    fn ask<'a>(
        &'a self,
        service: &'a PolicyService,
        question: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

    /// Waits.
    fn sleep<'a>(&'a self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// Nobody to ask: policy services are away, and `sleep` takes no time. For tools that explain.
pub struct NoOutside;

impl Outside for NoOutside {
    fn ask<'a>(&'a self, _: &'a PolicyService, _: &'a str) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(std::future::ready(Err("policy services are not asked here".to_owned())))
    }

    fn sleep<'a>(&'a self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }
}

/// Where a policy service listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `host:port`
    Inet(String),
    Unix(PathBuf),
}

/// One `check_policy_service`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyService {
    pub endpoint: Endpoint,
    pub timeout: Duration,
    pub try_limit: u32,
    pub retry_delay: Duration,
    pub(crate) default_action: String,
    pub(crate) context: String,
}

impl PolicyService {
    /// `inet:host:port`, `unix:path`, or `{ inet:host:port, timeout=10s, default_action=DUNNO }`.
    pub(crate) fn parse(text: &str, smtpd: &config::Smtpd) -> Result<PolicyService, String> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
        let mut words = match inner {
            Some(inner) => tables::split_words(inner, |c| c == ','),
            None => split_list(text),
        }
        .into_iter()
        .map(str::trim);
        let place = words.next().unwrap_or_default();
        let endpoint = match place.split_once(':') {
            Some(("inet", rest)) if is_host_and_port(rest) => Endpoint::Inet(rest.to_owned()),
            Some(("unix", path)) if !path.is_empty() => Endpoint::Unix(path.into()),
            _ => return Err(format!("{place:?} is neither inet:host:port nor unix:path")),
        };
        let mut service = PolicyService {
            endpoint,
            timeout: smtpd.smtpd_policy_service_timeout,
            try_limit: smtpd.smtpd_policy_service_try_limit,
            retry_delay: smtpd.smtpd_policy_service_retry_delay,
            default_action: smtpd.smtpd_policy_service_default_action.clone(),
            context: smtpd.smtpd_policy_service_policy_context.clone(),
        };
        for word in words {
            // `{ default_action = 451 text }` has braces of its own when it has a comma.
            let word = word.strip_prefix('{').and_then(|w| w.strip_suffix('}')).unwrap_or(word);
            let (name, value) = word.split_once('=').map(|(n, v)| (n.trim(), v.trim())).unwrap_or((word, ""));
            let wrong = || format!("{name}: {value:?} is no value for it");
            match name {
                "timeout" => service.timeout = duration(value).filter(|t| !t.is_zero()).ok_or_else(wrong)?,
                "retry_delay" => service.retry_delay = duration(value).ok_or_else(wrong)?,
                "try_limit" => service.try_limit = value.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?,
                "default_action" if !value.is_empty() => service.default_action = value.to_owned(),
                "policy_context" => service.context = value.to_owned(),
                // Connections are kept as long as the service keeps them.
                "max_idle" | "max_ttl" | "request_limit" => {}
                _ => return Err(format!("{word:?} is no option of a policy service")),
            }
        }
        Ok(service)
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0))
}

/// `10`, `10s`, `5m`, `1h`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    digits.parse::<u32>().ok().map(|n| Duration::from_secs(u64::from(n) * unit))
}

/// The question, with the empty line at its end.
pub(crate) fn question(stage: Stage, facts: &Facts<'_>, context: &str) -> String {
    let state = match stage {
        Stage::Client => "CONNECT",
        Stage::Helo if facts.extended => "EHLO",
        Stage::Helo => "HELO",
        Stage::Sender => "MAIL",
        Stage::Relay | Stage::Recipient => "RCPT",
        Stage::Data => "DATA",
        Stage::EndOfData => "END-OF-MESSAGE",
        Stage::Etrn => "ETRN",
    };
    let mut text = String::from("request=smtpd_access_policy\n");
    let mut line = |name: &str, value: &str| {
        // What a client said must not begin a line.
        let value: String = value.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let _ = writeln!(text, "{name}={value}");
    };
    let number = |n: Option<u16>| n.map(|n| n.to_string()).unwrap_or_default();
    let ip = |ip: Option<std::net::IpAddr>| ip.map(|ip| ip.to_canonical().to_string()).unwrap_or_default();
    // As in Postfix, the number is said when all recipients are known.
    let recipients = if matches!(stage, Stage::Data | Stage::EndOfData) { facts.recipients } else { 0 };
    line("protocol_state", state);
    line("protocol_name", if facts.extended { "ESMTP" } else { "SMTP" });
    line("client_address", &ip(facts.client_ip));
    line("client_name", facts.client_name.unwrap_or("unknown"));
    line("client_port", &number(facts.client_port));
    line("reverse_client_name", facts.reverse_name.unwrap_or("unknown"));
    line("server_address", &ip(facts.server_ip));
    line("server_port", &number(facts.server_port));
    line("helo_name", facts.helo.unwrap_or_default());
    line("sender", &facts.sender.flatten().map(Address::to_string).unwrap_or_default());
    line("recipient", &facts.recipient.map(Address::to_string).unwrap_or_default());
    line("recipient_count", &recipients.to_string());
    line("queue_id", facts.queue_id.unwrap_or_default());
    line("instance", facts.instance);
    line("size", &facts.size.to_string());
    line("etrn_domain", facts.etrn_domain.unwrap_or_default());
    line("stress", "");
    line("sasl_method", facts.mechanism.unwrap_or_default());
    line("sasl_username", facts.login.unwrap_or_default());
    line("sasl_sender", "");
    for name in ["ccert_subject", "ccert_issuer", "ccert_fingerprint", "ccert_pubkey_fingerprint"] {
        line(name, "");
    }
    let (version, cipher, bits) = facts.tls_terms.map_or(("", "", 0), |terms| terms);
    line("encryption_protocol", version);
    line("encryption_cipher", cipher);
    line("encryption_keysize", &bits.to_string());
    line("policy_context", context);
    text.push('\n');
    text
}

/// Reads an answer without its empty line: the text behind `action=`.
pub fn answer(text: &str) -> Result<&str, String> {
    let action = text.lines().find_map(|line| line.strip_prefix("action=")).map(str::trim);
    action.filter(|a| !a.is_empty()).ok_or_else(|| format!("the answer has no action: {:?}", printable(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_as_in_postfix() {
        let smtpd = config::Smtpd::default();
        for (text, want) in [
            ("inet:127.0.0.1:10023", Ok(Endpoint::Inet("127.0.0.1:10023".into()))),
            ("unix:private/policy", Ok(Endpoint::Unix("private/policy".into()))),
            ("{ inet:[::1]:9998, timeout=10s, default_action=DUNNO }", Ok(Endpoint::Inet("[::1]:9998".into()))),
            ("inet:127.0.0.1", Err(())),
            ("inet:host:0", Err(())),
            ("unix:", Err(())),
            ("hash:x", Err(())),
            ("{ inet:a:1, timeout=0 }", Err(())),
            ("{ inet:a:1, frobnicate=1 }", Err(())),
        ] {
            assert_eq!(PolicyService::parse(text, &smtpd).map(|s| s.endpoint).map_err(|_| ()), want, "{text}");
        }
        let text = "{ unix:p, {default_action = 450 4.7.1 Later, please}, try_limit=1, policy_context=mx }";
        let service = PolicyService::parse(text, &smtpd).expect("service");
        assert_eq!((service.default_action.as_str(), service.try_limit, service.context.as_str()), ("450 4.7.1 Later, please", 1, "mx"));
    }

    #[test]
    fn a_question_is_one_line_per_attribute() {
        let sender = Address::parse("a@x.test").expect("address");
        let facts = Facts {
            client_ip: Some([192, 0, 2, 7].into()),
            helo: Some("evil\naction=OK"),
            sender: Some(Some(&sender)),
            recipients: 3,
            instance: "1.0.2",
            ..Facts::default()
        };
        let text = question(Stage::Recipient, &facts, "mx");
        assert!(text.starts_with(
            "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=SMTP\nclient_address=192.0.2.7\nclient_name=unknown\n"
        ));
        for line in
            ["helo_name=evil?action=OK", "sender=a@x.test", "recipient=", "recipient_count=0", "instance=1.0.2", "policy_context=mx"]
        {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(text.ends_with("\n\n"));
        assert!(question(Stage::EndOfData, &facts, "").contains("\nrecipient_count=3\n"));
    }

    #[test]
    fn an_answer_has_an_action() {
        assert_eq!(answer("action=defer_if_permit Greylisted"), Ok("defer_if_permit Greylisted"));
        assert_eq!(answer("x=y\naction= DUNNO \n"), Ok("DUNNO"));
        for text in ["", "action=", "reject", "actions=OK"] {
            assert!(answer(text).is_err(), "{text:?}");
        }
    }
}
