//! `facteur explain`: what would become of a message, and why. The restrictions, classes, aliases and routes are asked by the same code
//! as in smtpd and qmgr, on the same settings and tables; nothing is sent.

mod place;

use crate::cli::Globals;
use config::TlsLevel;
use dns::Resolver;
use mail_types::{Address, Recipient};
use outbound::{NamedBy, Tables, TlsChoice, TlsExplainer};
use place::Places;
use policy::{Action, Destination, Facts, Ownership, Policy, Stage, Traced, Verdict};
use routing::{Class, NextHop, Route, Router};
use serde::Serialize;
use std::fmt::Display;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

/// Tell what would become of a message, rule by rule; nothing is sent
///
/// Each line names the rule, its answer, and the setting or the line of the table that says so. Exit code 0: all recipients
/// would be taken; 1: one would be refused. Policy services and filters are not asked.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The address of the client; `local` for the socket of this machine (sendmail)
    #[arg(long, value_name = "IP")]
    client: String,
    /// What it says in EHLO
    #[arg(long, value_name = "NAME", default_value = "client.invalid")]
    helo: String,
    /// The envelope sender; `<>` for a bounce
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// The recipient; may be given several times
    #[arg(long = "to", value_name = "ADDRESS", required = true)]
    to: Vec<String>,
    /// The login, as if it had given its password
    #[arg(long, value_name = "USER")]
    auth: Option<String>,
    /// As if the session were under TLS
    #[arg(long)]
    tls: bool,
    /// The listener [default: submission with --auth, submit for `local`, else smtp]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

/// One step of the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Line {
    /// What is decided: a list of restrictions, or a part of routing.
    about: String,
    /// The rule, or the address it is about.
    rule: String,
    answer: String,
    /// Table, key and value, with file and line.
    because: String,
    /// File and line of the setting; empty for a default.
    setting: String,
}

/// What somebody wanted to know.
struct Question<'a> {
    service: &'a str,
    smtpd: &'a config::Smtpd,
    policy: Policy,
    router: Router,
    resolver: Arc<dyn Resolver>,
    tls: Result<TlsExplainer, String>,
    places: Places,
    lines: Vec<Line>,
    refused: bool,
}

pub async fn run(globals: Globals, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = globals.settings()?;
    let local = arguments.client == "local";
    let ip: Option<IpAddr> = if local { None } else { Some(arguments.client.parse()?) };
    let usual = match (local, &arguments.auth) {
        (true, _) => "submit",
        (_, Some(_)) => "submission",
        _ => "smtp",
    };
    let name = arguments.service.as_deref().unwrap_or(usual);
    let Some(service) = config.services.get(name) else {
        let known: Vec<&str> = config.services.keys().map(String::as_str).collect();
        anyhow::bail!("there is no service {name}: {}", known.join(", "));
    };
    let context = super::map::context(&config);
    let resolver: Arc<dyn Resolver> = Arc::new(dns::Dns::new(&config.dns)?);
    let smtpd = &service.smtpd;
    let mynetworks = routing::mynetworks(&smtpd.mynetworks, smtpd.mynetworks_style, &context)?;
    let policy = Policy::new(smtpd, &config.routing.recipient_delimiter, mynetworks, Some(resolver.clone()), &context)?;
    let router = Router::new(&config, super::map::remote(&config))?;
    let places = Places::read(&config);
    let tls = outbound::Settings::new(&config)
        .and_then(|settings| TlsExplainer::new(settings, Tables::open(&config, super::map::remote(&config))?));
    let tls = tls.map_err(|error| error.to_string());
    let mut question = Question { service: name, smtpd, policy, router, resolver, tls, places, lines: Vec::new(), refused: false };
    question.answer(&arguments, ip).await?;
    if globals.json {
        let answer = serde_json::json!({ "service": name, "taken": !question.refused, "steps": question.lines });
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        question.print();
    }
    Ok(if question.refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Question<'_> {
    async fn answer(&mut self, arguments: &Arguments, ip: Option<IpAddr>) -> anyhow::Result<()> {
        let address = |text: &str| self.router.complete(text).map_err(|error| anyhow::anyhow!("{text}: {error}"));
        let sender = match arguments.from.trim() {
            "" | "<>" => None,
            text => Some(address(text.trim_start_matches('<').trim_end_matches('>'))?),
        };
        let recipients = arguments.to.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
        let named = match ip {
            Some(ip) if ip.is_loopback() => Ok(Some("localhost".to_owned())),
            Some(ip) if self.smtpd.smtpd_peername_lookup => dns::confirmed_name(&*self.resolver, ip).await,
            _ => Ok(None),
        };
        let (name, unavailable) = match named {
            Ok(name) => (name, false),
            Err(error) => {
                self.note("client", &arguments.client, "name cannot be looked up", &error, "");
                (None, true)
            }
        };
        self.note("client", &arguments.client, name.as_deref().unwrap_or("no confirmed name"), &"DNS", "smtpd_peername_lookup");
        let login = arguments.auth.as_deref();
        let sender_is_own = match (login, &sender) {
            (Some(login), Some(sender)) if !self.policy.has_sender_logins() => Some(match self.router.owns(login, sender).await {
                Ok(true) => Ownership::Own,
                Ok(false) => Ownership::Foreign,
                Err(_) => Ownership::Unavailable,
            }),
            _ => None,
        };
        if let Some(ownership) = sender_is_own {
            let whose = if ownership == Ownership::Own { "the login's own" } else { "not the login's own" };
            self.note("sender", &arguments.from, whose, &format!("login {}", login.unwrap_or_default()), "smtpd_sender_login_maps");
        }
        let facts = Facts {
            client_ip: ip,
            client_name: name.as_deref(),
            client_name_unavailable: unavailable,
            local: ip.is_none(),
            helo: Some(&arguments.helo),
            tls: arguments.tls || self.smtpd.smtpd_tls_security_level == TlsLevel::Encrypt,
            login,
            sender: Some(sender.as_ref()),
            sender_is_own,
            ..Facts::default()
        };
        for stage in [Stage::Client, Stage::Helo, Stage::Sender] {
            if self.policy.concerns(stage) {
                self.judge(stage, "", &facts).await;
            }
        }
        let mut taken = Vec::new();
        for recipient in &recipients {
            let destination = self.destination(recipient).await;
            let facts = Facts { recipient: Some(recipient), destination: Some(&destination), recipients: taken.len(), ..facts };
            if self.judge(Stage::Recipient, &recipient.to_string(), &facts).await {
                taken.push(Recipient::new(recipient.clone()));
            }
        }
        for stage in [Stage::Data, Stage::EndOfData] {
            if self.policy.concerns(stage) && !taken.is_empty() {
                self.judge(stage, "", &Facts { recipients: taken.len(), ..facts }).await;
            }
        }
        self.deliveries(sender.as_ref(), &taken).await;
        Ok(())
    }

    fn note(&mut self, about: &str, rule: &str, answer: impl Into<String>, because: &dyn Display, setting: &str) {
        let setting = self.places.find(self.service, setting);
        self.lines.push(Line { about: about.into(), rule: rule.into(), answer: answer.into(), because: because.to_string(), setting });
    }

    /// Whether the stage lets it pass.
    async fn judge(&mut self, stage: Stage, subject: &str, facts: &Facts<'_>) -> bool {
        let (verdict, trace) = self.policy.explain(stage, facts).await;
        for Traced { stage, rule, said, detail } in trace {
            self.note(stage.setting(), &rule, said, &detail.trim_start_matches(": "), stage.setting());
        }
        let Verdict { action, reason, effects } = verdict;
        for remark in &effects.remarks {
            self.note(stage.setting(), "remark", remark.clone(), &"", "");
        }
        let (taken, answer) = match action {
            Action::Permit => (true, "permitted".to_owned()),
            Action::Refuse(reply) => (false, format!("refused: {reply}")),
        };
        self.refused |= !taken;
        let rule = if subject.is_empty() { stage.setting() } else { subject };
        self.note("verdict", rule, answer, &reason, "");
        if let Some(filter) = &effects.filter {
            self.note("verdict", rule, format!("goes to the content filter {filter} first"), &"a table asks for it", "");
        }
        for (set, word) in [(effects.hold, "held"), (effects.discard, "discarded")] {
            if set {
                self.note("verdict", rule, word, &"a table asks for it", "");
            }
        }
        taken
    }

    /// Whose the recipient is; as smtpd asks.
    async fn destination(&mut self, recipient: &Address) -> Destination {
        let (answer, reason, destination) = match self.router.classify(recipient).await {
            Err(error) => {
                let reason = error.to_string();
                ("cannot be told now", reason.clone(), Destination::Unavailable { reason })
            }
            Ok(found) => {
                let reason = found.reason.to_string();
                let (answer, destination) = match found.class {
                    Class::Mailbox => ("a mailbox here", Destination::Ours { listed: true, reason: reason.clone() }),
                    Class::Alias => ("an alias here", Destination::Ours { listed: true, reason: reason.clone() }),
                    Class::Relay => ("relayed for its domain", Destination::Ours { listed: true, reason: reason.clone() }),
                    Class::UnknownUser => ("our domain, unknown user", Destination::Ours { listed: false, reason: reason.clone() }),
                    Class::Moved => {
                        let to = found.moved_to.unwrap_or_default();
                        ("a user who has moved", Destination::Moved { to, reason: reason.clone() })
                    }
                    Class::NotOurs => ("not ours", Destination::Elsewhere { reason: reason.clone() }),
                };
                (answer, reason, destination)
            }
        };
        let setting = reason.split(':').next().unwrap_or_default().to_owned();
        self.note("recipient", &recipient.to_string(), answer, &reason, &setting);
        destination
    }

    /// What qmgr does with it.
    async fn deliveries(&mut self, sender: Option<&Address>, taken: &[Recipient]) {
        if taken.is_empty() {
            return;
        }
        let expansion = match self.router.expand(sender, taken, true).await {
            Ok(expansion) => expansion,
            Err(error) => return self.note("aliases", "", "cannot be told now: it waits", &error, ""),
        };
        for (at, outcome) in &expansion.failures {
            let why = match outcome {
                mail_types::Outcome::Bounced(failure) => format!("bounced: {} {}", failure.status, failure.reason),
                mail_types::Outcome::Deferred(failure) => format!("waits: {} {}", failure.status, failure.reason),
                mail_types::Outcome::Delivered { .. } => "delivered".into(),
            };
            self.note("aliases", &taken[*at].address.to_string(), why, &"", "");
        }
        for expanded in expansion.recipients {
            let address = expanded.recipient.address;
            let from = expanded.original.and_then(|at| taken.get(at)).map_or_else(|| "a copy".into(), |r| r.address.to_string());
            let path: Vec<String> = expanded.path.iter().map(ToString::to_string).collect();
            let setting = expanded.path.first().map_or("", |reason| reason.setting);
            let why = if path.is_empty() { "no alias".into() } else { path.join("; ") };
            self.note("aliases", &from, address.to_string(), &why, setting);
            self.route(&address, sender).await;
        }
    }

    async fn route(&mut self, address: &Address, sender: Option<&Address>) {
        let routed = match self.router.route(address, sender).await {
            Ok(routed) => routed,
            Err(error) => return self.note("route", &address.to_string(), "cannot be told now: it waits", &error, ""),
        };
        let mut way = routed.route.to_string();
        // Only the pace of these is another.
        if let Some((usual, _)) = way.split_once(':').filter(|(usual, _)| ["smtp", "lmtp"].contains(usual) && **usual != *routed.transport)
        {
            way = way.replacen(usual, &routed.transport, 1);
        }
        self.note("route", &address.to_string(), way, &routed.reason, routed.reason.setting);
        let named_by = NamedBy::of(routed.is_by_recipient(address), routed.is_by_relayhost());
        if let Route::Smtp(hop) = routed.route {
            self.hosts(&hop).await;
            self.tls(&hop, named_by, sender).await;
            self.generic(sender.into_iter().chain([address])).await;
        }
    }

    /// The form of addresses in mail that leaves.
    async fn generic(&mut self, addresses: impl Iterator<Item = &Address>) {
        if !self.router.has_generic() {
            return;
        }
        for address in addresses {
            let rule = address.to_string();
            match self.router.generic(address).await {
                Ok(form) if form == *address => {}
                Ok(form) => self.note("generic", &rule, form.to_string(), &"", "smtp_generic_maps"),
                Err(error) => self.note("generic", &rule, "cannot be told now: it waits", &error, "smtp_generic_maps"),
            }
        }
    }

    /// What the host has to prove.
    async fn tls(&mut self, hop: &NextHop, named_by: NamedBy, sender: Option<&Address>) {
        let (rule, destination) = (hop.to_string(), outbound::Destination::Smtp { host: hop.host.clone(), port: hop.port, mx: hop.mx });
        let choice = match &self.tls {
            Ok(tls) => tls.explain(&destination, named_by, sender).await.map_err(|outcome| format!("{outcome:?}")),
            Err(why) => Err(why.clone()),
        };
        match choice {
            Ok(TlsChoice { level, proof, login, setting, because }) => {
                let proof = if proof.is_empty() { String::new() } else { format!(", the certificate has to have {proof}") };
                let login = login.map(|login| format!(", with the login {login}")).unwrap_or_default();
                self.note("TLS", &rule, format!("{}{proof}{login}", level.as_str()), &because, setting);
            }
            Err(why) => self.note("TLS", &rule, "cannot be told now: it waits", &why, "smtp_tls_policy_maps"),
        }
    }

    async fn hosts(&mut self, hop: &NextHop) {
        let about = "MX";
        let rule = hop.to_string();
        if hop.host.literal().is_some() {
            return self.note(about, &rule, "the address itself", &"an address literal", "");
        }
        let resolver = self.resolver.clone();
        let hosts = match if hop.mx { resolver.mx(hop.host.as_str()).await } else { Err(dns::Error::NoRecords) } {
            Ok(records) if dns::is_null_mx(&records) => return self.note(about, &rule, "takes no mail: it bounces", &"null MX", ""),
            Ok(records) => records.into_iter().map(|mx| (format!("MX {}", mx.preference), mx.host)).collect(),
            Err(dns::Error::NoRecords) => vec![("the host itself".to_owned(), hop.host.to_string())],
            Err(dns::Error::NoSuchName) => return self.note(about, &rule, "no such domain: it bounces", &"DNS", ""),
            Err(error) => return self.note(about, &rule, "cannot be told now: it waits", &error, ""),
        };
        for (what, host) in hosts {
            let addresses = match resolver.addresses(&host).await {
                Ok(found) => found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                Err(error) => error.to_string(),
            };
            self.note(about, &rule, format!("{what} {host}"), &addresses, "");
        }
    }

    fn print(&self) {
        println!("service {}", self.service);
        let mut last = "";
        for line in &self.lines {
            if line.about != last {
                println!("{}", mail_types::printable(&line.about));
                last = &line.about;
            }
            let text = |text: &str| mail_types::printable(text);
            println!("    {}: {}", text(&line.rule), text(&line.answer));
            if !line.because.is_empty() {
                println!("        {}", text(&line.because));
            }
            if !line.setting.is_empty() {
                println!("        set at {}", text(&line.setting));
            }
        }
    }
}
