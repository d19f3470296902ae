//! Unique ids of messages (RFC 1939 §7 UIDL) by Dovecot's `pop3_uidl_format`.

/// A parsed format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Number { of: Number, width: usize, zeros: bool, base: Base },
    File,
    Guid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Uid,
    Validity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Decimal,
    Lower,
    Upper,
}

impl Format {
    /// Parses `%08Xu%08Xv` and the like. The error is a sentence for the administrator.
    pub fn parse(text: &str) -> Result<Format, String> {
        let fault = |what: &str| Err(format!("pop3d.pop3_uidl_format: {what} in \"{text}\""));
        let mut pieces = Vec::new();
        let mut chars = text.chars().peekable();
        let (mut has_uid, mut has_file) = (false, false);
        while let Some(c) = chars.next() {
            if c != '%' {
                if !c.is_ascii_graphic() {
                    return fault("a space or a character outside of ASCII");
                }
                match pieces.last_mut() {
                    Some(Piece::Text(text)) => text.push(c),
                    _ => pieces.push(Piece::Text(c.into())),
                }
                continue;
            }
            let zeros = chars.next_if_eq(&'0').is_some();
            let mut width = 0;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                width = (width * 10 + digit as usize).min(70);
                chars.next();
            }
            let base = match chars.next_if(|c| matches!(c, 'x' | 'X')) {
                Some('X') => Base::Upper,
                Some(_) => Base::Lower,
                None => Base::Decimal,
            };
            let number = |of| Piece::Number { of, width, zeros, base };
            pieces.push(match chars.next() {
                Some('u') => {
                    has_uid = true;
                    number(Number::Uid)
                }
                Some('v') => number(Number::Validity),
                Some('f') => {
                    has_file = true;
                    Piece::File
                }
                Some('g') => {
                    has_file = true;
                    Piece::Guid
                }
                // Dovecot has it for mboxes only, too
                Some('m') => return fault("%m, which only messages in mboxes have, and an id could not be told"),
                Some('%') => Piece::Text("%".into()),
                Some(c) => return fault(&format!("the unknown variable %{c} (known: %u %v %f %g)")),
                None => return fault("a % at the end"),
            });
        }
        if !has_uid && !has_file {
            return fault("neither %u nor %f, so that ids would not be unique,");
        }
        Ok(Format(pieces))
    }

    /// The id of one message: `file` is the name of its file without flags, `guid` what its copies have in common with it. Where it would break RFC 1939 §7 (1 to 70 characters, `!` to `~`), as a file name may, the default
    /// format is used.
    pub fn id(&self, uid: u32, validity: u32, file: &str, guid: &str) -> Box<str> {
        let mut out = String::with_capacity(20);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::File => out.push_str(file),
                Piece::Guid => out.push_str(guid),
                Piece::Number { of, width, zeros, base } => {
                    let number = if *of == Number::Uid { uid } else { validity };
                    let digits = match base {
                        Base::Decimal => number.to_string(),
                        Base::Lower => format!("{number:x}"),
                        Base::Upper => format!("{number:X}"),
                    };
                    // Spaces may not stand in an id, so any padding is of zeros.
                    let fill = if *zeros || *width > 0 { width.saturating_sub(digits.len()) } else { 0 };
                    out.extend(std::iter::repeat_n('0', fill));
                    out.push_str(&digits);
                }
            }
        }
        if is_sound(&out) { out.into() } else { format!("{uid:08X}{validity:08X}").into() }
    }
}

/// RFC 1939 §7: 1 to 70 characters, `!` to `~`.
pub fn is_sound(id: &str) -> bool {
    (1..=70).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

/// Another id for the `count`th message that would have this one (RFC 1939 §7: ids are unique), as Dovecot's `pop3_uidl_duplicates = rename` does it.
pub fn renamed(id: &str, count: usize) -> Box<str> {
    let end = format!("-{count}");
    let begin = &id[..id.len().min(70 - end.len())];
    format!("{begin}{end}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_dovecot() {
        for (format, want) in [
            ("%08Xu%08Xv", "0000002A65A1B2C3"),
            ("%08Xv%08Xu", "65A1B2C30000002A"),
            ("%v.%u", "1705095875.42"),
            ("%u", "42"),
            ("%xu-%Xv", "2a-65A1B2C3"),
            ("%04u", "0042"),
            ("UID%u-%v", "UID42-1705095875"),
            ("%f", "1700.M1P2.host,S=5,W=6"),
            ("%g", "1600.M1P2.host"),
            ("%%%u", "%42"),
        ] {
            let format = Format::parse(format).expect(format);
            assert_eq!(&*format.id(42, 0x65A1_B2C3, "1700.M1P2.host,S=5,W=6", "1600.M1P2.host"), want);
        }
    }

    #[test]
    fn no_id_breaks_the_protocol() {
        let format = Format::parse("%f").expect("format");
        for file in ["a b", "a\r\nb", "", &"x".repeat(71), "é"] {
            assert_eq!(&*format.id(1, 2, file, ""), "0000000100000002", "{file:?}");
        }
    }

    #[test]
    fn an_id_that_is_taken_gets_a_number() {
        assert_eq!(&*renamed("abc", 2), "abc-2");
        let long = renamed(&"x".repeat(70), 12);
        assert!(is_sound(&long) && long.ends_with("x-12"));
    }

    #[test]
    fn formats_that_cannot_work_are_refused() {
        for format in ["", "abc", "%v", "%m", "%", "%u %v", "%u\r\n", "%08X"] {
            assert!(Format::parse(format).is_err(), "{format:?}");
        }
    }
}
