//! COMPRESS (RFC 4978). The compression itself begins behind the answer, in `commands::run`.

use crate::answer::Answer;
use crate::session::Session;

pub fn run(session: &mut Session, algorithm: &str) -> Answer {
    if algorithm != "DEFLATE" {
        return Answer::bad("Unknown compression algorithm");
    }
    if session.connection.wire.is_deflated() {
        return Answer::bad("COMPRESS is active already");
    }
    // RFC 4978 §3: nothing may follow before the answer. What does could be read either way.
    if !session.connection.machine.is_drained() {
        return Answer::bad("Nothing may follow COMPRESS before its answer");
    }
    Answer::ok("DEFLATE active")
}
