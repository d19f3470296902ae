//! `etc/facteur.toml` and `docs/settings.md`, made from the declarations, so that neither can forget a setting.

use crate::setting::{Key, Section};
use crate::smtpd::Listener;
use std::fmt::Write;

/// The sample settings file: every key at its default, commented out, with its text.
pub fn sample_toml() -> String {
    let mut out = String::from(
        "# Settings of Facteur. Every key is here at its default; take the # away to change one.\n\
         # Then: facteur config check, and facteur reload. Files conf.d/*.toml beside this one are read after it and win.\n\
         # Durations: \"300s\", \"5m\", \"2h\", \"5d\". Sizes: \"50M\", \"256K\". Relative paths start from the folder of this file.\n",
    );
    for (name, doc, keys) in crate::sections() {
        let _ = writeln!(out);
        if !name.is_empty() {
            let _ = writeln!(out, "\n[{name}]");
        }
        for line in doc {
            let _ = writeln!(out, "#{line}");
        }
        for key in &keys {
            write_sample_key(&mut out, key);
        }
        if name == "smtpd" {
            let _ = writeln!(out, "\n# [smtpd.service.NAME]");
            for line in Listener::DOC {
                let _ = writeln!(out, "#{line}");
            }
            for key in Listener::keys() {
                write_sample_key(&mut out, &key);
            }
            let mut example = String::new();
            let built_in = crate::Service::built_in(&crate::Smtpd::default());
            for (service, settings) in &built_in {
                let _ = writeln!(example, "\n# [smtpd.service.{service}]");
                for (key, value) in settings.listener.values() {
                    let _ = writeln!(example, "# {key} = {value}");
                }
                for ((key, value), (_, general)) in settings.smtpd.values().into_iter().zip(crate::Smtpd::default().values()) {
                    if value != general {
                        let _ = writeln!(example, "# {key} = {value}");
                    }
                }
            }
            out.push_str(&example);
        }
    }
    out
}

fn write_sample_key(out: &mut String, key: &Key) {
    let _ = writeln!(out);
    for line in &key.doc {
        let _ = writeln!(out, "# {line}");
    }
    let mut facts = vec![key.kind.clone()];
    facts.extend(key.range.iter().map(|r| format!("from {r}")));
    facts.extend(key.was.map(str::to_owned));
    let _ = writeln!(out, "# ({})", facts.join("; "));
    let _ = writeln!(out, "# {} = {}", key.name, key.default);
}

/// The page of all settings.
pub fn settings_page() -> String {
    let mut out = String::from(
        "# Settings\n\nMade from the declarations in `crates/config` by `cargo xtask docs`; a test fails when this page is out of date.\n\n\
         Settings stand in `/etc/facteur/facteur.toml`, then in `conf.d/*.toml` beside it, which win. `facteur config check` tells everything that is\n\
         wrong at once; `facteur config show` prints what is in force, `-n` what differs from the defaults, `-d` the defaults. The column on the right\n\
         has the name that the setting has at Postfix or Dovecot.\n",
    );
    for (name, doc, keys) in crate::sections() {
        let title = if name.is_empty() { "Top of the file".to_owned() } else { format!("`[{name}]`") };
        write_page_section(&mut out, &title, doc, &keys);
        if name == "smtpd" {
            write_page_section(&mut out, "`[smtpd.service.NAME]`", Listener::DOC, &Listener::keys());
        }
    }
    out
}

fn write_page_section(out: &mut String, title: &str, doc: &[&str], keys: &[Key]) {
    let _ = writeln!(out, "\n## {title}\n\n{}\n", doc.iter().map(|l| l.trim()).collect::<Vec<_>>().join(" "));
    let _ = writeln!(out, "| setting | default | type and range | meaning | elsewhere |\n|---|---|---|---|---|");
    for key in keys {
        let range = key.range.as_ref().map(|r| format!(", {r}")).unwrap_or_default();
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(
            out,
            "| `{}` | `{}` | {}{} | {} | {} |",
            key.name,
            cell(&key.default),
            cell(&key.kind),
            range,
            cell(&key.doc.join(" ")),
            key.was.unwrap_or("")
        );
    }
}
