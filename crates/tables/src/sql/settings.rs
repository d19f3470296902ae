//! The file of an SQL table: `name = value` lines as in Postfix's main.cf.

use super::Kind;
use std::collections::HashMap;

pub(super) struct Settings(HashMap<String, String>);

const KNOWN: &[&str] = &[
    "hosts",
    "user",
    "password",
    "dbname",
    "dbpath",
    "query",
    "result_format",
    "domain",
    "expansion_limit",
    "table",
    "select_field",
    "where_field",
    "additional_conditions",
    "tls_CAfile",
    "tls_cert_file",
    "tls_key_file",
    "tls_verify_cert",
];
/// Names that Postfix knows and that change nothing here, with the values that change nothing.
const PASSED_OVER: &[&str] = &["option_file", "option_group", "idle_interval", "retry_interval", "require_result_set", "charset"];

impl Settings {
    /// A fault comes with its line.
    pub fn parse(text: &str) -> Result<Settings, (u32, String)> {
        let mut values: HashMap<String, String> = HashMap::new();
        let mut last: Option<String> = None;
        for (number, line) in text.lines().enumerate() {
            let number = number as u32 + 1;
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            // A line that begins with white space continues the one before.
            if line.starts_with([' ', '\t']) {
                let Some(value) = last.as_ref().and_then(|name| values.get_mut(name)) else {
                    return Err((number, "continues a line that is not there".into()));
                };
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once('=').ok_or_else(|| (number, "is not of the form name = value".to_owned()))?;
            let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
            if !KNOWN.contains(&name.as_str()) && !PASSED_OVER.contains(&name.as_str()) {
                return Err((number, format!("{} is not known here", mail_types::printable(&name))));
            }
            // What may ask for safety must not be passed over.
            if name == "option_file" && !value.is_empty() {
                return Err((number, format!("{name} is not read here: write its settings into this file")));
            }
            last = Some(name.clone());
            values.insert(name, value);
        }
        Ok(Settings(values))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn number(&self, name: &str) -> Result<usize, String> {
        self.get(name).map_or(Ok(0), |value| value.parse().map_err(|_| format!("{name} is no number")))
    }

    pub fn is_on(&self, name: &str) -> Result<bool, String> {
        let value = self.get(name).unwrap_or("no");
        super::yes_or_no(value).ok_or_else(|| format!("{name} is neither yes nor no"))
    }

    /// The query, or the one that the older settings describe.
    pub fn query(&self, kind: Kind) -> Result<String, String> {
        if let Some(query) = self.get("query") {
            return Ok(query.to_owned());
        }
        match (self.get("select_field"), self.get("table"), self.get("where_field")) {
            (Some(field), Some(table), Some(wanted)) if kind != Kind::Sqlite || !field.is_empty() => {
                Ok(format!("SELECT {field} FROM {table} WHERE {wanted} = '%s' {}", self.get("additional_conditions").unwrap_or_default()))
            }
            _ => Err("has no query".into()),
        }
    }
}

/// The list in `domain`: names only.
pub(super) fn domains(text: &str) -> Result<Vec<String>, String> {
    let items = crate::split_list(text);
    match items.iter().find(|item| item.contains([':', '/', '$'])) {
        Some(item) => Err(format!("domain takes names of domains here, not {item}")),
        None => Ok(items.into_iter().map(str::to_owned).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_continue_and_unknown_names_are_told() {
        let text = "# comment\nuser = a\nquery = SELECT x\n  FROM y\n\tWHERE z = '%s'\n\npassword = p = q\n";
        let Ok(settings) = Settings::parse(text) else { panic!("sound") };
        assert_eq!(settings.get("query"), Some("SELECT x FROM y WHERE z = '%s'"));
        assert_eq!(settings.get("password"), Some("p = q"));
        assert_eq!(Settings::parse("option_file = /etc/my.cnf").err().map(|(line, _)| line), Some(1));
        assert_eq!(Settings::parse("quety = x").err(), Some((1, "quety is not known here".into())));
        assert_eq!(Settings::parse("user").err().map(|(line, _)| line), Some(1));
        assert_eq!(Settings::parse("  x").err().map(|(line, _)| line), Some(1));
        assert_eq!(domains("a.org, b.org"), Ok(vec!["a.org".into(), "b.org".into()]));
        assert!(domains("hash:/etc/x").is_err());
    }
}
