//! What is written down stays true.

use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn the_sample_settings_and_the_settings_page_know_every_key() {
    assert!(read("etc/facteur.toml") == config::document::sample_toml(), "etc/facteur.toml is out of date: cargo xtask docs");
    assert!(read("docs/settings.md") == config::document::settings_page(), "docs/settings.md is out of date: cargo xtask docs");
}

#[test]
fn the_readme_shows_the_two_commands_on_its_first_screen() {
    let first: String = read("README.md").lines().take(40).collect();
    assert!(first.contains("cargo xtask up") && first.contains("cargo xtask test"));
}

#[test]
fn the_page_for_postfix_administrators_answers_every_setting_of_the_sample_tables() {
    let page = read("docs/coming-from-postfix-and-dovecot.md");
    for setting in [
        "mynetworks_style",
        "relay_domains",
        "myhostname",
        "mydomain",
        "myorigin",
        "relayhost",
        "smtpd_error_sleep_time",
        "smtpd_soft_error_limit",
        "smtpd_hard_error_limit",
        "transport_maps",
        "smtpd_tls_security_level",
        "smtpd_sasl_auth_enable",
        "smtpd_tls_auth_only",
        "smtpd_sasl_type",
        "smtpd_sasl_path",
        "smtpd_sasl_local_domain",
        "smtpd_sasl_security_options",
        "smtpd_sasl_tls_security_options",
        "smtpd_tls_cert_file",
        "smtpd_tls_key_file",
        "smtpd_relay_restrictions",
        "smtpd_recipient_restrictions",
        "smtpd_tls_loglevel",
        "virtual_mailbox_domains",
        "virtual_mailbox_maps",
        "virtual_alias_maps",
        "local_recipient_maps",
        "local_transport",
        "virtual_mailbox_base",
        "virtual_mailbox_limit",
        "virtual_uid_maps",
        "virtual_gid_maps",
        "virtual_minimum_uid",
        "recipient_bcc_maps",
        "check_sender_access",
        "postmap",
        "postconf",
        "protocols",
        "unix_listener",
        "mail_location",
        "ssl_cert",
        "ssl_key",
        "disable_plaintext_auth",
        "auth_mechanisms",
        "passdb",
        "userdb",
        "default_pass_scheme",
        "user_query",
        "password_query",
        "log_path",
        "info_log_path",
        "debug_log_path",
        "auth_verbose",
        "doveadm log reopen",
        "doveadm expunge",
        "doveadm pw",
        "first_valid_uid",
        "doveadm mount",
    ] {
        assert!(page.contains(setting), "{setting} of the guide has no answer");
    }
}
