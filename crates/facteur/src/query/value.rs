//! Dates, sizes and sets in queries.

use super::Span;
use imap_proto::cursor::Cursor;
use imap_proto::{Date, SequenceSet};
use jiff::civil;
use jiff::tz::TimeZone;

/// When the query is read, and where.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Seconds since 1970.
    pub now: i64,
    pub zone: TimeZone,
}

/// A moment that a date specification names: a whole day, or a second.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Day(civil::Date),
    Second(i64),
}

/// How a key compares with its date.
#[derive(Debug, Clone, Copy)]
pub enum Side {
    Before,
    On,
    Since,
}

const DAY_SECONDS: i64 = 86_400;

/// The stretch of time before, on or since a date: `2026-11-23`, `23-Nov-2026`, seconds since 1970, or an age such as `15d`. A day is one of
/// the server's time zone; `on` a moment means the 24 hours from it.
pub fn span(text: &str, side: Side, clock: &Clock) -> Result<Span, String> {
    let (from, to, days) = match moment(text, clock)? {
        Moment::Second(at) => (at, at.saturating_add(DAY_SECONDS), None),
        Moment::Day(day) => {
            let midnight = |day: civil::Date| day.to_zoned(clock.zone.clone()).map(|at| at.timestamp().as_second());
            let next = day.tomorrow();
            let bounds = midnight(day).and_then(|from| Ok((from, midnight(next?)?)));
            let (from, to) = bounds.map_err(|_| format!("no such date: {text}"))?;
            let number = Date { year: day.year() as u16, month: day.month() as u8, day: day.day() as u8 }.days();
            (from, to, Some((number, number + 1)))
        }
    };
    Ok(match side {
        Side::On => Span { from, to, days },
        Side::Before => Span { from: i64::MIN, to: from, days: days.map(|(first, _)| (i64::MIN, first)) },
        Side::Since => Span { from, to: i64::MAX, days: days.map(|(first, _)| (first, i64::MAX)) },
    })
}

fn moment(text: &str, clock: &Clock) -> Result<Moment, String> {
    let day = |year: i64, month: i64, day: i64| {
        let date = civil::Date::new(year.try_into().unwrap_or(-1), month.try_into().unwrap_or(-1), day.try_into().unwrap_or(-1));
        // years before the first are no dates of mail
        date.ok().filter(|date| date.year() > 0).map(Moment::Day).ok_or_else(|| format!("no such date: {text}"))
    };
    if let [year, month, number] = text.split('-').collect::<Vec<_>>()[..]
        && let (4, Some(year), Some(number)) = (year.len(), digits(year), digits(number))
        && let Some(month) = digits(month)
    {
        return day(year, month, number);
    }
    let mut cursor = Cursor::new(text.as_bytes());
    if let (Ok(date), true) = (Date::parse(&mut cursor), cursor.is_done()) {
        return day(date.year.into(), date.month.into(), date.day.into());
    }
    if let Some(seconds) = digits(text) {
        // a number with fewer digits is an age that lacks its unit, and would mean the year 1970
        return match text.len() {
            9..=11 => Ok(Moment::Second(seconds)),
            _ => Err(format!("{text} has no unit (as 15d, 2w, 12h)")),
        };
    }
    let age = age(text).ok_or_else(|| format!("no date: {text} (known: 2026-11-23, 23-Nov-2026, seconds since 1970, 15d, 2w, 12h)"))?;
    Ok(Moment::Second(clock.now.saturating_sub(age)))
}

fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// `15d`, `2 weeks`, `12hours`: in seconds.
fn age(text: &str) -> Option<i64> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = digits(&text[..text.len() - unit.len()])?;
    let unit = unit.trim().to_ascii_lowercase();
    let is = |words: &[&str]| !unit.is_empty() && words.iter().any(|word| word.starts_with(&unit));
    // `m` is a minute, as in doveadm
    let seconds = match () {
        () if is(&["secs", "seconds"]) => 1,
        () if is(&["mins", "minutes"]) => 60,
        () if is(&["hours"]) => 3600,
        () if is(&["days"]) => DAY_SECONDS,
        () if is(&["weeks"]) => 7 * DAY_SECONDS,
        () => return None,
    };
    number.checked_mul(seconds)
}

/// `500`, `50k`, `1M`: in bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = digits(&text[..text.len() - unit.len()]).and_then(|number| u64::try_from(number).ok());
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(0),
        "k" | "kb" => Some(10),
        "m" | "mb" => Some(20),
        "g" | "gb" => Some(30),
        "t" | "tb" => Some(40),
        _ => None,
    };
    let bytes = number.zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| format!("no size: {text} (as 500, 50k, 1M)"))
}

/// `1,3:5,*`
pub fn set(text: &str) -> Result<SequenceSet, String> {
    let mut cursor = Cursor::new(text.as_bytes());
    let set = SequenceSet::parse(&mut cursor).ok().filter(|set| cursor.is_done() && !set.is_saved());
    set.ok_or_else(|| format!("no set of numbers: {text} (as 1,3:5,*)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23 12:00 in Paris.
    fn clock() -> Clock {
        Clock { now: 1_795_431_600, zone: TimeZone::get("Europe/Paris").unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(1))) }
    }

    #[test]
    fn dates_are_days_of_the_zone_or_moments() {
        let now = clock().now;
        for (text, from, day) in [
            ("2026-11-23", now - 12 * 3600, Some(20_780)),
            ("23-Nov-2026", now - 12 * 3600, Some(20_780)),
            ("1-Jan-1970", -3600, Some(0)),
            ("1795431600", now, None),
            ("15d", now - 15 * 86_400, None),
            ("15 days", now - 15 * 86_400, None),
            ("2w", now - 14 * 86_400, None),
            ("1weeks", now - 7 * 86_400, None),
            ("12hours", now - 12 * 3600, None),
            ("5m", now - 300, None),
            ("5MINS", now - 300, None),
            ("0s", now, None),
        ] {
            let on = span(text, Side::On, &clock()).expect(text);
            assert_eq!((on.from, on.to, on.days), (from, from + 86_400, day.map(|day| (day, day + 1))), "{text}");
            let before = span(text, Side::Before, &clock()).expect(text);
            assert_eq!((before.from, before.to, before.days.map(|days| days.1)), (i64::MIN, from, day), "{text}");
            let since = span(text, Side::Since, &clock()).expect(text);
            assert_eq!((since.from, since.to, since.days.map(|days| days.0)), (from, i64::MAX, day), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "15",
            "d",
            "15x",
            "15 d d",
            "-15d",
            "2026-13-01",
            "2026-02-30",
            "31-Feb-2026",
            "0000-01-01",
            "yesterday",
            "99999999999999999999d",
        ] {
            assert!(span(text, Side::Before, &clock()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, want) in [("0", 0), ("500", 500), ("500B", 500), ("50k", 51_200), ("1M", 1 << 20), ("2GB", 2 << 30), ("1 t", 1 << 40)] {
            assert_eq!(size(text), Ok(want), "{text}");
        }
        for text in ["", "k", "1x", "-1", "1.5M", "99999999T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sets_are_those_of_imap() {
        assert_eq!(set("1,3:5,*").expect("set").ranges(9), [(1, 1), (3, 5), (9, 9)]);
        for text in ["", "0", "1:", "1 2", "$", "a"] {
            assert!(set(text).is_err(), "{text}");
        }
    }
}
