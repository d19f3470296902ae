//! Mailboxes in one file each (RFC 4155), as mutt, Thunderbird, Python and Dovecot's `mbox` write them.
//!
//! A message begins with a line `From SENDER DATE` and a field below it; without a date, or with other text below, the line is text, which mutt does not
//! quote. Others do, `>From `, and of that one `>` goes (mboxrd; what mboxo quoted comes out right, too). `Content-Length` is not believed: where
//! it is wrong it would take mail from the next message, or make one of what somebody wrote. What programs keep in the header for themselves is taken for what it means, and
//! goes: `Status`, `X-Status`, `X-Keywords`, and `X-UID`, `X-IMAP`, `X-IMAPbase`, `Content-Length`.
//!
//! A file of any size is read line by line, and of a long line a piece at a time.

use jiff::civil;
use jiff::tz::{Offset, TimeZone};
use mailstore::{FlagSet, Flags, is_valid_keyword};
use std::io::{BufRead, Read as _, Result};

/// Of a longer line a piece at a time is read.
const LINE_BYTES: u64 = 64 << 10;

/// Of a longer header the rest is taken for text.
const HEADER_BYTES: usize = 1 << 20;

/// Keywords that one message can bring along.
const MOST_KEYWORDS: usize = 100;

/// Fields that are no part of the message.
const OWN_FIELDS: [&str; 7] = ["Status", "X-Status", "X-Keywords", "X-UID", "X-IMAP", "X-IMAPbase", "Content-Length"];

/// The begin of a message; its text comes with [`Reader::text`].
pub struct Head {
    pub flags: FlagSet,
    /// When it was delivered, seconds since 1970, where the file tells.
    pub date: Option<i64>,
    /// The header without fields that only belong to the file, and the empty line.
    pub header: Vec<u8>,
}

/// The messages of a file, one after the other.
pub struct Reader<R> {
    input: R,
    /// Where dates have no time zone.
    zone: TimeZone,
    line: Vec<u8>,
    /// `line` begins a line, and was not a piece of one.
    is_begin: bool,
    /// `line` is to be looked at once more.
    is_again: bool,
    /// The line behind it, when that was looked at.
    ahead: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    /// `InvalidData` when the file does not begin as a mbox does; one without a byte is a mailbox without messages.
    pub fn new(input: R, zone: TimeZone) -> Result<Reader<R>> {
        let mut reader = Reader { input, zone, line: b"\n".to_vec(), is_begin: true, is_again: false, ahead: None };
        while reader.next_line()? && is_empty(&reader.line) {}
        if !reader.line.is_empty() && !reader.line.starts_with(b"From ") {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "this is no mbox: it does not begin with a line From"));
        }
        reader.is_again = true;
        Ok(reader)
    }

    /// The next message; the one before has to be read to its end.
    pub fn message(&mut self) -> Result<Option<Head>> {
        while self.next_line()? {
            let date = date(&self.line, &self.zone);
            // of a line that is too long
            while !self.line.ends_with(b"\n") && self.next_line()? {}
            let header = self.header()?;
            if message::find(&header, "X-IMAP").is_none() {
                let flags = flags(&header);
                let is_own = |name: &[u8]| OWN_FIELDS.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()));
                let header = match header.len() < HEADER_BYTES {
                    true => message::pick(&header, |name| !is_own(name)).into_owned(),
                    // there is more of it
                    false => header,
                };
                return Ok(Some(Head { flags, date, header }));
            }
            // where programs keep what is known of the mailbox: no message
            self.text(|_| Ok::<(), std::io::Error>(()))?;
        }
        Ok(None)
    }

    fn header(&mut self) -> Result<Vec<u8>> {
        let mut header = Vec::new();
        while header.len() < HEADER_BYTES && self.next_line()? {
            if self.begins_message(false)? {
                self.is_again = true;
                break;
            }
            header.extend_from_slice(&self.line);
            if self.is_begin && is_empty(&self.line) {
                break;
            }
        }
        Ok(header)
    }

    /// The text of the message, in pieces.
    pub fn text<E: From<std::io::Error>>(
        &mut self,
        mut write: impl FnMut(&[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        // the last empty line stands between messages
        let mut held: Option<Vec<u8>> = None;
        while self.next_line()? {
            if self.begins_message(held.is_some())? {
                self.is_again = true;
                return Ok(());
            }
            if let Some(empty) = held.take() {
                write(&empty)?;
            }
            let quotes = self.line.iter().take_while(|byte| **byte == b'>').count();
            match self.is_begin {
                true if is_empty(&self.line) => held = Some(self.line.clone()),
                true if quotes > 0 && self.line[quotes..].starts_with(b"From ") => write(&self.line[1..])?,
                _ => write(&self.line)?,
            }
        }
        Ok(())
    }

    /// Behind an empty line it may be a message without a header, too.
    fn begins_message(&mut self, is_behind_empty: bool) -> Result<bool> {
        if !self.is_begin || !self.line.starts_with(b"From ") || date(&self.line, &self.zone).is_none() {
            return Ok(false);
        }
        let ahead = match self.ahead.take() {
            Some(ahead) => ahead,
            None => {
                let mut ahead = Vec::new();
                self.input.by_ref().take(LINE_BYTES).read_until(b'\n', &mut ahead)?;
                ahead
            }
        };
        let name = ahead.iter().take_while(|byte| byte.is_ascii_graphic() && **byte != b':').count();
        let is_field = name > 0 && ahead.get(name) == Some(&b':');
        let is_nothing = ahead.is_empty() || is_empty(&ahead);
        self.ahead = Some(ahead);
        Ok(is_field || is_behind_empty && is_nothing)
    }

    /// False at the end.
    fn next_line(&mut self) -> Result<bool> {
        if std::mem::take(&mut self.is_again) {
            return Ok(!self.line.is_empty());
        }
        self.is_begin = self.line.ends_with(b"\n");
        if let Some(ahead) = self.ahead.take() {
            self.line = ahead;
            return Ok(!self.line.is_empty());
        }
        self.line.clear();
        self.input.by_ref().take(LINE_BYTES).read_until(b'\n', &mut self.line)?;
        Ok(!self.line.is_empty())
    }
}

fn is_empty(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// `Status: RO` and `X-Status: AFDT`, as all programs have them, and Dovecot's `X-Keywords`.
fn flags(header: &[u8]) -> FlagSet {
    let value = |name| message::find(header, name).map(|field| field.text()).unwrap_or_default();
    let letters = value("Status") + &value("X-Status");
    let known = [('R', Flags::SEEN), ('A', Flags::ANSWERED), ('F', Flags::FLAGGED), ('D', Flags::DELETED), ('T', Flags::DRAFT)];
    let flags = known.iter().filter(|(letter, _)| letters.contains(*letter)).fold(Flags::NONE, |flags, (_, flag)| flags | *flag);
    let keywords = value("X-Keywords");
    let keywords = keywords.split_whitespace().filter(|name| is_valid_keyword(name)).take(MOST_KEYWORDS).map(str::to_owned).collect();
    FlagSet { flags, keywords }
}

/// The date in a line `From SENDER Mon Nov 23 11:00:00 2026`, seconds since 1970. A sender may have spaces; some programs write the zone in front of
/// the year or behind it, leave out the seconds, or have something behind it all.
fn date(line: &[u8], zone: &TimeZone) -> Option<i64> {
    let line = String::from_utf8_lossy(&line[..line.len().min(1000)]);
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    (1..words.len()).rev().filter(|at| days.iter().any(|day| words[*at].trim_end_matches(',').eq_ignore_ascii_case(day))).find_map(|at| {
        let [month, day, time] = [1, 2, 3].map(|n| words.get(at + n).copied().unwrap_or_default());
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = months.iter().position(|name| name.eq_ignore_ascii_case(month))? + 1;
        let mut clock = time.split(':').map(|number| number.parse::<i8>().ok());
        let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next().unwrap_or(Some(0))?);
        let behind = words.get(at + 4..)?.iter().take(3);
        let year = behind.clone().find(|word| word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit()))?;
        let zone = behind.clone().find_map(|word| offset(word)).unwrap_or_else(|| zone.clone());
        let moment = civil::DateTime::new(year.parse().ok()?, month as i8, day.parse().ok()?, hour, minute, second.min(59), 0).ok()?;
        moment.to_zoned(zone).ok().map(|moment| moment.timestamp().as_second())
    })
}

/// `+0100`, `GMT`; of other names nobody knows what they mean.
fn offset(word: &str) -> Option<TimeZone> {
    if matches!(word, "GMT" | "UTC" | "UT" | "Z") {
        return Some(TimeZone::UTC);
    }
    let sign = if word.starts_with('-') { -1 } else { 1 };
    let digits = word.strip_prefix(['+', '-']).filter(|digits| digits.len() == 4)?;
    let number: i32 = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
    Some(TimeZone::fixed(Offset::from_seconds(sign * (number / 100 * 3600 + number % 100 * 60)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Found {
        flags: FlagSet,
        date: Option<i64>,
        text: String,
    }

    fn read(text: &[u8]) -> Vec<Found> {
        // a small buffer, so that lines are cut
        let mut reader = Reader::new(std::io::BufReader::with_capacity(7, text), TimeZone::UTC).expect("a mbox");
        let mut all = Vec::new();
        while let Some(head) = reader.message().expect("read") {
            let mut text = head.header;
            let written: std::io::Result<()> = reader.text(|piece| {
                text.extend_from_slice(piece);
                Ok(())
            });
            written.expect("read");
            all.push(Found { flags: head.flags, date: head.date, text: String::from_utf8(text).expect("text") });
        }
        all
    }

    fn texts(text: &str) -> Vec<String> {
        read(text.as_bytes()).into_iter().map(|found| found.text).collect()
    }

    const FROM: &str = "From ann@x.test Mon Nov 23 11:00:00 2026\n";

    #[test]
    fn messages_are_cut_at_lines_with_a_date_only() {
        for (text, want) in [
            (String::new(), vec![]),
            ("\n".to_owned(), vec![]),
            (format!("{FROM}S: 1\n\na\n\n{FROM}S: 2\n\nb\n\n"), vec!["S: 1\n\na\n", "S: 2\n\nb\n"]),
            // an empty line of the text stays, only the one between messages goes
            (format!("{FROM}S: 1\n\na\n\n\n{FROM}S: 2\n\n"), vec!["S: 1\n\na\n\n", "S: 2\n\n"]),
            // nothing between them, nor at the end
            (format!("{FROM}S: 1\n\na\n{FROM}S: 2\n\nb"), vec!["S: 1\n\na\n", "S: 2\n\nb"]),
            (format!("{FROM}S: 1\n{FROM}S: 2\n\n"), vec!["S: 1\n\r\n", "S: 2\n\n"]),
            (format!("{FROM}S: 1\n\nFrom here on\n\nFrom Mon to Sun\n"), vec!["S: 1\n\nFrom here on\n\nFrom Mon to Sun\n"]),
            // what mutt leaves as it is
            (format!("{FROM}S: 1\n\na\n{FROM}b\n\n{FROM}\n"), vec!["S: 1\n\na\nFrom ann@x.test Mon Nov 23 11:00:00 2026\nb\n", "\n"]),
            (format!("{FROM}S: 1\r\n\r\na\r\n\r\n{FROM}S: 2\r\n\r\n"), vec!["S: 1\r\n\r\na\r\n", "S: 2\r\n\r\n"]),
            // the first needs no date
            ("From \nS: 1\n\na\n".to_owned(), vec!["S: 1\n\na\n"]),
        ] {
            assert_eq!(texts(&text), want, "{text:?}");
        }
        for text in ["S: 1\n\nFrom x\n", "\0", "From: x\n"] {
            let error = Reader::new(text.as_bytes(), TimeZone::UTC).err().expect(text);
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn quoted_lines_lose_one_quote_and_content_length_is_not_believed() {
        let text = format!(
            "{FROM}Content-Length: 100000\nS: 1\n >From folded\n\n>From a\n>>From b\n> From c\n>Fromage\nx >From d\n\n{FROM}Content-Length: 0\nS: 2\n\nb\n"
        );
        assert_eq!(texts(&text), ["S: 1\n >From folded\n\nFrom a\n>From b\n> From c\n>Fromage\nx >From d\n", "S: 2\n\nb\n"]);
    }

    #[test]
    fn fields_of_the_file_are_flags_and_no_part_of_the_message() {
        let text = format!(
            "{FROM}X-IMAP: 1795431600 0000000002\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n\nThis is no message\n\n\
             {FROM}Status: RO\nx-status: AF\nX-Keywords: $Forwarded NonJunk bad( \\\\Seen                  \nX-UID: 5\nSubject: x\n\nStatus: text\n\n\
             {FROM}X-IMAPbase: 1 2\nStatus: O\nX-Status: DT\n\n"
        );
        let found = read(text.as_bytes());
        let seen: Vec<(Flags, usize)> = found.iter().map(|found| (found.flags.flags, found.flags.keywords.len())).collect();
        assert_eq!(seen, [(Flags::SEEN | Flags::ANSWERED | Flags::FLAGGED, 2), (Flags::DELETED | Flags::DRAFT, 0)]);
        assert_eq!(found[0].flags.keywords, ["$Forwarded", "NonJunk"]);
        assert_eq!(found[0].text, "Subject: x\n\nStatus: text\n");
        assert_eq!(found[1].text, "\n");
    }

    #[test]
    fn dates_are_read_as_programs_write_them() {
        let utc = 1_795_431_600;
        for (line, want) in [
            ("From ann@x.test Mon Nov 23 11:00:00 2026\n", Some(utc)),
            ("From ann@x.test  Mon Nov 23 11:00 2026\n", Some(utc)),
            ("From - Mon Nov 23 11:00:00 2026\r\n", Some(utc)),
            ("From ann at x.test  Mon Nov 23 11:00:00 2026\n", Some(utc)),
            ("From MAILER-DAEMON Mon Nov  9 11:00:00 2026\n", Some(utc - 14 * 86_400)),
            ("From 179@xxx Mon Nov 23 12:00:00 +0100 2026\n", Some(utc)),
            ("From ann@x.test Mon Nov 23 03:30:00 2026 -0730\n", Some(utc)),
            ("From ann@x.test Mon Nov 23 11:00:00 GMT 2026\n", Some(utc)),
            ("From ann Mon Nov 23 11:00:00 2026 remote from x\n", Some(utc)),
            ("From Mon Mon Nov 23 11:00:00 2026\n", Some(utc)),
            ("From ann@x.test Mon Nov 31 11:00:00 2026\n", None),
            ("From ann@x.test Mon Nov 23 25:00:00 2026\n", None),
            ("From ann@x.test Mon Nov 23 2026\n", None),
            ("From \n", None),
            ("From ann@x.test\n", None),
        ] {
            assert_eq!(date(line.as_bytes(), &TimeZone::UTC), want, "{line}");
        }
        let cet = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(date(b"From a Mon Nov 23 12:00:00 2026", &cet), Some(utc));
        assert_eq!(read(FROM.as_bytes())[0].date, Some(utc));
    }

    /// Lines that are longer than what is read at once, in the text, in the header, and where a message begins.
    #[test]
    fn long_lines_are_read_in_pieces() {
        let long = "x".repeat(3 * LINE_BYTES as usize / 2);
        let piece = "x".repeat(LINE_BYTES as usize);
        let text = format!("{FROM}S: {long}\n\n{long}\n{piece}From ann@x.test Mon Nov 23 11:00:00 2026\n{piece}\n\n{FROM}S: 2\n\n");
        let found = texts(&text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], format!("S: {long}\n\n{long}\n{piece}From ann@x.test Mon Nov 23 11:00:00 2026\n{piece}\n"));
        let many = format!("{FROM}{}\nb\n", "A: 1\n".repeat(HEADER_BYTES / 4));
        assert_eq!(texts(&many)[0].len(), many.len() - FROM.len());
    }
}
