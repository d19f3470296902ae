//! Lists of names and tables in a setting: separated by commas or white space, braces hold together.

/// Splits `hash:/a, inline:{ x=1, y=2 } example.org` into its items. An open brace without its partner runs to the end.
pub fn split_list(text: &str) -> Vec<&str> {
    split_words(text, |c| c == ',' || c.is_whitespace())
}

/// Splits at `separator` outside of braces; empty items are dropped.
pub fn split_words(text: &str, separator: impl Fn(char) -> bool) -> Vec<&str> {
    let mut items = Vec::new();
    let mut start = 0;
    let mut depth = 0u32;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if depth == 0 && separator(c) => {
                items.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    items.push(&text[start..]);
    items.retain(|item| !item.is_empty());
    items
}

/// `{ text }` without its braces and the space inside of them; other text as it is.
pub(crate) fn unbrace(text: &str) -> &str {
    text.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).map_or(text, str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_outside_of_braces() {
        for (input, want) in [
            ("", vec![]),
            (" a,b  c ", vec!["a", "b", "c"]),
            ("hash:/x inline:{ a=b, c=d },static:{a b}", vec!["hash:/x", "inline:{ a=b, c=d }", "static:{a b}"]),
            ("inline:{ {a = b c}, d=e } z", vec!["inline:{ {a = b c}, d=e }", "z"]),
            ("inline:{ a", vec!["inline:{ a"]),
        ] {
            assert_eq!(split_list(input), want, "{input:?}");
        }
        assert_eq!(unbrace("{ a b }"), "a b");
        assert_eq!(unbrace("a b"), "a b");
    }
}
