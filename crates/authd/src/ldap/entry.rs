//! Entries of a directory, and what fields their attributes become (`pass_attrs`, `user_attrs`, `iterate_attrs`). Pure.

use super::template::{Asker, Place, Template};
use crate::dovecot_file::Fields;
use anyhow::{bail, ensure};
use ldap3::asn1::StructureTag;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    pub dn: String,
    /// Names in lower case: they are compared without regard to it (RFC 4512 §2.5).
    attributes: Vec<(String, Vec<String>)>,
}

impl Entry {
    /// Of a `SearchResultEntry` (RFC 4511 §4.5.2). Values that are no text are left out. `None`: it is something else.
    pub fn of(tag: StructureTag) -> Option<Entry> {
        let text = |tag: StructureTag| String::from_utf8(tag.expect_primitive()?).ok();
        let mut parts = tag.match_id(4)?.expect_constructed()?.into_iter();
        let dn = text(parts.next()?)?;
        let mut attributes = Vec::new();
        for attribute in parts.next()?.expect_constructed()? {
            let mut parts = attribute.expect_constructed()?.into_iter();
            let name = text(parts.next()?)?.to_ascii_lowercase();
            attributes.push((name, parts.next()?.expect_constructed()?.into_iter().filter_map(text).collect()));
        }
        Some(Entry { dn, attributes })
    }

    /// The first value of an attribute, whose name is in lower case.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.values(name).first().map(String::as_str).filter(|value| !value.is_empty())
    }

    fn values(&self, name: &str) -> &[String] {
        self.attributes.iter().find(|(known, _)| known == name).map_or(&[], |(_, values)| values)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    name: String,
    attribute: Option<String>,
    template: Option<Template>,
}

/// A list such as `uid=user, homeDirectory=home=/srv/%$, =mail=maildir:~/%{ldap:mailbox}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map(Vec<Field>);

impl Map {
    /// Fields called `skipped` are not asked for.
    pub fn of(text: &str, skipped: Option<&str>) -> anyhow::Result<Map> {
        let mut fields = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (attribute, rest) = item.split_once('=').unwrap_or((item, item));
            let (name, template) = rest.split_once('=').map_or((rest, None), |(name, template)| (name, Some(template)));
            let (attribute, name) = (attribute.trim(), name.trim());
            let shown = mail_types::printable(item);
            if attribute.starts_with(['@', '!', '+']) || name.starts_with(['@', '!', '+', ':']) {
                bail!("{shown}: entries that other entries name are not followed here");
            }
            ensure!(!name.is_empty() && !name.contains('%'), "{shown} has no name of a field");
            ensure!(!attribute.is_empty() || template.is_some(), "{shown} has neither an attribute nor a value");
            if skipped == Some(name) {
                continue;
            }
            fields.push(Field {
                name: name.to_owned(),
                attribute: (!attribute.is_empty()).then(|| attribute.to_ascii_lowercase()),
                template: template.map(|text| Template::of(text, Place::Field)).transpose()?,
            });
        }
        Ok(Map(fields))
    }

    /// What to ask the server for. Never nothing, which would mean everything: `1.1` is no attribute (RFC 4511 §4.5.1.8).
    pub fn wanted(&self) -> Vec<String> {
        let of_field = |field: &Field| -> Vec<String> {
            let used = field.template.iter().flat_map(Template::attributes).map(str::to_owned);
            field.attribute.iter().cloned().chain(used).collect()
        };
        let mut wanted: Vec<String> = self.0.iter().flat_map(of_field).collect();
        wanted.sort();
        wanted.dedup();
        if wanted.is_empty() { vec!["1.1".to_owned()] } else { wanted }
    }

    /// The fields of an entry. One whose attribute is not there, or that has such a one in its value, is not there either: half a path or
    /// limit would be worse.
    pub fn fields(&self, entry: &Entry, asker: &Asker<'_>) -> Fields {
        let mut fields = Vec::new();
        for field in &self.0 {
            let value = match &field.attribute {
                Some(attribute) => {
                    if entry.values(attribute).len() > 1 {
                        tracing::warn!(dn = %mail_types::printable(&entry.dn), attribute, "an attribute has several values; the first is taken");
                    }
                    let Some(value) = entry.first(attribute) else { continue };
                    Some(value)
                }
                None => None,
            };
            let filled = match &field.template {
                Some(template) => template.fill_from(asker, Some(entry), value),
                None => value.map(str::to_owned),
            };
            fields.extend(filled.map(|filled| (field.name.clone(), filled)));
        }
        Fields(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let attribute = |name: &str, values: &[&str]| (name.to_owned(), values.iter().map(|v| v.to_string()).collect());
        Entry {
            dn: "uid=ann,dc=x".into(),
            attributes: vec![
                attribute("uid", &["ann"]),
                attribute("userpassword", &["{SSHA}x"]),
                attribute("homedirectory", &["/home/ann"]),
                attribute("quotabytes", &["1000"]),
                attribute("empty", &[]),
            ],
        }
    }

    #[test]
    fn attributes_become_fields_as_dovecots_lists_say() {
        let asker = Asker { user: "ann@x.org", ..Asker::default() };
        for (list, wanted, want) in [
            ("uid=user,userPassword=password", "uid userpassword", "user=ann password={SSHA}x"),
            (" uid=user , =nologin=", "uid", "user=ann nologin="),
            ("uid", "uid", "uid=ann"),
            ("homeDirectory=home=/srv%$", "homedirectory", "home=/srv/home/ann"),
            ("=home=/srv/%{ldap:UID}/%Ld", "uid", "home=/srv/ann/x.org"),
            ("=mail=maildir:/m/%{ldap:none}", "none", ""),
            ("=mail=maildir:/m/%{ldap:none:%n}", "none", "mail=maildir:/m/%n"),
            ("quotaBytes=quota_rule=*:bytes=%$", "quotabytes", "quota_rule=*:bytes=1000"),
            ("none=x,empty=y", "empty none", ""),
            ("=uid=vmail", "1.1", "uid=vmail"),
            ("", "1.1", ""),
        ] {
            let map = Map::of(list, None).unwrap_or_else(|e| panic!("{list}: {e:#}"));
            assert_eq!(map.wanted().join(" "), wanted, "{list}");
            let got: Vec<String> = map.fields(&entry(), &asker).0.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(got.join(" "), want, "{list}");
        }
        assert_eq!(Map::of("uid=user,userPassword=password", Some("password")).expect("sound").wanted(), ["uid"]);
        for bad in ["=", "=home", "uid=", "uid=%n", "@x=home", "!uid", "uid=home=%w", "uid=@x"] {
            assert!(Map::of(bad, None).is_err(), "{bad}");
        }
    }
}
