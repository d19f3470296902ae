//! The types a setting can have, how each is written in TOML, and the checks that belong to the type.

use crate::report::Source;
use mail_types::{Domain, Secret};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// A type that a setting can have.
pub trait Value: Sized + Clone + PartialEq {
    /// What the documentation calls it, with its unit where it has one.
    fn kind() -> String;

    /// Reads it; a fault is noted in `source` and gives `None`.
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<Self>;

    /// As TOML text, such that `read` gives the same value.
    fn write(&self) -> String;
}

fn wrong<T>(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>, want: &str, hint: Option<String>) -> Option<T> {
    source.fault(Some(value.span().start), format!("{name}: this must be {want}, not {}", shown(value.get_ref())), hint);
    None
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(s) => quote(s),
        DeValue::Integer(i) => i.as_str().to_owned(),
        DeValue::Float(f) => f.as_str().to_owned(),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Datetime(d) => d.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// A TOML basic string.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Value for bool {
    fn kind() -> String {
        "true or false".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<bool> {
        match value.get_ref() {
            DeValue::Boolean(b) => Some(*b),
            DeValue::String(s) if **s == *"yes" || **s == *"no" => {
                let hint = format!("write {} without quotes", *s == "yes");
                wrong(value, name, source, "true or false", Some(hint))
            }
            _ => wrong(value, name, source, "true or false", None),
        }
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    fn kind() -> String {
        "number".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<u32> {
        let number = value.get_ref().as_integer().and_then(|i| u32::from_str_radix(i.as_str(), i.radix()).ok());
        match number {
            Some(n) => Some(n),
            None => wrong(value, name, source, "a whole number from 0 on", None),
        }
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn kind() -> String {
        "text".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<String> {
        match value.get_ref().as_str() {
            Some(s) if !s.contains(['\0', '\r']) => Some(s.to_owned()),
            Some(_) => wrong(value, name, source, "a text without NUL or CR", None),
            None => wrong(value, name, source, "a text in quotes", None),
        }
    }
    fn write(&self) -> String {
        quote(self)
    }
}

impl Value for Secret {
    fn kind() -> String {
        "text (secret: never shown)".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<Secret> {
        match value.get_ref().as_str() {
            Some(s) => Some(Secret::new(s)),
            None => {
                source.fault(Some(value.span().start), format!("{name}: this must be a text in quotes"), None);
                None
            }
        }
    }
    fn write(&self) -> String {
        if self.reveal().is_empty() { "\"\"".into() } else { "\"<secret>\"".into() }
    }
}

/// Where something is asked, with the name and perhaps the password to log in with; the password is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The same without the password.
    pub fn shown(&self) -> String {
        match self.password() {
            Some(password) => format!("{}<secret>{}", &self.0[..password.start], &self.0[password.end..]),
            None => self.0.clone(),
        }
    }

    /// Where the password stands, if there is one.
    pub fn password(&self) -> Option<std::ops::Range<usize>> {
        let begin = self.0.find("://")? + 3;
        // an @ in a password should be %40; what stands before the last one is hidden in any case
        let end = begin + self.0[begin..].rfind('@')?;
        let colon = begin + self.0[begin..end].find(':')?;
        (colon + 1 < end).then_some(colon + 1..end)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl std::ops::Deref for SecretUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SecretUrl {
    fn from(text: &str) -> SecretUrl {
        SecretUrl(text.to_owned())
    }
}

impl Value for SecretUrl {
    fn kind() -> String {
        "text (a password in it is never shown)".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<SecretUrl> {
        match value.get_ref().as_str() {
            Some(s) if !s.contains(char::is_control) => Some(SecretUrl(s.to_owned())),
            _ => {
                source.fault(Some(value.span().start), format!("{name}: this must be a text in quotes"), None);
                None
            }
        }
    }
    fn write(&self) -> String {
        quote(&self.shown())
    }
}

impl Value for PathBuf {
    fn kind() -> String {
        "path (relative ones start from the folder of the settings file)".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<PathBuf> {
        let text = String::read(value, name, source)?;
        if text.is_empty() {
            return Some(PathBuf::new());
        }
        Some(absolute(source, &text))
    }
    fn write(&self) -> String {
        quote(&self.to_string_lossy())
    }
}

/// `text` as a path, relative to the folder of the settings file; `..` in front is resolved by text, so that
/// `../spool` reads well in messages.
fn absolute(source: &Source<'_>, text: &str) -> PathBuf {
    let mut path = source.directory().to_owned();
    let mut rest = text;
    if !text.starts_with('/') {
        while let Some(after) = rest.strip_prefix("../") {
            path.pop();
            rest = after.trim_start_matches('/');
        }
    }
    path.join(rest)
}

impl Value for Domain {
    fn kind() -> String {
        "domain name".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<Domain> {
        match value.get_ref().as_str().map(Domain::parse) {
            Some(Ok(domain)) => Some(domain),
            Some(Err(error)) => wrong(value, name, source, "a domain name", Some(error.to_string())),
            None => wrong(value, name, source, "a domain name in quotes", None),
        }
    }
    fn write(&self) -> String {
        quote(self.as_str())
    }
}

// Units as Postfix and Dovecot write them, the largest first.
const UNITS: [(&str, u64); 5] = [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

impl Value for Duration {
    fn kind() -> String {
        "duration (`ms`, `s`, `m`, `h`, `d`, `w`)".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<Duration> {
        let parsed = value.get_ref().as_str().and_then(|text| {
            let split = text.find(|c: char| !c.is_ascii_digit())?;
            let number: u64 = text[..split].parse().ok()?;
            let unit = text[split..].trim();
            let millis = if unit == "ms" { 1 } else { UNITS.iter().find(|(u, _)| *u == unit)?.1 };
            number.checked_mul(millis).filter(|ms| *ms <= 100 * 366 * 86_400_000)
        });
        match parsed {
            Some(millis) => Some(Duration::from_millis(millis)),
            None => wrong(value, name, source, "a duration such as \"300s\", \"5m\", \"2h\" or \"5d\"", None),
        }
    }
    fn write(&self) -> String {
        let millis = self.as_millis() as u64;
        if millis == 0 {
            return "\"0s\"".into();
        }
        match UNITS.iter().find(|(_, size)| millis.is_multiple_of(*size)) {
            Some((unit, size)) => format!("\"{}{unit}\"", millis / size),
            None => format!("\"{millis}ms\""),
        }
    }
}

/// A number of bytes, written `"50M"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(pub u64);

impl Size {
    pub const fn kib(n: u64) -> Size {
        Size(n << 10)
    }
    pub const fn mib(n: u64) -> Size {
        Size(n << 20)
    }
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl Value for Size {
    fn kind() -> String {
        "size in bytes (`K`, `M`, `G` times 1024)".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<Size> {
        let bytes = match value.get_ref() {
            DeValue::Integer(i) => u64::from_str_radix(i.as_str(), i.radix()).ok(),
            DeValue::String(text) => {
                let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
                let shift = match text[split..].trim() {
                    "" | "B" => Some(0),
                    "K" | "KiB" => Some(10),
                    "M" | "MiB" => Some(20),
                    "G" | "GiB" => Some(30),
                    "T" | "TiB" => Some(40),
                    _ => None,
                };
                shift.and_then(|shift| text[..split].parse::<u64>().ok()?.checked_mul(1 << shift))
            }
            _ => None,
        };
        match bytes.filter(|b| *b <= 1 << 60) {
            Some(bytes) => Some(Size(bytes)),
            None => wrong(value, name, source, "a size such as \"50M\", \"256K\" or a number of bytes", None),
        }
    }
    fn write(&self) -> String {
        for (unit, shift) in [("T", 40), ("G", 30), ("M", 20), ("K", 10)] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return format!("\"{}{unit}\"", self.0 >> shift);
            }
        }
        self.0.to_string()
    }
}

/// Where a daemon listens or connects: an IP address with a port, or a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Endpoint {
    /// Gives the relative path of a Unix socket the folder it starts in.
    pub fn start_in(&mut self, folder: &std::path::Path) {
        if let Endpoint::Unix(path) = self {
            *path = folder.join(&*path);
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "{address}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `port` on every address: a socket bound to `[::]` takes IPv4 too.
pub fn on_all_addresses(port: u16) -> Vec<Endpoint> {
    vec![Endpoint::Tcp((std::net::Ipv6Addr::UNSPECIFIED, port).into())]
}

impl Value for Endpoint {
    fn kind() -> String {
        "endpoint (`address:port`, or `unix:path`, where a relative path starts in `run_directory`)".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<Endpoint> {
        let text = String::read(value, name, source)?;
        if let Some(path) = text.strip_prefix("unix:").filter(|p| !p.is_empty()) {
            return Some(Endpoint::Unix(path.into()));
        }
        let text = text.strip_prefix("inet:").unwrap_or(&text);
        // `*:25` listens on every address of both families.
        let text = text.strip_prefix("*:").map(|port| format!("[::]:{port}")).unwrap_or_else(|| text.to_owned());
        match text.parse() {
            Ok(address) => Some(Endpoint::Tcp(address)),
            Err(_) => {
                let hint = "\"0.0.0.0:25\", \"[::]:25\", \"127.0.0.1:2525\", \"*:25\" (all addresses), or \"unix:/run/facteur/auth\"";
                wrong(value, name, source, "an address with a port, or a Unix socket", Some(hint.into()))
            }
        }
    }
    fn write(&self) -> String {
        quote(&self.to_string())
    }
}

impl<T: Value> Value for Vec<T> {
    fn kind() -> String {
        format!("list of {}", T::kind())
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<Vec<T>> {
        match value.get_ref().as_array() {
            // Every element is read, so that every fault is told.
            Some(items) => {
                let read: Vec<Option<T>> = items.iter().map(|item| T::read(item, name, source)).collect();
                read.into_iter().collect()
            }
            None => {
                let hint = value.get_ref().as_str().map(|s| {
                    let items: Vec<String> = s.split(',').map(str::trim).filter(|s| !s.is_empty()).map(quote).collect();
                    format!("write [{}]", items.join(", "))
                });
                wrong(value, name, source, "a list in [ ]", hint)
            }
        }
    }
    fn write(&self) -> String {
        format!("[{}]", self.iter().map(Value::write).collect::<Vec<_>>().join(", "))
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    fn kind() -> String {
        format!("table of name = {}", T::kind())
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<Self> {
        match value.get_ref().as_table() {
            Some(table) => {
                let read: Vec<Option<(String, T)>> = table
                    .iter()
                    .map(|(key, item)| Some((key.get_ref().to_string(), T::read(item, &format!("{name}.{}", key.get_ref()), source)?)))
                    .collect();
                read.into_iter().collect()
            }
            None => wrong(value, name, source, "a table", None),
        }
    }
    fn write(&self) -> String {
        let items: Vec<String> = self.iter().map(|(key, value)| format!("{} = {}", quote(key), value.write())).collect();
        format!("{{ {} }}", items.join(", "))
    }
}

/// Makes an enum whose variants are written as texts; documentation and error messages list them.
#[macro_export]
macro_rules! choices {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl $crate::value::Value for $name {
            fn kind() -> String {
                [$(concat!("`", $text, "`")),+].join(" or ")
            }
            fn read(value: &toml::Spanned<toml::de::DeValue<'_>>, name: &str, source: &mut $crate::report::Source<'_>) -> Option<Self> {
                let texts = [$($text),+];
                match value.get_ref().as_str() {
                    $(Some($text) => Some($name::$variant),)+
                    other => {
                        let hint = other.and_then(|word| $crate::report::nearest(word, texts.into_iter())).map(|near| format!("did you mean \"{near}\"?"));
                        source.fault(Some(value.span().start), format!("{name}: this must be one of {}", texts.join(", ")), hint);
                        None
                    }
                }
            }
            fn write(&self) -> String {
                $crate::value::quote(self.as_str())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_the_password_is_never_shown() {
        for (url, shown) in [
            ("mysql://u:pw@h/db", "mysql://u:<secret>@h/db"),
            ("mysql://u:p@w@h/db", "mysql://u:<secret>@h/db"),
            ("mysql://u:p:w@h:3306/db", "mysql://u:<secret>@h:3306/db"),
            ("mysql://u@h:3306/db", "mysql://u@h:3306/db"),
            ("mysql://h:3306/db", "mysql://h:3306/db"),
            ("sqlite:/path", "sqlite:/path"),
            ("", ""),
        ] {
            let url = SecretUrl::from(url);
            assert_eq!((url.shown().as_str(), url.write(), format!("{url:?}")), (shown, quote(shown), quote(shown)));
        }
    }
    use std::path::Path;

    fn read<T: Value>(text: &str) -> Result<T, String> {
        let document = format!("k = {text}");
        let table = toml::de::DeTable::parse(&document).expect("test TOML");
        let mut source = Source::new(Path::new("/etc/facteur/facteur.toml"), &document);
        let value = table.get_ref().get("k").expect("k");
        T::read(value, "k", &mut source).ok_or_else(|| source.into_problems()[0].message.clone())
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, want) in [("\"300s\"", 300_000), ("\"5m\"", 300_000), ("\"2h\"", 7_200_000), ("\"5d\"", 432_000_000), ("\"20ms\"", 20)] {
            assert_eq!(read::<Duration>(text), Ok(Duration::from_millis(want)), "{text}");
        }
        for text in ["300", "\"300\"", "\"s\"", "\"-1s\"", "\"5 y\"", "\"99999999999999999999s\"", "true"] {
            assert!(read::<Duration>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_take_a_unit_or_bytes() {
        for (text, want) in [("51200000", 51_200_000), ("\"50M\"", 52_428_800), ("\"256K\"", 262_144), ("0", 0)] {
            assert_eq!(read::<Size>(text), Ok(Size(want)), "{text}");
        }
        for text in ["\"50X\"", "-1", "\"\"", "1.5", "\"99999999999G\""] {
            assert!(read::<Size>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn endpoints_are_addresses_or_unix_sockets() {
        assert_eq!(read::<Endpoint>("\"127.0.0.1:25\"").map(|e| e.to_string()), Ok("127.0.0.1:25".into()));
        assert_eq!(read::<Endpoint>("\"*:25\"").map(|e| e.to_string()), Ok("[::]:25".into()));
        assert_eq!(read::<Endpoint>("\"unix:auth\""), Ok(Endpoint::Unix("auth".into())));
        for text in ["\"25\"", "\"localhost:25\"", "\"unix:\"", "25"] {
            assert!(read::<Endpoint>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        for d in [0, 1, 1500, 60_000, 90_000, 432_000_000] {
            let d = Duration::from_millis(d);
            assert_eq!(read::<Duration>(&d.write()), Ok(d));
        }
        for s in [0, 1, 1000, 1024, 50 << 20] {
            assert_eq!(read::<Size>(&Size(s).write()), Ok(Size(s)));
        }
        let text = "a \"q\" \\ \n é\u{7}".to_owned();
        assert_eq!(read::<String>(&text.write()), Ok(text));
        let list = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(read::<Vec<String>>(&list.write()), Ok(list));
    }

    #[test]
    fn a_text_where_a_list_belongs_says_how_to_write_it() {
        let document = "k = \"a, b\"";
        let table = toml::de::DeTable::parse(document).expect("test TOML");
        let mut source = Source::new(Path::new("/f"), document);
        assert!(Vec::<String>::read(table.get_ref().get("k").expect("k"), "k", &mut source).is_none());
        assert_eq!(source.into_problems()[0].hint.as_deref(), Some("write [\"a\", \"b\"]"));
    }
}
