//! XFORWARD: telling a content filter, or another system of ours, whom a message came from (Postfix XFORWARD_README).

use crate::server::UNAVAILABLE;
use mail_types::xtext_encode;

/// Longest command line, with its CRLF (RFC 5321 §4.5.3.1.4).
const LINE_LIMIT: usize = 512;

// xforward = "XFORWARD" 1*( SP attribute-name "=" attribute-value )            ; xtext
/// The commands that tell of these attributes, as far as they were announced. What no line has room for is not known.
pub(super) fn commands(attributes: &[(&'static str, Option<String>)], announced: &[String]) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for (name, value) in attributes.iter().filter(|(name, _)| announced.iter().any(|a| a == name)) {
        let word = |value: &str| format!(" {name}={}", xtext_encode(value));
        let known = value.as_deref().filter(|value| !value.is_empty()).map(word);
        let word = known.filter(|word| "XFORWARD".len() + word.len() + 2 <= LINE_LIMIT).unwrap_or_else(|| word(UNAVAILABLE));
        match commands.last_mut().filter(|line| line.len() + word.len() + 2 <= LINE_LIMIT) {
            Some(line) => line.push_str(&word),
            None => commands.push(format!("XFORWARD{word}")),
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_were_announced_are_told_in_lines_that_fit() {
        let announced = ["NAME", "ADDR", "HELO"].map(String::from);
        let told = |helo: &str| {
            let known = |value: &str| Some(value.to_owned());
            let attributes = [("NAME", None), ("ADDR", known("IPV6:2001:db8::1")), ("HELO", known(helo)), ("IDENT", known("x"))];
            commands(&attributes, &announced)
        };
        let front = "XFORWARD NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1";
        assert_eq!(told("spike"), [format!("{front} HELO=spike")]);
        assert_eq!(told("a b+c=d\r\nMAIL"), [format!("{front} HELO=a+20b+2Bc+3Dd+0D+0AMAIL")]);
        let long = "h".repeat(480);
        assert_eq!(told(&long), [front.to_owned(), format!("XFORWARD HELO={long}")]);
        assert_eq!(told(&"+".repeat(200)), [format!("{front} HELO=[UNAVAILABLE]")]);
        assert!(commands(&[("NAME", None)], &[]).is_empty());
    }
}
