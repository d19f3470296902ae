//! What is done to a message before it is queued, as Postfix's cleanup(8) does it: its content is checked by tables of patterns, its addresses
//! get the form that the outside is to see.
//!
//! [`Cleanup::scan`] gives a [`Scan`] that a message goes through piece by piece, whatever its size: it holds back one header field or line at a
//! time. So the cost of a message is bounded: memory by `header_size_limit`, lookups by its lines, of whose bodies only so much is looked at.

mod rewrite;
mod scan;

pub use scan::Scan;

use crate::SetupError;
use mail_types::{Address, EnhancedCode};
pub(crate) use rewrite::Rewriter;
use std::sync::Arc;
use tables::{Context, Maps};

/// The tables and limits of the section `cleanup`.
pub struct Cleanup {
    header: Maps,
    mime: Maps,
    nested: Maps,
    body: Maps,
    body_limit: usize,
    header_limit: usize,
    pub(crate) rewriter: Rewriter,
}

/// What tables said of a message as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// It is not taken: code and text.
    pub reject: Option<(EnhancedCode, String)>,
    pub hold: bool,
    pub discard: bool,
    /// It goes there, and not to its recipients.
    pub redirect: Option<Address>,
    /// It goes to this content filter first: `transport:next hop`.
    pub filter: Option<String>,
    /// Further recipients.
    pub bcc: Vec<Address>,
}

impl Cleanup {
    pub(crate) fn new(config: &config::Config, context: &Context, origin: &mail_types::Domain) -> Result<Cleanup, SetupError> {
        let settings = &config.cleanup;
        let maps = |setting, items: &[String]| {
            let text = items.join(", ").replace("$header_checks", &settings.header_checks.join(", "));
            Maps::open(&config.expand(&text), context).map_err(|source| SetupError::Table { setting, source })
        };
        Ok(Cleanup {
            header: maps("header_checks", &settings.header_checks)?,
            mime: maps("mime_header_checks", &settings.mime_header_checks)?,
            nested: maps("nested_header_checks", &settings.nested_header_checks)?,
            body: maps("body_checks", &settings.body_checks)?,
            body_limit: settings.body_checks_size_limit.0 as usize,
            header_limit: settings.header_size_limit.0 as usize,
            rewriter: Rewriter::new(config, context, origin)?,
        })
    }

    fn checks(&self) -> bool {
        [&self.header, &self.mime, &self.nested, &self.body].into_iter().any(|maps| !maps.is_empty())
    }

    /// The way of one message; `None` when there is nothing to do to any. `own`: its client is one of ours, so that header addresses are rewritten.
    pub fn scan(self: &Arc<Self>, own: bool) -> Option<Scan> {
        let rewrites = own && self.rewriter.changes_headers();
        (self.checks() || rewrites).then(|| Scan::new(self.clone(), rewrites))
    }
}
