//! Answers without what two servers may say in their own way.

/// Texts of responses, tags, the order of flags, literal or quoted string, capitals where they mean nothing, and three ways of Dovecot
/// that are no better or worse than ours: charset us-ascii shown of text that has none, an empty text instead of NIL for parts that are
/// not there, and messages that nobody has looked at shown as recent also to who may not change that.
pub fn plain(answer: &str) -> String {
    let mut words = answer.splitn(3, ' ');
    let (tag, kind, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
    if matches!(kind, "OK" | "NO" | "BAD" | "BYE" | "PREAUTH") {
        // the code counts, and of a code what does not name moments or identifiers
        let code = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(code, _)| code);
        let code = match code.split(' ').next().unwrap_or("") {
            "CAPABILITY" | "HIGHESTMODSEQ" | "MAILBOXID" => "",
            "PERMANENTFLAGS" => "PERMANENTFLAGS",
            _ => code,
        };
        let code = match code.split_once(' ') {
            Some((name @ "UIDVALIDITY", _)) => name.to_owned(),
            Some((name @ ("APPENDUID" | "COPYUID"), rest)) => format!("{name} {}", rest.split_once(' ').map_or("", |(_, uids)| uids)),
            _ => code.to_owned(),
        };
        return match (tag, code.as_str()) {
            ("*", "") => String::new(),
            ("*", code) => format!("* {kind} [{code}]"),
            (_, code) => format!("tag {kind} [{code}]"),
        };
    }
    let tokens = tokens(answer);
    if rest.starts_with("FETCH") {
        return fetched(&tokens);
    }
    if rest == "RECENT" {
        return String::new();
    }
    if matches!(kind, "FLAGS" | "LIST" | "LSUB") {
        return sorted_lists(&tokens).join(" ");
    }
    if kind == "ESEARCH" {
        return tokens.join(" ").replacen(&tokens.get(4).cloned().unwrap_or_default(), "\"tag\"", 1);
    }
    tokens.join(" ")
}

/// Atoms, strings (all quoted, with their bytes as they are) and parentheses.
fn tokens(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match c {
            ' ' => rest = &rest[1..],
            '(' | ')' => {
                all.push(c.to_string());
                rest = &rest[1..];
            }
            '"' => {
                let mut value = String::new();
                let mut chars = rest[1..].char_indices();
                let mut end = rest.len();
                while let Some((at, c)) = chars.next() {
                    match c {
                        '"' => {
                            end = at + 2;
                            break;
                        }
                        '\\' => value.extend(chars.next().map(|(_, c)| c)),
                        c => value.push(c),
                    }
                }
                all.push(format!("\"{value}\""));
                rest = &rest[end..];
            }
            _ => match literal(rest) {
                Some((value, after)) => {
                    all.push(format!("\"{value}\""));
                    rest = after;
                }
                None => {
                    let mut depth = 0;
                    let end = rest.find(|c| {
                        depth += i32::from(c == '[') - i32::from(c == ']');
                        depth <= 0 && matches!(c, ' ' | '(' | ')')
                    });
                    let (atom, after) = rest.split_at(end.unwrap_or(rest.len()).max(1));
                    all.push(atom.to_owned());
                    rest = after;
                }
            },
        }
    }
    all
}

fn literal(text: &str) -> Option<(&str, &str)> {
    let (count, rest) = text.strip_prefix('~').unwrap_or(text).strip_prefix('{')?.split_once("}\r\n")?;
    let count: usize = count.parse().ok()?;
    // bytes that were no UTF-8 have become longer: then the end of the answer has to do
    Some(if rest.is_char_boundary(count) && rest.len() > count { rest.split_at(count) } else { rest.split_at(rest.len() - 1) })
}

/// Flags and attributes in one order, without `\Recent`.
fn sorted_lists(tokens: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut begin = None;
    for token in tokens {
        match token.as_str() {
            "(" => begin = Some(all.len() + 1),
            ")" => {
                if let Some(begin) = begin.take() {
                    all[begin..].sort();
                }
            }
            "\\Recent" => continue,
            _ => {}
        }
        all.push(token.clone());
    }
    all
}

/// `* 3 FETCH`, then each item with its value, in one order.
fn fetched(tokens: &[String]) -> String {
    let mut items = Vec::new();
    let mut rest = tokens.get(4..).unwrap_or_default();
    while let [name, value @ ..] = rest
        && name != ")"
    {
        let mut depth = 0;
        let mut end = 0;
        for token in value {
            depth += i32::from(token == "(") - i32::from(token == ")");
            end += 1;
            if depth <= 0 {
                break;
            }
        }
        let (value, after) = value.split_at(end);
        items.push(item(&name.to_ascii_uppercase(), value));
        rest = after;
    }
    items.sort();
    format!("{} {}", tokens[..3].join(" "), items.join(" "))
}

fn item(name: &str, value: &[String]) -> String {
    let value = match name {
        "FLAGS" => sorted_lists(value).join(" "),
        "BODY" | "BODYSTRUCTURE" => {
            let text = value.join(" ").to_lowercase().replace("\"charset\" \"us-ascii\" ", "").replace("( )", "nil");
            // of text that names none: `( "name" "x" "charset" "us-ascii" )` too
            text.replace(" \"charset\" \"us-ascii\"", "")
        }
        // NIL or nothing: there is no such part
        _ if name.contains('[') && value == ["\"\""] => "NIL".into(),
        _ => value.join(" "),
    };
    format!("{name} {value}")
}
