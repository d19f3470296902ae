//! Messages with octets above 127 for hosts without 8BITMIME (RFC 6152 §3): a single text part becomes quoted-printable; what is not so
//! simple is returned with 5.6.3.

/// The message in seven bits, or `None` when that takes more than another encoding of one text part. `message` has CRLF line ends.
pub(crate) fn to_seven_bit(message: &[u8]) -> Option<Vec<u8>> {
    let end = message.windows(4).position(|w| w == b"\r\n\r\n")?;
    let (header, body) = (&message[..end + 2], &message[end + 4..]);
    if !header.is_ascii() {
        return None;
    }
    let mut out = Vec::with_capacity(message.len() * 5 / 4);
    let mut mime = false;
    for field in fields(header) {
        let name_end = field.iter().position(|b| *b == b':')?;
        let (name, value) = (&field[..name_end], &field[name_end + 1..]);
        let value = String::from_utf8_lossy(value).trim().to_ascii_lowercase();
        if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            if value != "8bit" && value != "7bit" {
                return None;
            }
            continue;
        }
        if name.eq_ignore_ascii_case(b"content-type") && !value.starts_with("text/") {
            return None;
        }
        // Signatures would break by another encoding.
        if name.eq_ignore_ascii_case(b"dkim-signature") {
            return None;
        }
        mime |= name.eq_ignore_ascii_case(b"mime-version");
        out.extend_from_slice(field);
    }
    if !mime {
        out.extend_from_slice(b"MIME-Version: 1.0\r\n");
    }
    out.extend_from_slice(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n");
    quoted_printable(body, &mut out);
    Some(out)
}

/// Header fields with their continuation lines.
fn fields(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = 0;
        loop {
            end += rest[end..].iter().position(|b| *b == b'\n').map_or(rest.len() - end, |at| at + 1);
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, after) = rest.split_at(end);
        rest = after;
        Some(field)
    })
}

/// RFC 2045 §6.7; lines of at most 76 characters.
fn quoted_printable(body: &[u8], out: &mut Vec<u8>) {
    for line in body.split_inclusive(|b| *b == b'\n') {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        let mut column = 0;
        for (at, byte) in text.iter().enumerate() {
            let last = at + 1 == text.len();
            let plain = matches!(byte, 33..=60 | 62..=126) || (matches!(byte, b' ' | b'\t') && !last);
            let width = if plain { 1 } else { 3 };
            if column + width > if last { 76 } else { 75 } {
                out.extend_from_slice(b"=\r\n");
                column = 0;
            }
            if plain {
                out.push(*byte);
            } else {
                out.extend_from_slice(format!("={byte:02X}").as_bytes());
            }
            column += width;
        }
        if line.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_text_part_becomes_quoted_printable() {
        let message =
            "Subject: x\r\n y\r\nContent-Transfer-Encoding: 8bit\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nété = \r\nok\r\n";
        let got = String::from_utf8(to_seven_bit(message.as_bytes()).expect("simple")).expect("ascii");
        assert_eq!(
            got,
            "Subject: x\r\n y\r\nContent-Type: text/plain; charset=utf-8\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9t=C3=A9 =3D=20\r\nok\r\n"
        );
        let long = format!("Subject: x\r\n\r\n{}\r\n", "é".repeat(200));
        let got = to_seven_bit(long.as_bytes()).expect("simple");
        assert!(got.is_ascii() && got.split(|b| *b == b'\n').all(|line| line.len() <= 77));
    }

    #[test]
    fn what_is_not_simple_is_left_alone() {
        for message in [
            "Content-Type: multipart/mixed; boundary=x\r\n\r\né\r\n",
            "Content-Transfer-Encoding: base64\r\n\r\né\r\n",
            "Subject: é\r\n\r\né\r\n",
            "DKIM-Signature: v=1\r\n\r\né\r\n",
            "no header é",
        ] {
            assert_eq!(to_seven_bit(message.as_bytes()), None, "{message:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_converted_is_ascii_in_short_lines_and_decodes_to_the_same(body in "[ -~éü=\\t]{0,300}", lines in 1usize..4) {
            let body = format!("{}\r\n", vec![body; lines].join("\r\n"));
            let got = to_seven_bit(format!("Subject: x\r\n\r\n{body}").as_bytes()).expect("one text part");
            proptest::prop_assert!(got.is_ascii());
            proptest::prop_assert!(got.split(|b| *b == b'\n').all(|line| line.len() <= 77));
            let start = got.windows(4).position(|w| w == b"\r\n\r\n").expect("header ends") + 4;
            let text = String::from_utf8(got[start..].to_vec()).expect("ascii").replace("=\r\n", "");
            let (mut decoded, mut rest) = (Vec::new(), text.as_bytes());
            while let Some((first, after)) = rest.split_first() {
                rest = after;
                if *first == b'=' {
                    let digits = std::str::from_utf8(&after[..2]).expect("digits");
                    decoded.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
                    rest = &after[2..];
                } else {
                    decoded.push(*first);
                }
            }
            proptest::prop_assert_eq!(String::from_utf8_lossy(&decoded), body);
        }
    }
}
