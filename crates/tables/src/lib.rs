//! Lookup tables, written and searched as Postfix does it.
//!
//! A table is named by a specification `type:name`. One asynchronous question, [`Table::lookup`], serves all types:
//!
//! | type | what |
//! |---|---|
//! | `hash:` `texthash:` `btree:` `dbm:` `lmdb:` | a text file `key whitespace value` ([`mod@text`]); no compiled database beside it is needed or read |
//! | `cdb:` | `FILE.cdb` ([`mod@cdb`], by `facteur map compile cdb:FILE` or `postmap`), of which nothing is kept in memory: for tables of millions of lines; where there is none, the text as above |
//! | `regexp:` `pcre:` | a text file of `/pattern/flags result`, tried in order ([`pattern`]) |
//! | `cidr:` | a text file of `network/length result`, tried in order ([`cidr`]) |
//! | `inline:{ key=value, … }` | the pairs themselves |
//! | `static:value` | the same value for every key |
//! | `fail:` | temporary failure for every key |
//! | `unix:passwd.byname` `unix:group.byname` | `/etc/passwd`, `/etc/group` |
//! | `unionmap:{a, b}` `pipemap:{a, b}` `randmap:{x, y}` | all answers joined; each answer the next question; one of the texts |
//! | `socketmap:inet:host:port:name` `socketmap:unix:/path:name` `tcp:host:port` | a server, asked with a deadline |
//! | `accounts:` `mysql:` `pgsql:` `sqlite:` | asked of a [`Remote`], which is `authd` |
//! | `proxy:` before any of them | taken and ignored: there is nothing to share between processes here |
//!
//! Text files are read again by themselves when they changed (looked at once a second at most). A file that became
//! unreadable or wrong leaves the last good content in force and says so in the log; at start it is an [`Error`].
//!
//! "Not there" and "cannot tell" are different answers: `Ok(None)` and [`Unavailable`]. Nothing here turns the second
//! into the first.

mod asked;
pub mod cdb;
pub mod cidr;
mod compound;
mod error;
mod list;
mod maps;
pub mod order;
pub mod pattern;
mod remote;
mod spec;
#[cfg(feature = "sql")]
pub mod sql;
mod table;
pub mod text;
mod watched;

pub use error::{Error, Unavailable};
pub use list::{DomainList, NetworkList};
pub use maps::{AddressFound, AddressOrder, Found, Maps, Step, Told};
pub use remote::{NoRemote, Remote, RemoteFuture, remote};
pub use spec::{split_list, split_words};
pub use table::{Context, Format, Table};

#[cfg(test)]
mod any_text {
    use proptest::prelude::*;
    use std::path::Path;

    // Tables are written by hand: whatever stands in a file gives a table or an error with a line.
    proptest! {
        #[test]
        fn no_text_brings_a_parser_down(text in "[ -~\\t\\nÀ-ÿ]{0,120}", key in "[ -~]{0,30}") {
            let path = Path::new("t");
            if let Ok(table) = crate::text::parse_table(path, &text) {
                table.get(&key);
            }
            let _ = crate::text::parse_aliases(path, &text);
            if let Ok(patterns) = crate::pattern::Patterns::parse(path, &text) {
                patterns.find(&key);
            }
            let _ = crate::cidr::Networks::parse(path, &text);
            let _ = crate::cidr::Network::parse(&key);
            crate::split_list(&text);
            let _ = crate::DomainList::open(&key.replace('/', ""), false, &crate::Context::local("/nonexistent"));
        }

        #[test]
        fn pattern_lines_of_any_shape_are_read_or_refused(
            lines in prop::collection::vec(prop_oneof![
                Just("endif".to_owned()),
                "(if )?!?/[a-z.*()$\\[\\]]{0,6}/[imsx]{0,2}".prop_map(|s| s),
                "!?/[a-z.*()]{0,6}/[imsx]{0,2} [a-z$0-3{}()]{0,8}".prop_map(|s| s),
            ], 0..8),
            key in "[a-z@.]{0,12}",
        ) {
            if let Ok(patterns) = crate::pattern::Patterns::parse(Path::new("p"), &lines.join("\n")) {
                patterns.find(&key);
            }
        }
    }
}
