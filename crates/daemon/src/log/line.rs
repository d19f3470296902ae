//! How a line is put together and what is escaped in it.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::Level;

/// ` key=` or `,"key":`.
pub fn key(out: &mut String, name: &str, json: bool) {
    if json {
        out.push_str(",\"");
        out.push_str(name);
        out.push_str("\":");
    } else {
        out.push(' ');
        out.push_str(name);
        out.push('=');
    }
}

/// A value as text: in JSON always a string; else in quotes only where it has to be.
pub fn value(out: &mut String, value: fmt::Arguments<'_>, json: bool) {
    let start = out.len();
    if json {
        out.push('"');
        let _ = Escaping { out, json: true }.write_fmt(value);
        out.push('"');
        return;
    }
    let _ = Escaping { out, json: false }.write_fmt(value);
    let text = &out[start..];
    if text.is_empty() || text.bytes().any(|b| matches!(b, b' ' | b'"' | b'=')) {
        let quoted = text.replace('"', "\\\"");
        out.truncate(start);
        out.push('"');
        out.push_str(&quoted);
        out.push('"');
    }
}

/// What sd-daemon(3) has before a line for the journal.
pub fn journal_priority(out: &mut String, level: Level) {
    out.push_str(match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    });
}

/// The whole line with its LF.
pub fn assemble(out: &mut String, program: &str, level: Level, message: &str, fields: &str, json: bool, with_time: bool) {
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    if json {
        out.push_str("{\"time\":\"");
        push_time(out);
        for (name, text) in [("\",\"program\":\"", program), ("\",\"level\":\"", level), ("\",\"message\":\"", message)] {
            out.push_str(name);
            // Writing to a String does not fail.
            let _ = Escaping { out, json: true }.write_str(text);
        }
        out.push('"');
        out.push_str(fields);
        out.push_str("}\n");
        return;
    }
    if with_time {
        push_time(out);
        out.push(' ');
        out.push_str(program);
        out.push(' ');
    }
    out.push_str(level);
    out.push(' ');
    let _ = Escaping { out, json: false }.write_str(message);
    out.push_str(fields);
    out.push('\n');
}

/// RFC 3339 with microseconds and the local offset. The text of a second is made once.
fn push_time(out: &mut String) {
    thread_local! {
        static SECOND: RefCell<(u64, String, String)> = const { RefCell::new((u64::MAX, String::new(), String::new())) };
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text, offset)| {
        if *second != now.as_secs() {
            *second = now.as_secs();
            let time = jiff::Timestamp::from_second(now.as_secs() as i64).unwrap_or_default().to_zoned(zone());
            *text = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            *offset = time.strftime("%:z").to_string();
        }
        out.push_str(text);
        let _ = write!(out, ".{:06}", now.subsec_micros());
        out.push_str(offset);
    });
}

fn zone() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::system()
}

/// Writes text so that it stays on its line and leaves terminals alone.
struct Escaping<'a> {
    out: &'a mut String,
    json: bool,
}

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            let quote = self.json && (c == '"' || c == '\\');
            if !quote && !is_hostile(c) {
                continue;
            }
            self.out.push_str(&text[plain..at]);
            plain = at + c.len_utf8();
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                c if self.json => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(self.out, "\\u{unit:04x}")?;
                    }
                }
                c => write!(self.out, "\\u{{{:x}}}", c as u32)?,
            }
        }
        self.out.push_str(&text[plain..]);
        Ok(())
    }
}

// Control characters, line and paragraph separators, and marks that turn the direction of what follows.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_place() {
        for (input, text, json) in [
            ("plain", "plain", "\"plain\""),
            ("two words", "\"two words\"", "\"two words\""),
            ("", "\"\"", "\"\""),
            ("a=b", "\"a=b\"", "\"a=b\""),
            ("say \"hi\"", "\"say \\\"hi\\\"\"", "\"say \\\"hi\\\"\""),
            ("a\r\nforged line", "\"a\\r\\nforged line\"", "\"a\\r\\nforged line\""),
            ("\u{1b}[31m", "\\u{1b}[31m", "\"\\u001b[31m\""),
            ("\u{202e}x\u{85}", "\\u{202e}x\\u{85}", "\"\\u202ex\\u0085\""),
            ("back\\slash", "back\\slash", "\"back\\\\slash\""),
            ("élan", "élan", "\"élan\""),
        ] {
            let mut out = String::new();
            value(&mut out, format_args!("{input}"), false);
            assert_eq!(out, text, "{input:?}");
            out.clear();
            value(&mut out, format_args!("{input}"), true);
            assert_eq!(out, json, "{input:?}");
        }
    }

    #[test]
    fn a_line_has_time_program_level_message_and_fields() {
        let mut out = String::new();
        assemble(&mut out, "smtpd", Level::INFO, "received", " a=1", false, true);
        let (time, rest) = out.split_once(' ').expect("time");
        assert_eq!(rest, "smtpd info received a=1\n");
        assert!(time.len() == "2026-11-22T15:07:40.123456+01:00".len() && time.as_bytes()[10] == b'T', "{time}");
        out.clear();
        assemble(&mut out, "smtpd", Level::WARN, "a \"b\"\n", ",\"c\":1", true, true);
        assert!(
            out.ends_with(",\"program\":\"smtpd\",\"level\":\"warn\",\"message\":\"a \\\"b\\\"\\n\",\"c\":1}\n".trim_start_matches(',')),
            "{out}"
        );
    }
}
