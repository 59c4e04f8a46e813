//! What the program is linked with: every crate is locked, comes from the registry, has a licence that `deny.toml` allows,
//! and is without known fault. Licences are read from cargo's metadata; the rest is `cargo deny check`, where it is installed.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Crates that name a file instead of a licence; `deny.toml` says what it is.
const BY_FILE: [(&str, &str); 1] = [("hdf5-metno-src", "ext/hdf5/LICENSE")];

/// The licences of the list `allow` in `deny.toml`.
fn allowed() -> Vec<String> {
    let text = fs::read_to_string(format!("{ROOT}/deny.toml")).unwrap();
    let list = text.split("\nallow = [").nth(1).unwrap();
    let list = list.split(']').next().unwrap();
    list.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Whether an SPDX expression can be met by these licences alone: one of each OR, all of each AND.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let is_allowed = |one: &str| allowed.iter().any(|licence| licence == one.trim());
    plain
        .split(" AND ")
        .all(|all| all.split(" OR ").any(is_allowed))
}

#[test]
fn expressions_are_understood() {
    let allowed = allowed();
    assert!(is_met("(MIT OR GPL-3.0) AND Unicode-3.0", &allowed));
    assert!(is_met("Unlicense/MIT", &allowed));
    assert!(!is_met("MIT AND GPL-3.0", &allowed));
    assert!(!is_met("LGPL-2.1", &allowed));
}

/// The packages of the program and its tests.
fn packages() -> Vec<Value> {
    let metadata = cargo(&[
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]);
    assert!(metadata.status.success(), "{metadata:?}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().clone();
    assert!(packages.len() > 100);
    packages
}

fn cargo(args: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(args).current_dir(ROOT).output().unwrap()
}

#[test]
fn every_dependency_is_locked_and_free() {
    let allowed = allowed();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let is_known = match package["license"].as_str() {
            Some(expression) => is_met(expression, &allowed),
            None => BY_FILE
                .iter()
                .any(|(of, file)| name == *of && package["license_file"] == *file),
        };
        assert!(is_known, "{name}: {}", package["license"]);
        let source = package["source"].as_str().unwrap_or_default();
        let is_from_registry = name == "annslicer" || source.starts_with("registry+");
        assert!(is_from_registry, "{name} comes from {source}");
    }
}

/// Without cargo-deny nothing is checked here; without its database of advisories, all but these. Both are said.
#[test]
fn cargo_deny_finds_nothing() {
    if !cargo(&["deny", "--version"]).status.success() {
        eprintln!("Skipped, cargo-deny is not installed");
        return;
    }
    let offline = cargo(&[
        "deny",
        "--locked",
        "--offline",
        "check",
        "bans",
        "licenses",
        "sources",
    ]);
    let said = String::from_utf8_lossy(&offline.stderr);
    assert!(offline.status.success(), "{said}");
    let advisories = cargo(&["deny", "--locked", "check", "advisories"]);
    let said = String::from_utf8_lossy(&advisories.stderr);
    if said.contains("failed to fetch advisory database") {
        eprintln!("Advisories are not checked, their database cannot be reached");
    } else {
        assert!(advisories.status.success(), "{said}");
    }
}
