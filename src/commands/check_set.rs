//! `annslicer check --set`: whether files belong together, as loaders of training code demand it.
//!
//! Each file is opened twice, one at a time: first for its metadata, then, once those of all are known, for names of
//! genes, columns of var, varm, varp and categories. Values of X and layers are not read. Unlike in `check`, a file
//! that cannot be opened ends the run: nothing can be said of the set.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::check::Level;
use crate::check::set::{Set, SetFinding};
use crate::cli::{self, CheckRequest};
use crate::report::failure::{Failure, InFile, Kind};
use crate::report::logging::one_line;
use crate::report::words::count;
use crate::store;

/// The version of the object of `--json`: fields are added within a version.
const SCHEMA: u32 = 1;

/// An error where a loader refuses the files together.
pub fn run(request: &CheckRequest) -> Result<()> {
    let names: Vec<String> = request
        .files
        .iter()
        .map(|f| f.display().to_string())
        .collect();
    let first = names.first().cloned().unwrap_or_default();
    let mut set = Set::new(first, request.budget);
    let each = |look: &mut dyn FnMut(&store::Group) -> Result<()>| {
        request.files.iter().try_for_each(|file: &PathBuf| {
            let root = store::open(file, &request.access)?;
            look(&root).with_context(|| InFile("Cannot check", file.clone()))
        })
    };
    each(&mut |root| set.outline(root))?;
    each(&mut |root| set.values(root))?;
    let findings = set.finish(&names);
    let errors = findings.iter().filter(|f| f.level == Level::Error).count();
    if request.json {
        cli::print_json(&json(&names, &findings, errors == 0))?;
    } else {
        cli::print(text(&names, &findings).as_bytes())?;
    }
    let what = || format!("Loaders refuse this set: {}", count(errors as u64, "error"));
    ensure!(errors == 0, Failure(Kind::Unsound, what()));
    Ok(())
}

fn text(names: &[String], findings: &[SetFinding]) -> String {
    let line = |finding: &SetFinding| {
        let element = match finding.element.as_str() {
            "" => String::new(),
            element => format!("'{element}': "),
        };
        let refused = match finding.loaders.as_slice() {
            [] => String::new(),
            loaders => format!("; refused by {}", loaders.join(", ")),
        };
        let (name, level) = (&names[finding.file], finding.level.name());
        let SetFinding { what, remedy, .. } = finding;
        one_line(&format!(
            "{name}: {level}: {element}{what}{refused}: {remedy}"
        )) + "\n"
    };
    let mut text: String = findings.iter().map(line).collect();
    let counted = |level: Level, noun| {
        let found = findings.iter().filter(|finding| finding.level == level);
        count(found.count() as u64, noun)
    };
    let files = count(names.len() as u64, "file");
    let (errors, notes) = (counted(Level::Error, "error"), counted(Level::Note, "note"));
    text += &format!("{files}: {errors}, {notes}\n");
    text
}

fn json(names: &[String], findings: &[SetFinding], fits: bool) -> Value {
    let finding = |finding: &SetFinding| {
        json!({
            "file": names[finding.file],
            "element": finding.element,
            "level": finding.level.name(),
            "loaders": finding.loaders,
            "what": finding.what,
            "remedy": finding.remedy,
        })
    };
    json!({
        "schema": SCHEMA,
        "files": names,
        "fits": fits,
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
