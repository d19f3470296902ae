//! The server's time zone: INTERNALDATE is told in it, and SEARCH's days are its days (RFC 3501 §2.3.3).

use imap_proto::DateTime;
use std::sync::OnceLock;

static ZONE: OnceLock<jiff::tz::TimeZone> = OnceLock::new();

/// Reads the zone once, before the sandbox hides it.
pub fn load() {
    ZONE.get_or_init(jiff::tz::TimeZone::system);
}

/// Seconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The moment in the server's zone.
pub fn local(unix: i64) -> DateTime {
    let zone = ZONE.get_or_init(jiff::tz::TimeZone::system);
    let minutes = jiff::Timestamp::from_second(unix).map_or(0, |at| zone.to_offset(at).seconds() / 60);
    DateTime { unix, zone: minutes as i16 }
}
