//! What the program is linked with: every crate is locked, comes from the registry, has a licence that asks for no more
//! than to be named, and is past what was found wrong with it.

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

/// What the RustSec advisory database had on these crates in October 2026, each with the first version of the newest
/// branch in which it is mended. A crate that is new here is to be looked up.
const ADVISORIES: &[(&str, &str, &str)] = &[
    ("anstream", "RUSTSEC-2024-0404", "0.6.8"),
    ("anyhow", "RUSTSEC-2026-0190", "1.0.103"),
    ("ascii", "RUSTSEC-2023-0015", "0.9.3"),
    ("base64", "RUSTSEC-2017-0004", "0.5.2"),
    ("bytes", "RUSTSEC-2026-0007", "1.11.1"),
    ("bzip2", "RUSTSEC-2023-0004", "0.4.4"),
    ("chacha20", "RUSTSEC-2019-0029", "0.2.3"),
    ("crossbeam-channel", "RUSTSEC-2020-0052", "0.4.4"),
    ("crossbeam-channel", "RUSTSEC-2022-0019", "0.4.3"),
    ("crossbeam-channel", "RUSTSEC-2025-0024", "0.5.15"),
    ("crossbeam-deque", "RUSTSEC-2021-0093", "0.8.1"),
    ("crossbeam-epoch", "RUSTSEC-2026-0204", "0.9.20"),
    ("crossbeam-utils", "RUSTSEC-2022-0041", "0.8.7"),
    ("event-listener", "RUSTSEC-2026-0221", "5.4.2"),
    ("futures-task", "RUSTSEC-2020-0060", "0.3.6"),
    ("futures-task", "RUSTSEC-2020-0061", "0.3.5"),
    ("futures-util", "RUSTSEC-2020-0059", "0.3.7"),
    ("futures-util", "RUSTSEC-2020-0062", "0.3.2"),
    ("hashbrown", "RUSTSEC-2024-0402", "0.15.1"),
    ("inventory", "RUSTSEC-2023-0057", "0.2.0"),
    ("inventory", "RUSTSEC-2023-0058", "0.2.0"),
    ("lock_api", "RUSTSEC-2020-0070", "0.4.2"),
    ("lru", "RUSTSEC-2021-0130", "0.7.1"),
    ("lru", "RUSTSEC-2026-0002", "0.16.3"),
    ("lz4-sys", "RUSTSEC-2022-0051", "1.9.4"),
    ("lz4_flex", "RUSTSEC-2026-0041", "0.12.1"),
    ("memmap2", "RUSTSEC-2026-0186", "0.9.11"),
    ("once_cell", "RUSTSEC-2019-0017", "1.0.1"),
    ("rand", "RUSTSEC-2026-0097", "0.10.1"),
    ("rand_core", "RUSTSEC-2019-0035", "0.4.2"),
    ("rand_core", "RUSTSEC-2021-0023", "0.6.2"),
    ("regex", "RUSTSEC-2022-0013", "1.5.5"),
    ("sha2", "RUSTSEC-2021-0100", "0.9.8"),
    ("shlex", "RUSTSEC-2024-0006", "1.3.0"),
    ("slab", "RUSTSEC-2025-0047", "0.4.11"),
    ("smallvec", "RUSTSEC-2018-0003", "0.6.3"),
    ("smallvec", "RUSTSEC-2018-0018", "0.6.13"),
    ("smallvec", "RUSTSEC-2019-0009", "0.6.10"),
    ("smallvec", "RUSTSEC-2019-0012", "0.6.10"),
    ("smallvec", "RUSTSEC-2021-0003", "1.6.1"),
    ("thread_local", "RUSTSEC-2022-0006", "1.1.4"),
    ("tracing", "RUSTSEC-2023-0078", "0.1.40"),
    ("tracing-subscriber", "RUSTSEC-2025-0055", "0.3.20"),
    ("zerocopy", "RUSTSEC-2023-0074", "0.7.31"),
    ("zlib-rs", "RUSTSEC-2024-0401", "0.4.0"),
];

/// Those that no version mends, or only one that what depends on it does not take, and why they do no harm here.
const ACCEPTED: [(&str, &str, &str); 2] = [
    (
        "lru",
        "RUSTSEC-2026-0253",
        "zarrs has it, with keys whose drop cannot panic",
    ),
    (
        "paste",
        "RUSTSEC-2024-0436",
        "unmaintained; a macro, which runs at compile time alone",
    ),
];

/// The numbers of a version, without what comes after them.
fn numbers(version: &str) -> Vec<u64> {
    let numbers = version.split(['+', '-']).next().unwrap();
    numbers.split('.').map(|n| n.parse().unwrap()).collect()
}

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

/// The packages of the program and its tests.
fn packages() -> Vec<Value> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "{said}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().clone();
    assert!(packages.len() > 100);
    packages
}

#[test]
fn every_dependency_is_locked_and_free() {
    for package in packages() {
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

#[test]
fn no_dependency_has_a_known_fault() {
    assert!(numbers("1.10.0+lz4-1.9") > numbers("1.9.4"));
    let packages = packages();
    let locked = |name: &str| {
        let of_name = packages.iter().filter(|package| package["name"] == *name);
        let versions = of_name.map(|package| package["version"].as_str().unwrap());
        versions.map(numbers).collect::<Vec<_>>()
    };
    for (name, advisory, mended) in ADVISORIES {
        for version in locked(name) {
            let old = version < numbers(mended);
            assert!(!old, "{advisory}: {name} {version:?} is below {mended}");
        }
    }
    for (name, advisory, _) in ACCEPTED {
        assert!(!locked(name).is_empty(), "{advisory} is of no concern now");
    }
}
