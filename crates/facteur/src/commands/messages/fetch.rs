//! What is known of messages, and messages themselves.

use super::fields::{Content, Field};
use super::{Fetch, SearchArguments};
use crate::cli::Globals;
use crate::mail::{Person, Post, meant, query};
use crate::query::plain_guid;
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

/// How records look in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// `field: value`, a line each, and a form feed behind each message
    Pager,
    /// `field=value field=value`, a line each message
    Flow,
    /// Values with tabs between them, below a line of names
    Tab,
}

impl SearchArguments {
    pub fn run(&self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let query = query(&self.query)?;
        Post::open(globals, &self.whose)?.each(false, |post, person, account| {
            meant(post, person, account, &query, |post, mailbox, _, found| {
                let id = mailbox.mailbox_id()?;
                let guid = plain_guid(&id);
                for (_, uid) in found {
                    let value = json!({ "user": person.name, "mailbox": mailbox.name().as_str(), "mailbox-guid": guid, "uid": uid });
                    post.screen.row(&person.name, value, &format!("{guid} {uid}"));
                }
                Ok(())
            })
        })
    }
}

impl Fetch {
    pub fn run(&self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (fields, query) = (Field::parse_all(&self.fields)?, query(&self.query)?);
        let mut post = Post::open(globals, &self.whose)?;
        if self.format == Format::Tab && !post.screen.json {
            let names: Vec<String> = fields.iter().map(ToString::to_string).collect();
            post.screen.raw(format!("{}\n", names.join("\t")).as_bytes());
        }
        post.each(false, |post, person, account| {
            meant(post, person, account, &query, |post, mailbox, snapshot, found| {
                for (number, uid) in found {
                    let Some((_, message)) = snapshot.find(uid) else { continue };
                    let content = Content::new(&post.config, &person.name, mailbox, snapshot, message, number);
                    let values: mailstore::Result<Vec<(&Field, super::fields::Value)>> =
                        fields.iter().map(|field| Ok((field, content.value(field)?))).collect();
                    match values {
                        Ok(values) => self.show(post, person, &values),
                        // removed meanwhile
                        Err(mailstore::Error::Expunged) => {}
                        Err(error) => {
                            let place = format!("{}: message with UID {uid}", mailbox.name());
                            post.screen.failed(&person.name, &anyhow::Error::new(error).context(place));
                        }
                    }
                }
                Ok(())
            })
        })
    }

    fn show(&self, post: &mut Post, person: &Person, values: &[(&Field, super::fields::Value)]) {
        if post.screen.json {
            let row: Map<String, Value> = values.iter().map(|(field, value)| (field.to_string(), value.json())).collect();
            return post.screen.row(&person.name, row.into(), "");
        }
        let mut out = Vec::new();
        for (index, (field, value)) in values.iter().enumerate() {
            match self.format {
                Format::Pager => {
                    out.extend_from_slice(format!("{field}:{}", if value.is_long() { "\n" } else { " " }).as_bytes());
                    value.write(&mut out);
                    if !out.ends_with(b"\n") {
                        out.push(b'\n');
                    }
                }
                Format::Flow => {
                    out.extend_from_slice(if index > 0 { b" " } else { b"" });
                    out.extend_from_slice(format!("{field}=").as_bytes());
                    value.write_escaped(&mut out);
                }
                Format::Tab => {
                    out.extend_from_slice(if index > 0 { b"\t" } else { b"" });
                    value.write_escaped(&mut out);
                }
            }
        }
        out.extend_from_slice(if self.format == Format::Pager { b"\x0c\n" } else { b"\n" });
        post.screen.raw(&out);
    }
}
