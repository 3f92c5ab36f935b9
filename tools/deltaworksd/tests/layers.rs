//! The layers of the configuration: precedence, provenance, mistakes, and the printed file.

use std::path::PathBuf;

use deltaworksd::config::collection::{COLLECTION_KEYS, CollectionConfig};
use deltaworksd::config::key::{Change, Effect, Key};
use deltaworksd::config::value::{OrOff, Range};
use deltaworksd::config::{Config, Effective, FileLayer, KEYS, Layers, Mistakes, Origin, print};
use deltaworksd::options::Options;

fn layers(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Layers {
    let words = ["deltaworksd"].iter().chain(flags);
    let options = Options::parse(words).expect("a command line");
    let pair = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    Layers {
        file: Some(FileLayer { path: PathBuf::from("/etc/d.toml"), text: file.to_owned() }),
        environment: environment.iter().map(pair).collect(),
        flags: options.flags,
    }
}

fn read(file: &str) -> Result<Effective, Mistakes> {
    layers(file, &[], &[]).combine()
}

fn mistakes(file: &str) -> Vec<String> {
    let mistakes = read(file).expect_err("mistakes");
    mistakes.0.iter().map(ToString::to_string).collect()
}

#[test]
fn the_later_layer_wins_and_each_key_knows_where_it_came_from() {
    let file = "documents = 1\nspin_us = 1\n\ndrain_seconds = 1\n";
    let environment = [("DELTAWORKS_SPIN_US", "2"), ("DELTAWORKS_DRAIN_SECONDS", "2")];
    let read = layers(file, &environment, &["--drain-seconds", "3"]).combine().expect("right");
    let config = &read.config;
    assert_eq!((config.documents, config.spin_us, config.drain_seconds), (Some(1), 2, 3));
    assert_eq!(config.credit_bytes, Config::default().credit_bytes);
    let origin = |key: &str| read.origin(key).to_string();
    assert_eq!(origin("documents"), "file /etc/d.toml:1");
    assert_eq!(origin("spin_us"), "environment DELTAWORKS_SPIN_US");
    assert_eq!(origin("drain_seconds"), "flag --drain-seconds");
    assert_eq!(origin("credit_bytes"), "default");
}

#[test]
fn a_key_has_the_same_name_in_all_layers() {
    for (place, key) in KEYS.iter().enumerate() {
        let default = (key.get)(&Config::default());
        let as_word = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        let file = format!("{} = {default}", key.name);
        let by_file = layers(&file, &[], &[]).combine().expect("a default is right");
        let variable = key.variable();
        let by_environment = layers("", &[(&variable, &as_word)], &[]).combine().expect("right");
        let flag = format!("--{}={as_word}", key.flag());
        let by_flag = layers("", &[], &[&flag]).combine().expect("right");
        for (read, origin) in [
            (by_file, Origin::File { path: "/etc/d.toml".to_owned(), line: 1 }),
            (by_environment, Origin::Environment { variable }),
            (by_flag, Origin::Flag { flag: format!("--{}", key.flag()) }),
        ] {
            assert_eq!(read.config, Config::default(), "{}", key.name);
            assert_eq!(read.origins[place], origin);
        }
    }
}

#[test]
fn lists_are_lists_in_a_file_and_have_commas_in_the_environment() {
    let both = vec!["127.0.0.1:1".parse().expect("one"), "[::1]:2".parse().expect("two")];
    let addresses = |layers: Layers| layers.combine().expect("right").config.tcp;
    let file = "tcp = [\"127.0.0.1:1\", \"[::1]:2\"]";
    assert_eq!(addresses(layers(file, &[], &[])), Some(both.clone()));
    let variable = [("DELTAWORKS_TCP", "127.0.0.1:1, [::1]:2")];
    assert_eq!(addresses(layers("", &variable, &[])), Some(both.clone()));
    let flags = ["--tcp", "127.0.0.1:1", "--tcp", "[::1]:2"];
    assert_eq!(addresses(layers(file, &[], &flags)), Some(both.clone()));
    assert_eq!(addresses(layers("tcp = \"127.0.0.1:1\"", &[], &[])), Some(both[..1].to_vec()));
    assert_eq!(addresses(layers(file, &[("DELTAWORKS_TCP", "")], &[])), Some(vec![]));
    assert_eq!(addresses(layers(file, &[("DELTAWORKS_TCP", "auto")], &[])), None);
}

#[test]
fn all_mistakes_are_told_at_once_with_line_key_and_range() {
    let told = mistakes(
        "documnts = 1\nspin_us = -1\ncredit_bytes = \"much\"\nchunk_bytes = 100000\n\
         tcp = [\"localhost\"]\nunix_mode = \"0999\"\nlog = \"inof\"\ninsecure = 1\n\
         [collections.notes]\nkind = \"json\"\nschma = \"x\"\n[limits]\nsessions = 1\n",
    );
    let expected = [
        ("/etc/d.toml:1", "unknown key `documnts`; the nearest known one is `documents`"),
        ("/etc/d.toml:2: spin_us", "from 0 to 60000000, found -1"),
        ("/etc/d.toml:3: credit_bytes", "from 4096 to 1073741824, found \"much\""),
        ("/etc/d.toml:4: chunk_bytes", "a power of two from"),
        ("/etc/d.toml:5: tcp", "ADDRESS:PORT"),
        ("/etc/d.toml:6: unix_mode", "octal"),
        ("/etc/d.toml:7: log", "levels"),
        ("/etc/d.toml:8: insecure", "true or false, found 1"),
        ("/etc/d.toml:12", "only [collections.NAME] is a table"),
        ("/etc/d.toml:10: collections.notes.kind", "opaque"),
        ("/etc/d.toml:11", "the nearest known one is `schema`"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, (place, words)) in told.iter().zip(expected) {
        assert!(told.starts_with(place) && told.contains(words), "{told}: {place} … {words}");
    }
}

#[test]
fn a_name_longer_than_any_mistyped_one_is_told_without_a_proposal() {
    let told = mistakes(&format!("{} = 1\n", "documents".repeat(8)));
    assert!(told[0].contains("unknown key") && !told[0].contains("nearest"), "{told:#?}");
}

#[test]
fn log_levels_that_the_library_would_panic_at_are_refused() {
    let told = mistakes("log = '\t\t\toun\u{feff}\u{feff}n_odee ='\n");
    assert!(told[0].starts_with("/etc/d.toml:1: log") && told[0].contains("levels"), "{told:#?}");
}

#[test]
fn mistakes_of_all_layers_are_told_together() {
    let variable = [("DELTAWORKS_SPIN_US", "long")];
    let read = layers("documents = 0", &variable, &["--cores", "0", "--collection", "x"]);
    let told = read.combine().expect_err("mistakes").to_string();
    for word in ["/etc/d.toml:1: documents", "DELTAWORKS_SPIN_US: ", "--cores: ", "--collection: "]
    {
        assert!(told.contains(word), "{word} is not in {told}");
    }
    assert_eq!(told.lines().count(), 4, "{told}");
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let told = mistakes("documents = 1\nspin_us = = 2\n");
    assert!(told[0].starts_with("/etc/d.toml:2: "), "{told:?}");
    let twice = mistakes("documents = 1\ndocuments = 2\n");
    assert!(twice[0].starts_with("/etc/d.toml:2: "), "{twice:?}");
}

/// Each range is held at both of its ends, by each whole key.
#[test]
fn ranges_hold_at_their_ends() {
    let mut judged = 0;
    for key in KEYS {
        let (Range::Whole(least, most) | Range::PowerOfTwo(least, most)) = key.range else {
            continue;
        };
        judged += 1;
        let mut config = Config::default();
        let set = |config: &mut Config, number: u64| {
            let raw = deltaworksd::config::value::Raw::Whole(number.into());
            (key.set)(config, &raw, key.range)
        };
        set(&mut config, least).unwrap_or_else(|error| panic!("{} {least}: {error}", key.name));
        set(&mut config, most).unwrap_or_else(|error| panic!("{} {most}: {error}", key.name));
        let before = config.clone();
        if let Some(below) = least.checked_sub(1) {
            assert!(set(&mut config, below).is_err(), "{} {below}", key.name);
        }
        assert!(set(&mut config, most + 1).is_err(), "{} {}", key.name, most + 1);
        assert_eq!(config, before, "a refused value changes nothing");
    }
    assert!(judged > 15, "only {judged} keys have a range");
}

#[test]
fn addresses_beyond_loopback_need_insecure() {
    for key in ["tcp", "http"] {
        let file = format!("{key} = \"0.0.0.0:7000\"\n");
        let told = mistakes(&file);
        assert!(told[0].starts_with(&format!("/etc/d.toml:1: {key}: 0.0.0.0:7000")), "{told:?}");
        assert!(told[0].contains("insecure = true"), "{told:?}");
        assert!(read(&format!("{file}insecure = true")).is_ok());
        assert!(read(&format!("{key} = \"[::1]:7000\"")).is_ok());
    }
}

#[test]
fn time_outs_are_longer_than_intervals() {
    let told = mistakes("ping_interval_seconds = 75\n");
    assert!(told[0].contains("expected more than ping_interval_seconds, 75"), "{told:?}");
    assert!(read("ping_interval_seconds = 74\n").is_ok());
}

#[test]
fn what_is_hot_is_not_quiet() {
    let told = mistakes("promotion_threshold = 9999\n");
    assert!(
        told[0].contains("expected promotion_threshold, 9999, at most, found 10000"),
        "{told:?}"
    );
    assert!(read("promotion_threshold = 10000\n").is_ok());
    assert!(read("promotion_threshold = 0\n").is_ok(), "nothing is promoted");
}

/// What is printed is what was read, wherever it is read again.
#[test]
fn a_printed_configuration_reads_as_itself() {
    let default = Layers::default().combine().expect("the defaults are right");
    let printed = print::as_toml(&default);
    let again = read(&printed).expect("a printed file is right");
    assert_eq!(again.config, Config::default(), "{printed}");
    assert_eq!(again.notes, [] as [String; 0], "nothing void is asked for: {printed}");

    let odd = layers(
        "tcp = [\"127.0.0.1:1\"]\nunix = [\"/a \\\"b\\\"\\\\\\n\", \"ü\\u007f\"]\n\
         log = \"info,deltaworksd=debug\"\ndocuments = 7\nhttp = \"\"\nadmin_socket = \"\"\n\
         [collections.\"\"]\nkind = \"opaque\"\n[collections.\"a b\"]\nkind = \"cbor\"\n\
         schema = \"s.json\"\nwait_allowed = false\n",
        &[("DELTAWORKS_MAX_ELASTIC_WORKERS", "3")],
        &["--collection", "c=rows:t.json", "--insecure"],
    );
    let odd = odd.combine().expect("right");
    let printed = print::as_toml(&odd);
    let again = Layers {
        file: Some(FileLayer { path: PathBuf::from("elsewhere/x.toml"), text: printed.clone() }),
        ..Layers::default()
    };
    assert_eq!(again.combine().expect("right").config, odd.config, "{printed}");
    for line in [
        "documents = 7  # file /etc/d.toml:4",
        "max_elastic_workers = 3  # environment DELTAWORKS_MAX_ELASTIC_WORKERS",
        "insecure = true  # flag --insecure",
        "spin_us = 20  # default",
        "schema = \"/etc/s.json\"  # file /etc/d.toml:11",
        "[collections.\"a b\"]",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in {printed}");
    }
}

/// Keys without an effect stand in the printed file with their defaults, as remarks.
#[test]
fn keys_without_effect_are_printed_as_remarks_that_are_true() {
    let printed = print::as_toml(&Layers::default().combine().expect("right"));
    let mut void = 0;
    for key in KEYS.iter().filter(|key| key.effect != Effect::Works) {
        void += 1;
        let mark = format!("# {} = ", key.name);
        let line = printed.lines().find(|line| line.starts_with(&mark)).expect(key.name);
        let read = read(&line[2..]).expect("right");
        assert_eq!(read.config, Config::default(), "{line}");
        let note = &read.notes[0];
        assert!(note.starts_with(&format!("{} has no effect", key.name)), "{note}");
        assert!(printed.contains(&format!("# note: {note}.")), "{note}");
    }
    assert_eq!(void, 3);
}

fn text_of_project(path: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The file in the documentation is what the daemon prints without any input, and what is packaged
/// of it sets nothing.
#[test]
fn the_files_of_the_project_are_those_of_the_table() {
    let printed = print::as_toml(&Layers::default().combine().expect("right"));
    let kept = text_of_project("docs/deltaworksd.toml");
    assert_eq!(kept, printed, "write it again: deltaworksd --print-config > docs/deltaworksd.toml");
    // It is packaged with every key commented out, which is found by this mark.
    let is_set = |line: &str| !line.is_empty() && !line.starts_with('#');
    let comment_out = |line: &str| match line.strip_suffix("  # default") {
        Some(default) if is_set(line) => format!("# {default}\n"),
        _ => format!("{line}\n"),
    };
    let packaged: String = printed.lines().map(comment_out).collect();
    assert!(!packaged.lines().any(is_set), "a later version's defaults come through");
    let packaged = read(&packaged).expect("right");
    assert_eq!((packaged.config, packaged.notes), (Config::default(), vec![]));
    assert!(!Config::default().insecure, "what is packaged is safe");
}

#[test]
fn addresses_are_chosen_where_nobody_gives_them() {
    let config = |file: &str| read(file).expect("right").config;
    let default: std::net::SocketAddr = "127.0.0.1:7710".parse().expect("an address");
    let folder = || Some(PathBuf::from("/run/deltaworks"));
    assert_eq!(config("").tcp_addresses(), [default]);
    assert_eq!(config("unix = []").tcp_addresses(), [default]);
    assert_eq!(config("unix = \"/s\"").tcp_addresses(), []);
    assert_eq!(config("unix = \"/s\"\ntcp = \"127.0.0.1:1\"").tcp_addresses().len(), 1);
    assert_eq!(config("tcp = []").tcp_addresses(), []);
    assert_eq!(config("").unix_paths(None), [] as [PathBuf; 0]);
    assert_eq!(config("").unix_paths(folder()), [PathBuf::from("/run/deltaworks/deltaworks.sock")]);
    assert_eq!(config("unix = []").unix_paths(folder()), [] as [PathBuf; 0]);
}

/// The printed file shows a collection with every key at its default, as remarks that are right.
#[test]
fn the_printed_example_of_a_collection_is_true() {
    let printed = print::as_toml(&Layers::default().combine().expect("right"));
    let (_, example) = printed.split_once("# [collections.trades]").expect("an example");
    let mut file = "[collections.trades]\n".to_owned();
    for key in COLLECTION_KEYS {
        let mark = format!("# {} = ", key.name);
        let line = example.lines().find(|line| line.starts_with(&mark)).expect(key.name);
        file.push_str(&format!("{}\n", &line[2..]));
    }
    let read = read(&file).expect("right");
    assert_eq!(read.config.collections["trades"], CollectionConfig::default(), "{file}");
}

#[test]
fn the_knobs_of_the_first_sketch_have_their_defaults() {
    let json = print::as_json(&Layers::default().combine().expect("right"));
    for (key, default) in [
        ("core_workers", "32"),
        ("max_elastic_workers", "24"),
        ("propagation_workers", "16"),
        ("promotion_threshold", "1000000"),
        ("demotion_threshold", "10000"),
        ("idle_timeout", "5"),
        ("worker_queue_size", "10000"),
        ("propagation_queue_size", "100000"),
        ("channel_per_document", "true"),
        ("max_channels_per_client", "100"),
    ] {
        assert_eq!(json["keys"][key]["value"].to_string(), default, "{key}");
    }
}

#[test]
fn a_misspelt_variable_is_told_and_others_variables_are_not() {
    let environment = [("DELTAWORKS_BUDGET_MB", "1"), ("DELTAWORKS_ADMIN", "x")];
    let read = layers("", &environment, &[]).combine().expect("no mistake");
    assert_eq!(read.notes.len(), 1, "{:?}", read.notes);
    assert!(read.notes[0].contains("DELTAWORKS_BUDGET_MIB"), "{:?}", read.notes);
}

#[test]
fn a_flag_gives_kind_and_schema_and_the_file_the_rest() {
    let file = "[collections.notes]\nkind = \"opaque\"\nwait_allowed = false\n";
    let read = layers(file, &[], &["--collection", "notes=cbor:/s.json"]).combine().expect("right");
    let notes = &read.config.collections["notes"];
    assert_eq!(notes.schema, OrOff(Some(PathBuf::from("/s.json"))));
    assert!(!notes.wait_allowed);
    let origins: Vec<String> =
        read.collection_origins["notes"].iter().map(ToString::to_string).collect();
    let flag = "flag --collection".to_owned();
    assert_eq!(origins[..3], [flag.clone(), flag.clone(), "file /etc/d.toml:3".to_owned()]);
    let with_keys = "notes=cbor:/a,b.json,wait_allowed=true,policy=skip";
    let read = layers(file, &[], &["--collection", with_keys]).combine().expect("right");
    let notes = &read.config.collections["notes"];
    assert_eq!(notes.schema, OrOff(Some(PathBuf::from("/a,b.json"))), "a comma of its name");
    assert_eq!((notes.wait_allowed, notes.policy.0.name()), (true, "skip"));
    assert_eq!(read.collection_origins["notes"][2].to_string(), flag);
}

/// A misspelt key, a wrong value and a contradiction of a flag are told.
#[test]
fn a_flags_keys_of_a_collection_are_judged_like_the_files() {
    for (flag, fault) in [
        ("=opaque,wait_alowed=true", "the nearest known one is `wait_allowed`"),
        ("=opaque,wait_allowed=maybe", "collection \"\", wait_allowed: expected true or false"),
        ("=opaque,schema=x", "unknown key `schema`"),
        ("=opaque,policy=wait", "has policy wait and does not allow it"),
    ] {
        let told = layers("", &[], &["--collection", flag]).combine().expect_err("a mistake");
        assert!(told.to_string().contains(fault), "{flag}: {told}");
    }
}

#[test]
fn collections_need_what_their_kind_needs() {
    let told = mistakes("[collections.a]\nkind = \"cbor\"\n[collections.b]\nschema = \"x\"\n");
    assert!(told[0].contains("/etc/d.toml:2") && told[0].contains("\"a\" needs a schema"));
    assert!(told[1].contains("\"b\" is opaque"), "{told:?}");
    let told = mistakes("[collections.a]\npolicy = \"skip\"\nskip_allowed = false\n");
    assert!(told[0].contains("\"a\" has policy skip and does not allow it"), "{told:?}");
    let told = mistakes("[collections.a]\npolicy = \"catch-up\"\n");
    assert!(told[0].contains("/etc/d.toml:2") && told[0].contains("reserved"), "{told:?}");
    let told = mistakes("[collections.a]\npolicy = \"drop\"\n");
    assert!(told[0].contains("one of gap, wait, skip"), "{told:?}");
    assert!(mistakes("[collections.\"a/b\"]\nkind = \"opaque\"\n")[0].contains("'/'"));
    assert!(mistakes("[collections.\"a\\nb\"]\nkind = \"opaque\"\n")[0].contains("control"));
}

/// Each row of the table says something, and says it in the house's form.
#[test]
fn every_key_is_described() {
    fn judge<C>(key: &Key<C>) {
        let name = key.name;
        let meaning = key.meaning.join("");
        assert!(meaning.trim().ends_with('.'), "{name}: {meaning}");
        assert!(!key.unit.is_empty() && !key.memory.is_empty(), "{name}");
        assert!(!key.memory.ends_with('.') && !key.unit.ends_with('.'), "{name}");
        if let Change::Restart(why) = key.change {
            assert!(!why.is_empty() && !why.ends_with('.'), "{name}");
        }
    }
    KEYS.iter().for_each(judge);
    COLLECTION_KEYS.iter().for_each(judge);
    let mut names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), KEYS.len());
    assert_eq!(CollectionConfig::default().kind.0.name(), "opaque");
}
