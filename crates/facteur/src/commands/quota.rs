//! `facteur quota`: what accounts hold, and may hold.

use crate::cli::Globals;
use crate::mail::{Person, Post, Whose};
use mailstore::Quota;
use serde_json::json;
use std::process::ExitCode;

/// What accounts hold, and may hold
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: QuotaCommand,
}

#[derive(Debug, clap::Subcommand)]
enum QuotaCommand {
    /// Show it
    Get {
        #[command(flatten)]
        whose: Whose,
    },
    /// Count it anew, message by message
    Recalc {
        #[command(flatten)]
        whose: Whose,
    },
}

pub fn run(globals: &Globals, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        QuotaCommand::Get { whose } => Post::open(globals, whose)?.each(false, |post, person, account| {
            show(post, person, &account.quota()?);
            Ok(())
        }),
        QuotaCommand::Recalc { whose } => Post::open(globals, whose)?.each(false, |post, person, account| {
            let quota = account.recount_quota()?;
            post.tell_usage(person, account);
            show(post, person, &quota);
            Ok(())
        }),
    }
}

fn show(post: &mut Post, person: &Person, quota: &Quota) {
    let value = json!({
        "user": person.name,
        "bytes": quota.bytes,
        "bytes_limit": (quota.bytes_limit > 0).then_some(quota.bytes_limit),
        "messages": quota.messages,
        "messages_limit": (quota.messages_limit > 0).then_some(quota.messages_limit),
    });
    let of = |used: u64, limit: u64, shown: fn(u64) -> String| match limit {
        0 => shown(used),
        limit => format!("{} of {} ({}%)", shown(used), shown(limit), used.saturating_mul(100) / limit),
    };
    let storage = of(quota.bytes, quota.bytes_limit, crate::table::bytes);
    let messages = of(quota.messages, quota.messages_limit, |number| number.to_string());
    post.screen.row(&person.name, value, &format!("storage {storage}, messages {messages}"));
}
