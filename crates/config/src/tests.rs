use super::*;
use std::time::Duration;

fn read(text: &str) -> Result<Config, String> {
    let file = Path::new("/etc/facteur/facteur.toml");
    Config::from_texts(file, &[(file.to_owned(), text.to_owned())]).map_err(|report| report.to_string())
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = read("hostname = \"mx.mail.example.org\"").expect("defaults hold");
    assert_eq!(config.main.mydomain, "mail.example.org");
    assert_eq!(config.main.myorigin, "mx.mail.example.org");
    assert_eq!(config.qmgr.minimal_backoff_time, Duration::from_secs(300));
    assert_eq!(config.services.keys().collect::<Vec<_>>(), ["smtp", "submission", "submissions", "submit"]);
    assert!(config.services["submission"].smtpd.smtpd_sasl_auth_enable);
    assert!(!config.services["smtp"].smtpd.smtpd_sasl_auth_enable);
}

#[test]
fn every_fault_is_told_at_once_with_its_line() {
    let error = read("hostname = \"mx.x.org\"\n[smtpd]\nmesage_size_limit = 5\nhopcount_limit = 5\n[qmgr]\nminimal_backoff_time = 300\nrelayhost = \"x\"\n[nope]\n")
        .expect_err("four faults");
    for want in [
        "facteur.toml:3: smtpd.mesage_size_limit: there is no such setting\n  hint: did you mean message_size_limit?",
        "facteur.toml:4: smtpd.hopcount_limit: 5 is outside 10 to 1000",
        "facteur.toml:6: qmgr.minimal_backoff_time: this must be a duration",
        "facteur.toml:7: qmgr.relayhost: there is no such setting\n  hint: here this is routing.relayhost",
        "facteur.toml:8: nope: there is no such setting",
    ] {
        assert!(error.contains(want), "{want:?} not in\n{error}");
    }
}

#[test]
fn syntax_errors_have_a_line() {
    let error = read("hostname = \"mx.x.org\"\n[smtpd\n").expect_err("syntax error");
    assert!(error.contains("facteur.toml:2:"), "{error}");
}

#[test]
fn names_of_postfix_and_dovecot_are_answered_with_ours() {
    let error = read("hostname = \"mx.x.org\"\nmyhostname = \"x\"\nssl_cert = \"x\"\n").expect_err("unknown");
    assert!(error.contains("here this is hostname"), "{error}");
    assert!(error.contains("here this is tls.cert_file"), "{error}");
}

#[test]
fn a_service_overrides_any_smtpd_setting_and_starts_from_the_others() {
    let config = read(
        "hostname = \"mx.x.org\"\n[smtpd]\nsmtpd_soft_error_limit = 3\n[smtpd.service.submission]\nlisten = [\"127.0.0.1:2587\"]\nmessage_size_limit = \"10M\"\n[smtpd.service.inside]\nlisten = [\"127.0.0.1:26\"]\n",
    )
    .expect("good settings");
    let submission = &config.services["submission"];
    assert_eq!(submission.smtpd.message_size_limit, Size::mib(10));
    assert_eq!(submission.smtpd.smtpd_soft_error_limit, 3);
    assert_eq!(submission.smtpd.smtpd_tls_security_level, TlsLevel::Encrypt);
    assert_eq!(config.services["inside"].smtpd.message_size_limit, Size::mib(50));
    assert_eq!(config.services["inside"].listener.listen.len(), 1);
    let error = read("hostname = \"mx.x.org\"\n[smtpd.service.smtp]\nlisten_on = [\"x\"]\n").expect_err("unknown key");
    assert!(error.contains("facteur.toml:3: smtpd.service.smtp.listen_on"), "{error}");
}

#[test]
fn later_files_win_and_name_themselves_in_faults() {
    let main = PathBuf::from("/etc/facteur/facteur.toml");
    let extra = PathBuf::from("/etc/facteur/conf.d/10-local.toml");
    let texts = [
        (main.clone(), "hostname = \"a.x.org\"\n[log]\nlevel = \"debug\"\n".to_owned()),
        (extra.clone(), "hostname = \"b.x.org\"\n".to_owned()),
    ];
    let config = Config::from_texts(&main, &texts).expect("good settings");
    assert_eq!(config.main.hostname, "b.x.org");
    assert_eq!(config.log.level, LogLevel::Debug);
    let texts = [(main.clone(), String::new()), (extra, "x = 1\n".to_owned())];
    let report = Config::from_texts(&main, &texts).expect_err("unknown key");
    assert!(report.to_string().contains("conf.d/10-local.toml:1"), "{report}");
}

#[test]
fn relative_paths_start_from_the_settings_file() {
    let config = read("hostname = \"mx.x.org\"\nspool_directory = \"../spool\"\nrun_directory = \"run\"\n").expect("good settings");
    assert_eq!(config.main.spool_directory, Path::new("/etc/spool"));
    assert_eq!(config.socket("auth"), Path::new("/etc/facteur/run/auth"));
}

#[test]
fn what_is_shown_reads_as_the_same_settings() {
    let config = read("hostname = \"mx.x.org\"\n[smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n[smtpd.service.smtp]\nlisten = []\n")
        .expect("good settings");
    let mut text = String::new();
    let mut section = String::new();
    for shown in config.values() {
        let (prefix, key) = shown.name.rsplit_once('.').unwrap_or(("", &shown.name));
        if prefix != section {
            text.push_str(&format!("[{prefix}]\n"));
            section = prefix.to_owned();
        }
        text.push_str(&format!("{key} = {}\n", shown.value));
    }
    let again = read(&text).expect("shown settings are good settings");
    assert_eq!(again, config);
}

#[test]
fn the_sample_without_its_hashes_is_the_defaults() {
    let sample = document::sample_toml();
    let text: String = sample
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest.contains(" = ")
                    && rest
                        .split(' ')
                        .next()
                        .is_some_and(|k| k.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
                    && rest.split(' ').nth(1) == Some("=") =>
            {
                format!("{rest}\n")
            }
            Some(rest) if rest.starts_with("[smtpd.service.") && !rest.contains("NAME") => format!("{rest}\n"),
            Some(rest) if rest.starts_with("[smtpd.service.NAME") => "[smtpd.service.spare]\n".to_owned(),
            _ => format!("{line}\n"),
        })
        .collect();
    let mut config = read(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    config.services.remove("spare");
    let mut defaults = Config::defaults(Path::new("/etc/facteur/facteur.toml")).expect("defaults hold");
    defaults.main.mydomain = config.main.mydomain.clone();
    for (read, default) in config.values().into_iter().zip(defaults.values()) {
        assert_eq!(read, default);
    }
    assert_eq!(config, defaults);
}
