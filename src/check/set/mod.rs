//! Whether files belong together, as loaders of training code demand it: `check --set`.
//!
//! Every file is compared with the first. Metadata are looked at first, of all files; then the values of what is on the
//! genes, the categories and the names of the cells. No matrix is read, but for a few rows. What each loader refuses was
//! read in its code; docs/training.md says of which release.
//!
//! Each file is opened twice, one at a time: for [`Set::outline`], then for [`Set::values`]. Of the first file digests
//! are kept, with which those of the others are compared; of all files, outlines, and a hash for each cell.

mod cells;
mod facts;
mod nan;

use std::collections::BTreeSet;

use anyhow::Result;

use self::cells::Cells;
use self::facts::{FOLDERS, Matrix, Outline, Values};
use super::Level;
use crate::frame::dataframe::Frame;
use crate::store::{Format, Group};

/// Loaders, as findings name them.
const CELLARIUM: &str = "cellarium-ml";
const ANNBATCH: &str = "annbatch";
const LAMINDB: &str = "lamindb";
const CELL_LOAD: &str = "cell-load";

/// The remedy that gives all files the same metadata.
const TOGETHER: &str = "merge the files, and slice the result";

/// The remedy of an element that files need not have.
fn leave_out(path: &str) -> String {
    format!("leave it out with --drop {path}")
}

/// One reason why files do not belong together, or why a loader does not take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetFinding {
    /// Which of the files it is about.
    pub file: usize,
    /// Path of the element; empty for the whole file.
    pub element: String,
    /// An error where a loader refuses it.
    pub level: Level,
    /// The loaders that refuse it.
    pub loaders: Vec<&'static str>,
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// The files of a set, which are told one after another, twice.
pub struct Set {
    /// The name of the first file, for sentences.
    first: String,
    /// Those of the files so far.
    outlines: Vec<Outline>,
    /// Those of the first file.
    values: Option<Values>,
    /// Files whose values were looked at.
    looked: usize,
    cells: Cells,
    findings: Vec<SetFinding>,
}

impl Set {
    /// `first` is the name of the first file; `budget` bytes may be held.
    pub fn new(first: String, budget: u64) -> Set {
        Set {
            first,
            outlines: vec![],
            values: None,
            looked: 0,
            cells: Cells::new(budget),
            findings: vec![],
        }
    }

    /// Looks at the metadata of the next file.
    pub fn outline(&mut self, root: &Group) -> Result<()> {
        let outline = Outline::of(root)?;
        let mut told = Told {
            file: self.outlines.len(),
            first: &self.first,
            findings: &mut self.findings,
        };
        told.alone(&outline);
        if let Some(first) = self.outlines.first() {
            told.outlines(first, &outline);
        }
        self.outlines.push(outline);
        Ok(())
    }

    /// Looks at values of the next file, once all outlines are known.
    pub fn values(&mut self, root: &Group) -> Result<()> {
        let values = Values::of(root)?;
        let mut told = Told {
            file: self.looked,
            first: &self.first,
            findings: &mut self.findings,
        };
        for (path, why) in nan::all(root)? {
            told.never_equal(&path, why);
        }
        match &self.values {
            Some(first) => told.values(first, &values),
            None => self.values = Some(values),
        }
        self.cells.add(self.looked, &Frame::open(root, "obs")?)?;
        self.looked += 1;
        Ok(())
    }

    /// All findings, file by file; `names` are those of the files.
    pub fn finish(mut self, names: &[String]) -> Vec<SetFinding> {
        self.findings.extend(self.cells.findings(names));
        self.findings.sort_by_key(|finding| finding.file);
        self.findings
    }
}

/// What loaders refuse of shards of a file, whatever their cells are. `csr` says that CSC matrices come out as CSR ones, and
/// `format` what the shards are.
pub fn of_shards(root: &Group, csr: bool, format: Format) -> Result<Vec<SetFinding>> {
    let mut findings = vec![];
    let mut told = Told {
        file: 0,
        first: "",
        findings: &mut findings,
    };
    if !csr {
        facts::csc(root)?.iter().for_each(|path| told.csc(path));
    }
    for (path, why) in nan::all(root)? {
        told.never_equal(&path, why);
    }
    // cellarium-ml and cell-load read no Zarr store at all, so none of its elements matters to them.
    findings.retain_mut(|finding| {
        let reads_it =
            |loader: &&str| format == Format::H5ad || ![CELLARIUM, CELL_LOAD].contains(loader);
        finding.loaders.retain(reads_it);
        !finding.loaders.is_empty()
    });
    Ok(findings)
}

/// The findings of one file as they are told.
struct Told<'a> {
    file: usize,
    first: &'a str,
    findings: &'a mut Vec<SetFinding>,
}

impl Told<'_> {
    fn add(&mut self, element: &str, loaders: &[&'static str], what: String, remedy: &str) {
        self.findings.push(SetFinding {
            file: self.file,
            element: element.into(),
            level: if loaders.is_empty() {
                Level::Note
            } else {
                Level::Error
            },
            loaders: loaders.to_vec(),
            what,
            remedy: remedy.into(),
        });
    }

    /// What loaders refuse whatever the other files are.
    fn alone(&mut self, outline: &Outline) {
        for (path, Matrix { kind, unsorted, .. }) in &outline.matrices {
            if kind == "csc" {
                self.csc(path);
            } else if *unsorted {
                let what = "Its rows have indices out of order, so they are sorted each time they are read".into();
                self.add(path, &[], what, "call sort_indices() before it is written");
            }
        }
        if outline.format == Format::Zarr {
            let what =
                format!("It is a Zarr store; {CELLARIUM} and {CELL_LOAD} read .h5ad files alone");
            self.add("", &[], what, "write .h5ad for those");
        }
        for path in &outline.masked {
            let what = format!(
                "It is a nullable string array, which {CELL_LOAD}, R and anndata before 0.11 do not read"
            );
            self.add(path, &[], what, "write it with --plain-strings");
        }
    }

    fn csc(&mut self, path: &str) {
        let loaders: &[_] = match path {
            "X" => &[ANNBATCH, LAMINDB, CELL_LOAD],
            _ => &[LAMINDB],
        };
        let what = "It is CSC, of which no rows can be read by themselves".into();
        self.add(path, loaders, what, "write it with --csr");
    }

    /// An element of varm or varp that is not equal to itself: with it, a file goes with no other.
    fn never_equal(&mut self, path: &str, why: &str) {
        let what = format!("It {why}, which numpy.array_equal finds alike in no two files");
        let remedy = leave_out(path);
        self.add(path, &[CELLARIUM], what, &remedy);
    }

    /// What metadata tell apart.
    fn outlines(&mut self, first: &Outline, other: &Outline) {
        let of = self.first.to_owned();
        if first.genes != other.genes {
            let what = format!("It has {} genes, {of} has {}", other.genes, first.genes);
            self.add("var", &[CELLARIUM, ANNBATCH, CELL_LOAD], what, TOGETHER);
        }
        for (frame, loaders) in [("obs", &[CELLARIUM][..]), ("var", &[CELLARIUM, ANNBATCH])] {
            self.columns(frame, loaders, &first.columns[frame], &other.columns[frame]);
        }
        for folder in FOLDERS {
            let [a, b]: [BTreeSet<&String>; 2] =
                [first, other].map(|outline| outline.names[folder].iter().collect());
            for name in a.symmetric_difference(&b) {
                let what = if b.contains(*name) {
                    format!("{of} has none")
                } else {
                    format!("It is missing, {of} has it")
                };
                let path = format!("{folder}/{name}");
                let remedy = leave_out(&path);
                self.add(&path, &[CELLARIUM], what, &remedy);
            }
        }
        for (path, matrix) in &other.matrices {
            if let Some(known) = first.matrices.get(path) {
                self.matrix(path, known, matrix);
            }
        }
        if first.has_raw != other.has_raw {
            let what = if other.has_raw {
                format!("{of} has none")
            } else {
                format!("It is missing, {of} has it")
            };
            self.add("raw", &[], what, "leave it out with --drop raw");
        }
    }

    /// Columns of a frame that one file lacks, or has of another type. Their order is told only if nothing else is.
    fn columns(
        &mut self,
        frame: &str,
        loaders: &[&'static str],
        first: &[(String, String)],
        other: &[(String, String)],
    ) {
        let of = self.first.to_owned();
        let mut same = true;
        for (name, dtype) in other {
            let path = format!("{frame}/{name}");
            let what = match first.iter().find(|(known, _)| known == name) {
                None => format!("{of} has no such column"),
                Some((_, known)) if known != dtype => format!("It is {dtype}, in {of} {known}"),
                Some(_) => continue,
            };
            same = false;
            let remedy = leave_out(&path);
            self.add(&path, loaders, what, &remedy);
        }
        for (name, _) in first {
            if !other.iter().any(|(known, _)| known == name) {
                same = false;
                let path = format!("{frame}/{name}");
                let remedy = leave_out(&path);
                let what = format!("It is missing, {of} has it");
                self.add(&path, loaders, what, &remedy);
            }
        }
        let names =
            |columns: &[(String, String)]| columns.iter().map(|c| c.0.clone()).collect::<Vec<_>>();
        if same && names(first) != names(other) {
            let what = format!("Its columns are in another order than in {of}");
            self.add(frame, loaders, what, TOGETHER);
        }
    }

    fn matrix(&mut self, path: &str, first: &Matrix, other: &Matrix) {
        let of = self.first.to_owned();
        // `csr` or `csc`
        let is_sparse = |matrix: &Matrix| matrix.kind.starts_with("cs");
        if first.kind != other.kind {
            let loaders: &[_] = if path == "X" && is_sparse(first) != is_sparse(other) {
                &[ANNBATCH]
            } else {
                &[]
            };
            let what = format!("It is {}, in {of} {}", other.kind, first.kind);
            self.add(path, loaders, what, TOGETHER);
        } else if first.dtype != other.dtype {
            let what = format!("Its values are {}, in {of} {}", other.dtype, first.dtype);
            self.add(path, &[], what, TOGETHER);
        }
    }

    /// What values tell apart.
    fn values(&mut self, first: &Values, other: &Values) {
        let of = self.first.to_owned();
        if first.genes != other.genes {
            let what = if first.any_order == other.any_order {
                format!("It has the genes of {of} in another order")
            } else {
                format!("It has other genes than {of}")
            };
            self.add("var", &[CELLARIUM, ANNBATCH, CELL_LOAD], what, TOGETHER);
            // What is on other genes has other values.
            return self.categories(first, other);
        }
        for (name, digest) in &other.var {
            if first.var.get(name).is_some_and(|known| known != digest) {
                let (path, what) = (
                    format!("var/{name}"),
                    format!("It differs from that of {of}"),
                );
                let remedy = leave_out(&path);
                self.add(&path, &[CELLARIUM, ANNBATCH], what, &remedy);
            }
        }
        // Names that only one file has are told by the outlines.
        for (path, digest) in &other.elements {
            let known = first.elements.get(path);
            if known.is_some_and(|known| known != digest || known.is_none()) {
                let what = format!("It differs from that of {of}");
                let remedy = leave_out(path);
                self.add(path, &[CELLARIUM], what, &remedy);
            }
        }
        self.categories(first, other);
    }

    fn categories(&mut self, first: &Values, other: &Values) {
        for (name, categories) in &other.categories {
            if first
                .categories
                .get(name)
                .is_some_and(|known| known != categories)
            {
                let what = format!("Its categories are not those of {}", self.first);
                let remedy = "merge the files, and slice the result, which gives each the same";
                self.add(&format!("obs/{name}"), &[CELLARIUM], what, remedy);
            }
        }
    }
}
