//! The layers of `src/ARCHITECTURE.md`, held: code uses modules of earlier layers, never of its own or a later one, and
//! the pure layers stay pure.

use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules in order. Each may use itself and what stands on earlier lines.
const LAYERS: &[&[&str]] = &[
    &["types"],
    &["proto", "sys"],
    &["config", "store"],
    &["service"],
    &["serve", "api", "sim", "agent"],
    &["cli", "ubus"],
    &["daemon"],
];

/// Modules that stand apart: of all earlier layers they may use only these, and nobody uses the agent.
const APART: &[(&str, &[&str])] =
    &[("sim", &["types", "proto", "sys"]), ("agent", &["types", "proto", "sys"])];

/// Layers that decide and never act, and words that would let the world into them.
const PURE: &[&str] = &["types", "proto"];
const IMPURE: &[&str] = &[
    "tokio::",
    "std::fs",
    "fs_err",
    "UdpSocket",
    "TcpStream",
    "Instant::now",
    "SystemTime::now",
    "rand::",
    "getrandom",
    "async fn",
    "unsafe ",
];

/// Every breach below `src`, one line each.
fn breaches(src: &Path) -> Vec<String> {
    let mut files = Vec::new();
    collect(src, &mut files);
    files.sort();
    files.retain(|file| !only_in_tests(file));
    files.iter().flat_map(|file| breaches_of(src, file)).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the source folder can be listed") {
        let path = entry.expect("a folder entry can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Whether the module that declares `file` does so below `#[cfg(test)]`: as `mod tests;`, or by its path.
fn only_in_tests(file: &Path) -> bool {
    let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
        return false;
    };
    let stem = name.trim_end_matches(".rs");
    let declared = [format!("#[cfg(test)]\nmod {stem};"), format!("#[cfg(test)]\n#[path = \"{name}\"]")];
    let beside =
        fs::read_dir(folder).expect("the folder can be listed").map(|entry| entry.expect("entry").path());
    let above = std::iter::once(folder.with_extension("rs"));
    beside
        .chain(above)
        .filter_map(|parent| fs::read_to_string(parent).ok())
        .any(|text| declared.iter().any(|line| text.contains(line.as_str())))
}

fn breaches_of(src: &Path, file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(src).expect("the file is below src");
    let top = inside.iter().next().and_then(|part| part.to_str()).expect("a file has a name");
    let module = top.strip_suffix(".rs").unwrap_or(top);
    let Some(own_rank) = rank(module) else { return Vec::new() };
    let text = fs::read_to_string(file).expect("a source file can be read");
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // Tests may look anywhere; they stand last in a file.
        if line.trim() == "#[cfg(test)]" {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        let at = |what: String| format!("src/{}:{}: {what}", inside.display(), number + 1);
        for used in used_modules(code) {
            let apart = APART.iter().find(|(name, _)| *name == module).map(|(_, may)| *may);
            let allowed = used == module
                || match apart {
                    Some(may) => may.contains(&used),
                    None => rank(used).is_none_or(|other| other < own_rank) && used != "agent",
                };
            if !allowed {
                found.push(at(format!("`{module}` may not use `{used}`")));
            }
        }
        if PURE.contains(&module) {
            for word in IMPURE.iter().filter(|word| code.contains(**word)) {
                found.push(at(format!("`{word}` in a pure module; take it as an argument")));
            }
        }
    }
    found
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// `x` of every `crate::x` in a line of code, `crate::{x, y::z}` included.
fn used_modules(code: &str) -> Vec<&str> {
    let mut used = Vec::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = 0;
            for (at, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => {
                        used.push(head(&group[start..at]));
                        break;
                    }
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        used.push(head(&group[start..at]));
                        start = at + 1;
                    }
                    _ => {}
                }
            }
        } else {
            used.push(head(rest));
        }
    }
    used.retain(|name| rank(name).is_some());
    used
}

/// The leading identifier.
fn head(path: &str) -> &str {
    let path = path.trim_start();
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    &path[..end]
}

#[test]
fn layers_point_one_way() {
    let found = breaches(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(found.is_empty(), "\n{}\nsee src/ARCHITECTURE.md, section Layers", found.join("\n"));
}

#[test]
fn every_module_has_a_layer() {
    let src = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    for entry in fs::read_dir(src).expect("src can be listed") {
        let name = entry.expect("entry").file_name().into_string().expect("plain names");
        let module = name.strip_suffix(".rs").unwrap_or(&name);
        let known = rank(module).is_some() || ["lib", "main", "ARCHITECTURE.md"].contains(&module);
        assert!(
            known,
            "`src/{name}` stands in no layer; give it one in tests/layers.rs and src/ARCHITECTURE.md"
        );
    }
}

/// `cargo update` would bring them back.
#[test]
fn no_tables_of_unicode_for_host_names() {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).expect("there");
    assert!(
        !lock.contains("name = \"icu_"),
        "tables of Unicode are in Cargo.lock; run `cargo update -p idna_adapter --precise 1.0.0` (README, Dependencies)"
    );
}

#[test]
fn the_test_itself_can_fail() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    fs::create_dir_all(dir.path().join("proto")).expect("folder");
    fs::create_dir_all(dir.path().join("sim")).expect("folder");
    let bad = "use crate::store::Store;\nlet now = Instant::now();\nuse crate::{types::MacAddr, service::{leases, jobs}};\n\
               // crate::api in a comment is nothing\n#[cfg(test)]\nuse crate::serve;\n";
    fs::write(dir.path().join("proto/tftp.rs"), bad).expect("file");
    fs::write(dir.path().join("sim/pi.rs"), "use crate::store::Store;\nuse crate::proto::dhcp;\n")
        .expect("file");
    fs::create_dir_all(dir.path().join("proto/dhcp")).expect("folder");
    let parent = "#[cfg(test)]\nmod tests;\nmod more_tests;\n";
    fs::write(dir.path().join("proto/dhcp.rs"), parent).expect("file");
    for name in ["tests", "more_tests"] {
        fs::write(dir.path().join(format!("proto/dhcp/{name}.rs")), "use std::fs;\n").expect("file");
    }
    assert_eq!(
        breaches(dir.path()),
        [
            "src/proto/dhcp/more_tests.rs:1: `std::fs` in a pure module; take it as an argument",
            "src/proto/tftp.rs:1: `proto` may not use `store`",
            "src/proto/tftp.rs:2: `Instant::now` in a pure module; take it as an argument",
            "src/proto/tftp.rs:3: `proto` may not use `service`",
            "src/sim/pi.rs:1: `sim` may not use `store`",
        ]
    );
}
