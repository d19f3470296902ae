use std::fmt;

/// What decided: setting, table, key and answer, for logs and `facteur map query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub setting: &'static str,
    /// The table, item or host that answered, and what it said; empty when the setting alone decided.
    pub detail: String,
}

impl Reason {
    pub fn new(setting: &'static str, detail: impl Into<String>) -> Reason {
        Reason { setting, detail: detail.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.setting)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}
