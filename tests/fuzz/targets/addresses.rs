//! Addresses, dates and encoded words of any bytes; what is printed parses to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = message::address::parse(data);
    let _ = message::words::decode(data);
    if let Some(date) = message::Date::parse(data) {
        let _ = date.imap();
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(address) = mail_types::Address::parse(text) {
            assert_eq!(mail_types::Address::parse(&address.to_string()), Ok(address));
        }
        if let Ok(domain) = mail_types::Domain::parse(text) {
            assert_eq!(mail_types::Domain::parse(domain.as_str()), Ok(domain));
        }
        if let Some(plain) = mail_types::xtext_decode(text) {
            assert_eq!(mail_types::xtext_decode(&mail_types::xtext_encode(&plain)), Some(plain));
        }
    }
});
