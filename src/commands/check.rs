//! `annslicer check`: whether files are sound AnnData files, with a line for each finding.
//!
//! One file is open at a time, and nothing ends the run before all are checked: a file that cannot be opened is a
//! finding. Text is printed file by file, JSON at the end.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::check::{self, Finding, Level};
use crate::cli::{self, CheckRequest};
use crate::report::failure::{Failure, Kind};
use crate::report::logging::one_line;
use crate::report::words::count;
use crate::resources::size_on_disk;
use crate::store::{self, Access};

/// The version of the objects of `--json`: fields are added within a version.
const SCHEMA: u32 = 1;

/// What was found in one file.
struct Report {
    path: String,
    /// Also those that are only counted, in the last of the findings: of each element at the root 20 are told.
    errors: u64,
    notes: u64,
    /// Whether something was not checked, for want of memory.
    is_partial: bool,
    findings: Vec<Finding>,
}

/// An error where a file is not sound.
pub fn run(request: &CheckRequest) -> Result<()> {
    let (mut unsound, mut told) = (0, vec![]);
    for path in &request.files {
        let report = Report::of(path, &request.access, request.budget);
        unsound += usize::from(report.errors > 0);
        if request.json {
            told.push(report.json())
        } else {
            cli::print(report.text().as_bytes())?
        }
    }
    if request.json {
        cli::print((serde_json::to_string_pretty(&told)? + "\n").as_bytes())?;
    }
    let files = request.files.len();
    let what = || format!("Not sound: {unsound} of {files} files");
    ensure!(unsound == 0, Failure(Kind::Unsound, what()));
    Ok(())
}

impl Report {
    /// Checks one file; `budget` is the memory for the values of one element.
    fn of(path: &Path, access: &Access, budget: u64) -> Report {
        let opened = store::open(path, access).and_then(|root| Ok((root, size_on_disk(path)?)));
        let path = path.display().to_string();
        match opened {
            Ok((root, size)) => {
                let found = check::check(&root, size, budget);
                Report {
                    path,
                    errors: found.count(Level::Error),
                    notes: found.count(Level::Note),
                    is_partial: found.is_partial,
                    findings: found.into_list(),
                }
            }
            Err(error) => Report {
                path,
                errors: 1,
                notes: 0,
                is_partial: false,
                findings: vec![Finding {
                    element: String::new(),
                    level: Level::Error,
                    what: format!("{error:#}"),
                }],
            },
        }
    }

    /// A line such as `a.h5ad: error: 'obs/age': ...` for each finding, and the verdict.
    fn text(&self) -> String {
        let Report {
            path,
            errors,
            notes,
            is_partial,
            ..
        } = self;
        let line = |finding: &Finding| {
            let element = match finding.element.as_str() {
                "" => String::new(),
                element => format!("'{element}': "),
            };
            let level = finding.level.name();
            one_line(&format!("{path}: {level}: {element}{}", finding.what)) + "\n"
        };
        let mut text: String = self.findings.iter().map(line).collect();
        let counted = |n: &u64, what| format!(", {}", count(*n, what));
        let mut verdict: String = match errors {
            0 if *is_partial => "sound as far as it is checked".into(),
            0 => "sound".into(),
            _ => "not sound".to_owned() + &counted(errors, "error"),
        };
        if *notes > 0 {
            verdict += &counted(notes, "note");
        }
        text += &(one_line(&format!("{path}: {verdict}")) + "\n");
        text
    }

    fn json(&self) -> Value {
        let finding =
            |f: &Finding| json!({"element": f.element, "level": f.level.name(), "what": f.what});
        json!({
            "schema": SCHEMA,
            "path": self.path,
            "sound": self.errors == 0,
            "checked_whole": !self.is_partial,
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    }
}
