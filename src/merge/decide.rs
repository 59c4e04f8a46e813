//! What the result of a merge will be, decided when all inputs are known and before a byte is written.
//!
//! Nothing is read here but what [`Scan`] has noted: shapes and types of arrays, names of genes, surveys of columns.
//! Each element is kept as a plan, or named in one warning. What needs values to decide, as columns whose categories
//! differ or what inputs agree on over genes, asks for a second look at all of them ([`Outline::reopen`]).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use tracing::{info, warn};

use super::chosen::Candidates;
use super::extras::Extras;
use super::genes::JoinedGenes;
use super::input::Input;
use super::join::{Join, Joined};
use super::scan::{Known, Scan};
use super::shared::Shared;
use super::stack::{ArrayPlan, Part, Shape};
use super::{Modes, frames, genes_of, named};
use crate::report::words::{count, thousands};

/// What the result has along cells and genes, each element as a plan.
pub struct Outline {
    pub inputs: Vec<Known>,
    /// obs, and the dataframes in obsm that are kept.
    pub frames: BTreeMap<String, frames::FrameScan>,
    /// The arrays that are kept, and the shape of each in each input.
    pub arrays: BTreeMap<String, (ArrayPlan, Vec<Option<Shape>>)>,
    pub genes: JoinedGenes,
    /// The genes of raw, where every input has it.
    pub raw_genes: Option<JoinedGenes>,
    /// What is kept of raw/varm.
    pub gene_arrays: Vec<String>,
    /// uns, varm and varp.
    pub shared: Shared,
    pub extras: Extras,
    modes: Modes,
}

impl Outline {
    /// Decides; what cannot be put together is an error, what is not carried a warning.
    pub fn of(scan: Scan) -> Result<Outline> {
        // All that is left out is named in one warning, at the end.
        let mut lost = vec![];
        let kept = kept_arrays(&scan, &mut lost)?;
        let frames = kept_frames(&scan, &mut lost)?;
        let raw = kept.iter().any(|path| path == "raw/X");
        let chosen = scan.candidates.map(Candidates::decide).transpose()?;
        let mut outline = Outline {
            genes: scan.genes.join(chosen.as_ref())?,
            raw_genes: match scan.raw_genes {
                Some(genes) if raw => Some(genes.join(None)?),
                _ => None,
            },
            inputs: scan.inputs,
            frames: BTreeMap::new(),
            arrays: BTreeMap::new(),
            gene_arrays: vec![],
            shared: scan.shared,
            extras: scan.extras,
            modes: scan.modes,
        };
        outline.tell_genes();
        outline.shared.warn(&outline.genes.joined);
        // The genes are joined by now: a plan needs to know how many there are.
        let mut arrays = scan.arrays;
        for path in kept {
            let shapes = arrays.remove(&path).unwrap_or_default();
            if outline.lacks_text(&path, &shapes) {
                lost.push(format!(
                    "'{path}' (there is no text for genes that a file lacks)"
                ));
                continue;
            }
            let plan = outline.plan(&path, &shapes, scan.odd.get(&path))?;
            outline.arrays.insert(path, (plan, shapes));
        }
        outline.frames = scan
            .frames
            .into_iter()
            .filter(|(path, _)| frames.contains(path))
            .map(|(path, (scan, _))| (path, scan))
            .chain([("obs".into(), scan.obs)])
            .collect();
        if !scan.squares.is_empty() {
            let squares: Vec<String> = scan.squares.iter().cloned().collect();
            lost.push(format!(
                "{}, as there are no values between cells of different files (--pairwise keeps the blocks of each \
                 file)",
                named(&squares)
            ));
        }
        let unlisted = scan.unlisted.iter();
        lost.extend(unlisted.map(|path| format!("'{path}' (not listed in 'column-order')")));
        for (path, agrees) in scan.gene_arrays {
            if agrees {
                outline.gene_arrays.push(path)
            } else {
                lost.push(format!("'{path}', which differs between the files"))
            }
        }
        outline.tell_unknown(scan.unknown);
        if !lost.is_empty() {
            warn!("Left out: {}", lost.join("; "));
        }
        Ok(outline)
    }

    fn tell_unknown(&self, names: BTreeSet<String>) {
        if !names.is_empty() && self.inputs.len() > 1 {
            let names: Vec<String> = names.into_iter().collect();
            warn!(
                "Elements that anndata does not know, {}, are kept of the first file alone",
                named(&names)
            );
        }
    }

    /// Says how many genes the inputs have in common, and what may be wrong where those are few.
    fn tell_genes(&self) {
        let joined = &self.genes.joined;
        let [all, any] = [joined.in_all, joined.in_any].map(|n| thousands(n as u64));
        let kept = thousands(joined.index.len() as u64);
        info!("Genes: {all} in all files, {any} in any; the result has {kept}");
        if let Some(reason) = joined.suspicion {
            let common = match joined.in_all {
                0 => "No gene is".to_owned(),
                1 => "Only 1 gene is".to_owned(),
                n => format!("Only {} are", count(n as u64, "gene")),
            };
            let reason =
                reason.unwrap_or("are they of one species, with the same kind of gene names?");
            warn!("{common} in all files: {reason}");
        }
    }

    pub fn cells(&self) -> u64 {
        self.inputs.iter().map(|input| input.cells).sum()
    }

    /// About what the largest CSC matrix puts into scratch while it is turned.
    pub fn scratch_bytes(&self) -> u64 {
        let inputs = self.inputs.iter();
        inputs.map(|input| input.scratch).max().unwrap_or(0)
    }

    /// Whether values of dataframes must be looked at. If so, all inputs are to be told to [`Outline::look`].
    pub fn reopen(&mut self) -> bool {
        let cells = self.cells();
        let frames = self.frames.values_mut();
        // No `any`: every frame must note which of its columns are looked at.
        let open = frames.fold(false, |open, frame| frame.reopen(cells) | open);
        open || self.modes.var.compares() == Some(u64::MAX)
    }

    /// Looks at values of the next input; inputs come in the order of the scan.
    pub fn look(&mut self, input: &Input) -> Result<()> {
        let has = input.frames();
        self.shared
            .look(input, &self.genes.joined)
            .with_context(|| format!("Read {}", input.name))?;
        for (path, frame) in &mut self.frames {
            if path == "obs" || has.contains(path) {
                frame
                    .look(&input.frame(path)?)
                    .with_context(|| format!("Read '{path}' of {}", input.name))?;
            }
        }
        Ok(())
    }

    /// The genes of an array's columns, where it has such.
    fn genes_of(&self, path: &str) -> Option<&Joined> {
        let genes = match genes_of(path)? {
            "raw/var" => self.raw_genes.as_ref(),
            _ => Some(&self.genes),
        };
        genes.map(|genes| &genes.joined)
    }

    /// Whether the array is text, and has genes that some input lacks.
    fn lacks_text(&self, path: &str, shapes: &[Option<Shape>]) -> bool {
        let mut known = shapes.iter().flatten();
        self.genes_of(path).is_some_and(|genes| genes.fills)
            && known.all(|shape| matches!(shape, Shape::Text { .. }))
    }

    fn plan(
        &self,
        path: &str,
        shapes: &[Option<Shape>],
        odd: Option<&String>,
    ) -> Result<ArrayPlan> {
        let joined = self.genes_of(path);
        // Where no gene moves, an array of three axes goes over as it is. Else its columns are not those that the map
        // knows.
        if let Some(odd) = odd
            && joined.is_some_and(|joined| !joined.identical)
        {
            bail!("{odd}");
        }
        let parts = self.inputs.iter().zip(shapes);
        let parts: Vec<Part> = parts
            .map(|(input, shape)| Part {
                rows: input.cells,
                shape: shape.clone(),
            })
            .collect();
        let context = || format!("Cannot merge '{path}' of {}", self.differing(shapes));
        if path.starts_with("obsp/") {
            return ArrayPlan::pairwise(&parts).with_context(context);
        }
        let width = joined.map(|joined| joined.index.len() as u64);
        let fills = joined.is_some_and(|joined| joined.fills);
        let drops = joined.is_some_and(|joined| joined.drops);
        // Of genes that an input lacks, as the Python tool has it; rows that it lacks are NaN.
        let fill = self.modes.fill.or(joined.map(|_| 0.0));
        ArrayPlan::new(&parts, width, fills, drops, fill).with_context(context)
    }

    /// The first input whose array is not like that of the input before it. In kind or width, or if none is, in type.
    /// For messages.
    fn differing(&self, shapes: &[Option<Shape>]) -> String {
        let alike = |a: &Option<Shape>, b: &Option<Shape>| match (a, b) {
            (Some(a), Some(b)) => {
                std::mem::discriminant(a) == std::mem::discriminant(b) && a.width() == b.width()
            }
            _ => true,
        };
        let differ = |a: &Option<Shape>, b: &Option<Shape>| a.is_some() && b.is_some() && a != b;
        let pairs = || self.inputs.windows(2).zip(shapes.windows(2));
        let unlike = pairs().find(|(_, shapes)| !alike(&shapes[0], &shapes[1]));
        match unlike.or_else(|| pairs().find(|(_, shapes)| differ(&shapes[0], &shapes[1]))) {
            Some((inputs, _)) => format!("{} with that of {}", inputs[1].name, inputs[0].name),
            None => "the inputs".into(),
        }
    }
}

/// The arrays that every input has, and those for which an input without them gets rows of missing values.
fn kept_arrays(scan: &Scan, lost: &mut Vec<String>) -> Result<Vec<String>> {
    let mut kept = vec![];
    for (path, shapes) in &scan.arrays {
        let lacking = shapes.iter().position(Option::is_none);
        if match lacking {
            Some(at) => keeps_incomplete(scan, path, at, lost)?,
            None => true,
        } {
            kept.push(path.clone());
        }
    }
    Ok(kept)
}

/// Whether an array that an input lacks is kept all the same. `at` is the first such input.
fn keeps_incomplete(scan: &Scan, path: &str, at: usize, lost: &mut Vec<String>) -> Result<bool> {
    let lacking = &scan.inputs[at].name;
    ensure!(
        path != "X",
        "{lacking} has no X, but other inputs have; merge files that all have it, or none"
    );
    // `obsm/a` may be a dataframe in one input, and an array, or a folder of arrays `obsm/a/b`, in another.
    let holds = |frame: &str| {
        let rest = path.strip_prefix(frame);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut frames = scan.frames.iter().filter(|(_, (_, who))| who.contains(&at));
    if let Some((frame, _)) = frames.find(|(frame, _)| holds(frame)) {
        bail!("'{frame}' is a dataframe in {lacking}, but not in other inputs");
    }
    // Text and awkward arrays have no missing value.
    let mut shapes = scan.arrays.get(path).into_iter().flatten().flatten();
    let fillable = shapes.all(|shape| match shape {
        Shape::Dense { dtype, .. } => dtype.kind().is_some(),
        Shape::Sparse { .. } => true,
        Shape::Text { .. } | Shape::Awkward(_) => false,
    });
    // Layers that an input lacks are left out instead, and raw is kept only where every input has it.
    let of_cells = path.starts_with("obsm/") || path.starts_with("obsp/");
    let kept = of_cells && scan.modes.join == Join::Outer && fillable;
    if !kept {
        lost.push(format!("'{path}', which {lacking} lacks"));
    }
    Ok(kept)
}

/// The dataframes in obsm that are kept.
fn kept_frames(scan: &Scan, lost: &mut Vec<String>) -> Result<Vec<String>> {
    let mut kept = vec![];
    for (path, (_, who)) in &scan.frames {
        let lacking = (0..scan.inputs.len()).find(|at| !who.contains(at));
        if let Some(at) = lacking {
            let name = &scan.inputs[at].name;
            let array = scan.arrays.get(path).and_then(|shapes| shapes[at].as_ref());
            ensure!(
                array.is_none(),
                "'{path}' is an array in {name}, but a dataframe in other inputs"
            );
            if scan.modes.join == Join::Inner {
                lost.push(format!("'{path}', which {name} lacks"));
                continue;
            }
        }
        kept.push(path.clone());
    }
    Ok(kept)
}
