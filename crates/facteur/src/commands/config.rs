//! `facteur config show` and `facteur config check`.

mod strangers;

use crate::EXIT_SETTINGS;
use crate::cli::Globals;
use config::{Config, Problem, Report, Shown};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Show the settings, or look for mistakes in them
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Print settings as TOML: those in force (as postconf does)
    Show {
        /// Only what differs from the defaults (as postconf -n)
        #[arg(short = 'n', long, conflicts_with = "defaults")]
        changed: bool,
        /// The defaults (as postconf -d)
        #[arg(short, long)]
        defaults: bool,
        /// Only settings of these names, such as smtpd.message_size_limit or message_size_limit
        names: Vec<String>,
    },
    /// Find every mistake at once, with file, line and a hint; exit code 2 when there is one
    ///
    /// Tables and certificates that the settings name are opened as well. Where authd is running, some addresses of virtual_mailbox_maps are
    /// asked for: those without an account are told as a warning.
    Check,
}

pub fn run(globals: &Globals, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        ConfigCommand::Show { changed, defaults, names } => show(globals, *changed, *defaults, names),
        ConfigCommand::Check => check(globals),
    }
}

/// Loads settings; what is wrong with them becomes the error.
pub fn load(file: &Path) -> anyhow::Result<Config> {
    Ok(Config::load(file)?)
}

fn show(globals: &Globals, changed: bool, defaults: bool, names: &[String]) -> anyhow::Result<ExitCode> {
    let config = if defaults { Config::defaults(&globals.settings_file())? } else { globals.settings()? };
    let named = |shown: &Shown| names.is_empty() || names.iter().any(|n| *n == shown.name || shown.name.rsplit('.').next() == Some(n));
    let chosen: Vec<Shown> = config.values().into_iter().filter(|s| named(s) && (!changed || s.value != s.default)).collect();
    if chosen.is_empty() && !names.is_empty() && !changed {
        anyhow::bail!("there is no setting {}", names.join(", "));
    }
    if globals.json {
        let entries: Map<String, Value> = chosen
            .iter()
            .map(|s| (s.name.clone(), json!({ "value": s.value, "default": s.default, "changed": s.value != s.default })))
            .collect();
        println!("{}", serde_json::to_string_pretty(&entries)?);
    } else {
        print!("{}", as_toml(&chosen));
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings under their sections, so that the text can be read as a settings file.
fn as_toml(settings: &[Shown]) -> String {
    let mut out = String::new();
    let mut section = "";
    for shown in settings {
        let (of, key) = shown.name.rsplit_once('.').unwrap_or(("", &shown.name));
        if of != section {
            // Writing to a String does not fail.
            let _ = writeln!(out, "{}[{of}]", if out.is_empty() { "" } else { "\n" });
            section = of;
        }
        let _ = writeln!(out, "{key} = {}", shown.value);
    }
    out
}

fn check(globals: &Globals) -> anyhow::Result<ExitCode> {
    let file = globals.settings_file();
    warnings(&file).iter().for_each(|warning| eprintln!("warning: {warning}"));
    let report = match Config::load(&file) {
        Ok(config) => {
            let context = tables::Context::local(config.directory());
            strangers::warnings(&config, &context).iter().for_each(|warning| eprintln!("warning: {warning}"));
            Report { problems: behind_the_settings(&config) }
        }
        Err(report) => report,
    };
    if globals.json {
        let problems: Vec<Value> =
            report.problems.iter().map(|p| json!({ "file": p.file, "line": p.line, "message": p.message, "hint": p.hint })).collect();
        println!("{}", serde_json::to_string_pretty(&problems)?);
    }
    if report.problems.is_empty() {
        if !globals.json {
            println!("{}: no mistakes", file.display());
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !globals.json {
        eprintln!("{report}");
    }
    Ok(ExitCode::from(EXIT_SETTINGS))
}

/// Settings are read by everybody who runs `sendmail`: they must let themselves be read, and have nothing to hide.
fn warnings(file: &Path) -> Vec<String> {
    const RELAY: (&str, &str) = (
        "relayhost_password",
        "put the password into a file that only qmgr may read (outbound.relayhost_password_file, or smtp_sasl_password_maps)",
    );
    const ACCOUNTS: (&str, &str) = ("accounts_url", "put the password into a file that only authd may read (authd.accounts_password_file)");
    const PROVIDER: (&str, &str) =
        ("oauth2_introspection_url", "put the password into a file that only authd may read (authd.oauth2_introspection_password_file)");
    let mut warnings = Vec::new();
    // What cannot be read at all is a mistake, and told as such.
    for (path, text) in Config::texts(file).unwrap_or_default() {
        let Ok(found) = std::fs::metadata(&path) else { continue };
        let (shown, readable) = (path.display(), found.permissions().mode() & 0o004 != 0);
        let has = |(name, _): &(&str, &str)| {
            text.lines().map(str::trim_start).filter(|line| line.starts_with(name) && !line.contains("password_file")).any(|line| {
                // of a URL the password only
                let value = line.split_once('"').map_or("", |(_, rest)| rest.rsplit_once('"').map_or(rest, |(value, _)| value));
                !value.contains("://") || config::SecretUrl::from(value).password().is_some()
            })
        };
        match (readable, [RELAY, ACCOUNTS, PROVIDER].into_iter().find(has)) {
            (true, Some((name, advice))) => warnings.push(format!("{shown}: everybody on this machine can read {name}; {advice}")),
            (false, Some((_, advice))) => {
                warnings.push(format!("{shown}: not everybody can read it, so that sendmail fails for cron and others; {advice}"))
            }
            (false, None) => warnings.push(format!("{shown}: not everybody can read it, so that sendmail fails for cron and others")),
            (true, None) => {}
        }
    }
    warnings
}

/// What is wrong in the files that good settings name: tables, restriction lists, certificates. The programs would not start with it.
fn behind_the_settings(config: &Config) -> Vec<Problem> {
    let mut messages: Vec<String> =
        mailstore::check_settings(config).err().iter().flat_map(|faults| faults.lines().map(str::to_owned)).collect();
    let remote: Arc<dyn tables::Remote> = Arc::new(tables::NoRemote);
    if let Err(error) = routing::Router::new(config, remote.clone()) {
        messages.push(error.to_string());
    }
    // asked nothing here, but made inside a runtime
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let entered = runtime.as_ref().map(|runtime| runtime.enter());
    match dns::Dns::new(&config.dns) {
        Ok(resolver) => {
            let sending = outbound::Tables::open(config, remote.clone())
                .and_then(|tables| outbound::Outbound::new(outbound::Settings::new(config)?, tables, Arc::new(resolver)));
            messages.extend(sending.err().map(|error| error.to_string()));
        }
        Err(error) => messages.push(error.to_string()),
    }
    drop(entered);
    let context = tables::Context::new(config.directory(), remote);
    messages.extend(policy::greylist::Terms::new(&config.greylist, &context).err());
    for (name, service) in &config.services {
        let faults = behind_a_service(config, &service.smtpd, &context);
        messages.extend(faults.into_iter().map(|fault| format!("smtpd.service.{name}: {fault}")));
    }
    let more = config.tls.certificate.iter().flat_map(|c| [&c.cert_file, &c.key_file]);
    for path in [&config.tls.cert_file, &config.tls.key_file].into_iter().chain(more).filter(|p| !p.as_os_str().is_empty()) {
        if let Err(error) = std::fs::File::open(path) {
            messages.push(format!("tls: {}: {error}", path.display()));
        }
    }
    messages.into_iter().map(|message| Problem { file: config.file.clone(), line: None, message, hint: None }).collect()
}

/// What smtpd opens for each of its services.
fn behind_a_service(config: &Config, smtpd: &config::Smtpd, context: &tables::Context) -> Vec<String> {
    let mut faults = Vec::new();
    match routing::mynetworks(&smtpd.mynetworks, smtpd.mynetworks_style, context) {
        Err(error) => faults.push(format!("mynetworks: {error}")),
        Ok(networks) => {
            let policy = policy::Policy::new(smtpd, &config.routing.recipient_delimiter, networks, None, context);
            faults.extend(policy.err().map(|error| error.to_string()));
        }
    }
    for (setting, items) in [
        ("smtpd_authorized_xclient_hosts", &smtpd.smtpd_authorized_xclient_hosts),
        ("smtpd_authorized_xforward_hosts", &smtpd.smtpd_authorized_xforward_hosts),
        ("smtpd_upstream_proxy_hosts", &smtpd.smtpd_upstream_proxy_hosts),
        ("smtpd_client_event_limit_exceptions", &smtpd.smtpd_client_event_limit_exceptions),
    ] {
        let opened = tables::NetworkList::open(&items.join(", "), context);
        faults.extend(opened.err().map(|error| format!("{setting}: {error}")));
    }
    let flushed = if smtpd.fast_flush_domains.is_empty() { &config.routing.relay_domains } else { &smtpd.fast_flush_domains };
    let opened = tables::DomainList::open(&flushed.join(", "), true, context);
    faults.extend(opened.err().map(|error| format!("fast_flush_domains: {error}")));
    let sites = smtpd.postscreen_dnsbl_sites.iter().flat_map(|line| tables::split_list(line)).map(dns::lists::Site::parse);
    faults.extend(sites.filter_map(Result::err).map(|why| format!("postscreen_dnsbl_sites: {why}")));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globals(text: &str) -> (tempfile::TempDir, Globals) {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("facteur.toml");
        std::fs::write(&file, text).expect("write");
        (dir, Globals { config: Some(file), ..Globals::default() })
    }

    #[test]
    fn what_is_shown_reads_as_the_same_settings() {
        let (dir, globals) = globals("hostname = \"mx.test\"\nshutdown_grace = \"9s\"\n[log]\nlevel = \"debug\"\n");
        let config = globals.settings().expect("sound");
        let text = as_toml(&config.values().into_iter().filter(|s| s.value != s.default).collect::<Vec<_>>());
        assert!(text.contains("shutdown_grace = \"9s\"\n") && text.contains("[log]\nlevel = \"debug\"\n"), "{text}");
        let file = dir.path().join("again.toml");
        std::fs::write(&file, text).expect("write");
        let again = Config::load(&file).expect("reads");
        assert_eq!((again.main, again.log), (config.main, config.log));
    }

    #[test]
    fn a_password_that_everybody_reads_and_settings_that_not_everybody_reads_are_told() {
        let secret = "[outbound]\nrelayhost_password = \"pw\"\n";
        let file = "[outbound]\nrelayhost_password_file = \"password\"\n";
        let url = "[authd]\naccounts_url = \"mysql://u:pw@h/db\"\n";
        let provider = "[authd]\noauth2_introspection_url = \"https://u:pw@h/x\"\n";
        for (text, mode, want) in [
            (secret, 0o644, "everybody on this machine"),
            (secret, 0o640, "not everybody"),
            (file, 0o644, ""),
            (url, 0o644, "everybody on this machine can read accounts_url"),
            (provider, 0o644, "everybody on this machine can read oauth2_introspection_url"),
            ("[authd]\noauth2_introspection_url = \"https://h:8443/x\"\n", 0o644, ""),
            ("[authd]\naccounts_url = \"mysql://u@h/db\"\naccounts_password_file = \"pw\"\n", 0o644, ""),
            ("", 0o640, "not everybody"),
        ] {
            let (_dir, globals) = globals(text);
            let path = globals.settings_file();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
            let told = warnings(&path).join("\n");
            assert!(told.contains(want) && told.is_empty() == want.is_empty(), "{text} {mode:o}: {told}");
            assert!(!told.contains("pw;") && !told.contains("\"pw"), "{told}");
        }
    }

    #[test]
    fn check_finds_every_mistake() {
        let (_dir, globals) = globals("hostname = \"mx.test\"\nnonsense = 1\nshutdown_grace = \"soon\"\n");
        assert_eq!(format!("{:?}", check(&globals).expect("checked")), format!("{:?}", ExitCode::from(EXIT_SETTINGS)));
        let error = load(&globals.settings_file()).expect_err("wrong");
        assert_eq!(error.downcast_ref::<config::Report>().expect("report").problems.len(), 2);
    }
}
