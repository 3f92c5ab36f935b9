//! Where in a JSON text the value stands that a JSON pointer names.
//!
//! For messages only: the text has been parsed by others before and is JSON. It goes over the text
//! once for each step of the pointer and recurses nowhere, so depth costs nothing.

/// A place in a text, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// The place of the byte `offset` of `text`.
    pub fn of_offset(text: &str, offset: usize) -> Place {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.matches('\n').count() + 1;
        Place { line, column: before[line_start..].chars().count() + 1 }
    }
}

/// The byte of `text` at which the value that `pointer` (RFC 6901) names begins. Where the pointer
/// leads to nothing, because a property is missing, say, that of the last value that it leads to.
pub fn offset_of(text: &str, pointer: &str) -> usize {
    let mut cursor = Cursor { bytes: text.as_bytes(), at: 0 };
    cursor.skip_space();
    let mut found = cursor.at;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if !cursor.enter(&token) {
            break;
        }
        found = cursor.at;
    }
    found.min(text.len())
}

/// Stands before a value.
struct Cursor<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Goes to the value `token` of the map or array that it stands before; whether there is one.
    fn enter(&mut self, token: &str) -> bool {
        let is_map = match self.peek() {
            Some(b'{') => true,
            Some(b'[') => false,
            _ => return false,
        };
        self.at += 1;
        let mut index = 0;
        loop {
            self.skip_space();
            if matches!(self.peek(), None | Some(b'}' | b']')) {
                return false;
            }
            let is_it = if is_map {
                let name = self.text();
                self.skip_space();
                self.at += 1; // the colon
                self.skip_space();
                name == token
            } else {
                token.parse() == Ok(index)
            };
            if is_it {
                return true;
            }
            index += 1;
            self.skip_value();
            self.skip_space();
            if self.peek() == Some(b',') {
                self.at += 1;
            }
        }
    }

    /// The text that it stands before, behind which it stands then.
    fn text(&mut self) -> String {
        let start = self.at;
        self.skip_text();
        let quoted = self.bytes.get(start..self.at).unwrap_or_default();
        serde_json::from_slice(quoted).unwrap_or_default()
    }

    fn skip_text(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                break;
            }
        }
    }

    fn skip_value(&mut self) {
        let mut depth = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => self.skip_text(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b'}' | b']' | b',' if depth == 0 => return,
                _ => self.at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_leads_to_its_value() {
        let text =
            "{ \"a\": [1, {\"b/c\": \"x}\\\"\"}, true],\n  \"é\": {\"~\": 5},\n\"a\\u0062\":7}";
        for (pointer, value, line, column) in [
            ("", "{ \"a\"", 1, 1),
            ("/a", "[1", 1, 8),
            ("/a/1/b~1c", "\"x}", 1, 20),
            ("/a/2", "true", 1, 29),
            ("/é/~0", "5", 2, 14),
            ("/ab", "7", 3, 11),
            ("/a/1/missing/x", "{\"b/c", 1, 12),
            ("/a/9", "[1", 1, 8),
            ("/…", "{ \"a\"", 1, 1),
        ] {
            let offset = offset_of(text, pointer);
            assert!(text[offset..].starts_with(value), "{pointer}: {}", &text[offset..]);
            assert_eq!(Place::of_offset(text, offset), Place { line, column }, "{pointer}");
        }
    }

    /// What is no JSON leads somewhere, and neither panics nor turns in a circle.
    #[test]
    fn any_text_comes_to_an_end() {
        let text = "{\"a\": [1, {\"b\": \"x\\";
        for end in 0..=text.len() {
            for pointer in ["", "/a", "/a/1/b", "/b", "/0"] {
                assert!(offset_of(&text[..end], pointer) <= end);
            }
        }
        let deep = "[".repeat(1_000_000);
        assert_eq!(offset_of(&deep, "/1"), 0);
    }
}
