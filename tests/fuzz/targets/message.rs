//! Messages: structure, envelope, sections and texts of any bytes; every part lies inside the message.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let message = message::Message::parse(data);
    let whole = data.as_ptr_range();
    for part in message.parts() {
        for piece in [part.header_bytes(), part.body_bytes()] {
            let range = piece.as_ptr_range();
            assert!(piece.is_empty() || (range.start >= whole.start && range.end <= whole.end));
        }
        let _ = (part.text().len(), part.disposition(), part.language(), part.decoded().len());
        for field in part.header_fields() {
            let _ = (field.text(), field.unfolded());
        }
    }
    let preview = message::preview(&message);
    assert!(preview.chars().count() <= message::PREVIEW_CHARS && !preview.chars().any(char::is_control));
    let _ = message::Envelope::parse(data);
    let mut crlf = Vec::new();
    message::crlf::write(data, &mut crlf);
    assert_eq!(crlf.len() as u64, message::crlf::size(data));
    let mut part = Vec::new();
    message::crlf::write_partial(data, 3, 50, &mut part);
    assert_eq!(part, crlf.iter().copied().skip(3).take(50).collect::<Vec<u8>>());
});
