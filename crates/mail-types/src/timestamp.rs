//! Moments as RFC 3339 writes them, in UTC.

/// `2026-11-22T12:00:00Z` of seconds since 1970.
pub fn write(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days.min(MAX_DAYS));
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// The end of the year 9999, the last that has four digits.
const MAX_DAYS: u64 = 2_932_896;

// date-time = full-date "T" partial-time "Z"                                 ; RFC 3339 §5.6, normalised to UTC (RFC 4865 §3)
/// Reads one; fractions of a second are rounded up. `None` before 1970, and for what is no moment.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.strip_suffix(['Z', 'z']).or_else(|| text.strip_suffix("+00:00")).or_else(|| text.strip_suffix("-00:00"))?;
    let (date, time) = text.split_once(['T', 't'])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (time, fraction) = time.split_once('.').map_or((time, None), |(time, fraction)| (time, Some(fraction)));
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let fraction_is_sound = fraction.is_none_or(|f| !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit()));
    // A leap second is the first second of the next minute.
    if year < 1970 || hour > 23 || minute > 59 || second > 60 || !fraction_is_sound {
        return None;
    }
    let days = days(year, month, day);
    (civil(days) == (year, month, day)).then_some(())?;
    let up = u64::from(fraction.is_some_and(|f| f.bytes().any(|b| b != b'0')));
    Some(days * 86_400 + hour * 3600 + minute * 60 + second + up)
}

fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut out = [0; 3];
    let mut parts = text.split(between);
    for (place, digits) in out.iter_mut().zip(digits) {
        let part = parts.next().filter(|p| p.len() == digits && p.bytes().all(|b| b.is_ascii_digit()))?;
        *place = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

// Years that begin in March have the leap day at their end; 400 of them have 146,097 days.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day;
    let in_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + in_year;
    (year / 400 * 146_097 + in_era).saturating_sub(719_469)
}

fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, in_era) = (days / 146_097, days % 146_097);
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, if month < 10 { month + 3 } else { month - 9 });
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-22T15:00:00Z", Some(1_795_359_600)),
            ("2000-02-29t23:59:59z", Some(951_868_799)),
            ("2026-11-22T15:00:00.5Z", Some(1_795_359_601)),
            ("2026-11-22T15:00:00.000+00:00", Some(1_795_359_600)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799)),
            ("2026-11-22T15:00:00+01:00", None),
            ("2026-11-22T15:00:00", None),
            ("2026-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-00-10T00:00:00Z", None),
            ("2026-1-01T00:00:00Z", None),
            ("2026-01-01T24:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("0000-00-00T00:00:00Z", None),
            ("Z", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
        for seconds in [0, 951_868_799, 1_795_359_600, 4_107_542_400, 253_402_300_799] {
            assert_eq!(parse(&write(seconds)), Some(seconds), "{}", write(seconds));
        }
        assert_eq!(write(1_795_359_600), "2026-11-22T15:00:00Z");
        assert!(write(u64::MAX).starts_with("9999-12-31"));
    }
}
