//! The program against Python's anndata and annslicer: each test is one module of scenarios, a file beside this one.
//!
//! `ANNSLICER_SCENARIO=shuffle cargo test --test interop slicing -- --nocapture` runs the scenarios of a module whose name
//! contains a word. `tests/README.md` says how to run one by hand.

mod python;

use std::fs;

macro_rules! modules {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            python::run_module(stringify!($name));
        })*

        const MODULES: &[&str] = &[$(stringify!($name)),*];
    };
}

modules! {
    badinput
    batch
    cells
    checking
    choosing
    concat
    containers
    disks
    elements
    elsewhere
    fuzz
    genes
    hostile
    huge
    limits
    loaders
    many
    manifests
    merging
    modes
    oldfiles
    parts
    portions
    rare
    safety
    schedulers
    selftest
    slicing
    sources
    unions
    upstream
    versions
    virtual_files
    writers
}

#[test]
fn every_module_of_scenarios_is_a_test() {
    for entry in fs::read_dir(python::SOURCES).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let has_scenarios =
            path.extension().is_some_and(|end| end == "py") && !python::scenarios(name).is_empty();
        let is_listed = MODULES.contains(&name);
        assert_eq!(has_scenarios, is_listed, "{}", path.display());
    }
}
