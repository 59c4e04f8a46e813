//! The rules of `src/`, held by reading it: which floor uses which, where libraries and `unsafe` may stand.

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. A module uses those on floors below it, and itself.
const FLOORS: &[&[&str]] = &[
    &["codec", "limits", "permutation", "resources"],
    &["report"],
    &["store"],
    &["dtype"],
    &["rows"],
    &["anndata"],
    &["frame"],
    &["output"],
    &["cells"],
    &["check", "merge"],
    &["extract"],
    &["cli"],
    &["commands"],
    &["main"],
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The lines of each file but of its tests, by path below `src/`.
fn sources() -> Vec<(PathBuf, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut found) = (vec![root.clone()], vec![]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
                let lines = code.lines().map(str::to_owned).collect();
                found.push((path.strip_prefix(&root).unwrap().to_owned(), lines));
            }
        }
    }
    found
}

/// The same without lines that are comments, as one text.
fn code() -> impl Iterator<Item = (PathBuf, String)> {
    let is_code = |line: &String| !line.trim_start().starts_with("//");
    let sources = sources().into_iter();
    sources.map(move |(path, mut lines)| {
        lines.retain(is_code);
        (path, lines.join("\n"))
    })
}

/// The modules named after each `crate::`, alone or in braces.
fn used(code: &str) -> Vec<&str> {
    let not_name = |c: char| !c.is_alphanumeric() && c != '_';
    let paths = code.split("crate::").skip(1).map(|after| {
        let end = if after.starts_with('{') {
            after.find(';')
        } else {
            after.find(not_name)
        };
        &after[..end.unwrap_or(after.len())]
    });
    let names = paths.flat_map(|path| path.split(not_name));
    names.filter(|name| floor(name).is_some()).collect()
}

#[test]
fn each_floor_uses_only_floors_below() {
    let code_of_two = "use crate::{cli::Cli, extract::{self, Order}};\ncrate::store::open(codec)";
    assert_eq!(used(code_of_two), ["cli", "extract", "store"]);
    for (path, code) in code() {
        let top = Path::new(path.iter().next().unwrap());
        let module = top.file_stem().unwrap().to_str().unwrap();
        let own = floor(module).unwrap_or_else(|| panic!("{module} stands on no floor"));
        for other in used(&code).into_iter().filter(|other| *other != module) {
            let below = floor(other).unwrap() < own;
            assert!(below, "{} uses {other}", path.display());
        }
    }
}

/// But `codec` may call what zarrs decodes chunks of Zarr with: it is safe, and the C library of blosc below it is not.
#[test]
fn only_store_knows_hdf5_and_zarr() {
    for (path, code) in code().filter(|(path, _)| !path.starts_with("store")) {
        for library in ["hdf5::", "hdf5_sys::", "zarrs::"] {
            let uses = code.match_indices(library).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                let is_codec =
                    path.starts_with("codec") && code[at..].starts_with("zarrs::array::codec::");
                !is_codec && before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
            });
            assert!(!uses, "{} uses {library}", path.display());
        }
    }
}

#[test]
fn no_trait_is_defined() {
    for (path, code) in code() {
        let defines = |line: &str| line.trim_start_matches("pub ").starts_with("trait ");
        assert!(!code.lines().any(defines), "{}", path.display());
    }
}

#[test]
fn unsafe_stands_in_one_folder_and_says_why_it_is_sound() {
    for (path, lines) in sources() {
        for (at, line) in lines.iter().enumerate() {
            if line.trim_start().starts_with("//") || !line.contains("unsafe ") {
                continue;
            }
            let may = path.starts_with("store/hdf5/ffi");
            assert!(may, "unsafe in {}", path.display());
            let mut above = lines[at.saturating_sub(4)..at].iter();
            let said = !line.contains("unsafe {") || above.any(|line| line.contains("SAFETY"));
            assert!(said, "{}:{}: no SAFETY above", path.display(), at + 1);
        }
    }
}

/// The path of a file's module, as `rows::csr`; empty for `main.rs`.
fn module(path: &Path) -> String {
    let parts = path.with_extension("");
    let parts = parts.iter().map(|part| part.to_str().unwrap());
    let parts: Vec<_> = parts
        .filter(|part| !["mod", "main"].contains(part))
        .collect();
    parts.join("::")
}

/// All paths of code that begin with `crate`, `self` or `super`; those in braces each by itself.
fn paths(code: &str) -> Vec<String> {
    let mut found = vec![];
    for start in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':') {
                branches(&code[at..], "", &mut found);
            }
        }
    }
    found
}

/// Adds the paths of a tree as `a::{b, c::d}` behind a prefix; returns what follows it.
fn branches<'a>(text: &'a str, prefix: &str, found: &mut Vec<String>) -> &'a str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let (own, mut rest) = text.split_at(end.unwrap_or(text.len()));
    let path = format!("{prefix}{own}");
    if !rest.starts_with('{') || !own.ends_with("::") {
        found.push(path);
        return rest;
    }
    while !rest.starts_with('}') {
        rest = branches(rest[1..].trim_start(), &path, found);
        rest = rest.trim_start_matches(|c| c != ',' && c != '}');
    }
    &rest[1..]
}

/// The module that a path in module `own` leads to, of all there are.
fn target<'a>(path: &str, own: &str, modules: &'a [String]) -> Option<&'a String> {
    let mut whole: Vec<&str> = own.split("::").filter(|part| !part.is_empty()).collect();
    for part in path.split("::") {
        match part {
            "crate" => whole.clear(),
            "super" => drop(whole.pop()),
            "self" => {}
            name => whole.push(name),
        }
    }
    let starts = (1..=whole.len()).rev().map(|n| whole[..n].join("::"));
    let known = |start: String| modules.iter().find(|module| **module == start);
    starts.filter_map(known).next()
}

/// A file may use what those above it in its own folder hold; they are one piece.
#[test]
fn no_files_use_each_other_in_a_circle() {
    let use_of_three = "use super::{b::C, self::d::{E, f}};\ncrate::g::h(super::super::i)";
    let mut found = paths(use_of_three);
    found.sort();
    assert!(found.contains(&"super::b::C".into()) && found.contains(&"crate::g::h".into()));
    let files: Vec<_> = code().map(|(path, code)| (module(&path), code)).collect();
    let modules: Vec<String> = files.iter().map(|(module, _)| module.clone()).collect();
    let mut uses: Vec<(&String, &String)> = vec![];
    for (own, code) in &files {
        let targets = paths(code).into_iter();
        let targets = targets.filter_map(|path| target(&path, own, &modules));
        uses.extend(
            targets
                .filter(|to| !own.starts_with(*to))
                .map(|to| (own, to)),
        );
    }
    assert!(uses.len() > 500, "{}", uses.len());
    // What uses nothing that is left, or is used by nothing, is in no circle.
    loop {
        let before = uses.len();
        let kept = uses.clone();
        uses.retain(|(from, to)| {
            kept.iter().any(|(next, _)| next == to) && kept.iter().any(|(_, last)| last == from)
        });
        if uses.len() == before {
            break;
        }
    }
    assert!(uses.is_empty(), "{uses:?}");
}
