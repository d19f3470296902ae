//! Dates of header fields (RFC 5322 §3.3, obsolete forms §4.3): read with all patience, written strictly.

use crate::lexer::Lexer;
use std::fmt;

/// A moment and the offset of the clock that told it. Shows as `Sun, 22 Nov 2026 15:08:12 +0000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Date {
    unix: i64,
    offset_minutes: i16,
}

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Date {
    /// The moment `unix` seconds after 1970 (years 1 to 9999; beyond, the nearest) with an offset east of UTC,
    /// at most 99 hours and 59 minutes.
    pub fn new(unix: i64, offset_minutes: i16) -> Date {
        let offset_minutes = offset_minutes.clamp(-5999, 5999);
        Date { unix: unix.clamp(-62_135_596_800 + 360_000, 253_402_300_799 - 360_000), offset_minutes }
    }

    /// Parses the value of a Date field. Takes comments anywhere, a missing day name, seconds or zone, two-digit years,
    /// military and named zones, `GMT+1`, a comma or dash where none belongs, the asctime form. `None` for no date at all.
    pub fn parse(value: &[u8]) -> Option<Date> {
        Parsed::read(value)?.date()
    }

    /// Seconds since 1970.
    pub fn unix(&self) -> i64 {
        self.unix
    }

    /// Minutes east of UTC.
    pub fn offset_minutes(&self) -> i16 {
        self.offset_minutes
    }

    /// Year, month (1-12) and day as the writer saw them: what IMAP's SENTON, SENTBEFORE and SENTSINCE compare,
    /// "disregarding time and timezone" (RFC 9051 §6.4.4).
    pub fn day(&self) -> (i32, u8, u8) {
        civil((self.unix + i64::from(self.offset_minutes) * 60).div_euclid(86_400))
    }

    /// As IMAP's INTERNALDATE: `22-Nov-2026 15:08:12 +0000`, the day with a space in front when below 10.
    pub fn imap(&self) -> String {
        let (year, month, day, [hour, minute, second], sign, zone) = self.parts();
        format!("{day:2}-{}-{year:04} {hour:02}:{minute:02}:{second:02} {sign}{zone:04}", MONTHS[usize::from(month) - 1])
    }

    fn parts(&self) -> (i32, u8, u8, [i64; 3], char, u16) {
        let local = self.unix + i64::from(self.offset_minutes) * 60;
        let (year, month, day) = civil(local.div_euclid(86_400));
        let seconds = local.rem_euclid(86_400);
        let sign = if self.offset_minutes < 0 { '-' } else { '+' };
        let offset = self.offset_minutes.unsigned_abs();
        (year, month, day, [seconds / 3600, seconds / 60 % 60, seconds % 60], sign, offset / 60 * 100 + offset % 60)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, [hour, minute, second], sign, zone) = self.parts();
        let local = self.unix + i64::from(self.offset_minutes) * 60;
        // 1 January 1970 was a Thursday.
        let week = (local.div_euclid(86_400) + 4).rem_euclid(7) as usize;
        let month = MONTHS[usize::from(month) - 1];
        write!(f, "{}, {day} {month} {year:04} {hour:02}:{minute:02}:{second:02} {sign}{zone:04}", DAYS[week])
    }
}

// Days since 1970 to the proleptic Gregorian calendar and back (Howard Hinnant's algorithms).
fn civil(days: i64) -> (i32, u8, u8) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    ((yoe + era * 400 + i64::from(month <= 2)) as i32, month as u8, (doy - (153 * mp + 2) / 5 + 1) as u8)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

// What the words of the field said, in whatever order.
#[derive(Default)]
struct Parsed {
    day: Option<i64>,
    month: Option<i64>,
    year: Option<i64>,
    time: Option<[i64; 3]>,
    zone: Option<i16>,
    pm: Option<bool>,
}

impl Parsed {
    fn read(value: &[u8]) -> Option<Parsed> {
        let mut parsed = Parsed::default();
        let mut lexer = Lexer::new(value);
        for _ in 0..32 {
            lexer.skip_cfws();
            match lexer.peek() {
                None => break,
                Some(b',' | b'.' | b'/') => lexer.advance(),
                Some(b'+' | b'-') if parsed.time.is_some() => parsed.offset(&mut lexer),
                Some(b'-') => lexer.advance(),
                Some(b) if b.is_ascii_digit() => parsed.number(&mut lexer)?,
                Some(b) if b.is_ascii_alphabetic() => {
                    let word = lexer.until(|b| !b.is_ascii_alphabetic());
                    parsed.word(word);
                }
                Some(_) => lexer.advance(),
            }
        }
        Some(parsed)
    }

    fn number(&mut self, lexer: &mut Lexer<'_>) -> Option<()> {
        let digits = lexer.until(|b| !b.is_ascii_digit());
        let number = value_of(digits)?;
        let before = lexer.clone();
        lexer.skip_cfws();
        let separator = lexer.peek();
        if separator == Some(b':') || (separator == Some(b'.') && self.year.is_some() && self.time.is_none()) {
            return self.clock(number, lexer, separator?);
        }
        *lexer = before;
        match digits.len() {
            // "20261122" and the like are no dates of mail.
            5.. => return None,
            // ISO 8601, which some programs send: 2026-11-22.
            4 if self.day.is_none() && self.month.is_none() => {
                self.year = Some(number);
                if lexer.eat(b'-') {
                    self.month = Some(value_of(lexer.until(|b| !b.is_ascii_digit()))?);
                    lexer.eat(b'-');
                    self.day = Some(value_of(lexer.until(|b| !b.is_ascii_digit()))?);
                }
            }
            _ if self.day.is_none() => self.day = Some(number),
            _ if self.year.is_none() => {
                // RFC 5322 §4.3: 00-49 is 20xx, 50-99 is 19xx, three digits count from 1900.
                self.year = Some(match (digits.len(), number) {
                    (1 | 2, 0..=49) => 2000 + number,
                    (1..=3, _) => 1900 + number,
                    _ => number,
                });
            }
            _ => {}
        }
        Some(())
    }

    fn clock(&mut self, hour: i64, lexer: &mut Lexer<'_>, separator: u8) -> Option<()> {
        let mut time = [hour, 0, 0];
        for slot in &mut time[1..] {
            let before = lexer.clone();
            lexer.skip_cfws();
            if !lexer.eat(separator) {
                *lexer = before;
                break;
            }
            lexer.skip_cfws();
            *slot = value_of(lexer.until(|b| !b.is_ascii_digit()))?;
        }
        if lexer.peek() == Some(b'.') {
            // Fractions of a second.
            lexer.advance();
            lexer.until(|b| !b.is_ascii_digit());
        }
        self.time = Some(time);
        Some(())
    }

    fn offset(&mut self, lexer: &mut Lexer<'_>) {
        let negative = lexer.peek() == Some(b'-');
        lexer.advance();
        let digits = lexer.until(|b| !b.is_ascii_digit());
        let Some(number) = value_of(digits) else { return };
        let (hours, minutes) = match digits.len() {
            1 | 2 => {
                let minutes = if lexer.eat(b':') { value_of(lexer.until(|b| !b.is_ascii_digit())).unwrap_or(0) } else { 0 };
                (number, minutes)
            }
            3 | 4 => (number / 100, number % 100),
            _ => return,
        };
        let total = (hours * 60 + minutes).min(5999) as i16;
        self.zone = Some(if negative { -total } else { total });
    }

    fn word(&mut self, word: &[u8]) {
        let three = |name: &str| word.len() >= 3 && word[..3].eq_ignore_ascii_case(name.as_bytes());
        if self.month.is_none()
            && let Some(at) = MONTHS.iter().position(|name| three(name))
        {
            self.month = Some(at as i64 + 1);
            return;
        }
        if DAYS.iter().any(|name| three(name)) && self.time.is_none() {
            return;
        }
        if self.time.is_some() && self.zone.is_none() {
            match &*word.to_ascii_uppercase() {
                b"AM" => self.pm = Some(false),
                b"PM" => self.pm = Some(true),
                // ISO 8601's separator never comes after the time; the military T does.
                name => self.zone = Some(zone(name)),
            }
        }
    }

    fn date(self) -> Option<Date> {
        let (year, month, day) = (self.year?, self.month?, self.day?);
        let [mut hour, minute, second] = self.time.unwrap_or_default();
        match self.pm {
            Some(true) if hour < 12 => hour += 12,
            Some(false) if hour == 12 => hour = 0,
            _ => {}
        }
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            1..=12 => 31,
            _ => return None,
        };
        // RFC 5322 §3.3 allows second 60 for leap seconds; 24:00 is seen in the wild.
        if !(1..=9999).contains(&year) || !(1..=length).contains(&day) || hour > 24 || minute > 59 || second > 60 {
            return None;
        }
        let offset = self.zone.unwrap_or(0);
        Some(Date::new(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - i64::from(offset) * 60, offset))
    }
}

fn value_of(digits: &[u8]) -> Option<i64> {
    (1..=4).contains(&digits.len()).then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
}

// RFC 5322 §4.3: named zones of North America; military letters and unknown names are -0000, that is UTC.
fn zone(name: &[u8]) -> i16 {
    match name {
        b"EDT" => -4 * 60,
        b"EST" | b"CDT" => -5 * 60,
        b"CST" | b"MDT" => -6 * 60,
        b"MST" | b"PDT" => -7 * 60,
        b"PST" => -8 * 60,
        b"CET" | b"MET" | b"BST" => 60,
        b"CEST" | b"MEST" | b"EET" => 2 * 60,
        b"EEST" | b"MSK" => 3 * 60,
        b"JST" => 9 * 60,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_read_with_patience() {
        for (input, want) in [
            ("Fri, 21 Nov 1997 09:55:06 -0600", "Fri, 21 Nov 1997 09:55:06 -0600"),
            ("21 Nov 97 09:55:06 GMT", "Fri, 21 Nov 1997 09:55:06 +0000"),
            ("Thu,\r\n 13 Feb 1969 23:32 -0330 (Newfoundland Time)", "Thu, 13 Feb 1969 23:32:00 -0330"),
            ("Fri, 21 Nov 1997 09(comment): 55 : 06 -0600", "Fri, 21 Nov 1997 09:55:06 -0600"),
            ("Tue, 1 Jul 2003 10:52:37 +0200 (CEST)", "Tue, 1 Jul 2003 10:52:37 +0200"),
            ("Mon, 1 Jan 01 00:00:00 EST", "Mon, 1 Jan 2001 00:00:00 -0500"),
            ("1 Jan 103 00:00:00 Z", "Wed, 1 Jan 2003 00:00:00 +0000"),
            ("Sun Nov  6 08:49:37 1994", "Sun, 6 Nov 1994 08:49:37 +0000"),
            ("Sun, 06-Nov-94 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37 +0000"),
            ("Sunday, November 6, 1994 8:49:37 PM PST", "Sun, 6 Nov 1994 20:49:37 -0800"),
            ("2026-11-22T15:08:12Z", "Sun, 22 Nov 2026 15:08:12 +0000"),
            ("2026-11-22 15:08:12.123 +01:00", "Sun, 22 Nov 2026 15:08:12 +0100"),
            ("22 Nov 2026", "Sun, 22 Nov 2026 00:00:00 +0000"),
            ("31 Dec 2016 23:59:60 +0000", "Sun, 1 Jan 2017 00:00:00 +0000"),
            ("1 Jan 2038 00:00:00 GMT+1", "Fri, 1 Jan 2038 00:00:00 +0100"),
            ("29 Feb 2024 12.30.00 +0000", "Thu, 29 Feb 2024 12:30:00 +0000"),
            ("1 Jan 9999 00:00 -9959", "Fri, 1 Jan 9999 00:00:00 -9959"),
            ("", "none"),
            ("yesterday", "none"),
            ("30 Feb 2024 00:00", "none"),
            ("29 Feb 2023 00:00", "none"),
            ("1 Foo 2024", "none"),
            ("1 Jan 2024 25:00", "none"),
            ("99999999999999999999 Jan 2024", "none"),
            ("20240101", "none"),
            ("((((((((", "none"),
        ] {
            let got = Date::parse(input.as_bytes()).map_or("none".into(), |d| d.to_string());
            assert_eq!(got, want, "{input:?}");
        }
    }

    #[test]
    fn moments_are_shown_in_their_zone() {
        let date = Date::new(1_795_360_092, 60);
        assert_eq!(date.to_string(), "Sun, 22 Nov 2026 16:08:12 +0100");
        assert_eq!(date.imap(), "22-Nov-2026 16:08:12 +0100");
        assert_eq!(Date::new(0, 0).imap(), " 1-Jan-1970 00:00:00 +0000");
        assert_eq!(Date::new(1_795_392_000 - 1800, 60).day(), (2026, 11, 23));
        assert_eq!(Date::new(i64::MAX, i16::MIN).to_string().len(), 31);
        assert_eq!(Date::new(i64::MIN, i16::MAX).day().0, 1);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(unix in -60_000_000_000i64..253_000_000_000, offset in -900i16..900) {
            let date = Date::new(unix, offset);
            prop_assert_eq!(Date::parse(date.to_string().as_bytes()), Some(date));
        }

        #[test]
        fn no_input_fails(input in "[0-9A-Za-z ,:+().-]{0,40}") {
            Date::parse(input.as_bytes());
        }
    }
}
