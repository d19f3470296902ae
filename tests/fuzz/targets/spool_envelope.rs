//! Damaged queue files: no panic, and what is read is written as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok((stored, _)) = spool::envelope::decode(data) {
        let mut text = Vec::new();
        spool::envelope::encode(&stored, &mut text);
        let (again, _) = spool::envelope::decode(&text).expect("what we write, we read");
        assert_eq!(again, stored);
    }
});
