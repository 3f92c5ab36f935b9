//! A number of things with their name, for sentences that a person reads.

/// `1 session`, `2 sessions`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_thing_is_told_as_one() {
        let told = [0, 1, 2].map(|count| counted(count, "session"));
        assert_eq!(told, ["0 sessions", "1 session", "2 sessions"]);
    }
}
