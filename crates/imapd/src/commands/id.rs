//! ID (RFC 2971): who we are; who the client is goes to the log.

use crate::answer::Answer;

pub fn run(out: &mut Vec<u8>, fields: &[(String, Option<String>)]) -> Answer {
    let told: Vec<String> = fields
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", value.as_deref()?)))
        .map(|field| mail_types::printable(&field))
        .collect();
    if !told.is_empty() {
        tracing::info!(client = told.join(" "), "client identified itself");
    }
    out.extend_from_slice(b"* ID (\"name\" \"Facteur\")\r\n");
    Answer::ok("ID completed")
}
