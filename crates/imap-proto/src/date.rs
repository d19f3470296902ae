//! Dates of the grammar: days in SEARCH, date-times in APPEND and INTERNALDATE.

use crate::cursor::Cursor;
use crate::error::ParseError;

/// A day of the calendar, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    pub year: u16,
    pub month: u8,
    pub day: u8,
}

/// A moment and the zone it was told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    /// Seconds since 1970-01-01 00:00:00 UTC.
    pub unix: i64,
    /// Minutes east of Greenwich.
    pub zone: i16,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Date {
    /// RFC 3501 §9: `date = date-text / DQUOTE date-text DQUOTE`, `date-text = date-day "-" date-month "-" date-year`
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<Date, ParseError> {
        let quoted = cursor.take(b'"');
        let date = date_text(cursor)?;
        if quoted {
            cursor.expect(b'"', "Invalid date")?;
        }
        Ok(date)
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }

    /// The day that lies this many days after 1970-01-01.
    pub fn from_days(days: i64) -> Date {
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month + 2) / 5 + 1) as u8;
        let month = if month < 10 { month + 3 } else { month - 9 } as u8;
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        Date { year: year.clamp(0, 9999) as u16, month, day }
    }
}

fn date_text(cursor: &mut Cursor<'_>) -> Result<Date, ParseError> {
    const WHAT: &str = "Invalid date";
    // date-day-fixed of date-time pads with a space; forgiven in searches too.
    cursor.take(b' ');
    let day = cursor.number(WHAT)?;
    cursor.expect(b'-', WHAT)?;
    let name = cursor.take_while(|b| b.is_ascii_alphabetic());
    let month = MONTHS.iter().position(|m| m.as_bytes().eq_ignore_ascii_case(name)).ok_or(ParseError::syntax(WHAT))? + 1;
    cursor.expect(b'-', WHAT)?;
    let digits = cursor.take_while(|b| b.is_ascii_digit());
    if digits.len() != 4 {
        return Err(ParseError::syntax(WHAT));
    }
    let year = crate::cursor::decimal(digits).expect("four digits") as u32;
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let longest = [31, 28 + u32::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
    if day == 0 || day > longest {
        return Err(ParseError::syntax(WHAT));
    }
    Ok(Date { year: year as u16, month: month as u8, day: day as u8 })
}

impl DateTime {
    /// RFC 3501 §9: `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<DateTime, ParseError> {
        const WHAT: &str = "Invalid date and time";
        cursor.expect(b'"', WHAT)?;
        let date = date_text(cursor)?;
        cursor.expect(b' ', WHAT)?;
        let mut two = |limit: i64, end: u8| {
            let digits = cursor.take_while(|b| b.is_ascii_digit());
            let n = crate::cursor::decimal(digits).filter(|_| digits.len() == 2).unwrap_or(99) as i64;
            if n <= limit && cursor.take(end) { Ok(n) } else { Err(ParseError::syntax(WHAT)) }
        };
        let (hour, minute, second) = (two(23, b':')?, two(59, b':')?, two(60, b' ')?);
        let east = match cursor.peek() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(ParseError::syntax(WHAT)),
        };
        cursor.take_while(|b| b == b'+' || b == b'-');
        let digits = cursor.take_while(|b| b.is_ascii_digit());
        let zone = crate::cursor::decimal(digits).filter(|_| digits.len() == 4).ok_or(ParseError::syntax(WHAT))? as i16;
        if zone / 100 > 23 || zone % 100 > 59 {
            return Err(ParseError::syntax(WHAT));
        }
        cursor.expect(b'"', WHAT)?;
        let zone = east * (zone / 100 * 60 + zone % 100);
        let unix = date.days() * 86_400 + hour * 3600 + minute * 60 + second - i64::from(zone) * 60;
        Ok(DateTime { unix, zone })
    }

    /// The calendar day in its own zone.
    pub fn day(self) -> Date {
        Date::from_days((self.unix + i64::from(self.zone) * 60).div_euclid(86_400))
    }

    /// Writes `"17-Jul-1996 02:44:25 -0700"`, quotes included (RFC 3501 §7.4.2 INTERNALDATE).
    pub fn write(self, out: &mut Vec<u8>) {
        use std::io::Write;
        let local = self.unix + i64::from(self.zone) * 60;
        let date = Date::from_days(local.div_euclid(86_400));
        let second = local.rem_euclid(86_400);
        let (sign, zone) = if self.zone < 0 { ('-', -self.zone) } else { ('+', self.zone) };
        let month = MONTHS[usize::from(date.month) - 1];
        write!(
            out,
            "\"{:2}-{month}-{:04} {:02}:{:02}:{:02} {sign}{:02}{:02}\"",
            date.day,
            date.year,
            second / 3600,
            second / 60 % 60,
            second % 60,
            zone / 60,
            zone % 60
        )
        .expect("writing to memory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn days_of_the_calendar() {
        for (text, days) in [("1-Jan-1970", 0), ("01-Mar-2000", 11_017), ("\"29-feb-2024\"", 19_782), ("31-Dec-1969", -1)] {
            let date = Date::parse(&mut Cursor::new(text.as_bytes())).unwrap();
            assert_eq!(date.days(), days, "{text}");
            assert_eq!(Date::from_days(days), date, "{text}");
        }
        for bad in ["", "32-Jan-2020", "0-Jan-2020", "29-Feb-2023", "1-Foo-2020", "1-Jan-20", "\"1-Jan-2020", "99999999999-Jan-2020"] {
            assert!(Date::parse(&mut Cursor::new(bad.as_bytes())).is_err(), "{bad}");
        }
    }

    #[test]
    fn date_times_read_and_written() {
        let text = b"\"17-Jul-1996 02:44:25 -0700\"";
        let moment = DateTime::parse(&mut Cursor::new(text)).unwrap();
        assert_eq!((moment.unix, moment.zone), (837_596_665, -420));
        let mut out = Vec::new();
        moment.write(&mut out);
        assert_eq!(out, text);
        assert!(DateTime::parse(&mut Cursor::new(b"\" 7-Jul-1996 02:44:25 +0000\"")).is_ok());
        for bad in ["\"7-Jul-1996\"", "\"7-Jul-1996 24:00:00 +0000\"", "\"7-Jul-1996 02:44:25 0000\"", "\"7-Jul-1996 02:44:25 +00\""] {
            assert!(DateTime::parse(&mut Cursor::new(bad.as_bytes())).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn each_moment_survives_writing(unix in -60_000_000_000i64..250_000_000_000, zone in -1439i16..1440) {
            let moment = DateTime { unix, zone };
            let mut out = Vec::new();
            moment.write(&mut out);
            prop_assert_eq!(DateTime::parse(&mut Cursor::new(&out)), Ok(moment));
        }
    }
}
