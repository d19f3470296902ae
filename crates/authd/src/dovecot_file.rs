//! What the files of Dovecot's drivers `sql` and `ldap` have in common: their form, and the fields that come of them.

use anyhow::{Context, bail};
use std::collections::HashMap;
use tables::sql::is_true;
use zeroize::Zeroizing;

/// `name = value` lines, `#` before comments; a `\` at its end, or white space before the next one, continues a line.
pub fn settings(text: &str, known: &[&str]) -> anyhow::Result<HashMap<String, Zeroizing<String>>> {
    let mut settings: HashMap<String, Zeroizing<String>> = HashMap::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut line = Zeroizing::new(line.to_owned());
        while line.ends_with('\\') {
            line.pop();
            line.push_str(lines.next().map(|(next, _)| next.trim()).unwrap_or_default());
        }
        let (name, value) = line.split_once('=').with_context(|| format!("line {number} is not of the form name = value"))?;
        if !known.contains(&name.trim()) {
            bail!("line {number}: {} is not known here", mail_types::printable(name.trim()));
        }
        settings.insert(name.trim().to_owned(), Zeroizing::new(value.trim().to_owned()));
    }
    Ok(settings)
}

/// What a query or a directory said of a user: names and values.
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A field that is there counts as set, unless it says no.
    pub fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| is_true(&value.to_ascii_lowercase()))
    }

    /// The fields that a user database would have, from those of a password query; `None` when there are none.
    pub fn prefetched(&self) -> Option<Fields> {
        let named = |(name, value): &(String, String)| Some((name.strip_prefix("userdb_")?.to_owned(), value.clone()));
        let fields: Vec<_> = self.0.iter().filter_map(named).collect();
        (!fields.is_empty()).then_some(Fields(fields))
    }

    /// What is left for the programs that ask the user database, in their words.
    pub fn others(&self) -> impl Iterator<Item = (String, String)> {
        let own = |name: &str| matches!(name, "uid" | "gid" | "home" | "mail" | "user" | "quota");
        let others = self.0.iter().filter(move |(name, _)| !own(name)).cloned();
        others.chain(self.get("quota").and_then(quota_rule).map(|rule| ("quota_rule".to_owned(), rule)))
    }
}

/// The older way to write a limit, of Dovecot 1.0.
fn quota_rule(quota: &str) -> Option<String> {
    let (kind, limit) = quota.split_once(':')?;
    let storage = limit.split(':').find_map(|part| part.strip_prefix("storage="))?;
    match kind {
        // Everybody's example (PostfixAdmin's own too) puts the column here, which is in bytes.
        "dirsize" => Some(format!("*:bytes={storage}")),
        _ => Some(format!("*:storage={storage}")),
    }
}
