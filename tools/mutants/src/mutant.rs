//! A mutant: one fault that a test must find.

/// A fault: an exact text of a source file, and what stands there instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutant {
    /// What is broken, in a few words.
    pub fault: &'static str,
    /// The file, from the top of the repository.
    pub file: &'static str,
    /// The text, which stands in the file exactly once. (A row about its own file splits the text
    /// with `concat!`, if it is of one line, so that it does not find itself.)
    pub text: &'static str,
    /// What replaces it.
    pub replacement: &'static str,
}

impl Mutant {
    /// Whether both change the same text in the same way, so that one build serves both.
    pub fn is_same_change(&self, other: &Self) -> bool {
        self.file == other.file && self.text == other.text && self.replacement == other.replacement
    }

    /// The file's text with the fault in it.
    ///
    /// # Errors
    /// If the text does not stand in it exactly once: says how often.
    pub fn apply(&self, whole: &str) -> Result<String, String> {
        match whole.matches(self.text).count() {
            1 => Ok(whole.replacen(self.text, self.replacement, 1)),
            count => Err(format!(
                "{} ({}): the text stands {count} times, not once: {:?}",
                self.fault, self.file, self.text
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &'static str, replacement: &'static str) -> Mutant {
        Mutant { fault: "wrong", file: "one.rs", text, replacement }
    }

    #[test]
    fn a_text_must_stand_exactly_once() {
        let whole = "let x = 1; let y = 1;";
        assert_eq!(row("y = 1", "y = 2").apply(whole).unwrap(), "let x = 1; let y = 2;");
        assert!(row("= 1", "= 2").apply(whole).unwrap_err().contains("2 times"));
        let told = row("= 3", "= 2").apply(whole).unwrap_err();
        assert!(told.contains("wrong (one.rs)") && told.contains("0 times"), "{told}");
    }

    #[test]
    fn the_same_change_may_have_two_names() {
        let (one, other) = (row("a", "b"), Mutant { fault: "other", ..row("a", "b") });
        assert!(one.is_same_change(&other));
        assert!(!one.is_same_change(&row("a", "c")));
    }
}
