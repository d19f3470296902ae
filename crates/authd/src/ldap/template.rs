//! Texts with variables: filters, names of entries, and values made of attributes. Pure.
//!
//! What is put into a filter is escaped as RFC 4515 §3 says, what is put into a name (DN) as RFC 4514 §2.4 says: nothing that a client
//! writes ends a value, or means more than itself.

use super::entry::Entry;
use anyhow::{Context, bail, ensure};

/// Who is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker<'a> {
    pub user: &'a str,
    /// Such as `imap`; empty when nobody logs in.
    pub service: &'a str,
    pub remote: &'a str,
}

impl Asker<'_> {
    fn parts(&self) -> (&str, &str) {
        self.user.rsplit_once('@').unwrap_or((self.user, ""))
    }
}

/// Where the text will stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Filter,
    Dn,
    /// A value of a field, which is nobody's to read again. The only one that may have attributes in it.
    Field,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Variable {
    User,
    Local,
    Domain,
    Service,
    Remote,
    /// `%{ldap:name}` or `%{ldap:name:default}`
    Attribute(String, Option<String>),
    /// `%$`: the value of the attribute that the field is of.
    Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    AsItIs,
    Lower,
    Upper,
    /// `%Dd`: `x.example.org` as `x,dc=example,dc=org`.
    Labels,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(Form, Variable),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    place: Place,
}

impl Template {
    pub fn of(text: &str, place: Place) -> anyhow::Result<Template> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                plain.push('%');
                rest = after;
                continue;
            }
            let (form, after) = match after.chars().next() {
                Some('L') => (Form::Lower, &after[1..]),
                Some('U') => (Form::Upper, &after[1..]),
                Some('D') => (Form::Labels, &after[1..]),
                _ => (Form::AsItIs, after),
            };
            let (variable, after) = variable(after)?;
            ensure!(
                form != Form::Labels || (place == Place::Dn && variable == Variable::Domain),
                "%D is for %Dd in base and auth_bind_userdn"
            );
            let of_entry = matches!(variable, Variable::Attribute(..) | Variable::Value);
            ensure!(!of_entry || place == Place::Field, "{text:?} is needed before there is an entry");
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Variable(form, variable));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template { pieces, place })
    }

    /// Whether it is another text for another user.
    pub fn varies(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Variable(..)))
    }

    /// The attributes it needs.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(_, Variable::Attribute(name, _)) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The text for a user of whom nothing is known yet.
    pub fn fill(&self, asker: &Asker<'_>) -> String {
        self.fill_from(asker, None, None).unwrap_or_default()
    }

    /// The text for a user with this entry; `value` is that of the attribute that the field is of. `None`: the entry lacks what is needed.
    pub fn fill_from(&self, asker: &Asker<'_>, entry: Option<&Entry>, value: Option<&str>) -> Option<String> {
        let (local, domain) = asker.parts();
        let mut out = String::new();
        for piece in &self.pieces {
            let (form, value) = match piece {
                Piece::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Piece::Variable(form, variable) => {
                    let value = match variable {
                        Variable::User => asker.user,
                        Variable::Local => local,
                        Variable::Domain => domain,
                        Variable::Service => asker.service,
                        Variable::Remote => asker.remote,
                        Variable::Value => value?,
                        Variable::Attribute(name, default) => entry.and_then(|entry| entry.first(name)).or(default.as_deref())?,
                    };
                    (form, value)
                }
            };
            match form {
                Form::AsItIs => self.push(&mut out, value),
                Form::Lower => self.push(&mut out, &value.to_lowercase()),
                Form::Upper => self.push(&mut out, &value.to_uppercase()),
                Form::Labels => {
                    for (at, label) in value.split('.').enumerate() {
                        out.push_str(if at == 0 { "" } else { ",dc=" });
                        self.push(&mut out, label);
                    }
                }
            }
        }
        Some(out)
    }

    fn push(&self, out: &mut String, value: &str) {
        let is_special = |c: char| match self.place {
            // RFC 4515 §3: these and NUL.
            Place::Filter => matches!(c, '*' | '(' | ')' | '\\' | '\0'),
            // RFC 4514 §2.4. Some are so at one end of a value only; an escape is right in any place.
            Place::Dn => matches!(c, '"' | '+' | ',' | ';' | '<' | '=' | '>' | '\\' | '#' | ' ') || c.is_ascii_control(),
            Place::Field => false,
        };
        for c in value.chars() {
            match is_special(c) {
                true => out.push_str(&format!("\\{:02x}", u32::from(c))),
                false => out.push(c),
            }
        }
    }
}

/// The variable whose name (without `%`) a text begins with, and what is behind it.
fn variable(text: &str) -> anyhow::Result<(Variable, &str)> {
    let letter = text.chars().next().context("ends with a lone %")?;
    let (name, rest) = match text.strip_prefix('{') {
        Some(inside) => inside.split_once('}').context("a %{ does not end")?,
        None => text.split_at(letter.len_utf8()),
    };
    let variable = match name {
        "u" | "user" => Variable::User,
        "n" | "username" => Variable::Local,
        "d" | "domain" => Variable::Domain,
        "s" | "service" | "protocol" => Variable::Service,
        "r" | "rip" | "remote_ip" => Variable::Remote,
        "$" => Variable::Value,
        _ => match name.strip_prefix("ldap:") {
            Some(attribute) => {
                let (name, default) =
                    attribute.split_once(':').map_or((attribute, None), |(name, default)| (name, Some(default.to_owned())));
                Variable::Attribute(name.to_ascii_lowercase(), default)
            }
            None => bail!("%{} is not known", mail_types::printable(&text[..text.len() - rest.len()])),
        },
    };
    Ok((variable, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 6] = ["*", ")(uid=*", "x\0y", "a\\2a", "*)(|(uid=*))", " #lead,dc=x+y=\"<;>\" "];

    #[test]
    fn nothing_in_a_name_ends_a_value_of_a_filter() {
        let filter = Template::of("(&(objectClass=posixAccount)(uid=%u))", Place::Filter).expect("sound");
        for (name, want) in [
            ("ann@x.org", "(&(objectClass=posixAccount)(uid=ann@x.org))"),
            ("pélé", "(&(objectClass=posixAccount)(uid=pélé))"),
            ("*", "(&(objectClass=posixAccount)(uid=\\2a))"),
            (")(uid=*", "(&(objectClass=posixAccount)(uid=\\29\\28uid=\\2a))"),
            ("x\0y", "(&(objectClass=posixAccount)(uid=x\\00y))"),
            ("a\\2a", "(&(objectClass=posixAccount)(uid=a\\5c2a))"),
            ("%u", "(&(objectClass=posixAccount)(uid=%u))"),
        ] {
            assert_eq!(filter.fill(&Asker { user: name, ..Asker::default() }), want, "{name:?}");
        }
        for name in HOSTILE {
            let filled = Template::of("(uid=%u)", Place::Filter).expect("sound").fill(&Asker { user: name, ..Asker::default() });
            let inside = filled.strip_prefix("(uid=").and_then(|rest| rest.strip_suffix(')')).expect("one filter");
            assert!(!inside.contains(['(', ')', '*', '\0']), "{filled:?}");
            assert!(ldap3::parse_filter(&filled).is_ok(), "{filled:?}");
        }
    }

    #[test]
    fn nothing_in_a_name_ends_a_part_of_a_dn() {
        let dn = Template::of("uid=%n,ou=people,dc=%Dd", Place::Dn).expect("sound");
        for (name, want) in [
            ("ann@x.example.org", "uid=ann,ou=people,dc=x,dc=example,dc=org"),
            ("ann,ou=admins@x.org", "uid=ann\\2cou\\3dadmins,ou=people,dc=x,dc=org"),
            (" a b#@x", "uid=\\20a\\20b\\23,ou=people,dc=x"),
            ("a\0\\@x,dc=y", "uid=a\\00\\5c,ou=people,dc=x\\2cdc\\3dy"),
        ] {
            assert_eq!(dn.fill(&Asker { user: name, ..Asker::default() }), want, "{name:?}");
        }
        for name in HOSTILE {
            let filled = Template::of("uid=%u", Place::Dn).expect("sound").fill(&Asker { user: name, ..Asker::default() });
            let inside = filled.strip_prefix("uid=").expect("one part");
            assert!(!inside.contains([',', '+', '=', ';', '"', '\0', ' ']), "{filled:?}");
        }
    }

    #[test]
    fn variables_are_known_by_both_their_names() {
        let asker = Asker { user: "Ann@X.org", service: "imap", remote: "192.0.2.1" };
        for (text, want) in [
            ("%u %n %d %s %r", "Ann@X.org Ann X.org imap 192.0.2.1"),
            ("%{user} %{username} %{domain} %{service} %{rip}", "Ann@X.org Ann X.org imap 192.0.2.1"),
            ("%Lu %Ud 100%%", "ann@x.org X.ORG 100%"),
            ("", ""),
        ] {
            assert_eq!(Template::of(text, Place::Field).expect(text).fill(&asker), want);
        }
        for bad in ["%w", "%", "%{x", "%{nonsense}", "%Du", "%L"] {
            assert!(Template::of(bad, Place::Field).is_err(), "{bad}");
        }
        assert!(Template::of("(uid=%{ldap:uid})", Place::Filter).is_err());
    }
}
