//! Dovecot's `dovecot-ldap.conf.ext`, as it is. Connects to nothing.

use super::entry::Map;
use super::template::{Place, Template};
use crate::dovecot_file;
use anyhow::{Context, bail, ensure};
use ldap3::{DerefAliases, LdapConnSettings, Scope};
use rustls::ClientConfig;
use std::path::Path;
use std::sync::Arc;
use tables::sql::yes_or_no;
use zeroize::Zeroizing;

/// What the file may have.
const KNOWN: [&str; 23] = [
    "hosts",
    "uris",
    "dn",
    "dnpass",
    "tls",
    "tls_ca_cert_file",
    "tls_require_cert",
    "auth_bind",
    "auth_bind_userdn",
    "base",
    "scope",
    "deref",
    "ldap_version",
    "user_attrs",
    "user_filter",
    "pass_attrs",
    "pass_filter",
    "iterate_attrs",
    "iterate_filter",
    "default_pass_scheme",
    "debug_level",
    // Of Dovecot's processes; they mean nothing here.
    "blocking",
    "userdb_warning_disable",
];

/// What Dovecot has beside that, and why it is not taken.
const REFUSED: [(&str, &str); 10] = [
    ("ldaprc_path", "it is OpenLDAP's own file, whose library is not used here"),
    ("sasl_bind", "only simple binds are made: use dn and dnpass"),
    ("sasl_mech", "only simple binds are made: use dn and dnpass"),
    ("sasl_realm", "only simple binds are made: use dn and dnpass"),
    ("sasl_authz_id", "only simple binds are made: use dn and dnpass"),
    ("tls_ca_cert_dir", "name one file with tls_ca_cert_file"),
    ("tls_cert_file", "no certificate of our own is shown: use dn and dnpass"),
    ("tls_key_file", "no certificate of our own is shown: use dn and dnpass"),
    ("tls_cipher_suite", "TLS 1.2 and 1.3 are spoken with their good ciphers only"),
    ("tls_min_proto", "TLS 1.2 and 1.3 are spoken in any case"),
];

/// What to look for, and what becomes of it.
pub struct Query {
    pub filter: Template,
    pub map: Map,
}

pub struct Settings {
    /// As `ldap3` wants them: `ldap://host:port`.
    pub servers: Vec<String>,
    pub connection: LdapConnSettings,
    /// Who searches; `None`: nobody (RFC 4513 §5.1.1).
    pub identity: Option<(String, Zeroizing<String>)>,
    pub auth_bind: bool,
    pub auth_bind_userdn: Option<Template>,
    pub base: Template,
    pub scope: Scope,
    pub deref: DerefAliases,
    pub pass: Query,
    pub user: Query,
    pub iterate: Query,
    pub scheme: Option<String>,
}

impl Settings {
    pub fn read(text: &str, file: &Path) -> anyhow::Result<Settings> {
        let known: Vec<&str> = KNOWN.into_iter().chain(REFUSED.map(|(name, _)| name)).collect();
        let settings = dovecot_file::settings(text, &known)?;
        let get = |name: &str| settings.get(name).map(|value| unquoted(value)).filter(|value| !value.is_empty());
        let flag = |name: &str| match get(name) {
            Some(word) => yes_or_no(word).with_context(|| format!("{name} is neither yes nor no")),
            None => Ok(false),
        };
        for (name, why) in REFUSED {
            ensure!(get(name).is_none_or(|value| value == "no"), "{name}: {why}");
        }
        ensure!(get("ldap_version").is_none_or(|version| version == "3"), "ldap_version: only 3 is spoken");
        ensure!(get("debug_level").is_none_or(|level| level == "0"), "debug_level is OpenLDAP's, whose library is not used here");
        let servers = servers(get("hosts"), get("uris"))?;
        let starts_tls = flag("tls")?;
        let dn = |name: &str| get(name).map(|text| Template::of(text, Place::Dn)).transpose().context(name.to_owned());
        let query = |filter: &str, attrs: &str, usual: [&'static str; 2], skipped: Option<&str>| -> anyhow::Result<Query> {
            Ok(Query {
                filter: read_filter(get(filter).unwrap_or(usual[0])).context(filter.to_owned())?,
                map: Map::of(get(attrs).unwrap_or(usual[1]), skipped).context(attrs.to_owned())?,
            })
        };
        let auth_bind = flag("auth_bind")?;
        let auth_bind_userdn = dn("auth_bind_userdn")?.filter(|_| auth_bind);
        // RFC 4513 §5.1.1: an empty name is nobody's, and any password would do.
        ensure!(auth_bind_userdn.as_ref().is_none_or(Template::varies), "auth_bind_userdn is the same for all users");
        Ok(Settings {
            connection: connection(&servers, starts_tls, get("tls_ca_cert_file"), get("tls_require_cert"), file)?,
            servers,
            identity: identity(get("dn"), get("dnpass"))?,
            auth_bind,
            auth_bind_userdn,
            base: dn("base")?.context("has no base")?,
            scope: match get("scope").unwrap_or("subtree") {
                "base" => Scope::Base,
                "onelevel" => Scope::OneLevel,
                "subtree" => Scope::Subtree,
                other => bail!("scope = {} is none of base, onelevel, subtree", mail_types::printable(other)),
            },
            deref: match get("deref").unwrap_or("never") {
                "never" => DerefAliases::Never,
                "searching" => DerefAliases::Searching,
                "finding" => DerefAliases::Finding,
                "always" => DerefAliases::Always,
                other => bail!("deref = {} is none of never, searching, finding, always", mail_types::printable(other)),
            },
            pass: query("pass_filter", "pass_attrs", [USUAL_FILTER, "uid=user,userPassword=password"], auth_bind.then_some("password"))?,
            user: query("user_filter", "user_attrs", [USUAL_FILTER, "homeDirectory=home,uidNumber=uid,gidNumber=gid"], None)?,
            iterate: query("iterate_filter", "iterate_attrs", ["(objectClass=posixAccount)", "uid=user"], None)?,
            scheme: get("default_pass_scheme").map(str::to_owned),
        })
    }
}

/// Dovecot's own.
const USUAL_FILTER: &str = "(&(objectClass=posixAccount)(uid=%u))";

fn read_filter(text: &str) -> anyhow::Result<Template> {
    let template = Template::of(text, Place::Filter)?;
    let asker = super::template::Asker { user: "user@example.org", service: "imap", remote: "192.0.2.1" };
    ensure!(ldap3::parse_filter(template.fill(&asker)).is_ok(), "it is no filter (RFC 4515): {}", mail_types::printable(text));
    Ok(template)
}

/// A bind with a name and no password is nobody's too, and servers say yes to it (RFC 4513 §5.1.2).
fn identity(dn: Option<&str>, password: Option<&str>) -> anyhow::Result<Option<(String, Zeroizing<String>)>> {
    match (dn, password) {
        (Some(dn), Some(password)) => Ok(Some((dn.to_owned(), Zeroizing::new(password.to_owned())))),
        (Some(_), None) => bail!("dn has no dnpass: without a password the server would take us for nobody"),
        (None, Some(_)) => bail!("dnpass is there without dn"),
        (None, None) => Ok(None),
    }
}

fn servers(hosts: Option<&str>, uris: Option<&str>) -> anyhow::Result<Vec<String>> {
    let list = match (hosts, uris) {
        (Some(_), Some(_)) => bail!("hosts and uris exclude each other"),
        (None, None) => bail!("has neither hosts nor uris"),
        (Some(hosts), None) => hosts.split_whitespace().map(|host| format!("ldap://{host}")).collect(),
        (None, Some(uris)) => uris.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
    };
    let server = |uri: &String| {
        let wrong = || format!("{} is no ldap://, ldaps:// or ldapi:// with a server", mail_types::printable(uri));
        let (scheme, place) = uri.split_once("://").with_context(wrong)?;
        let place = place.trim_end_matches('/');
        let sound = place.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]%".contains(&b));
        ensure!(matches!(scheme, "ldap" | "ldaps" | "ldapi") && sound, "{}", wrong());
        ensure!(
            scheme != "ldapi" || !place.is_empty(),
            "{}: the path of the socket is missing, as ldapi://%2Fvar%2Frun%2Fslapd%2Fldapi",
            wrong()
        );
        Ok(format!("{scheme}://{}", if place.is_empty() { "localhost" } else { place }))
    };
    list.iter().map(server).collect()
}

/// How connections are made. Certificates are always verified, and have to have the name of the server as the settings write it (RFC 4513 §3.1.3).
fn connection(
    servers: &[String],
    starts_tls: bool,
    ca_file: Option<&str>,
    require: Option<&str>,
    file: &Path,
) -> anyhow::Result<LdapConnSettings> {
    match require.unwrap_or("demand") {
        "demand" | "hard" | "try" => {}
        "never" | "allow" => bail!("tls_require_cert: certificates are always verified; name the authority's with tls_ca_cert_file"),
        other => bail!("tls_require_cert = {} is not known", mail_types::printable(other)),
    }
    let over_tls = servers.iter().any(|server| server.starts_with("ldaps:"));
    ensure!(!starts_tls || !over_tls, "tls = yes is for ldap://: ldaps:// has it already");
    ensure!(!starts_tls || !servers.iter().any(|server| server.starts_with("ldapi:")), "tls = yes is for ldap://: a socket needs none");
    let connection = LdapConnSettings::new().set_starttls(starts_tls);
    if !starts_tls && !over_tls {
        return Ok(connection);
    }
    let ca_file = ca_file.map(|name| file.parent().unwrap_or(Path::new("/")).join(name)).unwrap_or_default();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(daemon::tls::roots(&ca_file)?)
        .with_no_client_auth();
    Ok(connection.set_config(Arc::new(config)))
}

/// Dovecot takes values in quotes as well.
fn unquoted(value: &str) -> &str {
    let inside = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Settings> {
        Settings::read(text, Path::new("/etc/facteur/dovecot-ldap.conf.ext"))
    }

    #[test]
    fn a_file_of_dovecots_is_understood() {
        let settings = read(
            "# a comment\nuris = ldap://ldap.example.org ldaps://other.example.org:6636/ ldapi://%2Frun%2Fslapd%2Fldapi\ndn = cn=mail,dc=example,dc=org\n\
             dnpass = \"secret # word\"\nldap_version = 3\nscope = onelevel\nderef = finding\nbase = ou=people,dc=%Dd\nauth_bind = yes\n\
             user_attrs = =home=/home/vmail/%u, quotaBytes=quota_rule=*:bytes=%$\ndefault_pass_scheme = CRYPT\n",
        )
        .unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!(settings.servers, ["ldap://ldap.example.org", "ldaps://other.example.org:6636", "ldapi://%2Frun%2Fslapd%2Fldapi"]);
        assert_eq!(
            settings.identity.as_ref().map(|(dn, password)| (dn.as_str(), password.as_str())),
            Some(("cn=mail,dc=example,dc=org", "secret # word"))
        );
        assert!(settings.auth_bind && settings.auth_bind_userdn.is_none());
        assert_eq!((settings.scope, settings.deref), (Scope::OneLevel, DerefAliases::Finding));
        assert_eq!(settings.pass.map.wanted(), ["uid"], "the password is the server's to compare");
        assert_eq!(settings.user.map.wanted(), ["quotabytes"]);
        assert_eq!(settings.scheme.as_deref(), Some("CRYPT"));
        assert_eq!(read("hosts = a b:1389\nbase = dc=x\n").expect("sound").servers, ["ldap://a", "ldap://b:1389"]);
        assert_eq!(read("uris = ldap:///\nbase = dc=x\n").expect("sound").servers, ["ldap://localhost"]);
    }

    #[test]
    fn faults_of_the_file_are_told_with_their_reason_and_never_show_the_password() {
        for (text, want) in [
            ("base = dc=x", "has neither hosts nor uris"),
            ("hosts = a\nuris = ldap://b\nbase = dc=x", "exclude each other"),
            ("hosts = a", "has no base"),
            ("hosts = a\nbase = dc=x\ndn = cn=x", "dn has no dnpass"),
            ("hosts = a\nbase = dc=x\ndnpass = geheim", "without dn"),
            ("hosts = a\nbase = dc=x\nscope = tree\ndnpass = geheim\ndn = x", "scope = tree"),
            ("hosts = a\nbase = dc=x\nderef = yes", "deref = yes"),
            ("hosts = a\nbase = dc=x\nsasl_bind = yes", "sasl_bind: only simple binds"),
            ("hosts = a\nbase = dc=x\nldaprc_path = /etc/ldaprc", "ldaprc_path: it is OpenLDAP's"),
            ("hosts = a\nbase = dc=x\ndebug_level = 1", "debug_level is OpenLDAP's"),
            ("hosts = a\nbase = dc=x\nldap_version = 2", "only 3 is spoken"),
            ("hosts = a\nbase = dc=x\ntls_require_cert = never", "always verified"),
            ("hosts = a\nbase = dc=x\ntls = perhaps", "neither yes nor no"),
            ("uris = ldaps://a\nbase = dc=x\ntls = yes", "has it already"),
            ("uris = http://a\nbase = dc=x", "no ldap://"),
            ("uris = ldapi:///\nbase = dc=x", "path of the socket is missing"),
            ("hosts = a\nbase = dc=x\npass_filter = (uid=%u", "it is no filter"),
            ("hosts = a\nbase = dc=x\npass_filter = (uid=%w)", "%w is not known"),
            ("hosts = a\nbase = dc=x\nuser_attrs = @x=y", "not followed here"),
            ("hosts = a\nbase = dc=x\nauth_bind = yes\nauth_bind_userdn = cn=all", "the same for all users"),
            ("hosts = a\nbase = dc=x\nnonsense = 1", "nonsense is not known here"),
            ("hosts = a\nbase = dc=x\ntls = yes\ntls_ca_cert_file = nowhere.pem", "nowhere.pem"),
        ] {
            let Err(error) = read(text) else { panic!("{text} is taken") };
            let error = format!("{error:#}");
            assert!(error.contains(want), "{text}\n{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
