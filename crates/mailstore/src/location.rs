//! Where an account's mail lies: `maildir:/home/vmail/%d/%n/Maildir`, perhaps with `:LAYOUT=fs` behind it.

use std::path::{Component, Path, PathBuf};

use crate::layout::Layout;

use crate::name::MailboxName;

/// The Maildir of one account: its root is INBOX, `.Name` directories in it are the other mailboxes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    root: PathBuf,
    layout: Layout,
}

/// Why a location was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    #[error("mail location `{0}`: only maildir: locations are supported")]
    NotMaildir(String),
    #[error("mail location `{0}` is not an absolute path without `..`")]
    NotAbsolute(String),
    #[error("mail location `{0}` needs %h, but the user has no home")]
    NoHome(String),
    #[error("mail location has the unknown variable %{0} (known: %u %n %d %h %%)")]
    UnknownVariable(char),
    #[error("mail location `{0}` and that of the public mailboxes are the same, or one lies in the other")]
    Public(String),
    #[error("user name `{0}` cannot be part of a path")]
    UserName(String),
}

impl Location {
    /// Expands `template` for a user: `%u` the whole name, `%n` the part before `@`, `%d` the domain, `%h` the home
    /// directory, `%%` a percent sign; `%L` before the letter (`%Lu`) makes it lower case. `maildir:` in front and slashes at
    /// the end are optional; `~/` is the home. A name with a slash, a NUL or that is `.` or `..` is refused.
    pub fn expand(template: &str, user: &str, home: Option<&Path>) -> Result<Location, LocationError> {
        let path = match template.split_once(':') {
            Some(("maildir", path)) => path,
            Some((scheme, _)) if !scheme.contains('/') => return Err(LocationError::NotMaildir(template.into())),
            _ => template,
        };
        // Dovecot's `maildir:PATH:LAYOUT=...` moves indexes and layouts elsewhere: not ours to ignore silently
        let (path, options) = path.split_once(':').unwrap_or((path, ""));
        let mut layout = Layout::default();
        for option in options.split(':').filter(|option| !option.is_empty() && !option.starts_with("INDEX=")) {
            let known = option.get(..7).filter(|name| name.eq_ignore_ascii_case("LAYOUT=")).and_then(|_| Layout::parse(&option[7..]));
            layout = known.ok_or_else(|| LocationError::NotMaildir(template.into()))?;
        }
        let home = || home.and_then(Path::to_str).ok_or_else(|| LocationError::NoHome(template.into()));
        let mut out = String::with_capacity(path.len() + user.len());
        let mut rest = path;
        if let Some(below) = rest.strip_prefix("~/") {
            out.push_str(home()?);
            out.push('/');
            rest = below;
        }
        let mut chars = rest.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut letter = chars.next().unwrap_or(' ');
            let lower = letter == 'L';
            if lower {
                letter = chars.next().unwrap_or(' ');
            }
            let value = match letter {
                '%' => "%",
                'h' => home()?,
                'u' => checked(user, user)?,
                'n' => checked(user.split_once('@').map_or(user, |(local, _)| local), user)?,
                'd' => checked(user.rsplit_once('@').map_or("", |(_, domain)| domain), user)?,
                other => return Err(LocationError::UnknownVariable(other)),
            };
            if lower { out.push_str(&value.to_lowercase()) } else { out.push_str(value) }
        }
        Ok(Location { layout, ..Location::maildir(Path::new(&out))? })
    }

    /// Refuses what has to do with the Maildir of the public mailboxes (`imapd.public_mail_location`; empty: none): whoever's account that
    /// is would have all rights on them.
    pub fn apart_from(self, public: &str) -> Result<Location, LocationError> {
        let public = match public {
            "" => return Ok(self),
            // nobody has them then, and the log says why
            public => match Location::expand(public, "public", None) {
                Ok(public) => public.root,
                Err(_) => return Ok(self),
            },
        };
        if self.root.starts_with(&public) || public.starts_with(&self.root) {
            return Err(LocationError::Public(self.root.display().to_string()));
        }
        Ok(self)
    }

    /// The Maildir at `path`, which must be absolute and without `..`. Slashes at the end mean nothing.
    pub fn maildir(path: impl AsRef<Path>) -> Result<Location, LocationError> {
        let path = path.as_ref();
        let fits = |component: Component| matches!(component, Component::RootDir | Component::Normal(_) | Component::CurDir);
        if !path.is_absolute() || !path.components().all(fits) || path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(LocationError::NotAbsolute(path.display().to_string()));
        }
        let root: PathBuf = path.components().collect();
        if root.parent().is_none() {
            return Err(LocationError::NotAbsolute(path.display().to_string()));
        }
        Ok(Location { root, layout: Layout::default() })
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Directory of INBOX, without a slash at the end.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// What is wrong with the settings that say where mailboxes are, one line each: it would keep mail from everybody. The programs do not start
/// with it, nor take it at a reload.
pub fn check_settings(config: &config::Config) -> Result<(), String> {
    let mut faults = Vec::new();
    let any = Location::expand(&config.mail.mail_location, "user@example.org", Some(Path::new("/home/user")));
    faults.extend(any.err().map(|error| format!("mail.mail_location: {error}")));
    let (public, prefix) = (&config.imapd.public_mail_location, &config.imapd.public_mailbox_prefix);
    if !public.is_empty() {
        faults.extend(Location::expand(public, "public", None).err().map(|error| format!("imapd.public_mail_location: {error}")));
        faults.extend(MailboxName::parse(prefix).err().map(|error| format!("imapd.public_mailbox_prefix `{prefix}`: {error}")));
    }
    let shared = &config.imapd.shared_mailbox_prefix;
    if !shared.is_empty() {
        match (MailboxName::parse(shared), MailboxName::parse(prefix)) {
            (Err(error), _) => faults.push(format!("imapd.shared_mailbox_prefix `{shared}`: {error}")),
            (Ok(shared), Ok(prefix))
                if !public.is_empty() && (shared == prefix || shared.is_below(&prefix) || prefix.is_below(&shared)) =>
            {
                faults.push(format!("imapd.shared_mailbox_prefix `{shared}`: public mailboxes have that name"));
            }
            _ => {}
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// A value that goes into a path: one component, never `.`, `..` or empty.
fn checked<'a>(value: &'a str, user: &str) -> Result<&'a str, LocationError> {
    let bad = value.is_empty() || value == "." || value == ".." || value.chars().any(|c| c == '/' || c.is_control());
    if bad { Err(LocationError::UserName(user.into())) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(template: &str, user: &str) -> Result<String, LocationError> {
        Location::expand(template, user, Some(Path::new("/home/vmail/h"))).map(|location| location.root().display().to_string())
    }

    #[test]
    fn variables_of_the_guide_are_expanded() {
        for (template, want) in [
            ("maildir:/home/vmail/%d/%n/Maildir", "/home/vmail/example.org/Ann/Maildir"),
            ("maildir:/home/vmail/%u", "/home/vmail/Ann@example.org"),
            ("maildir:/home/vmail/%u/", "/home/vmail/Ann@example.org"),
            ("/home/vmail/%Lu///", "/home/vmail/ann@example.org"),
            ("maildir:%h/Maildir", "/home/vmail/h/Maildir"),
            ("maildir:~/Maildir", "/home/vmail/h/Maildir"),
            ("maildir:/m/%%/%n", "/m/%/Ann"),
            ("maildir:/m/%n:INDEX=/i", "/m/Ann"),
        ] {
            assert_eq!(expand(template, "Ann@example.org").as_deref(), Ok(want), "{template}");
        }
    }

    #[test]
    fn settings_that_would_keep_mail_from_everybody_are_refused() {
        let check = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("facteur.toml");
            std::fs::write(&file, text).unwrap();
            check_settings(&config::Config::load(&file).unwrap())
        };
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("[imapd]\npublic_mailbox_prefix = \"a..b\""), Ok(()));
        let wrong =
            check("[mail]\nmail_location = \"mbox:/x\"\n[imapd]\npublic_mail_location = \"mbox:/y\"\npublic_mailbox_prefix = \"a..b\"");
        for shared in ["a..b", "Public", "Public.Users"] {
            let settings = format!("[imapd]\npublic_mail_location = \"/srv/public\"\nshared_mailbox_prefix = \"{shared}\"");
            assert!(check(&settings).unwrap_err().starts_with("imapd.shared_mailbox_prefix"), "{shared}");
        }
        assert_eq!(check("[imapd]\nshared_mailbox_prefix = \"Public\""), Ok(()));
        let lines: Vec<String> = wrong.unwrap_err().lines().map(|line| line.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(lines, ["mail.mail_location", "imapd.public_mail_location", "imapd.public_mailbox_prefix `a..b`"]);
    }

    #[test]
    fn the_layout_is_read() {
        for (template, want) in [
            ("maildir:/x", Layout::MaildirPlusPlus),
            ("maildir:/x:LAYOUT=Maildir++", Layout::MaildirPlusPlus),
            ("maildir:/x:LAYOUT=fs", Layout::Fs),
            ("maildir:/x:INDEX=/i:layout=FS", Layout::Fs),
        ] {
            assert_eq!(Location::expand(template, "ann", None).unwrap().layout(), want, "{template}");
        }
    }

    #[test]
    fn nobodys_mailboxes_are_nobodys_account() {
        for (root, fits) in [
            ("/home/vmail/public", false),
            ("/home/vmail/public/x", false),
            ("/home/vmail", false),
            ("/home/vmail/publican", true),
            ("/home/vmail/example.org/public", true),
        ] {
            let apart = |public| Location::maildir(root).unwrap().apart_from(public).is_ok();
            assert_eq!((apart("maildir:/home/vmail/public/"), apart("")), (fits, true), "{root}");
        }
    }

    #[test]
    fn names_that_would_leave_the_mail_root_are_refused() {
        for user in ["../x@example.org", "a/b@example.org", "..@example.org", "", "x@..", "x\0@d", "a@b/../c"] {
            assert!(expand("maildir:/home/vmail/%d/%n", user).is_err(), "{user:?}");
        }
        for template in [
            "mbox:/var/mail/%u",
            "maildir:relative/%u",
            "maildir:/a/../%u",
            "maildir:/%",
            "maildir:/x/%q",
            "maildir:/",
            "maildir:/x:LAYOUT=index",
            "maildir:/x:LAYOUT=",
            "maildir:/x:CONTROL=/c",
        ] {
            assert!(expand(template, "ann@example.org").is_err(), "{template}");
        }
        assert_eq!(Location::expand("~/Maildir", "ann", None), Err(LocationError::NoHome("~/Maildir".into())));
    }
}
