//! The sources that ship, cut into words, without what only tests or models compile.
//!
//! No parser: names and signs with their lines are enough for rules about single words.

/// A name, a number or a sign, and the line it stands in, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
}

impl Token<'_> {
    /// Whether it is a name or a keyword.
    pub fn is_name(&self) -> bool {
        self.text.starts_with(|char: char| char.is_alphabetic() || char == '_')
    }
}

/// Where what ships is written: the crates of the layers, but not those beside them, which nobody
/// runs but us.
pub const SHIPPING: [&str; 10] = [
    "runtime/src/",
    "pipeline/src/",
    "pipeline/image/src/",
    "pipeline/schema/src/",
    "net/protocol/src/",
    "net/client/src/",
    "net/server/src/",
    "tools/capacity/src/",
    "tools/deltaworks/src/",
    "tools/deltaworksd/src/",
];

/// The texts among `texts` that ship: not those of modules that only tests or models compile.
pub fn shipping(texts: &[(String, String)]) -> Vec<(&str, &str)> {
    let sources: Vec<(&str, &str)> = texts
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .filter(|(path, _)| path.ends_with(".rs"))
        .filter(|(path, _)| SHIPPING.iter().any(|folder| path.starts_with(folder)))
        .collect();
    let unshipped: Vec<String> =
        sources.iter().flat_map(|(path, text)| unshipped_modules(path, text)).collect();
    let ships = |path: &str| {
        let stem = path.trim_end_matches(".rs");
        !unshipped.iter().any(|module| {
            stem.strip_prefix(module.as_str())
                .is_some_and(|rest| matches!(rest, "" | "/mod") || rest.starts_with('/'))
        })
    };
    sources.into_iter().filter(|(path, _)| ships(path)).collect()
}

/// Paths without `.rs` of the modules that `text` declares for tests or models only.
fn unshipped_modules(path: &str, text: &str) -> Vec<String> {
    let stem = path.trim_end_matches(".rs");
    let folder = match stem.rsplit_once('/') {
        Some((folder, "lib" | "main" | "mod")) => folder,
        _ => stem,
    };
    let tokens = tokens(text);
    let mut modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let Some(end) = unshipped_attribute(&tokens[at..]) else {
            at += 1;
            continue;
        };
        at += end;
        let item: Vec<&str> = tokens[at..].iter().take(8).map(|token| token.text).collect();
        if let Some(place) = item.iter().position(|text| *text == "mod")
            && item.get(place + 2) == Some(&";")
        {
            modules.push(format!("{folder}/{}", item[place + 1]));
        }
    }
    modules
}

/// The tokens of `text` that ship.
pub fn shipping_tokens(text: &str) -> Vec<Token<'_>> {
    let all = tokens(text);
    let mut kept = Vec::new();
    let mut at = 0;
    while at < all.len() {
        match unshipped_attribute(&all[at..]) {
            Some(end) => at += end + item_end(&all[at + end..]),
            None => {
                kept.push(all[at]);
                at += 1;
            }
        }
    }
    kept
}

/// How many tokens an attribute has, if it keeps what follows to tests or models: a `cfg` that
/// names `test` or `loom` outside of a `not`, or of an `any` with something else.
fn unshipped_attribute(tokens: &[Token<'_>]) -> Option<usize> {
    let start = ["#", "[", "cfg", "("];
    if tokens.len() < start.len()
        || !start.iter().zip(tokens).all(|(text, token)| token.text == *text)
    {
        return None;
    }
    let end = tokens.iter().position(|token| token.text == "]")?;
    let (mut depth, mut outside_at, mut is_unshipped) = (0, None, false);
    for (place, pair) in tokens[..end].windows(2).enumerate() {
        match pair[1].text {
            "(" => {
                depth += 1;
                let inner = tokens[place + 2..end].iter().take_while(|token| token.text != ")");
                let mut inner = inner.map(|token| token.text);
                let may_ship = match pair[0].text {
                    "not" => true,
                    "any" => !inner.all(|text| matches!(text, "test" | "loom" | ",")),
                    _ => false,
                };
                if may_ship && outside_at.is_none() {
                    outside_at = Some(depth);
                }
            }
            ")" => {
                if outside_at == Some(depth) {
                    outside_at = None;
                }
                depth -= 1;
            }
            "test" | "loom" if outside_at.is_none() => is_unshipped = true,
            _ => {}
        }
    }
    is_unshipped.then_some(end + 1)
}

/// How many tokens the item, field or statement takes that `tokens` begin with.
fn item_end(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0;
    for (place, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return place,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return place + 1;
                }
            }
            ";" | "," if depth == 0 => return place + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// All tokens of `text`: no comments, no lifetimes; a string or a character is one sign, `""`.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let bytes = match first {
            _ if first.is_whitespace() => first.len_utf8(),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '\'' => quoted_char(rest),
            _ => {
                let (bytes, is_text) = word(rest);
                tokens.push(Token { text: if is_text { "\"\"" } else { &rest[..bytes] }, line });
                bytes
            }
        };
        line += rest[..bytes].matches('\n').count();
        rest = &rest[bytes..];
    }
    tokens
}

/// Bytes of a character or of a lifetime.
fn quoted_char(rest: &str) -> usize {
    let inner = rest[1..].chars().next().map_or(0, char::len_utf8);
    if rest[1..].starts_with('\\') {
        return rest[3..].find('\'').map_or(rest.len(), |end| end + 4);
    }
    if rest[1 + inner..].starts_with('\'') { inner + 2 } else { 1 + name_bytes(&rest[1..]) }
}

/// Bytes of the next name, string or sign, and whether it is a string.
fn word(rest: &str) -> (usize, bool) {
    let name = name_bytes(rest);
    let after = &rest[name..];
    let raw = matches!(&rest[..name], "r" | "br" | "cr");
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    // Not `r#type`, which is a name.
    if raw && after[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let inner = &after[(hashes + 1).min(after.len())..];
        let bytes = inner.find(&end).map_or(rest.len(), |at| name + hashes + 1 + at + end.len());
        return (bytes, true);
    }
    if matches!(&rest[..name], "" | "b" | "c") && after.starts_with('"') {
        return (name + string_bytes(after), true);
    }
    if name > 0 { (name, false) } else { (rest.chars().next().map_or(1, char::len_utf8), false) }
}

fn name_bytes(rest: &str) -> usize {
    rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len())
}

fn string_bytes(rest: &str) -> usize {
    let mut is_escaped = false;
    for (place, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        tokens(text).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_strings_and_lifetimes_are_no_names() {
        let text = "a /* x */ b // c\n'd' '\\n' '\\'' &'e f \"g \\\" h\" r#\"i \" j\"# br\"k\" l";
        assert_eq!(words(text), ["a", "b", "&", "f", "\"\"", "\"\"", "\"\"", "l"]);
        assert_eq!(words("r#type: a, r\"b\""), ["r", "#", "type", ":", "a", ",", "\"\""]);
        assert_eq!(tokens("a\n\"x\ny\"\nb").last().map(|token| token.line), Some(4));
    }

    #[test]
    fn what_only_tests_or_models_compile_does_not_ship() {
        let ships =
            |text| -> Vec<&str> { shipping_tokens(text).iter().map(|token| token.text).collect() };
        assert_eq!(ships("#[cfg(test)] mod tests { fn f() {} } a"), ["a"]);
        assert_eq!(ships("#[cfg(all(test, not(loom)))] use x; a"), ["a"]);
        assert_eq!(ships("struct S { #[cfg(loom)] b: [u8; 2], c: u8 }").len(), 7);
        assert_eq!(ships("#[cfg(not(all(unix, not(loom))))] a").len(), 19);
        assert_eq!(ships("#[cfg(any(test, unix))] a").last(), Some(&"a"));
        assert_eq!(ships("#[cfg(any(test, loom))] mod a; b"), ["b"]);
        let texts = [
            (
                "net/server/src/lib.rs".to_owned(),
                "#[cfg(test)] pub(crate) mod fake; mod real;".to_owned(),
            ),
            ("net/server/src/fake.rs".to_owned(), String::new()),
            ("net/server/src/fake/inner.rs".to_owned(), String::new()),
            ("net/server/src/faker.rs".to_owned(), String::new()),
            ("net/server/tests/x.rs".to_owned(), String::new()),
            ("benches/src/lib.rs".to_owned(), String::new()),
        ];
        let paths: Vec<&str> = shipping(&texts).iter().map(|(path, _)| *path).collect();
        assert_eq!(paths, ["net/server/src/lib.rs", "net/server/src/faker.rs"]);
    }
}
