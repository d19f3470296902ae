//! Every setting of Facteur: declared once, typed, with unit, default and range.
//!
//! `Config::load` reads `facteur.toml` and then `conf.d/*.toml` beside it, in order of name; later files win. Whatever is
//! wrong is told at once, with file, line and a hint, and nothing starts on half-read settings. Relative paths start from the folder
//! of the file they stand in. `etc/facteur.toml` and `docs/settings.md` are made from the declarations (`document`).

pub mod document;
pub mod report;
pub mod setting;
pub mod value;

mod authd;
mod cleanup;
mod deliver;
mod dns;
mod greylist;
mod imapd;
mod log;
mod mail;
mod main_section;
mod outbound;
mod pop3d;
mod qmgr;
mod quota;
mod routing;
mod smtpd;
mod tls;

pub use authd::*;
pub use cleanup::*;
pub use deliver::*;
pub use dns::*;
pub use greylist::*;
pub use imapd::*;
pub use log::*;
pub use mail::*;
pub use main_section::*;
pub use outbound::*;
pub use pop3d::*;
pub use qmgr::*;
pub use quota::*;
pub use report::{Problem, Report};
pub use routing::*;
pub use setting::{Key, Section};
pub use smtpd::*;
pub use tls::*;
pub use value::{Endpoint, SecretUrl, Size, Value};

use mail_types::Domain;
use report::Source;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// All settings in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The main settings file, absolute.
    pub file: PathBuf,
    pub main: Main,
    pub log: Log,
    pub tls: Tls,
    pub dns: Dns,
    pub routing: Routing,
    pub cleanup: Cleanup,
    pub smtpd: Smtpd,
    pub greylist: Greylist,
    /// The listeners of smtpd by name, each with all smtpd settings as they hold for it.
    pub services: BTreeMap<String, Service>,
    pub qmgr: Qmgr,
    pub outbound: Outbound,
    pub mail: Mail,
    pub deliver: Deliver,
    pub imapd: Imapd,
    pub pop3d: Pop3d,
    pub authd: Authd,
}

/// Calls `$each!(field, Type)` for every section that is a TOML table of its own.
macro_rules! for_sections {
    ($each:ident) => {
        $each!(log, Log);
        $each!(tls, Tls);
        $each!(dns, Dns);
        $each!(routing, Routing);
        $each!(cleanup, Cleanup);
        $each!(smtpd, Smtpd);
        $each!(greylist, Greylist);
        $each!(qmgr, Qmgr);
        $each!(outbound, Outbound);
        $each!(mail, Mail);
        $each!(deliver, Deliver);
        $each!(imapd, Imapd);
        $each!(pop3d, Pop3d);
        $each!(authd, Authd);
    };
}

impl Config {
    /// The defaults, as if `file` were there and empty. Fails only when the host name of this machine is no domain name.
    pub fn defaults(file: &Path) -> Result<Config, Report> {
        Config::from_texts(file, &[(file.to_owned(), String::new())])
    }

    /// Reads the settings file and `conf.d/*.toml` beside it.
    pub fn load(file: &Path) -> Result<Config, Report> {
        let texts = Config::texts(file)?;
        Config::from_texts(&texts[0].0, &texts)
    }

    /// The settings files with their texts, in the order in which they hold; `file` itself is the first.
    pub fn texts(file: &Path) -> Result<Vec<(PathBuf, String)>, Report> {
        let fail = |path: &Path, error: std::io::Error| Report {
            problems: vec![Problem { file: path.to_owned(), line: None, message: format!("cannot be read: {error}"), hint: None }],
        };
        let file = std::path::absolute(file).map_err(|e| fail(file, e))?;
        let mut texts = vec![(file.clone(), std::fs::read_to_string(&file).map_err(|e| fail(&file, e))?)];
        let extra = file.parent().unwrap_or(Path::new("/")).join("conf.d");
        let mut names = Vec::new();
        match std::fs::read_dir(&extra) {
            Ok(entries) => {
                for entry in entries {
                    let path = entry.map_err(|e| fail(&extra, e))?.path();
                    if path.extension().is_some_and(|e| e == "toml") {
                        names.push(path);
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(&extra, error)),
        }
        names.sort();
        for path in names {
            let text = std::fs::read_to_string(&path).map_err(|e| fail(&path, e))?;
            texts.push((path, text));
        }
        Ok(texts)
    }

    /// Reads settings from texts; each comes with the absolute name of its file.
    pub fn from_texts(file: &Path, texts: &[(PathBuf, String)]) -> Result<Config, Report> {
        let mut config = Config::unresolved(file);
        let mut problems = Vec::new();
        let mut service_tables = Vec::new();
        for (path, text) in texts {
            let (table, errors) = DeTable::parse_recoverable(text);
            let mut source = Source::new(path, text);
            for error in &errors {
                source.fault(error.span().map(|s| s.start), error.message().to_owned(), None);
            }
            config.read(table.get_ref(), &mut source);
            if let Some(services) = table.get_ref().get("smtpd").and_then(|s| s.get_ref().as_table()?.get("service")) {
                service_tables.push((path, text, services.clone()));
            }
            problems.append(&mut source.into_problems());
        }
        // A service starts from what holds for smtpd in all files together.
        config.services = Service::built_in(&config.smtpd);
        for (path, text, services) in &service_tables {
            let mut source = Source::new(path, text);
            smtpd::read_services(services, &config.smtpd, &mut config.services, &mut source);
            problems.append(&mut source.into_problems());
        }
        config.resolve(&mut problems);
        if problems.is_empty() { Ok(config) } else { Err(Report { problems }) }
    }

    fn unresolved(file: &Path) -> Config {
        Config {
            file: file.to_owned(),
            main: Main::default(),
            log: Log::default(),
            tls: Tls::default(),
            dns: Dns::default(),
            routing: Routing::default(),
            cleanup: Cleanup::default(),
            smtpd: Smtpd::default(),
            greylist: Greylist::default(),
            services: BTreeMap::new(),
            qmgr: Qmgr::default(),
            outbound: Outbound::default(),
            mail: Mail::default(),
            deliver: Deliver::default(),
            imapd: Imapd::default(),
            pop3d: Pop3d::default(),
            authd: Authd::default(),
        }
    }

    fn read(&mut self, table: &DeTable<'_>, source: &mut Source<'_>) {
        self.main.read_known(table, "", source);
        let mut known: Vec<&str> = Main::keys().iter().map(|k| k.name).collect();
        macro_rules! read_section {
            ($field:ident, $type:ty) => {
                known.push(<$type>::NAME);
                if let Some(value) = table.get(<$type>::NAME) {
                    match value.get_ref().as_table() {
                        Some(inner) => {
                            self.$field.read_known(inner, <$type>::NAME, source);
                            let mut names: Vec<&str> = <$type>::keys().iter().map(|k| k.name).collect();
                            if <$type>::NAME == "smtpd" {
                                names.push("service");
                            }
                            setting::refuse_unknown(inner, <$type>::NAME, source, &names);
                        }
                        None => source.fault(
                            Some(value.span().start),
                            format!("{} must be a table", <$type>::NAME),
                            Some(format!("write [{}] on a line of its own", <$type>::NAME)),
                        ),
                    }
                }
            };
        }
        for_sections!(read_section);
        setting::refuse_unknown(table, "", source, &known);
    }

    /// Fills in what follows from other settings, and checks what concerns several.
    fn resolve(&mut self, problems: &mut Vec<Problem>) {
        let mut fault = |message: String, hint: Option<&str>| {
            problems.push(Problem { file: self.file.clone(), line: None, message, hint: hint.map(str::to_owned) });
        };
        if self.main.hostname.is_empty() {
            self.main.hostname = host_name();
        }
        match Domain::parse(&self.main.hostname) {
            Ok(domain) => self.main.hostname = domain.to_string(),
            Err(error) => fault(
                format!("hostname: {}: {error}", value::quote(&self.main.hostname)),
                Some("set hostname to the full name of this machine"),
            ),
        }
        if self.main.mydomain.is_empty() {
            // As Postfix: the host name without its first label, or all of it when nothing else is left.
            let parent = self.main.hostname.split_once('.').map(|(_, rest)| rest).filter(|rest| rest.contains('.'));
            self.main.mydomain = parent.unwrap_or(&self.main.hostname).to_owned();
        }
        self.main.myorigin = self.expand(&self.main.myorigin);
        for service in self.services.values_mut() {
            service.resolve(&self.main.run_directory);
        }
        let (imapd, pop3d) = (&mut self.imapd, &mut self.pop3d);
        for list in [&mut self.deliver.listen, &mut imapd.listen, &mut imapd.listen_tls, &mut pop3d.listen, &mut pop3d.listen_tls] {
            for endpoint in list {
                endpoint.start_in(&self.main.run_directory);
            }
        }
        let mut fault = |message: String| problems.push(Problem { file: self.file.clone(), line: None, message, hint: None });
        for (name, text) in [("mydomain", &self.main.mydomain), ("myorigin", &self.main.myorigin)] {
            if let Err(error) = Domain::parse(text) {
                fault(format!("{name}: {}: {error}", value::quote(text)));
            }
        }
        let mut names = std::collections::HashSet::new();
        for transport in &self.qmgr.transport {
            let name = transport.name.as_str();
            let reserved = ["local", "virtual", "deliver", "error", "retry", "discard"].contains(&name);
            let odd = name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            let other = name == "lmtp" && transport.protocol != TransportProtocol::Lmtp
                || ["smtp", "relay"].contains(&name) && transport.protocol != TransportProtocol::Smtp;
            if reserved || odd || other || !names.insert(name) {
                fault(format!(
                    "qmgr.transport: {} cannot be the name of this transport (letters and digits, each once, and none that means something else)",
                    value::quote(name)
                ));
            }
        }
        if self.outbound.relayhost.is_empty() && !self.routing.relayhost.is_empty() {
            self.outbound.relayhost = self.routing.relayhost.clone();
        }
    }

    /// Replaces `$myhostname`, `$mydomain` and `$myorigin`, as in Postfix's main.cf.
    pub fn expand(&self, text: &str) -> String {
        let origin = if text.contains("$myorigin") { self.expand(&self.main.myorigin.replace("$myorigin", "")) } else { String::new() };
        text.replace("$myhostname", &self.main.hostname)
            .replace("$hostname", &self.main.hostname)
            .replace("$mydomain", &self.main.mydomain)
            .replace("$myorigin", &origin)
    }

    /// The path of a socket by its name (`auth`, `queue`, `lmtp`, `control/imapd`, …).
    pub fn socket(&self, name: &str) -> PathBuf {
        self.main.run_directory.join(name)
    }

    /// What smtpd keeps from one start to the next: nothing that mail depends on.
    pub fn smtpd_state(&self) -> PathBuf {
        self.main.state_directory.join("smtpd")
    }

    /// The folder of the settings file, where tables lie and relative paths start.
    pub fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// Every setting as `section.key` with its value and its default as TOML text, in order.
    pub fn values(&self) -> Vec<Shown> {
        let mut all = Vec::new();
        push_values(&mut all, "", &self.main, &Main::default());
        macro_rules! push_section {
            ($field:ident, $type:ty) => {
                push_values(&mut all, <$type>::NAME, &self.$field, &<$type>::default());
            };
        }
        for_sections!(push_section);
        let built_in = Service::built_in(&self.smtpd);
        for (name, service) in &self.services {
            let prefix = format!("smtpd.service.{name}");
            let mut default = built_in.get(name).cloned().unwrap_or_else(|| Service::over(&self.smtpd));
            default.resolve(&self.main.run_directory);
            push_values(&mut all, &prefix, &service.listener, &default.listener);
            // Only what the service overrides: the rest is what holds for smtpd.
            for ((key, text), (_, general)) in service.smtpd.values().into_iter().zip(self.smtpd.values()) {
                if text != general {
                    let default = default.smtpd.values().into_iter().find(|(k, _)| *k == key).map(|(_, v)| v).unwrap_or(general);
                    all.push(Shown { name: format!("{prefix}.{key}"), value: text, default });
                }
            }
        }
        all
    }
}

/// A setting for `facteur config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub name: String,
    /// In force, as TOML text.
    pub value: String,
    pub default: String,
}

impl Shown {
    /// The items in force when the setting is a list of texts; none for others.
    pub fn items(&self) -> Vec<String> {
        let read: Result<toml::Table, _> = format!("items = {}", self.value).parse();
        let items = read.ok().and_then(|mut table| table.remove("items"));
        let Some(toml::Value::Array(items)) = items else { return Vec::new() };
        items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }
}

fn push_values<T: Section>(all: &mut Vec<Shown>, prefix: &str, section: &T, default: &T) {
    for ((key, value), (_, default)) in section.values().into_iter().zip(default.values()) {
        let name = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        all.push(Shown { name, value, default });
    }
}

/// What documentation says about each section: name, text, settings. The first has no name: its keys stand at the top of the file.
pub fn sections() -> Vec<(&'static str, &'static [&'static str], Vec<Key>)> {
    let mut all: Vec<(&'static str, &'static [&'static str], Vec<Key>)> = vec![("", Main::DOC, Main::keys())];
    macro_rules! push_section {
        ($field:ident, $type:ty) => {
            all.push((<$type>::NAME, <$type>::DOC, <$type>::keys()));
        };
    }
    for_sections!(push_section);
    all
}

/// The full names of the settings that are called `word` here, or were at Postfix or Dovecot.
pub(crate) fn find_setting(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (section, _, keys) in sections() {
        for key in keys {
            let was = key.was.is_some_and(|was| was.split([',', ' ']).any(|w| w == word));
            if key.name == word || was {
                found.push(if section.is_empty() { key.name.to_owned() } else { format!("{section}.{}", key.name) });
            }
        }
    }
    found
}

fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).filter(|n| !n.is_empty()).unwrap_or_else(|| "localhost".into())
}

#[cfg(test)]
mod tests;
