//! The tables that the settings name: listed, and checked.

use crate::cli::Globals;
use crate::table;
use config::Config;
use serde::Serialize;
use std::collections::BTreeSet;
use std::process::ExitCode;
use tables::{Context, Format, Table, split_list};

/// What is known of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Report {
    table: String,
    /// The settings that name it.
    setting: String,
    /// How many entries it has, where that can be told.
    entries: Option<usize>,
    /// Why it cannot be used, with file and line.
    fault: Option<String>,
    /// Answered by authd.
    remote: bool,
}

pub(super) fn list(globals: &Globals, config: &Config, context: &Context) -> anyhow::Result<ExitCode> {
    let reports: Vec<Report> = named(config).iter().map(|(setting, spec, format)| look(setting, spec, *format, context)).collect();
    if globals.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        let rows = reports.iter().map(|r| vec![r.setting.clone(), r.table.clone(), said(r)]);
        table::print(&["SETTING", "TABLE", "STATE"], rows);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn compile(globals: &Globals, config: &Config, context: &Context, wanted: &[String]) -> anyhow::Result<ExitCode> {
    let all = named(config);
    let mut reports = Vec::new();
    if wanted.is_empty() {
        // Those in databases have no text to be wrong.
        reports.extend(all.iter().map(|(setting, spec, format)| look(setting, spec, *format, context)).filter(|r| !r.remote));
    }
    for text in wanted {
        let is_table = text.split_once(':').is_some_and(|(kind, _)| !kind.contains('/'));
        let given = if is_table { text.clone() } else { format!("hash:{}", std::path::absolute(text)?.display()) };
        // How a file is read follows from the setting that names it.
        let place = place(&given, config);
        let known = all.iter().find(|(_, spec, _)| self::place(spec, config) == place);
        let (setting, format) = known.map_or(("", Format::Table), |(setting, _, format)| (setting.as_str(), *format));
        reports.push(look(setting, &given, format, context));
    }
    if globals.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        for report in &reports {
            println!("{}: {}", report.table, said(report));
        }
        if reports.is_empty() {
            println!("the settings name no table that is a file");
        } else if reports.iter().all(|r| r.fault.is_none()) {
            println!("nothing has to be compiled: the daemons read the text itself, and again when it changes");
        }
    }
    Ok(if reports.iter().any(|r| r.fault.is_some()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The file behind a specification, whether or not it can be read.
fn place(spec: &str, config: &Config) -> Option<std::path::PathBuf> {
    let spec = spec.strip_prefix("proxy:").unwrap_or(spec);
    spec.split_once(':').map(|(_, path)| config.directory().join(path))
}

fn look(setting: &str, spec: &str, format: Format, context: &Context) -> Report {
    let report = |entries, fault, remote| Report { table: spec.to_owned(), setting: setting.to_owned(), entries, fault, remote };
    match Table::open_as(spec, format, context) {
        Ok(table) => report(table.entries().map(|entries| entries.len()), None, table.is_remote()),
        Err(error) => report(None, Some(error.to_string()), false),
    }
}

fn said(report: &Report) -> String {
    match (&report.fault, report.entries, report.remote) {
        (Some(fault), ..) => fault.clone(),
        (_, _, true) => "answered by authd".into(),
        (_, Some(1), _) => "1 entry".into(),
        (_, Some(count), _) => format!("{count} entries"),
        _ => "sound".into(),
    }
}

/// Setting, table, and how it is read; each table of a setting once.
fn named(config: &Config) -> Vec<(String, String, Format)> {
    let r = &config.routing;
    let mut lists: Vec<(String, &[String], Format)> = [
        ("mydestination", &r.mydestination),
        ("virtual_alias_domains", &r.virtual_alias_domains),
        ("virtual_alias_maps", &r.virtual_alias_maps),
        ("virtual_mailbox_domains", &r.virtual_mailbox_domains),
        ("virtual_mailbox_maps", &r.virtual_mailbox_maps),
        ("alias_domain_maps", &r.alias_domain_maps),
        ("local_recipient_maps", &r.local_recipient_maps),
        ("relay_domains", &r.relay_domains),
        ("relay_recipient_maps", &r.relay_recipient_maps),
        ("transport_maps", &r.transport_maps),
        ("sender_dependent_relayhost_maps", &r.sender_dependent_relayhost_maps),
        ("recipient_bcc_maps", &r.recipient_bcc_maps),
        ("sender_bcc_maps", &r.sender_bcc_maps),
    ]
    .into_iter()
    .map(|(name, items)| (format!("routing.{name}"), items.as_slice(), Format::Table))
    .collect();
    lists.push(("routing.alias_maps".into(), &r.alias_maps, Format::Aliases));
    let services = config.services.iter().map(|(name, service)| (format!("smtpd.service.{name}"), &service.smtpd));
    for (prefix, smtpd) in std::iter::once(("smtpd".to_owned(), &config.smtpd)).chain(services) {
        for (name, items) in [
            ("mynetworks", &smtpd.mynetworks),
            ("smtpd_client_restrictions", &smtpd.smtpd_client_restrictions),
            ("smtpd_helo_restrictions", &smtpd.smtpd_helo_restrictions),
            ("smtpd_sender_restrictions", &smtpd.smtpd_sender_restrictions),
            ("smtpd_relay_restrictions", &smtpd.smtpd_relay_restrictions),
            ("smtpd_recipient_restrictions", &smtpd.smtpd_recipient_restrictions),
            ("smtpd_data_restrictions", &smtpd.smtpd_data_restrictions),
            ("smtpd_end_of_data_restrictions", &smtpd.smtpd_end_of_data_restrictions),
            ("smtpd_sender_login_maps", &smtpd.smtpd_sender_login_maps),
        ] {
            lists.push((format!("{prefix}.{name}"), items, Format::Table));
        }
    }
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (setting, items, format) in lists {
        let text = config.expand(&items.join(", "));
        for word in split_list(&text) {
            // Networks, names and words of restrictions are no tables; services inherit what is general.
            if is_table(word) && seen.insert((setting.rsplit('.').next().unwrap_or_default().to_owned(), word.to_owned())) {
                found.push((setting.clone(), word.to_owned(), format));
            }
        }
    }
    found
}

fn is_table(word: &str) -> bool {
    let word = word.strip_prefix('!').unwrap_or(word);
    let kind = word.split_once(':').map(|(kind, _)| kind);
    kind.is_some_and(|kind| kind.len() > 2 && kind.bytes().all(|b| b.is_ascii_lowercase()) && !["policy", "inet", "check"].contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_from_other_words() {
        for (word, want) in [
            ("hash:virtual", true),
            ("proxy:mysql:/etc/x.cf", true),
            ("accounts:domains", true),
            ("2001:db8::/32", false),
            ("[::1]", false),
            ("permit_mynetworks", false),
            ("example.org", false),
        ] {
            assert_eq!(is_table(word), want, "{word}");
        }
    }

    #[test]
    fn the_tables_of_the_settings_are_found_with_their_faults() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("facteur.toml");
        std::fs::write(dir.path().join("virtual"), "a@x b@x\nwrong\n").expect("write");
        std::fs::write(dir.path().join("aliases"), "root: ann\n").expect("write");
        let text = "hostname = \"mx.test\"\n[routing]\nvirtual_alias_maps = [\"hash:virtual\"]\nalias_maps = [\"hash:aliases\"]\n\
                    [smtpd]\nsmtpd_sender_restrictions = [\"check_sender_access inline:{a=OK}\"]\n";
        let config = Config::from_texts(&file, &[(file.clone(), text.to_owned())]).expect("settings");
        let context = Context::local(dir.path());
        let reports: Vec<Report> = named(&config).iter().map(|(s, t, f)| look(s, t, *f, &context)).collect();
        let of = |table: &str| reports.iter().find(|r| r.table == table).unwrap_or_else(|| panic!("{table} in {reports:?}"));
        assert!(of("hash:virtual").fault.as_deref().is_some_and(|fault| fault.contains("virtual") && fault.contains('2')), "{reports:?}");
        assert_eq!(of("hash:aliases").entries, Some(1));
        assert_eq!(of("inline:{a=OK}").setting, "smtpd.smtpd_sender_restrictions");
    }
}
