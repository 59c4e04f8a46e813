//! What the program is linked with: every crate is locked, comes from the registry, and has a licence that asks for
//! no more than to be named.

use std::process::Command;

use serde_json::Value;

const ALLOWED: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Crates that name a file instead; HDF5's is BSD-3-Clause in other words.
const BY_FILE: [(&str, &str); 1] = [("hdf5-metno-src", "ext/hdf5/LICENSE")];

/// Whether an SPDX expression can be met by licences of [`ALLOWED`] alone: one of each OR, all of each AND.
fn is_allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    plain.split(" AND ").all(|all| {
        all.split(" OR ").any(|one| {
            let one = one.trim().trim_end_matches(" WITH LLVM-exception");
            ALLOWED.contains(&one)
        })
    })
}

#[test]
fn expressions_are_understood() {
    assert!(is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(is_allowed("Unlicense/MIT"));
    assert!(!is_allowed("MIT AND GPL-3.0"));
    assert!(!is_allowed("LGPL-2.1"));
}

#[test]
fn every_dependency_is_locked_and_free() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "{said}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let known = match package["license"].as_str() {
            Some(expression) => is_allowed(expression),
            None => BY_FILE
                .iter()
                .any(|(crate_name, file)| name == *crate_name && package["license_file"] == *file),
        };
        assert!(known, "{name}: {}", package["license"]);
        let source = package["source"].as_str().unwrap_or_default();
        assert!(
            name == "annslicer" || source.starts_with("registry+"),
            "{name} comes from {source}"
        );
    }
}
