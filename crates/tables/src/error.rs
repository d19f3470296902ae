use std::path::{Path, PathBuf};

/// Why a table cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification itself is wrong.
    #[error("{spec}: {why}")]
    Spec { spec: String, why: String },
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// A line of the file is wrong.
    #[error("{}:{line}: {why}", path.display())]
    Line { path: PathBuf, line: u32, why: String },
}

impl Error {
    pub(crate) fn spec(spec: &str, why: impl Into<String>) -> Error {
        Error::Spec { spec: spec.into(), why: why.into() }
    }

    pub(crate) fn line(path: &Path, line: u32, why: impl Into<String>) -> Error {
        Error::Line { path: path.into(), line, why: why.into() }
    }
}

/// The table cannot tell now: a temporary failure for whoever depends on the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("table {table} is unavailable: {why}")]
pub struct Unavailable {
    pub table: String,
    pub why: String,
}
