//! Sources as the settings name them. Reads files, and asks no database.

use super::mail::Mail;
use super::{Fixed, Passdb, Userdb};
use crate::ldap::LdapSource;
use crate::names::{Names, expand};
use crate::passwd_file::PasswdFile;
use crate::sql::SqlSource;
use anyhow::{Context, anyhow, bail};
use config::{Config, PassdbDriver, UserdbDriver};
use std::path::{Path, PathBuf};

/// `None`: the accounts database.
pub(super) fn passdb(passdb: &config::Passdb, config: &Config, names: &Names) -> anyhow::Result<Option<Passdb>> {
    Ok(Some(match passdb.driver {
        PassdbDriver::Accounts => return Ok(None),
        PassdbDriver::PasswdFile => {
            let (scheme, path) = file_args(&passdb.args, config).context("authd.passdb")?;
            let names = if passdb.deny { names.lowered() } else { names.clone() };
            Passdb::File { file: file(&path, &names)?, scheme }
        }
        PassdbDriver::Sql => Passdb::Sql(password_queries(&passdb.args, config)?),
        PassdbDriver::Ldap => Passdb::Ldap(directory(&passdb.args, config).context("authd.passdb: driver = \"ldap\"")?),
    }))
}

/// `None`: the accounts database.
pub(super) fn userdb(userdb: &config::Userdb, config: &Config, names: &Names, mail: &Mail) -> anyhow::Result<Option<Userdb>> {
    Ok(Some(match userdb.driver {
        UserdbDriver::Accounts => return Ok(None),
        UserdbDriver::PasswdFile => Userdb::File(file(&file_args(&userdb.args, config).context("authd.userdb")?.1, names)?),
        UserdbDriver::Sql => Userdb::Sql(user_queries(&userdb.args, config)?),
        UserdbDriver::Ldap => Userdb::Ldap(directory(&userdb.args, config).context("authd.userdb: driver = \"ldap\"")?),
        UserdbDriver::Prefetch => Userdb::Prefetch,
        UserdbDriver::Static => Userdb::Static(fixed(&userdb.args, mail)?),
        UserdbDriver::Passwd => Userdb::Passwd(fixed(&userdb.args, mail)?),
    }))
}

fn directory(args: &str, config: &Config) -> anyhow::Result<LdapSource> {
    LdapSource::open(&config.directory().join(args.trim()))
}

fn password_queries(args: &str, config: &Config) -> anyhow::Result<SqlSource> {
    let queries = SqlSource::open(&config.directory().join(args.trim())).context("authd.passdb: driver = \"sql\"")?;
    anyhow::ensure!(queries.has_password_query(), "authd.passdb: {} has no password_query", args.trim());
    Ok(queries)
}

fn user_queries(args: &str, config: &Config) -> anyhow::Result<SqlSource> {
    let queries = SqlSource::open(&config.directory().join(args.trim())).context("authd.userdb: driver = \"sql\"")?;
    anyhow::ensure!(queries.has_user_query(), "authd.userdb: {} has no user_query", args.trim());
    Ok(queries)
}

fn file(path: &Path, names: &Names) -> anyhow::Result<PasswdFile> {
    PasswdFile::open(path, names.clone()).with_context(|| format!("passwd-file {}", path.display()))
}

/// `[scheme=NAME] [username_format=%u] path`
fn file_args(args: &str, config: &Config) -> anyhow::Result<(Option<String>, PathBuf)> {
    let mut scheme = None;
    let mut rest = args.trim();
    while let Some((word, after)) = rest.split_once(char::is_whitespace) {
        match word.split_once('=') {
            Some(("scheme", name)) => scheme = Some(name.to_owned()),
            Some(("username_format", "%u" | "%Lu")) => {}
            Some((name, _)) => bail!("{name} is not known for passwd-file"),
            None => break,
        }
        rest = after.trim_start();
    }
    if rest.is_empty() {
        bail!("passwd-file needs the path of the file in args");
    }
    Ok((scheme, config.directory().join(rest)))
}

fn fixed(args: &str, mail: &Mail) -> anyhow::Result<Fixed> {
    read_fixed(args, mail).with_context(|| format!("authd.userdb: args = {args:?}"))
}

/// `uid=vmail gid=vmail home=/home/vmail/%u`
fn read_fixed(args: &str, mail: &Mail) -> anyhow::Result<Fixed> {
    let (mut home, mut location, mut uid, mut gid, mut fields) = (None, None, None, None, Vec::new());
    for word in args.split_ascii_whitespace() {
        let (name, value) = word.split_once('=').ok_or_else(|| anyhow!("{word} is not name=value"))?;
        match name {
            "uid" => uid = Some(value),
            "gid" => gid = Some(value),
            "home" => home = Some(value.to_owned()),
            "mail" => location = Some(value.to_owned()),
            // Of Dovecot's processes.
            "blocking" => {}
            "allow_all_users" => bail!("allow_all_users would make every address a mailbox"),
            _ => fields.push((name.to_owned(), value.to_owned())),
        }
    }
    mail.check_owner(uid, gid)?;
    for template in home.iter().chain(&location) {
        expand(template, "user@example.org", Some("/home"))?;
    }
    Ok(Fixed { home, mail: location, fields })
}
