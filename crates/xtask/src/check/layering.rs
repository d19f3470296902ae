//! Which crate may use which: the order of docs/overview.md, and libraries that are confined to few places.

use crate::tools;
use serde_json::Value;
use std::collections::BTreeMap;

/// Our crates, the lowest first. A crate uses crates of the lines above its own, and nothing of its own line.
const LAYERS: [&[&str]; 12] = [
    &["mail-types"],
    &["message", "smtp-proto", "pop3-proto", "sasl"],
    &["imap-proto"],
    &["passwords"],
    &["config"],
    &["ipc"],
    &["daemon", "durable"],
    &["tables", "dns", "spool", "mailstore", "sendmail"],
    &["routing", "policy", "outbound"],
    PROGRAMS,
    &["testkit"],
    &["e2e", "xtask"],
];

const PROGRAMS: &[&str] = &["smtpd", "qmgr", "deliver", "imapd", "pop3d", "authd", "facteur"];

/// Machines and grammars that fuzzers and tests run as they are.
const PURE: [&str; 6] = ["mail-types", "message", "smtp-proto", "imap-proto", "pop3-proto", "sasl"];
const IMPURE: [&str; 6] = ["tokio", "nix", "libc", "socket2", "mio", "config"];

/// Libraries, and the crates that may use them.
const CONFINED: [(&str, &[&str]); 6] = [
    ("bincode", &["ipc"]),
    ("rustls-pemfile", &["daemon"]),
    ("rustls", &["authd", "daemon", "outbound", "testkit", "e2e", "xtask"]),
    ("tokio-rustls", &["authd", "daemon", "outbound", "testkit"]),
    ("rustls-webpki", &["outbound"]),
    ("sqlx", &["tables", "authd"]),
];

/// Who must not use whom although the order would allow it: each keeps something easy, see docs/overview.md.
const APART: [(&str, &[&str]); 7] = [
    ("smtpd", &["mailstore", "sasl", "outbound"]),
    ("qmgr", &["mailstore", "policy"]),
    ("deliver", &["spool", "outbound", "routing", "policy", "dns", "tables"]),
    ("imapd", &["spool", "tables", "outbound", "routing", "policy", "dns"]),
    ("pop3d", &["spool", "tables", "outbound", "routing", "policy", "dns"]),
    ("authd", &["spool", "mailstore", "message", "outbound", "policy"]),
    // Setgid: little code, and no other program's.
    ("sendmail", &["tokio", "daemon", "durable", "ipc"]),
];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Dependency {
    name: String,
    optional: bool,
}

/// What is against the rules, a sentence each.
pub fn problems() -> anyhow::Result<Vec<String>> {
    let text = tools::output(tools::cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    Ok(judge(&uses(&serde_json::from_str(&text)?)))
}

/// The dependencies of each of our crates, without those of tests.
fn uses(metadata: &Value) -> BTreeMap<String, Vec<Dependency>> {
    let mut uses = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let dependencies = package["dependencies"].as_array().into_iter().flatten().filter(|d| d["kind"].is_null());
        let dependencies =
            dependencies.map(|d| Dependency { name: text(&d["name"]), optional: d["optional"].as_bool().unwrap_or(false) }).collect();
        uses.insert(text(&package["name"]), dependencies);
    }
    uses
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn judge(uses: &BTreeMap<String, Vec<Dependency>>) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, dependencies) in uses {
        let Some(own) = layer(name) else {
            problems.push(format!("the crate {name} has no place in the layers of crates/xtask/src/check/layering.rs"));
            continue;
        };
        for used in dependencies {
            let program = PROGRAMS.contains(&used.name.as_str());
            match layer(&used.name) {
                Some(_) if program => problems.push(format!("{name} uses the program {}", used.name)),
                Some(below) if below >= own => problems.push(format!("{name} uses {}, which does not stand above it", used.name)),
                _ => {}
            }
            if PURE.contains(&name.as_str()) && IMPURE.contains(&used.name.as_str()) {
                problems.push(format!("{name} is to be pure and uses {}", used.name));
            }
            let apart = APART.iter().any(|(crate_name, others)| crate_name == name && others.contains(&used.name.as_str()));
            if apart {
                problems.push(format!("{name} is to leave {} alone", used.name));
            }
            let confined = CONFINED.iter().find(|(library, _)| *library == used.name);
            if let Some((library, places)) = confined.filter(|(_, places)| !places.contains(&name.as_str())) {
                problems.push(format!("{name} uses {library}, which is confined to {}", places.join(", ")));
            }
            if used.name == "sqlx" && name == "tables" && !used.optional {
                problems.push("tables uses sqlx without a feature: then every daemon would hold database drivers".into());
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_the_order_is_found() {
        for (name, used, want) in [
            ("smtpd", "spool", None),
            ("spool", "durable", None),
            ("spool", "mailstore", Some("does not stand above it")),
            ("mail-types", "config", Some("does not stand above it")),
            ("imapd", "qmgr", Some("uses the program")),
            ("sasl", "tokio", Some("is to be pure")),
            ("imapd", "spool", Some("leave spool alone")),
            ("smtpd", "bincode", Some("confined to ipc")),
            ("facteur", "serde", None),
        ] {
            let dependency = Dependency { name: used.into(), optional: false };
            let found = judge(&BTreeMap::from([(name.to_owned(), vec![dependency])]));
            match want {
                Some(want) => assert!(found.iter().any(|p| p.contains(want)), "{name} uses {used}: {found:?}"),
                None => assert!(found.is_empty(), "{name} uses {used}: {found:?}"),
            }
        }
    }
}
