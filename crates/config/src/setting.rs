//! Sections: a group of settings that is declared once and can be read, shown and documented.
//!
//! ```text
//! settings! {
//!     /// How long things wait.
//!     pub struct Qmgr in "qmgr" {
//!         /// The shortest wait before a deferred message is tried again.
//!         minimal_backoff_time: Duration = secs(300), in secs(1)..=days(1), was "Postfix minimal_backoff_time";
//!     }
//! }
//! ```
//! The doc comment becomes the text in `etc/facteur.toml` and `docs/settings.md`; `in` is the allowed range; `was` tells
//! the name at Postfix or Dovecot, which `config check` uses for its hints. A section can also be the type of a setting: then it
//! is a TOML table, or with `Vec` a list of tables.

use crate::report::{Source, nearest};
use crate::value::Value;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is known about one setting, for documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub name: &'static str,
    /// The doc comment, one line each.
    pub doc: Vec<&'static str>,
    pub kind: String,
    /// The default as TOML text.
    pub default: String,
    /// As `1..=100`, in TOML text.
    pub range: Option<String>,
    /// The names of the same setting at Postfix or Dovecot.
    pub was: Option<&'static str>,
}

/// A section of settings, made by `settings!`.
pub trait Section: Default + Clone + PartialEq {
    const NAME: &'static str;
    const DOC: &'static [&'static str];

    fn keys() -> Vec<Key>;

    /// Reads the settings that `table` has; the others stay as they are. Keys that no setting has are left for the caller.
    fn read_known(&mut self, table: &DeTable<'_>, prefix: &str, source: &mut Source<'_>);

    /// Each setting with its value as TOML text.
    fn values(&self) -> Vec<(&'static str, String)>;

    /// Reads `table` and refuses what it does not know.
    fn read_all(&mut self, table: &DeTable<'_>, prefix: &str, source: &mut Source<'_>) {
        self.read_known(table, prefix, source);
        refuse_unknown(table, prefix, source, &Self::keys().iter().map(|k| k.name).collect::<Vec<_>>());
    }
}

/// Notes a fault for each key of `table` that is not in `known`.
pub fn refuse_unknown(table: &DeTable<'_>, prefix: &str, source: &mut Source<'_>, known: &[&str]) {
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if known.contains(&name) {
            continue;
        }
        let elsewhere = crate::find_setting(name).into_iter().next();
        let hint = match (nearest(name, known.iter().copied()), elsewhere) {
            (_, Some(full)) => Some(format!("here this is {full}")),
            (Some(near), None) => Some(format!("did you mean {near}?")),
            (None, None) => None,
        };
        let full = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        source.fault(Some(key.span().start), format!("{full}: there is no such setting"), hint);
    }
}

/// Tells the allowed range when the value is outside it.
pub type RangeCheck<'a, T> = &'a dyn Fn(&T) -> Option<String>;

/// Reads one setting when `table` has it, and checks its range.
pub fn read_into<T: Value>(
    place: &mut T,
    table: &DeTable<'_>,
    prefix: &str,
    name: &str,
    range: Option<RangeCheck<'_, T>>,
    source: &mut Source<'_>,
) {
    let Some(value) = table.get(name) else { return };
    let full = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
    if let Some(read) = T::read(value, &full, source) {
        match range.and_then(|check| check(&read)) {
            Some(allowed) => source.fault(Some(value.span().start), format!("{full}: {} is outside {allowed}", read.write()), None),
            None => *place = read,
        }
    }
}

/// A section as the value of a setting.
pub fn read_section<T: Section>(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<T> {
    match value.get_ref().as_table() {
        Some(table) => {
            let mut section = T::default();
            section.read_all(table, name, source);
            Some(section)
        }
        None => {
            source.fault(Some(value.span().start), format!("{name}: this must be a table"), None);
            None
        }
    }
}

/// A section as one line of TOML.
pub fn write_section<T: Section>(section: &T) -> String {
    let items: Vec<String> = section.values().into_iter().map(|(name, value)| format!("{name} = {value}")).collect();
    format!("{{ {} }}", items.join(", "))
}

pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
pub const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}
pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}
pub const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

/// Declares a section; see the top of this module.
#[macro_export]
macro_rules! settings {
    ($(#[doc = $sdoc:literal])* pub struct $section:ident in $sname:literal {
        $($(#[doc = $doc:literal])* $name:ident : $type:ty = $default:expr $(, in $range:expr)? $(, was $was:literal)? ;)*
    }) => {
        $(#[doc = $sdoc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $section { $($(#[doc = $doc])* pub $name: $type),* }

        impl Default for $section {
            fn default() -> Self {
                $section { $($name: ($default).into()),* }
            }
        }

        impl $crate::setting::Section for $section {
            const NAME: &'static str = $sname;
            const DOC: &'static [&'static str] = &[$($sdoc),*];

            fn keys() -> Vec<$crate::setting::Key> {
                let default = $section::default();
                let _ = &default;
                vec![$($crate::setting::Key {
                    name: stringify!($name),
                    doc: vec![$($doc.trim()),*],
                    kind: <$type as $crate::value::Value>::kind(),
                    default: $crate::value::Value::write(&default.$name),
                    range: $crate::settings!(@range_text $type $(, $range)?),
                    was: $crate::settings!(@was $($was)?),
                }),*]
            }

            fn read_known(&mut self, table: &toml::de::DeTable<'_>, prefix: &str, source: &mut $crate::report::Source<'_>) {
                let _ = (&table, prefix, &source);
                $($crate::setting::read_into(&mut self.$name, table, prefix, stringify!($name), $crate::settings!(@range_check $type $(, $range)?), source);)*
            }

            fn values(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($name), $crate::value::Value::write(&self.$name))),*]
            }
        }

        impl $crate::value::Value for $section {
            fn kind() -> String {
                "table".into()
            }
            fn read(value: &toml::Spanned<toml::de::DeValue<'_>>, name: &str, source: &mut $crate::report::Source<'_>) -> Option<Self> {
                $crate::setting::read_section(value, name, source)
            }
            fn write(&self) -> String {
                $crate::setting::write_section(self)
            }
        }
    };
    (@was) => { None };
    (@was $was:literal) => { Some($was) };
    (@range_text $type:ty) => { None };
    (@range_text $type:ty, $range:expr) => {{
        let range: std::ops::RangeInclusive<$type> = $range;
        Some($crate::setting::range_text(&range))
    }};
    (@range_check $type:ty) => { None };
    (@range_check $type:ty, $range:expr) => {
        Some(&|value: &$type| {
            let range: std::ops::RangeInclusive<$type> = $range;
            (!range.contains(value)).then(|| $crate::setting::range_text(&range))
        })
    };
}

pub fn range_text<T: Value>(range: &std::ops::RangeInclusive<T>) -> String {
    format!("{} to {}", range.start().write().replace('"', ""), range.end().write().replace('"', ""))
}
