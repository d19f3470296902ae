//! `facteur map`: lookup tables, as the daemons see them (postmap).

mod named;

use crate::cli::Globals;
use clap::{Args, Subcommand, ValueEnum};
use config::Config;
use ipc::lookup::LookupClient;
use mail_types::Address;
use serde_json::{Value, json};
use std::io::BufRead as _;
use std::process::ExitCode;
use std::sync::Arc;
use tables::{AddressOrder, Context, Maps, Remote, Step};

/// Ask lookup tables, as the daemons do
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: MapCommand,
}

#[derive(Debug, Subcommand)]
enum MapCommand {
    /// Look a key up; the exit code is 1 when no table has it (as postmap -q)
    ///
    /// Tables are written as in the settings: hash:virtual, regexp:/etc/facteur/rules, accounts:mailboxes, mysql:domains.cf. Several are asked in
    /// order. Tables in databases are answered by authd, and only those that the settings name.
    Query {
        /// The table, or several with commas
        #[arg(value_name = "TABLES")]
        tables: String,
        /// What to look for; `-` reads keys from standard input, one a line
        key: String,
        /// In which order keys are made of it
        #[arg(long = "as", value_enum, default_value_t = Order::Key)]
        order: Order,
        /// Show every question that was asked
        #[arg(long)]
        explain: bool,
    },
    /// Check tables that are files, and compile those of the type cdb (as postmap and newaliases)
    ///
    /// Other tables need no compiling: the daemons read the text, and read it again by themselves when it has changed. A file that is wrong
    /// leaves its last good content in force; this tells beforehand. The exit code is 1 when one is wrong.
    Compile {
        /// Files or tables; a file is a `hash:` table [default: all that the settings name]
        #[arg(value_name = "TABLE")]
        tables: Vec<String>,
    },
    /// List the tables that the settings name, with what they hold
    List,
    /// Print all entries of a table that is a file (as postmap -s)
    Show {
        #[arg(value_name = "TABLE")]
        table: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The key as it is
    Key,
    /// As aliases: user+detail@domain, user@domain, user, @domain
    Address,
    /// As the transport table: user+detail@domain, user@domain, domain, .parent, *
    Transport,
}

pub async fn run(globals: Globals, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = globals.settings()?;
    let context = context(&config);
    match arguments.command {
        MapCommand::Show { table } => {
            let maps = Maps::open(&table, &context)?;
            show(&globals, &maps)
        }
        MapCommand::Compile { tables } => named::compile(&globals, &config, &context, &tables),
        MapCommand::List => named::list(&globals, &config, &context),
        MapCommand::Query { tables, key, order, explain } => {
            let maps = Maps::open(&tables, &context)?;
            if maps.is_empty() {
                anyhow::bail!("no table is named");
            }
            let keys = if key == "-" { std::io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()? } else { vec![key] };
            query(&globals, &config, &maps, &keys, order, explain).await
        }
    }
}

/// Where tables are opened, as a daemon does.
pub(crate) fn context(config: &Config) -> Context {
    Context::new(config.directory(), remote(config))
}

/// Tables that authd answers for.
pub(crate) fn remote(config: &Config) -> Arc<dyn Remote> {
    let client = LookupClient::new(config.socket("lookup"));
    tables::remote(move |table: String, key: String| {
        let client = client.clone();
        async move { client.ask(&table, &key).await.map_err(|error| error.to_string()) }
    })
}

fn show(globals: &Globals, maps: &Maps) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    for table in maps.tables() {
        match table.entries() {
            Some(entries) => all.extend(entries),
            None => anyhow::bail!("{} cannot list its entries", table.spec()),
        }
    }
    if globals.json {
        let entries: Vec<Value> = all.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        println!("{}", serde_json::to_string_pretty(&entries)?);
    } else {
        all.iter().for_each(|(key, value)| println!("{key}\t{value}"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn query(globals: &Globals, config: &Config, maps: &Maps, keys: &[String], order: Order, explain: bool) -> anyhow::Result<ExitCode> {
    let mut missing = keys.is_empty();
    let mut answers = Vec::new();
    for key in keys {
        let steps = ask(config, maps, key, order).await?;
        let last = steps.iter().find(|step| !matches!(step.answer, Ok(None)));
        if explain && !globals.json {
            steps.iter().for_each(|step| println!("{step}"));
        }
        match last.map(|step| &step.answer) {
            Some(Ok(Some((value, _)))) if globals.json => answers.push(answer(key, Some(value), &steps)),
            Some(Ok(Some((value, _)))) if keys.len() > 1 => println!("{key}\t{value}"),
            Some(Ok(Some((value, _)))) if !explain => println!("{value}"),
            Some(Err(why)) => anyhow::bail!("{why}"),
            Some(Ok(_)) => {}
            None => {
                missing = true;
                if globals.json {
                    answers.push(answer(key, None, &steps));
                } else if keys.len() == 1 && !explain {
                    // Why not: what was asked. Standard output stays empty, as with postmap -q.
                    eprintln!("facteur: nothing is found for {}", mail_types::printable(key));
                    steps.iter().for_each(|step| eprintln!("    {}", mail_types::printable(&step.to_string())));
                }
            }
        }
    }
    if globals.json {
        println!("{}", serde_json::to_string_pretty(&answers)?);
    }
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn ask(config: &Config, maps: &Maps, key: &str, order: Order) -> anyhow::Result<Vec<Step>> {
    let address = || Address::parse(key).map_err(|error| anyhow::anyhow!("{key}: {error}"));
    let delimiters = &config.routing.recipient_delimiter;
    Ok(match order {
        Order::Key => maps.explain(key).await,
        Order::Address => {
            let address = address()?;
            // As for names of this host, so that a bare user is found too.
            maps.explain_address(&address, AddressOrder { delimiters, bare: true, catch_all: true }).await
        }
        Order::Transport => maps.explain_transport(&address()?, delimiters).await,
    })
}

fn answer(key: &str, value: Option<&str>, steps: &[Step]) -> Value {
    let steps: Vec<Value> = steps.iter().filter(|s| !s.skipped).map(|s| json!({ "table": s.table, "key": s.key })).collect();
    json!({ "key": key, "value": value, "asked": steps })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(table: &str) -> (tempfile::TempDir, Globals, Config) {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("facteur.toml");
        std::fs::write(&file, "hostname = \"mx.test\"\n").expect("write");
        std::fs::write(dir.path().join("virtual"), table).expect("write");
        let globals = Globals { config: Some(file), ..Globals::default() };
        let config = globals.settings().expect("settings");
        (dir, globals, config)
    }

    async fn code(table: &str, key: &str, order: Order) -> String {
        let (_dir, globals, config) = world(table);
        let maps = Maps::open("hash:virtual", &context(&config)).expect("table");
        format!("{:?}", query(&globals, &config, &maps, &[key.to_owned()], order, false).await.expect("answer"))
    }

    #[tokio::test]
    async fn the_exit_code_tells_whether_there_is_a_value() {
        let table = "ann@x.org bob@y.org\n@z.org all@y.org\n";
        let (found, missing) = (format!("{:?}", ExitCode::SUCCESS), format!("{:?}", ExitCode::FAILURE));
        assert_eq!(code(table, "ann@x.org", Order::Key).await, found);
        assert_eq!(code(table, "ann+tag@x.org", Order::Key).await, missing);
        assert_eq!(code(table, "ann@z.org", Order::Address).await, found);
        assert_eq!(code(table, "ann@z.org", Order::Key).await, missing);
    }

    #[tokio::test]
    async fn a_partner_that_is_missing_is_no_answer() {
        let (_dir, globals, config) = world("");
        let maps = Maps::open("accounts:mailboxes", &context(&config)).expect("table");
        assert!(query(&globals, &config, &maps, &["a@b".to_owned()], Order::Key, false).await.is_err());
    }
}
