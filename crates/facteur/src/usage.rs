//! Wrong arguments that clap cannot see.

/// Ends the command with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(String);

impl Usage {
    pub fn error(text: impl Into<String>) -> anyhow::Error {
        Usage(text.into()).into()
    }
}
