//! The memory of `check_greylist` from one start to the next, and the commands that show and clear it.
//!
//! `smtpd/greylist` in `state_directory` is text, as `policy::greylist::Seen::to_text` has it. It is replaced as a whole (a file beside it, synced,
//! renamed) every few minutes when something has changed, and at the end. A crash costs what came since: those clients wait once more.

use daemon::Context;
use policy::greylist::{Line, Seen};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often it is written.
const EVERY: Duration = Duration::from_secs(300);

/// Reads the file, if there is one; keeps it up to date; answers `greylist.list` and `greylist.clear`. Blocks on the disk.
pub(crate) fn start(ctx: &Context) -> Arc<Seen> {
    let config = ctx.config.get();
    let seen = Arc::new(Seen::new(config.greylist.entries as usize));
    let path = file(&config);
    read(&path, &seen);
    let (keeping, mut ticks) = (seen.clone(), tokio::time::interval(EVERY));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::spawn(async move {
        loop {
            ticks.tick().await;
            let (seen, path) = (keeping.clone(), path.clone());
            // A failure is logged there.
            let _ = tokio::task::spawn_blocking(move || write(&path, &seen)).await;
        }
    });
    let asked = seen.clone();
    ctx.control.fact("greylist", move || {
        let (waiting, passed, clients) = asked.counts();
        format!("{waiting} wait, {passed} passed, {clients} clients")
    });
    let asked = seen.clone();
    ctx.control.on("greylist.list", move |text: String| {
        let lines: Vec<_> = asked.lines().into_iter().filter(|line| has(line, &text)).map(shown).collect();
        async move { serde_json::to_vec(&lines).map_err(|error| error.to_string()) }
    });
    let asked = seen.clone();
    ctx.control.on("greylist.clear", move |text: String| {
        let forgotten = asked.forget(|line| has(line, &text));
        tracing::info!(forgotten, text = %mail_types::printable(&text), "greylist cleared by command");
        async move { Ok::<_, String>(json!({ "forgotten": forgotten }).to_string()) }
    });
    seen
}

/// Where it is kept.
pub(crate) fn file(config: &config::Config) -> PathBuf {
    config.smtpd_state().join("greylist")
}

/// Whether the client, sender or recipient of a line has this text; the empty text is in all.
fn has(line: &Line, text: &str) -> bool {
    let text = text.trim().to_lowercase();
    [&line.client, &line.sender, &line.recipient].into_iter().any(|part| part.contains(&text))
}

fn shown(line: Line) -> serde_json::Value {
    json!({
        "state": line.state,
        "client": line.client,
        "sender": line.sender,
        "recipient": line.recipient,
        "seconds": line.seconds,
        "successes": line.successes,
    })
}

fn read(path: &Path, seen: &Seen) {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => return tracing::warn!(path = %path.display(), %error, "the greylist cannot be read; it begins anew"),
    };
    match seen.read(&text) {
        Ok(0) => {}
        Ok(lines) => tracing::warn!(path = %path.display(), lines, "the greylist has lines that cannot be read; they are passed over"),
        Err(why) => tracing::warn!(path = %path.display(), why, "the greylist cannot be read; it begins anew"),
    }
}

/// Writes it when something has changed. A failure costs only what it would have remembered.
pub(crate) fn write(path: &Path, seen: &Seen) {
    let Some(text) = seen.to_text() else { return };
    if let Err(error) = replace(path, text.as_bytes()) {
        tracing::warn!(path = %path.display(), %error, "the greylist cannot be written; it is lost at the next start");
    }
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let fresh = path.with_extension("new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_survives_a_restart_and_a_damaged_file() {
        let folder = testkit::temp_dir();
        let path = folder.path().join("smtpd/greylist");
        let read_again = || {
            let seen = Seen::new(10);
            read(&path, &seen);
            seen
        };
        assert_eq!(read_again().counts(), (0, 0, 0));
        let seen = Seen::new(10);
        seen.read("facteur-greylist 1\nwaiting\t7\t192.0.2.0/24\tann@here.test\ta@x.test\n").expect("read");
        write(&path, &seen);
        assert!(!path.exists(), "nothing has changed");
        assert_eq!(seen.forget(|line| line.sender == "b@x.test"), 0);
        let times = policy::greylist::Times { delay_seconds: 1, window_seconds: 9, max_age_seconds: 9, client_successes: 0 };
        let recipient = mail_types::Address::parse("ann@here.test").expect("address");
        seen.ask(8, "192.0.2.9".parse().expect("ip"), None, &recipient, "+", &times);
        write(&path, &seen);
        assert_eq!(read_again().counts(), (2, 0, 0));
        // A crash in the middle leaves the new file beside the old one; a torn one is read as far as it goes.
        std::fs::write(path.with_extension("new"), "facteur-grey").expect("write");
        assert_eq!(read_again().counts(), (2, 0, 0));
        let whole = std::fs::read(&path).expect("file");
        std::fs::write(&path, &whole[..whole.len() - 70]).expect("write");
        assert!(read_again().counts().0 >= 1);
        std::fs::write(&path, "something else\n").expect("write");
        assert_eq!(read_again().counts(), (0, 0, 0));
    }
}
