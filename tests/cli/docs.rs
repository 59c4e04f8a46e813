//! The README and docs/: they name every option, their links lead somewhere, and their commands work.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{PBMC, done, stdout};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The README and the pages of docs/, by path.
fn pages() -> BTreeMap<PathBuf, String> {
    let docs = fs::read_dir(Path::new(ROOT).join("docs")).unwrap();
    let pages = docs.map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let pages = pages.chain([Path::new(ROOT).join("README.md")]);
    pages
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn every_option_is_named() {
    let text: String = pages().into_values().collect();
    let help = stdout(Path::new("."), "--help");
    let commands = help.split("Commands:").nth(1).unwrap();
    let commands = commands.split("\n\n").next().unwrap().lines();
    let commands = commands.filter_map(|line| line.split_whitespace().next());
    for command in commands.filter(|command| *command != "help") {
        let help = stdout(Path::new("."), &format!("{command} --help"));
        let not_name = |c: char| c != '-' && !c.is_ascii_lowercase();
        for option in help.split(not_name).filter(|word| word.starts_with("--")) {
            assert!(text.contains(option), "{command} {option}");
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for (page, text) in pages() {
        for target in text.split("](").skip(1).filter_map(|t| t.split(')').next()) {
            let file = target.split('#').next().unwrap();
            let is_there = page.parent().unwrap().join(file).exists();
            assert!(
                target.starts_with("https://") || is_there,
                "{}: {target}",
                page.display()
            );
        }
    }
}

/// What runs this program in blocks of `sh` and `console`, but for those that show an error, and in cells of tables.
fn commands(text: &str) -> Vec<String> {
    let mut lines = vec![];
    for (at, part) in text.split("\n```").enumerate() {
        if at % 2 == 0 {
            let rows = part.lines().filter(|line| line.starts_with('|'));
            lines.extend(
                rows.flat_map(|row| row.split('`').skip(1).step_by(2))
                    .map(str::to_owned),
            );
        } else if part.starts_with("sh\n")
            || part.starts_with("console\n") && !part.contains("\nERROR: ")
        {
            // A command goes on after a backslash.
            let joined = part.replace("\\\n", " ");
            lines.extend(
                joined
                    .lines()
                    .map(|line| line.trim_start_matches("$ ").to_owned()),
            );
        }
    }
    lines.retain(|line| line.starts_with("annslicer ") || line.starts_with("mkdir "));
    lines
}

/// A folder with the files that the pages name.
fn folder_of_examples() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("tests/data")).unwrap();
    for name in [
        "pbmc.h5ad",
        "donor1.h5ad",
        "donor2.h5ad",
        "tests/data/pbmc.h5ad",
    ] {
        fs::copy(PBMC, path(name)).unwrap();
    }
    let merge = "merge donors.h5ad donor1.h5ad donor2.h5ad --label donor --keys d1 d2";
    done(folder.path(), &format!("{merge} --index-unique -"));
    let names = crate::harness::cells(&path("donors.h5ad"));
    let lines = |line: fn(&String) -> String| names.iter().map(line).collect::<String>();
    let guides = lines(|name| format!("{name},g{}\n", name.len()));
    fs::write(path("guides.csv"), format!("barcode,guide\n{guides}")).unwrap();
    let passes = lines(|name| format!("{name},{}\n", name.contains('A')));
    fs::write(path("qc.csv"), format!("barcode,pass_qc\n{passes}")).unwrap();
    fs::write(
        path("doublets.txt"),
        format!("{}\n{}\n", names[0], names[3]),
    )
    .unwrap();
    let filter = "filter donors.h5ad atlas.h5ad --obs-column pass_qc --csv-file qc.csv";
    done(folder.path(), filter);
    for name in ["a.h5ad", "b.h5ad"] {
        fs::copy(path("atlas.h5ad"), path(name)).unwrap();
    }
    done(folder.path(), "slice atlas.h5ad shards/atlas --size 500");
    let genes = crate::harness::index(&path("donor1.h5ad"), "var");
    fs::write(path("genes.txt"), genes[..9].join("\n")).unwrap();
    fs::create_dir(path("plates")).unwrap();
    for name in ["p1.h5ad", "p2.h5ad"] {
        fs::copy(path("donor1.h5ad"), path("plates").join(name)).unwrap();
    }
    let donors = lines(|name| format!("{name},d{}\n", name.len()));
    fs::write(path("t.csv"), format!("cell,donor\n{donors}")).unwrap();
    folder
}

#[test]
fn commands_work() {
    let program = Path::new(env!("CARGO_BIN_EXE_annslicer"));
    let path = env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    for (page, text) in pages() {
        let folder = folder_of_examples();
        for command in commands(&text) {
            let mut shell = Command::new("bash");
            shell.args(["-o", "pipefail", "-c", &command]);
            let run = shell
                .current_dir(folder.path())
                .env("PATH", &path)
                .env("HOME", folder.path());
            let output = run.output().unwrap();
            assert!(
                output.status.success(),
                "{}: {command}: {output:?}",
                page.display()
            );
        }
    }
}
