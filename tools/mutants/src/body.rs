//! Where the bodies of a source file's functions stand.

use std::ops::Range;
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The bodies of the outermost functions of `source`, with their braces, in the order of the text;
/// none if it is no Rust. Left out is what cannot have a second version beside the first: a
/// `const fn`, which can read no switch, and who returns an `impl Trait`, which is one type only.
pub(crate) fn bodies(source: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if let Ok(tokens) = TokenStream::from_str(source) {
        look(tokens, &mut found);
    }
    found
}

fn look(tokens: TokenStream, found: &mut Vec<Range<usize>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        if is_word(token, "fn") && matches!(tokens.get(at), Some(TokenTree::Ident(_))) {
            let Some(length) = tokens[at..].iter().position(ends_head) else { return };
            let (before, head) = (&tokens[..at - 1], &tokens[at..at + length]);
            at += length;
            if let TokenTree::Group(body) = &tokens[at]
                && !is_const(before)
                && !returns_some_type(head)
            {
                found.push(body.span().byte_range());
            }
            at += 1;
        } else if let TokenTree::Group(group) = token {
            look(group.stream(), found);
        }
    }
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_sign(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

/// A function's head ends before its body, or at a semicolon.
fn ends_head(token: &TokenTree) -> bool {
    let is_body = matches!(token, TokenTree::Group(it) if it.delimiter() == Delimiter::Brace);
    is_body || is_sign(token, ';')
}

/// Whether one of the words directly before `fn` is `const`.
fn is_const(before: &[TokenTree]) -> bool {
    let is_of_head = |token: &&TokenTree| {
        let words = ["const", "async", "unsafe", "extern"];
        matches!(token, TokenTree::Literal(_)) || words.iter().any(|word| is_word(token, word))
    };
    before.iter().rev().take_while(is_of_head).any(|token| is_word(token, "const"))
}

fn returns_some_type(head: &[TokenTree]) -> bool {
    let is_arrow = |pair: &[TokenTree]| is_sign(&pair[0], '-') && is_sign(&pair[1], '>');
    let arrow = head.windows(2).position(is_arrow);
    arrow.is_some_and(|at| head[at..].iter().any(names_some_type))
}

fn names_some_type(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.stream().into_iter().any(|token| names_some_type(&token)),
        _ => is_word(token, "impl"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<&str> {
        bodies(source).into_iter().map(|body| &source[body]).collect()
    }

    #[test]
    fn bodies_are_found_wherever_functions_stand() {
        let source = "//! Ü\nfn a() { fn inner() { 1 } }\nimpl S { pub fn b(&self) -> u8 { \"}\"; 2 } }\n\
                      mod m { trait T { fn c(); fn d<F: Fn() -> u8>(f: F) where F: X { 3 } } }";
        assert_eq!(found(source), ["{ fn inner() { 1 } }", "{ \"}\"; 2 }", "{ 3 }"]);
    }

    #[test]
    fn what_cannot_stand_twice_is_left_out() {
        assert_eq!(found("const fn a() { 1 } pub const unsafe fn b() { 2 }"), [""; 0]);
        assert_eq!(found("fn a() -> impl Fn() { f } fn b() -> (u8, impl Fn()) { g }"), [""; 0]);
        assert_eq!(found("const A: u8 = { 1 }; struct S { call: fn(u8) -> u8 }"), [""; 0]);
        assert_eq!(found("fn a( { 1 }"), [""; 0], "no Rust");
        assert_eq!(found("const A: u8 = 1; fn a(f: impl Fn()) { f }"), ["{ f }"]);
    }
}
