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
        reports.extend(all.iter().map(|(setting, spec, format)| made(setting, spec, *format, context)).filter(|r| !r.remote));
    }
    for text in wanted {
        let is_table = text.split_once(':').is_some_and(|(kind, _)| !kind.contains('/'));
        let given = if is_table { text.clone() } else { format!("hash:{}", std::path::absolute(text)?.display()) };
        // How a file is read follows from the setting that names it.
        let place = place(&given, config);
        let known = all.iter().find(|(_, spec, _)| self::place(spec, config) == place);
        let (setting, format) = known.map_or(("", Format::Table), |(setting, _, format)| (setting.as_str(), *format));
        let compiled = known.map(|(_, spec, _)| spec).filter(|spec| !is_table && spec.contains("cdb:"));
        reports.push(made(setting, compiled.unwrap_or(&given), format, context));
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
            println!("the daemons read the text of tables itself, and again when it changes; only `cdb:` tables are compiled");
        }
    }
    Ok(if reports.iter().any(|r| r.fault.is_some()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The file behind a specification, whether or not it can be read.
fn place(spec: &str, config: &Config) -> Option<std::path::PathBuf> {
    let spec = spec.strip_prefix("proxy:").unwrap_or(spec);
    spec.split_once(':').map(|(_, path)| config.directory().join(path))
}

/// Compiles a `cdb:` table whose text is there, then looks at it like at any.
fn made(setting: &str, spec: &str, format: Format, context: &Context) -> Report {
    let bare = spec.strip_prefix("proxy:").unwrap_or(spec);
    if let Some(text) = bare.strip_prefix("cdb:").map(|name| context.base.join(name)).filter(|text| text.exists())
        && let Err(error) = tables::cdb::compile(&text, format)
    {
        let (table, setting) = (spec.to_owned(), setting.to_owned());
        return Report { table, setting, entries: None, fault: Some(error.to_string()), remote: false };
    }
    look(setting, spec, format, context)
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

/// Setting, table, and how it is read; each table of a setting once. Looks at every list there is, so that no setting is forgotten.
fn named(config: &Config) -> Vec<(String, String, Format)> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for shown in config.values() {
        let format = if shown.name == "routing.alias_maps" { Format::Aliases } else { Format::Table };
        let text = config.expand(&shown.items().join(", "));
        for word in split_list(&text) {
            // Networks, names and words of restrictions are no tables; services inherit what is general.
            if is_table(word) && seen.insert((shown.name.rsplit('.').next().unwrap_or_default().to_owned(), word.to_owned())) {
                found.push((shown.name.clone(), word.to_owned(), format));
            }
        }
    }
    found
}

/// The types of tables (`tables::Table`).
const KINDS: [&str; 20] = [
    "hash",
    "texthash",
    "btree",
    "cdb",
    "dbm",
    "lmdb",
    "regexp",
    "pcre",
    "cidr",
    "inline",
    "static",
    "fail",
    "unionmap",
    "pipemap",
    "randmap",
    "socketmap",
    "accounts",
    "mysql",
    "pgsql",
    "sqlite",
];

/// Whether a word of a list names a table: by a type that there is, before which `!` and `proxy:` may stand. An address of IPv6 has no such type.
fn is_table(word: &str) -> bool {
    let word = word.strip_prefix('!').unwrap_or(word);
    let word = word.strip_prefix("proxy:").unwrap_or(word);
    match word.split_once(':') {
        // else a socket, as of a policy service
        Some(("unix", name)) => matches!(name, "passwd.byname" | "group.byname"),
        Some(("tcp", name)) => name.contains(':'),
        Some((kind, _)) => KINDS.contains(&kind),
        None => false,
    }
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
            ("fdab:1:2::/48", false),
            ("fdab:cafe::1", false),
            ("!cidr:networks", true),
            ("unix:passwd.byname", true),
            ("unix:private/policyd-spf", false),
            ("inet:127.0.0.1:10023", false),
            ("tcp:127.0.0.1:10024", true),
            ("permit_mynetworks", false),
            ("example.org", false),
        ] {
            assert_eq!(is_table(word), want, "{word}");
        }
    }

    /// The crate of tables says which types it knows.
    #[test]
    fn the_types_are_those_there_are() {
        let error = Table::open_as("nonsense:x", Format::Table, &Context::local(std::path::Path::new("/"))).expect_err("no such type");
        let text = error.to_string();
        let known = text.rsplit_once('(').and_then(|(_, list)| list.split_once(')')).expect("a list").0;
        for kind in known.split(", ") {
            assert!(KINDS.contains(&kind) || ["unix", "tcp"].contains(&kind), "{kind}");
        }
        for kind in KINDS {
            let opened = Table::open_as(&format!("{kind}:nowhere"), Format::Table, &Context::local(std::path::Path::new("/nowhere")));
            assert!(!opened.is_err_and(|error| error.to_string().contains("unknown table type")), "{kind}");
        }
    }

    #[test]
    fn every_setting_that_takes_tables_is_looked_at() {
        let text = "hostname = \"mx.test\"\n[routing]\nrelocated_maps = [\"hash:a\"]\nsender_dependent_default_transport_maps = [\"hash:b\"]\n\
                    [cleanup]\nheader_checks = [\"regexp:c\"]\ncanonical_maps = [\"hash:d\"]\n[outbound]\nsmtp_tls_policy_maps = [\"hash:e\"]\n\
                    smtp_sasl_password_maps = ['texthash:f']\n[smtpd]\nrbl_reply_maps = [\"hash:g\"]\nmynetworks = [\"fdab:1::/32\", \"cidr:h\"]\n\
                    smtpd_restriction_classes = [\"strict = check_sender_access hash:i, reject\"]\n\
                    smtpd_recipient_restrictions = [\"reject_unauth_destination, check_policy_service unix:private/policyd-spf\"]\n\
                    [smtpd.service.submission]\nsmtpd_sender_login_maps = [\"hash:j\"]\n";
        let file = std::path::PathBuf::from("/nowhere/facteur.toml");
        let config = Config::from_texts(&file, &[(file.clone(), text.to_owned())]).unwrap_or_else(|report| panic!("{report}"));
        let named = named(&config);
        let tables: Vec<&str> = named.iter().map(|(_, table, _)| table.as_str()).filter(|table| !table.starts_with("accounts:")).collect();
        let mut sorted = tables.clone();
        sorted.sort_by_key(|table| table.rsplit(':').next());
        assert_eq!(
            sorted,
            ["hash:a", "hash:b", "regexp:c", "hash:d", "hash:e", "texthash:f", "hash:g", "cidr:h", "hash:i", "hash:j"],
            "{named:?}"
        );
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
        std::fs::write(dir.path().join("access"), "ann@x OK\nbob@x REJECT\n").expect("write");
        let report = made("", "cdb:access", Format::Table, &context);
        assert_eq!((report.entries, dir.path().join("access.cdb").is_file()), (Some(2), true), "{report:?}");
        std::fs::write(dir.path().join("access"), "wrong\n").expect("write");
        assert!(made("", "cdb:access", Format::Table, &context).fault.is_some());
        assert_eq!(look("", "cdb:access", Format::Table, &context).entries, Some(2), "what was compiled stays in force");
        let of = |table: &str| reports.iter().find(|r| r.table == table).unwrap_or_else(|| panic!("{table} in {reports:?}"));
        assert!(of("hash:virtual").fault.as_deref().is_some_and(|fault| fault.contains("virtual") && fault.contains('2')), "{reports:?}");
        assert_eq!(of("hash:aliases").entries, Some(1));
        assert_eq!(of("inline:{a=OK}").setting, "smtpd.smtpd_sender_restrictions");
    }
}
