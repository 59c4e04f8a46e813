//! The house rules of `src/`, held by reading it: which floor may use which, where a library or `unsafe` may stand.

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. A module uses those on floors below it, and itself.
const FLOORS: [&[&str]; 7] = [
    &["codec", "compression", "progress"],
    &["store"],
    &["anndata"],
    &["logging", "output", "permutation", "plan", "resources"],
    &["cli", "extract"],
    &["filter", "info", "merge", "slice"],
    &["main"],
];

/// Code without comments and tests, by path below `src/`.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, found),
                false => found.push(path),
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = vec![];
    walk(&root, &mut found);
    found.retain(|path| !path.ends_with("tests.rs") && path.extension().unwrap() == "rs");
    let code = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let lines = code.lines().map(|line| line.split(" //").next().unwrap());
        let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
        lines.map(|line| format!("{line}\n")).collect()
    };
    found
        .iter()
        .map(|path| (path.strip_prefix(&root).unwrap().into(), code(path)))
        .collect()
}

/// The modules named after each `crate::`, alone or in braces.
fn imports(code: &str) -> Vec<String> {
    let mut found = vec![];
    for after in code.split("crate::").skip(1) {
        let mut depth = 0;
        let mut name = Some(String::new());
        for c in after.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => found.extend(name.replace(String::new())),
                c if c.is_alphanumeric() || c == '_' => name.iter_mut().for_each(|n| n.push(c)),
                c if c.is_whitespace() && depth > 0 => {}
                _ => found.extend(name.take()),
            }
            if depth == 0 && name.as_ref().is_none_or(|_| c == '}') {
                break;
            }
        }
        found.extend(name);
    }
    found.retain(|name| !name.is_empty());
    found
}

fn floor(module: &str) -> usize {
    let floor = FLOORS.iter().position(|floor| floor.contains(&module));
    floor.unwrap_or_else(|| panic!("module {module} stands on no floor"))
}

#[test]
fn imports_of_all_spellings_are_seen() {
    let code = "use crate::store::{self, Group};\nuse crate::{cli::Cli, plan::{self, Budget}};\ncrate::codec::f();\nuse crate::{a};";
    assert_eq!(imports(code), ["store", "cli", "plan", "codec", "a"]);
}

#[test]
fn each_floor_uses_only_floors_below() {
    for (path, code) in sources() {
        let module = path.iter().next().unwrap();
        let module = Path::new(module).file_stem().unwrap().to_str().unwrap();
        for used in imports(&code).iter().filter(|used| *used != module) {
            let below = floor(used) < floor(module);
            assert!(below, "{} uses {used}, no floor below", path.display());
        }
        floor(module);
    }
}

#[test]
fn only_store_knows_hdf5_and_zarr() {
    for (path, code) in sources() {
        let knows = ["hdf5::", "hdf5_sys::", "zarrs::"];
        let knows = knows.iter().find(|library| {
            let uses = |before: &str| code.contains(&format!("{before}{library}"));
            uses("use ") || uses(" ") || uses("(")
        });
        let store = path.starts_with("store");
        assert!(store || knows.is_none(), "{} uses {knows:?}", path.display());
    }
}

#[test]
fn no_trait_is_defined() {
    for (path, code) in sources() {
        let defines = |line: &str| line.trim_start_matches("pub ").starts_with("trait ");
        assert!(!code.lines().any(defines), "{}", path.display());
    }
}

#[test]
fn unsafe_stands_where_c_is_called_and_says_why_it_is_sound() {
    for (path, code) in sources() {
        let calls_c = ["store/hdf5/ffi.rs", "codec/blosc.rs"].map(Path::new);
        let may = calls_c.contains(&path.as_path());
        assert!(may || !code.contains("unsafe"), "{}", path.display());
    }
    for file in ["store/hdf5/ffi.rs", "codec/blosc.rs"] {
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
        let text = fs::read_to_string(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let block = line.contains("unsafe {") && !line.trim_start().starts_with("//");
            let said = lines[at.saturating_sub(4)..at].iter().any(|l| l.contains("SAFETY"));
            assert!(!block || said, "{file}:{}: no SAFETY line above", at + 1);
        }
    }
}
