//! `deltaworks schema check` as its user meets it: places, samples, exit codes.

mod folder;

use std::process::Output;

use folder::{Folder, deltaworks};

const SCHEMA: &str = "{\n  \"properties\": {\n    \"text\": {\"type\": \"string\"},\n    \
                      \"at\": {\"type\": \"timestamp\"}\n  }\n}\n";

struct Files(Folder);

impl Files {
    fn new() -> Files {
        Files(Folder::new())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).expect("writable");
        path.to_str().expect("plain letters").to_owned()
    }
}

fn check(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output: Output = deltaworks(&[&["schema", "check"], arguments].concat());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_schema_that_is_wrong_is_told_with_line_column_and_pointer() {
    let files = Files::new();
    for (text, place, words) in [
        (SCHEMA.replace("string", "strnig"), ":3:22: ", "\"/properties/text/type\""),
        (SCHEMA.replace("\"type\": \"timestamp\"", "\"typ\": 1"), ":4:19: ", "no keyword"),
        (SCHEMA.replace("}\n  }", "}\n  "), ":7:1: ", "not the JSON of a schema"),
        (SCHEMA.replace("\"at\"", "\"text\""), ":5:3: ", "the name \"text\" stands twice"),
        ("[1]".to_owned(), ":1:1: ", "a schema is a map"),
    ] {
        let file = files.write("schema.json", &text);
        let (code, stdout, stderr) = check(&[&file]);
        assert_eq!((code, stdout.as_str()), (Some(3), ""), "{stderr}");
        assert!(stderr.starts_with(&format!("{file}{place}")), "{place}: {stderr}\n{text}");
        assert!(stderr.contains(words), "{words}: {stderr}");
        assert_eq!(stderr.lines().count(), 1);
    }
}

#[test]
fn samples_are_told_with_the_place_of_their_first_fault() {
    let files = Files::new();
    let schema = files.write("schema.json", SCHEMA);
    let good = files.write("good.json", "{\"text\": \"x\",\n\"at\": \"2026-11-27T06:00:00Z\"}\n");
    let (code, stdout, stderr) = check(&[&schema, &good]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, format!("{schema}: ok\n{good}: ok\n"));

    let whole = "{\"text\": \"x\", \"at\": \"2026-11-27T06:00:00Z\"}\n";
    for (name, text, place, words) in [
        ("type.json", "{\n \"text\": 1}".to_owned(), ":2:10: ", "instance \"/text\""),
        ("missing.json", "  {\"text\": \"x\"}".to_owned(), ":1:3: ", "missing"),
        ("second.json", format!("{whole}{{\"text\": []}}"), ":2:10: ", "instance \"/text\""),
        ("broken.json", format!("{whole}{{\"text\""), ":2:7: ", "not JSON"),
        ("empty.json", "\n".to_owned(), ":2:1: ", "no JSON value"),
    ] {
        let sample = files.write(name, text);
        let (code, stdout, stderr) = check(&[&schema, &sample, &good]);
        assert_eq!(code, Some(4), "{stderr}");
        assert!(stderr.starts_with(&format!("{sample}{place}")), "{place}: {stderr}");
        assert!(stderr.contains(words), "{words}: {stderr}");
        assert!(stdout.ends_with(&format!("{good}: ok\n")), "the next one is checked, too");
    }
    // {"text": 1} in CBOR: the value stands at byte 6.
    let cbor = files.write("wrong.cbor", b"\xa1\x64text\x01");
    let (code, _, stderr) = check(&[&schema, &cbor]);
    assert_eq!(code, Some(4));
    assert!(stderr.starts_with(&format!("{cbor}: byte 6: ")), "{stderr}");
}

#[test]
fn rows_are_checked_as_rows() {
    let files = Files::new();
    let schema = files.write("schema.json", "{\"properties\": {\"a\": {\"type\": \"uint8\"}}}");
    let row = files.write("row.json", "[0, 7, {\"a\": 5}] [3, 7]");
    let (code, _, stderr) = check(&["--kind", "rows", &schema, &row]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(check(&[&schema, &row]).0, Some(4), "a row is no such map");
    let bad = files.write("bad.json", "[0, 7,\n{\"a\": 256}]");
    let (code, _, stderr) = check(&["--kind", "rows", &schema, &bad]);
    assert_eq!(code, Some(4));
    assert!(stderr.starts_with(&format!("{bad}:2:7: ")), "{stderr}");
    let list = files.write("list.json", "{\"elements\": {}}");
    assert_eq!(check(&["--kind", "rows", &list]).0, Some(3), "rows need properties");
}

#[test]
fn json_tells_the_same_and_what_cannot_be_read_ends_with_1() {
    let files = Files::new();
    let schema = files.write("schema.json", SCHEMA);
    let sample = files.write("wrong.json", "{\n \"text\": 1}");
    let (code, stdout, _) = check(&[&schema, &sample, "--json"]);
    assert_eq!(code, Some(4));
    let report: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((&report["ok"], &report["schema"]["ok"]), (&false.into(), &true.into()));
    let fault = &report["samples"][0]["fault"];
    assert_eq!((&fault["line"], &fault["column"]), (&2.into(), &10.into()), "{report}");
    assert_eq!(fault["instance_path"], "/text");
    let (code, _, stderr) = check(&["/no/such/file"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("/no/such/file"), "{stderr}");
    assert_eq!(check(&[&schema, "/no/such/sample"]).0, Some(1));
    assert_eq!(check(&[]).0, Some(2));
    assert_eq!(check(&["--kind", "opaque", &schema]).0, Some(2));
}
