//! Where mail lies, and whose it is: one owner for all mail of an installation.

use super::Found;
use crate::names::expand;
use anyhow::{anyhow, bail};
use config::Config;

/// Where mail lies and whose it is.
pub(super) struct Mail {
    location: String,
    pub base: String,
    uid: u32,
    gid: u32,
}

impl Mail {
    pub fn of(config: &Config) -> anyhow::Result<Mail> {
        let own = |id: u32, own: u32| if id == 0 { own } else { id };
        let location = match config.mail.mail_location.split_once(':') {
            Some(("maildir", path)) => path,
            Some((kind, _)) if !kind.contains('/') => bail!("mail.mail_location: only maildir: is known, not {kind}:"),
            _ => &config.mail.mail_location,
        };
        // The path may be relative to the settings, as all paths in them.
        let location = match location.starts_with(['/', '~', '%']) {
            true => location.to_owned(),
            false => config.directory().join(location).display().to_string(),
        };
        Ok(Mail {
            location: format!("maildir:{}", tidy(&location)),
            base: tidy(&config.mail.virtual_mailbox_base.display().to_string()),
            uid: own(config.mail.mail_uid, nix::unistd::geteuid().as_raw()),
            gid: own(config.mail.mail_gid, nix::unistd::getegid().as_raw()),
        })
    }

    pub fn location(&self, user: &str, home: Option<&str>) -> anyhow::Result<String> {
        Ok(expand(&self.location, user, home)?)
    }

    /// All mail of an installation has one owner (docs/overview.md); anything else is a mistake that would show late.
    pub fn check_owner(&self, uid: Option<&str>, gid: Option<&str>) -> anyhow::Result<()> {
        if let Some(uid) = uid
            && user_id(uid)? != self.uid
        {
            bail!("uid={uid} is not {}, to whom mail belongs (mail.mail_uid)", self.uid);
        }
        if let Some(gid) = gid
            && group_id(gid)? != self.gid
        {
            bail!("gid={gid} is not {}, to whom mail belongs (mail.mail_gid)", self.gid);
        }
        Ok(())
    }

    pub fn found(&self, user: &str, home: Option<&str>, mail: Option<&str>) -> anyhow::Result<Found> {
        let mail = mail.map(|template| expand(template, user, home)).transpose()?;
        self.found_at(user, home, mail.as_deref())
    }

    /// As `found`; `mail` is the place itself.
    pub fn found_at(&self, user: &str, home: Option<&str>, mail: Option<&str>) -> anyhow::Result<Found> {
        let mail = match mail {
            Some(place) => place.to_owned(),
            None => self.location(user, home)?,
        };
        // Without a home of its own, the mail directory is the user's home.
        let path = mail.strip_prefix("maildir:").unwrap_or(&mail).split(':').next().unwrap_or_default();
        let home = home.unwrap_or(path);
        if !home.starts_with('/') || home.split('/').any(|part| part == "..") || path.split('/').any(|part| part == "..") {
            bail!("home or mail of {user} is no absolute path");
        }
        let fields = [("uid", self.uid.to_string()), ("gid", self.gid.to_string()), ("home", home.to_owned()), ("mail", mail)];
        Ok(Found { name: user.to_owned(), fields: fields.map(|(name, value)| (name.to_owned(), value)).to_vec() })
    }
}

/// An absolute path without `.` and `..` in it: settings such as `../mail` name the same folder in both forms, and have to
/// compare as the same. Nothing that comes from a user goes through here.
fn tidy(path: &str) -> String {
    if !path.starts_with('/') {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn user_id(name: &str) -> anyhow::Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    Ok(nix::unistd::User::from_name(name)?.ok_or_else(|| anyhow!("there is no user {name}"))?.uid.as_raw())
}

fn group_id(name: &str) -> anyhow::Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    Ok(nix::unistd::Group::from_name(name)?.ok_or_else(|| anyhow!("there is no group {name}"))?.gid.as_raw())
}
