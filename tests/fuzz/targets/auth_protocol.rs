//! Lines of the auth protocol and SASL responses of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for line in data.split(|b| *b == b'\n') {
        let _ = ipc::auth::server::parse(line);
    }
});
