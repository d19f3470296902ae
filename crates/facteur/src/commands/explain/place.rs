//! Where a setting is written: file and line.

use config::Config;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The places of all settings that the files name: `section.key`.
pub(crate) struct Places(HashMap<String, String>);

impl Places {
    /// Reads the files that the settings came from. One that cannot be read any more has no places.
    pub(crate) fn read(config: &Config) -> Places {
        let mut files = vec![config.file.clone()];
        let mut extra: Vec<PathBuf> = std::fs::read_dir(config.directory().join("conf.d"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .collect();
        extra.sort();
        files.append(&mut extra);
        let mut places = HashMap::new();
        // Later files win.
        for file in files {
            if let Ok(text) = std::fs::read_to_string(&file) {
                scan(&file, &text, &mut places);
            }
        }
        Places(places)
    }

    /// The place of `setting`, which a service may have of its own; empty when it has its default.
    pub(crate) fn find(&self, service: &str, setting: &str) -> String {
        if setting.is_empty() {
            return String::new();
        }
        let sections = [format!("smtpd.service.{service}"), "smtpd".into(), "routing".into(), "outbound".into(), String::new()];
        let found = sections.iter().find_map(|section| self.0.get(&format!("{section}.{setting}")));
        found.cloned().unwrap_or_default()
    }
}

/// Settings stand at the beginning of a line, in our files and in all that people write.
fn scan(file: &Path, text: &str, places: &mut HashMap<String, String>) {
    let mut section = String::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name) {
            // Elements of a list that stand alone on a line have quotes.
            if !name.contains(['"', '\'', ',']) {
                section = name.trim_matches(['[', ' ']).to_owned();
            }
            continue;
        }
        let Some((key, _)) = line.split_once('=') else { continue };
        let key = key.trim();
        if !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
            places.insert(format!("{section}.{key}"), format!("{}:{}", file.display(), number + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_where_they_stand() {
        let mut places = HashMap::new();
        let text = "myorigin = \"x\"\n[smtpd]\n# mynetworks = []\nmynetworks = [\n  \"10.0.0.0/8\",\n]\n[smtpd.service.submission]\nmynetworks = []\n";
        scan(Path::new("/a"), text, &mut places);
        scan(Path::new("/b"), "[routing]\ntransport_maps = [\"inline:{a=b}\"]\n[smtpd]\nmynetworks = []\n", &mut places);
        let places = Places(places);
        for (service, setting, want) in [
            ("smtp", "mynetworks", "/b:4"),
            ("submission", "mynetworks", "/a:8"),
            ("smtp", "transport_maps", "/b:2"),
            ("smtp", "myorigin", "/a:1"),
            ("smtp", "relayhost", ""),
        ] {
            assert_eq!(places.find(service, setting), want, "{service} {setting}");
        }
    }
}
