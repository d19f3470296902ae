//! User names as clients write them, and variables in paths.

use anyhow::{Context, ensure};
use config::Authd;

/// The longest user name.
const LIMIT_BYTES: usize = 255;

/// How user names are brought into the form that databases have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Empty: names stay without a domain.
    pub default_realm: String,
    /// Characters names may have; empty: all but control characters.
    allowed: String,
    /// How databases have names, in variables of `fill`.
    format: String,
    /// Upper and lower case are the same, whatever the format says.
    lower: bool,
}

impl Names {
    pub fn new(authd: &Authd, default_realm: String) -> anyhow::Result<Names> {
        let format = authd.auth_username_format.clone();
        let names = Names { default_realm, allowed: authd.auth_username_chars.clone(), format, lower: false };
        // Who logged in is asked for by the name that the login gave, which has to mean the same user.
        for name in ["User", "User@Example.org"] {
            let once = written(&names.format, &names.in_realm(name, "")).context("authd.auth_username_format")?;
            let twice = written(&names.format, &names.in_realm(&once, "")).context("authd.auth_username_format")?;
            ensure!(
                !once.is_empty() && once == twice,
                "authd.auth_username_format: {:?} makes {once:?} of {name}, and {twice:?} of that: a name has to stay what it is",
                names.format
            );
        }
        Ok(names)
    }

    /// The same, all in lower case.
    pub fn lowered(&self) -> Names {
        Names { lower: true, ..self.clone() }
    }

    /// Whether databases have names as people write them, but for upper and lower case.
    pub fn are_whole(&self) -> bool {
        written(&self.format, "user@example.org").is_ok_and(|name| name.eq_ignore_ascii_case("user@example.org"))
    }

    /// With a domain where there is one to have, and as `auth_username_format` has it. `None`: nobody can have this name.
    pub fn normal(&self, name: &str) -> Option<String> {
        self.normal_in(name, "")
    }

    /// As `normal`; a name without a domain belongs to `realm`, unless that is empty.
    pub fn normal_in(&self, name: &str, realm: &str) -> Option<String> {
        let whole = self.in_realm(name, realm);
        let name = whole.as_str();
        let allowed =
            |c: char| !c.is_control() && (self.allowed.is_empty() || self.allowed.contains(c) || (!c.is_ascii() && c.is_alphanumeric()));
        if name.is_empty() || name.len() > LIMIT_BYTES || !name.chars().all(allowed) || name.matches('@').count() > 1 {
            return None;
        }
        match name.split_once('@') {
            Some(("", _) | (_, "")) => None,
            _ => {
                let name = written(&self.format, name).ok().filter(|name| !name.is_empty())?;
                Some(if self.lower { name.to_lowercase() } else { name })
            }
        }
    }

    fn in_realm(&self, name: &str, realm: &str) -> String {
        let realm = if realm.is_empty() { &self.default_realm } else { realm };
        match name.contains('@') || realm.is_empty() {
            true => name.to_owned(),
            false => format!("{name}@{realm}"),
        }
    }
}

/// A name as `auth_username_format` has it.
fn written(format: &str, name: &str) -> Result<String, ExpandError> {
    let (local, domain) = name.split_once('@').unwrap_or((name, ""));
    fill(format, |variable| match variable {
        'u' => Ok(name),
        'n' => Ok(local),
        'd' => Ok(domain),
        other => Err(ExpandError::Unknown(other.into())),
    })
}

/// Why a template gives no path or text for this user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    #[error("unknown variable %{0}")]
    Unknown(String),
    #[error("the template uses %h, but the user has no home")]
    NoHome,
    #[error("the user's name has a part that may not stand in a path")]
    Unsafe,
}

/// Replaces variables and `%%`; `%L…` is the value in lower case, `%U…` in upper, as in Dovecot.
fn fill<'a>(template: &str, value: impl Fn(char) -> Result<&'a str, ExpandError>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(template.len() + 32);
    let mut chars = template.chars();
    let lone = || ExpandError::Unknown(String::new());
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next().ok_or_else(lone)? {
            '%' => out.push('%'),
            'L' => out.push_str(&value(chars.next().ok_or_else(lone)?)?.to_lowercase()),
            'U' => out.push_str(&value(chars.next().ok_or_else(lone)?)?.to_uppercase()),
            variable => out.push_str(value(variable)?),
        }
    }
    Ok(out)
}

/// Replaces `%u` (whole name), `%n` (before the @), `%d` (behind it) and `%h` (home), see `fill`.
///
/// What is put in is never looked at again, and may hold no `/`, nor be `.` or `..` as a whole: it cannot leave the folder it
/// stands in.
pub fn expand(template: &str, user: &str, home: Option<&str>) -> Result<String, ExpandError> {
    let (local, domain) = user.split_once('@').unwrap_or((user, ""));
    fill(template, |variable| match variable {
        'u' => safe(user),
        'n' => safe(local),
        'd' => safe_or_empty(domain),
        'h' => home.ok_or(ExpandError::NoHome),
        other => Err(ExpandError::Unknown(other.into())),
    })
}

fn safe(value: &str) -> Result<&str, ExpandError> {
    if value.is_empty() { Err(ExpandError::Unsafe) } else { safe_or_empty(value) }
}

fn safe_or_empty(value: &str) -> Result<&str, ExpandError> {
    let bad = value == "." || value == ".." || value.chars().any(|c| c == '/' || c.is_control());
    if bad { Err(ExpandError::Unsafe) } else { Ok(value) }
}

/// A path below a folder, as a database has it (`example.org/ann/`): relative, and never up. `None` for anything else.
pub fn below(base: &str, relative: &str) -> Option<String> {
    let relative = relative.trim_end_matches('/');
    let sound = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.chars().any(char::is_control);
    if relative.is_empty() || relative.len() > 1024 || !relative.split('/').all(sound) {
        return None;
    }
    Some(format!("{}/{relative}", base.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(realm: &str) -> Names {
        Names::new(&Authd::default(), realm.into()).expect("the defaults are sound")
    }

    #[test]
    fn names_are_written_as_the_format_has_them() {
        let named = |format: &str| Names::new(&Authd { auth_username_format: format.into(), ..Authd::default() }, "Home.org".into());
        for (format, name, want) in [
            ("%Lu", "Ann@X.org", "ann@x.org"),
            ("%u", "Ann@X.org", "Ann@X.org"),
            ("%u", "Ann", "Ann@Home.org"),
            ("%n@%Ld", "Ann@X.ORG", "Ann@x.org"),
            ("%Ln", "Ann@x.org", "ann"),
            ("%n", "Ann", "Ann"),
            ("%Uu", "ann@x.org", "ANN@X.ORG"),
        ] {
            let names = named(format).expect(format);
            let got = names.normal(name);
            assert_eq!(got.as_deref(), Some(want), "{format} {name}");
            assert_eq!(names.normal(want), got, "{format}: twice");
            assert_eq!(names.are_whole(), format.contains(['u', 'd']), "{format}");
        }
        // A name that changes with each reading, the same for all, none at all, and what is no variable.
        for format in ["%n-AT-%d", "%d", "x%u", "", "%h", "%x", "%", "%L", "%u@%d"] {
            assert!(named(format).is_err(), "{format:?}");
        }
    }

    #[test]
    fn names_become_lower_case_and_get_a_domain() {
        for (name, want) in [
            ("Ann@Example.ORG", Some("ann@example.org")),
            ("ann", Some("ann@mon-domaine.fr")),
            ("pélé@x.org", Some("pélé@x.org")),
            ("ann+list@x.org", Some("ann+list@x.org")),
            ("o'neil@x.org", Some("o'neil@x.org")),
            ("", None),
            ("@x.org", None),
            ("ann@", None),
            ("a@b@c", None),
            ("ann/../bob@x.org", None),
            ("ann\n@x.org", None),
            ("ann\0", None),
            ("a:b", None),
            ("%u", None),
            ("%{home}", None),
            ("ann*master", None),
            ("*)(uid=*", None),
        ] {
            assert_eq!(names("mon-domaine.fr").normal(name).as_deref(), want, "{name:?}");
        }
        assert_eq!(names("").normal("ann").as_deref(), Some("ann"));
        assert_eq!(names("").normal(&"a".repeat(256)), None);
        for (name, realm, want) in [
            ("Ann", "X.org", Some("ann@x.org")),
            ("ann@y.org", "x.org", Some("ann@y.org")),
            ("ann", "", Some("ann@mon-domaine.fr")),
            ("", "x.org", None),
            ("ann", "x.org@y.org", None),
            ("ann", "x.org\n", None),
            ("ann", "../x", None),
        ] {
            assert_eq!(names("mon-domaine.fr").normal_in(name, realm).as_deref(), want, "{name:?} in {realm:?}");
        }
    }

    #[test]
    fn variables_are_replaced_once_and_never_leave_their_folder() {
        for (template, user, want) in [
            ("/home/vmail/%u", "ann@x.org", Ok("/home/vmail/ann@x.org")),
            ("/home/vmail/%d/%n", "ann@x.org", Ok("/home/vmail/x.org/ann")),
            ("maildir:%h/Maildir", "ann", Ok("maildir:/h/Maildir")),
            ("/%Lu/100%%", "Ann", Ok("/ann/100%")),
            ("/%Ud", "ann@x.org", Ok("/X.ORG")),
            ("/v/%u", "..", Err(ExpandError::Unsafe)),
            ("/v/%d/%n", "..@..", Err(ExpandError::Unsafe)),
            ("/v/%u", "a/../b", Err(ExpandError::Unsafe)),
            ("/v/%u", "%h", Ok("/v/%h")),
            ("/v/%x", "ann", Err(ExpandError::Unknown("x".into()))),
            ("/v/%", "ann", Err(ExpandError::Unknown("".into()))),
        ] {
            assert_eq!(expand(template, user, Some("/h")), want.map(String::from), "{template} {user}");
        }
        assert_eq!(expand("%h", "ann", None), Err(ExpandError::NoHome));
    }

    #[test]
    fn a_maildir_column_stays_below_the_mail_root() {
        for (column, want) in [
            ("example.org/ann/", Some("/home/vmail/example.org/ann")),
            ("ann", Some("/home/vmail/ann")),
            ("", None),
            ("/etc", None),
            ("../x", None),
            ("a/../../x", None),
            ("a//b", None),
            ("./a", None),
            ("a\n", None),
        ] {
            assert_eq!(below("/home/vmail/", column).as_deref(), want, "{column:?}");
        }
    }
}
