//! Lists for people.

use comfy_table::Table;
use comfy_table::presets::NOTHING;

/// Prints rows under a header, in columns.
pub fn print(header: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for row in rows {
        // Names and descriptions are what people wrote; nothing of it moves the cursor.
        table.add_row(row.iter().map(|cell| mail_types::printable(cell)));
    }
    println!("{table}");
}

/// `950 B`, `1.5 KiB`, `12 MiB`.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" || value >= 10.0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// `3d 4h`, `5h 10m`, `12m 3s`, `7s`.
pub fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, m) => format!("{m}m {}s", seconds % 60),
        (0, h, m) => format!("{h}h {m}m"),
        (d, h, _) => format!("{d}d {h}h"),
    }
}

/// A moment on the clock of this machine: `2026-11-23 12:00:00`.
pub fn moment(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).map(|at| at.to_zoned(jiff::tz::TimeZone::system()));
    at.map_or_else(|_| seconds.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        for (size, want) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (12 << 20, "12 MiB"), (3 << 40, "3.0 TiB")] {
            assert_eq!(bytes(size), want);
        }
        for (seconds, want) in [(7, "7s"), (723, "12m 3s"), (18_600, "5h 10m"), (273_600, "3d 4h")] {
            assert_eq!(age(seconds), want);
        }
    }
}
