//! Addresses of `virtual_mailbox_maps` that no user database knows: smtpd takes their mail, and deliver returns it.

use config::Config;
use ipc::userdb::UserdbClient;
use std::time::Duration;
use tables::{Context, Table, split_list};

/// Of each table so many addresses are asked for, spread over all of it.
const SAMPLE: usize = 100;
const SHOWN: usize = 5;
const DEADLINE: Duration = Duration::from_secs(1);

/// Warnings, a line each. Asks authd; says nothing where it is not running, as before a first start. Tables in databases are authd's own.
pub fn warnings(config: &Config, context: &Context) -> Vec<String> {
    let text = config.expand(&config.routing.virtual_mailbox_maps.join(", "));
    let tables = split_list(&text).into_iter().filter_map(|spec| Table::open(spec, context).ok());
    let samples: Vec<_> = tables.filter_map(|table| Some((table.spec().to_owned(), sample(table.entries()?)))).collect();
    if samples.iter().all(|(_, names)| names.is_empty()) {
        return Vec::new();
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let userdb = UserdbClient::with_deadline(config.socket("userdb"), DEADLINE);
    samples.into_iter().filter_map(|(spec, names)| runtime.block_on(warning(&userdb, &spec, names))).collect()
}

async fn warning(userdb: &UserdbClient, spec: &str, names: Vec<String>) -> Option<String> {
    let count = names.len();
    let strangers = strangers(userdb, names).await.filter(|strangers| !strangers.is_empty())?;
    let shown = strangers.iter().take(SHOWN).map(|name| mail_types::printable(name).to_string()).collect::<Vec<_>>().join(", ");
    let others = if strangers.len() > SHOWN { ", …" } else { "" };
    Some(format!(
        "routing.virtual_mailbox_maps: {spec}: {} of {count} addresses that were looked at are unknown to the user database, \
         so that mail for them is taken and then returned: {shown}{others}",
        strangers.len()
    ))
}

/// Addresses of single mailboxes, `@domain` is none.
fn sample(entries: Vec<(String, String)>) -> Vec<String> {
    let names = entries.into_iter().map(|(key, _)| key).filter(|key| key.find('@').is_some_and(|at| at > 0));
    let names: Vec<String> = names.collect();
    let step = names.len().div_ceil(SAMPLE).max(1);
    names.into_iter().step_by(step).collect()
}

/// Those that there is no account for. `None`: the user database does not answer.
async fn strangers(userdb: &UserdbClient, names: Vec<String>) -> Option<Vec<String>> {
    let mut unknown = Vec::new();
    for name in names {
        if userdb.ask(&name, "lmtp").await.ok()?.is_none() {
            unknown.push(name);
        }
    }
    Some(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    /// A user database that knows names with an `a` in front.
    fn serve(listener: UnixListener) {
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut writer = stream.try_clone().expect("clone");
                let _ = writer.write_all(b"VERSION\t1\t1\nSPID\t1\n");
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let words: Vec<&str> = line.split('\t').collect();
                    let answer = match words[..] {
                        ["USER", id, name, ..] if name.starts_with('a') => format!("USER\t{id}\t{name}\thome=/home/{name}\n"),
                        ["USER", id, ..] => format!("NOTFOUND\t{id}\n"),
                        _ => continue,
                    };
                    let _ = writer.write_all(answer.as_bytes());
                }
            }
        });
    }

    #[test]
    fn addresses_without_an_account_are_told_where_the_user_database_answers() {
        let dir = tempfile::tempdir().expect("folder");
        let many: String = (0..1000).map(|n| format!("zoe{n}@x.org zoe{n}/\n")).collect();
        std::fs::write(dir.path().join("mailboxes"), "ann@x.org ann/\nbob@x.org bob/\n@y.org all/\n").expect("table");
        std::fs::write(dir.path().join("many"), many).expect("table");
        let file = dir.path().join("facteur.toml");
        let text = "hostname = \"mx.test\"\nrun_directory = \"run\"\n[routing]\n\
            virtual_mailbox_maps = [\"hash:mailboxes\", \"static:x\", \"accounts:mailboxes\", \"hash:many\"]\n";
        let config = Config::from_texts(&file, &[(file.clone(), text.to_owned())]).expect("settings");
        let context = Context::local(dir.path());
        assert!(warnings(&config, &context).is_empty(), "nobody answers");
        std::fs::create_dir(dir.path().join("run")).expect("folder");
        serve(UnixListener::bind(config.socket("userdb")).expect("bind"));
        let told = warnings(&config, &context);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("hash:mailboxes: 1 of 2 addresses") && told[0].ends_with("returned: bob@x.org"), "{}", told[0]);
        assert!(told[1].contains("hash:many: 100 of 100 addresses") && told[1].ends_with(", …"), "{}", told[1]);
    }
}
