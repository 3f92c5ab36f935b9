//! Reads a page strictly: as XML, and for everything that would come from elsewhere.

use deltaworks_harness::results::Results;

/// What is wrong with a page.
pub fn faults(page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let body = page.strip_prefix("<!DOCTYPE html>").unwrap_or_else(|| {
        faults.push("no document type".to_owned());
        page
    });
    well_formed(body, &mut faults);
    let foreign =
        ["http:", "https:", "//", "src=", "url(", "@import", "<script", "<link", "<iframe"];
    for word in foreign {
        // Paths in commands have one slash at a time.
        if body.contains(word) {
            faults.push(format!("refers to something outside: {word}"));
        }
    }
    for (at, _) in body.match_indices("href=\"") {
        if !body[at + 6..].starts_with('#') {
            faults.push("a link that leads outside".to_owned());
        }
    }
    for (at, _) in body.match_indices("href=\"#") {
        let id = body[at + 7..].split('"').next().unwrap_or_default();
        if !body.contains(&format!("id=\"{id}\"")) {
            faults.push(format!("a link that leads nowhere: {id}"));
        }
    }
    for word in ["NaN", "inf\""] {
        if body.contains(word) {
            faults.push(format!("a place that is no number: {word}"));
        }
    }
    faults
}

/// Every tag is closed by its own, attributes are quoted, signs are escaped.
fn well_formed(text: &str, faults: &mut Vec<String>) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        content(&rest[..at], open.last().copied(), faults);
        let Some(end) = rest[at..].find('>') else {
            faults.push("a tag without its end".to_owned());
            return;
        };
        let tag = &rest[at + 1..at + end];
        rest = &rest[at + end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                faults.push(format!("</{name}> closes something else"));
                return;
            }
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        let attributes = tag[name.len()..].trim_end_matches('/');
        attributes_are_quoted(attributes, faults);
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    if !open.is_empty() {
        faults.push(format!("not closed: {open:?}"));
    }
}

fn attributes_are_quoted(text: &str, faults: &mut Vec<String>) {
    let mut rest = text.trim();
    while !rest.is_empty() {
        let value = rest.split_once("=\"").and_then(|(name, after)| {
            let is_name = !name.is_empty() && !name.contains([' ', '"', '=']);
            is_name.then_some(after)?.split_once('"')
        });
        match value {
            Some((value, after)) => {
                content(value, None, faults);
                rest = after.trim();
            }
            None => {
                faults.push(format!("an attribute without quotes: {rest}"));
                return;
            }
        }
    }
}

fn content(text: &str, inside: Option<&str>, faults: &mut Vec<String>) {
    if inside == Some("style") {
        return;
    }
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;"];
        if !known.iter().any(|it| text[at..].starts_with(it)) {
            faults.push(format!("a sign that is not escaped: {text}"));
        }
    }
}

/// Verified samples of `results` that the page does not show.
pub fn samples_missing(page: &str, results: &Results) -> Vec<String> {
    let mut missing = Vec::new();
    for (place, series) in results.series.iter().enumerate() {
        for (sample, _) in series.samples.iter().enumerate().filter(|(_, it)| it.verified) {
            let key = format!("data-k=\"{place}.{sample}\"");
            if !page.contains(&key) {
                missing.push(format!("{key} of {}", series.key()));
            }
        }
    }
    missing
}
