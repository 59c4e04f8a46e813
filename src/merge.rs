//! `annslicer merge`: many files into one, the rows of one after those of the other.
//!
//! All inputs are looked at first, so that what cannot be put together is refused before a byte is written. Then
//! each array of the result takes the rows of one input after another, block by block.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use tracing::{info, warn};

use crate::anndata::concat;
use crate::anndata::copy::{self, Copy};
use crate::anndata::frame::Frame;
use crate::anndata::join::{ColumnMap, Join, Joined, Joiner};
use crate::anndata::rows::Leaf;
use crate::anndata::select::Selection;
use crate::anndata::stack::{self, Part, Plan, Shape, Stack};
use crate::cli::{self, MergeArgs};
use crate::output::{self, Outputs};
use crate::progress::Progress;
use crate::resources::default_memory_limit;
use crate::store::spec::Attrs;
use crate::store::{self, Format, Group, Node};

pub fn run(args: MergeArgs, quiet: bool) -> Result<()> {
    let began = Instant::now();
    let format = Format::of(&args.output)?;
    let found = output::expand_inputs(&args.inputs, args.natural_sort)?;
    for pattern in &found.orders_differ {
        warn!(
            "The files of {pattern} are merged in the order of their names, where 10 comes before 2; use \
             --natural-sort to order them by number"
        );
    }
    output::refuse_overlap(&args.output, &found.paths)?;
    info!(
        "Merging {} files into {}...",
        found.paths.len(),
        args.output.display()
    );
    let mut outputs = Outputs::new()?;
    let join = match args.join {
        cli::Join::Inner => Join::Inner,
        cli::Join::Outer => Join::Outer,
    };
    let limit = args
        .machine
        .memory_limit
        .unwrap_or_else(default_memory_limit);
    let merge = Merge::open(&found.paths, join, limit / 4)?;
    let aside = outputs.aside(&args.output)?;
    let compression = args.output_options.compression.unwrap_or_default();
    let out = store::create(&aside, format, compression)?;
    let progress = Progress::new("Merging", merge.work(), quiet);
    merge
        .write(&out, &aside, &progress)
        .with_context(|| format!("Cannot merge into {}", args.output.display()))?;
    let cells = merge.cells();
    drop(merge);
    out.finish()?;
    progress.finish();
    let written = outputs.publish()?;
    info!(
        "Merged {} cells of {} files into {} in {:.1} s.",
        cells,
        found.paths.len(),
        written
            .first()
            .map_or(args.output.as_path(), |p| p)
            .display(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// One file to be merged, open.
struct Input {
    name: String,
    root: Group,
    selection: Selection,
}

struct Merge {
    inputs: Vec<Input>,
    join: Join,
    genes: Joined,
    /// The genes of raw, where every input has it.
    raw_genes: Option<Joined>,
    /// The arrays of the result, and what each will be.
    plans: BTreeMap<String, Plan>,
    /// The dataframes in obsm that are kept.
    frames: BTreeSet<String>,
    /// Memory for what has to be held.
    budget: u64,
}

impl Merge {
    /// Looks at all inputs and decides what the result will be.
    fn open(paths: &[PathBuf], join: Join, budget: u64) -> Result<Merge> {
        let inputs = paths
            .iter()
            .map(|path| Input::open(path))
            .collect::<Result<Vec<_>>>()?;
        let mut merge = Merge {
            genes: join_genes(&inputs, "var", join)?,
            raw_genes: None,
            inputs,
            join,
            plans: BTreeMap::new(),
            frames: BTreeSet::new(),
            budget,
        };
        let mut lost = vec![];
        merge.plan_arrays(&mut lost)?;
        merge.plan_frames(&mut lost)?;
        merge.leave_out(&mut lost)?;
        if !lost.is_empty() {
            warn!("Not carried over: {}", lost.join("; "));
        }
        Ok(merge)
    }

    fn cells(&self) -> u64 {
        self.inputs.iter().map(|i| i.selection.cells).sum()
    }

    /// Rows that will be written, over all arrays.
    fn work(&self) -> u64 {
        self.cells() * (self.plans.len() as u64).max(1)
    }

    fn names(&self) -> Vec<String> {
        self.inputs.iter().map(|i| i.name.clone()).collect()
    }

    fn plan_arrays(&mut self, lost: &mut Vec<String>) -> Result<()> {
        let paths: BTreeSet<String> = self.inputs.iter().flat_map(Input::arrays).collect();
        for path in paths {
            let shapes = self
                .inputs
                .iter()
                .map(|input| input.shape(&path))
                .collect::<Result<Vec<_>>>()?;
            let lacking = shapes.iter().position(Option::is_none);
            if let Some(at) = lacking
                && !self.keep_incomplete(&path, &self.inputs[at], &shapes, lost)?
            {
                continue;
            }
            if path == "raw/X" {
                self.raw_genes = Some(join_genes(&self.inputs, "raw/var", self.join)?);
            }
            let parts: Vec<Part> = self
                .inputs
                .iter()
                .zip(shapes)
                .map(|(input, shape)| Part {
                    rows: input.selection.cells,
                    shape,
                })
                .collect();
            let plan = self.plan(&path, &parts)?;
            self.plans.insert(path, plan);
        }
        Ok(())
    }

    /// Whether an array that an input lacks is kept all the same.
    fn keep_incomplete(
        &self,
        path: &str,
        lacking: &Input,
        shapes: &[Option<Shape>],
        lost: &mut Vec<String>,
    ) -> Result<bool> {
        ensure!(
            path != "X",
            "{} has no X, but other inputs have; merge files that all have it, or none",
            lacking.name
        );
        if let Some(frame) = lacking.selection.frame_of(path) {
            bail!(
                "'{frame}' is a dataframe in {}, but not in other inputs",
                lacking.name
            );
        }
        let fillable = shapes
            .iter()
            .flatten()
            .all(|s| matches!(s, Shape::Dense { .. } | Shape::Sparse { .. }));
        let kept = path.starts_with("obsm/") && self.join == Join::Outer && fillable;
        if !kept {
            lost.push(format!("'{path}', which {} lacks", lacking.name));
        }
        Ok(kept)
    }

    fn plan(&self, path: &str, parts: &[Part]) -> Result<Plan> {
        let genes = self.genes_of(path);
        let width = genes.map(|g| g.index.len() as u64);
        let maps = genes.map(|g| g.maps.as_slice()).unwrap_or_default();
        let fills = maps.iter().zip(parts).any(|(map, part)| {
            let kept = part.shape.as_ref().map_or(0, Shape::width);
            map.places(kept).iter().flatten().count() as u64 != width.unwrap_or(0)
        });
        let drops = maps.iter().any(ColumnMap::drops);
        for (input, (part, map)) in self.inputs.iter().zip(parts.iter().zip(maps)) {
            if let (ColumnMap::To { places, .. }, Some(shape)) = (map, &part.shape) {
                ensure!(
                    shape.width() == places.len() as u64,
                    "'{path}' of {} has {} columns, but its var has {} genes",
                    input.name,
                    shape.width(),
                    places.len()
                );
            }
        }
        let plan = Plan::new(parts, width, fills, drops);
        plan.with_context(|| format!("Cannot merge '{path}' of {}", self.differing(path, parts)))
    }

    /// The first input whose array is not like that of the input before it.
    fn differing(&self, _path: &str, parts: &[Part]) -> String {
        let alike = |a: &Part, b: &Part| match (&a.shape, &b.shape) {
            (Some(a), Some(b)) => {
                std::mem::discriminant(a) == std::mem::discriminant(b) && a.width() == b.width()
            }
            _ => true,
        };
        let at = parts.windows(2).position(|w| !alike(&w[0], &w[1]));
        match at {
            Some(at) => format!(
                "{} with that of {}",
                self.inputs[at + 1].name,
                self.inputs[at].name
            ),
            None => "the inputs".into(),
        }
    }

    /// The genes that the columns of an array are; `None` where they are none.
    fn genes_of(&self, path: &str) -> Option<&Joined> {
        match path {
            "raw/X" => self.raw_genes.as_ref(),
            _ if path == "X" || path.starts_with("layers/") => Some(&self.genes),
            _ => None,
        }
    }

    fn plan_frames(&mut self, lost: &mut Vec<String>) -> Result<()> {
        let frames = |i: &Input| i.selection.frames("obsm");
        let paths: BTreeSet<String> = self.inputs.iter().flat_map(frames).collect();
        for path in paths {
            let lacking = self.inputs.iter().find(|i| !frames(i).contains(&path));
            if let Some(input) = lacking {
                ensure!(
                    input.shape(&path)?.is_none(),
                    "'{path}' is an array in {}, but a dataframe in other inputs",
                    input.name
                );
                if self.join == Join::Inner {
                    lost.push(format!("'{path}', which {} lacks", input.name));
                    continue;
                }
            }
            self.frames.insert(path);
        }
        Ok(())
    }

    /// Names what has no meaning in the result.
    fn leave_out(&self, lost: &mut Vec<String>) -> Result<()> {
        let squares: BTreeSet<&str> = self
            .inputs
            .iter()
            .flat_map(|i| &i.selection.leaves)
            .filter(|leaf| leaf.is_square())
            .map(|leaf| leaf.path.as_str())
            .collect();
        lost.extend(
            squares
                .iter()
                .map(|path| format!("'{path}' (pairs of cells)")),
        );
        self.name_unknown()?;
        for (folder, path) in self.gene_arrays()? {
            if !self.agrees(folder, &path)? {
                lost.push(format!("'{path}', which differs between the inputs"));
            }
        }
        Ok(())
    }

    /// Says of what anndata does not know that only the first input's is kept.
    fn name_unknown(&self) -> Result<()> {
        let mut unknown = BTreeSet::new();
        for input in &self.inputs {
            let names = input.root.names()?;
            unknown.extend(names.into_iter().filter(|n| !is_merged(n) && n != "uns"));
        }
        if !unknown.is_empty() && self.inputs.len() > 1 {
            let names: Vec<String> = unknown.iter().map(|n| format!("'{n}'")).collect();
            warn!(
                "Only the first input's is kept, where it has one, of {}",
                names.join(", ")
            );
        }
        Ok(())
    }

    /// Everything in varm, varp and raw/varm of any input, with its folder.
    fn gene_arrays(&self) -> Result<BTreeSet<(&'static str, String)>> {
        let mut found = BTreeSet::new();
        for input in &self.inputs {
            for folder in ["varm", "varp", "raw/varm"] {
                let old = folder.replace('/', ".");
                for path in [folder, &old] {
                    match input.root.get(path)? {
                        Some(Node::Group(group)) => {
                            let names = group.names()?.into_iter();
                            found.extend(names.map(|name| (folder, format!("{path}/{name}"))));
                        }
                        // A compound dataset, before anndata 0.6.
                        Some(Node::Array(array)) if array.spec().rows() > 1 => {
                            found.insert((folder, path.to_string()));
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(found)
    }

    /// Whether an array over genes is the same in all inputs, and its genes too.
    fn agrees(&self, folder: &str, path: &str) -> Result<bool> {
        let genes = match folder {
            "raw/varm" => self.raw_genes.as_ref(),
            _ => Some(&self.genes),
        };
        if genes.is_none_or(|g| g.maps.iter().any(|map| *map != ColumnMap::Identity)) {
            return Ok(false);
        }
        let first = &self.inputs[0].root;
        for other in &self.inputs[1..] {
            if !copy::same(first, &other.root, path)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn write(&self, out: &Group, aside: &Path, progress: &Progress) -> Result<()> {
        self.write_skeleton(out)?;
        let obs = self
            .inputs
            .iter()
            .map(|input| input.frame("obs")?.context("It has no obs"))
            .collect::<Result<Vec<_>>>()?;
        for path in self.frames.iter().map(String::as_str).chain(["obs"]) {
            let opened = self
                .inputs
                .iter()
                .map(|input| input.frame(path))
                .collect::<Result<Vec<_>>>()?;
            let parts: Vec<Option<&Frame>> = opened.iter().map(Option::as_ref).collect();
            concat::rows(&parts, &obs, &self.names(), out, path)
                .with_context(|| format!("Merge '{path}'"))?;
        }
        drop(obs);
        for (path, plan) in &self.plans {
            let mut stack = Stack::create(out, path, plan.clone(), self.cells())?;
            let genes = self.genes_of(path);
            for (at, input) in self.inputs.iter().enumerate() {
                let map = genes.map_or(&ColumnMap::Identity, |g| &g.maps[at]);
                stack
                    .append(input.rows_of(path), map, self.budget)
                    .with_context(|| format!("Read {}", input.name))?;
                progress.add(input.selection.cells);
                output::flush_sometimes(aside);
            }
            stack.finish()?;
        }
        Ok(())
    }

    /// Groups, and what comes from the first input alone.
    fn write_skeleton(&self, out: &Group) -> Result<()> {
        out.set_attrs("", &Attrs::encoding("anndata", "0.1.0"))?;
        let input = &self.inputs[0];
        let of_first = |path: &str| {
            let top = path.split('/').next().unwrap_or_default();
            !top.is_empty() && !is_merged(top)
        };
        input.selection.write_part(out, of_first)?;
        self.write_genes(&self.genes, "var", out)?;
        if let Some(genes) = &self.raw_genes {
            out.create_group("raw", &Attrs::encoding("raw", "0.1.0"))?;
            self.write_genes(genes, "raw/var", out)?;
        }
        for (folder, path) in self.gene_arrays()? {
            if self.agrees(folder, &path)? {
                copy::run(&Copy::new(&input.root, &path, &folder_of(&path)), out)?;
            }
        }
        let raw = self.raw_genes.is_some().then_some("raw/varm");
        let folders = ["layers", "obsm", "obsp", "varm", "varp", "uns"];
        for folder in folders.into_iter().chain(raw) {
            let dict = Attrs::encoding("dict", "0.1.0");
            match out.get(folder)? {
                None => drop(out.create_group(folder, &dict)?),
                // Made on the way to what was copied into it.
                Some(Node::Group(group)) if group.attrs()?.get("encoding-type").is_none() => {
                    out.set_attrs(folder, &dict)?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn write_genes(&self, genes: &Joined, path: &str, out: &Group) -> Result<()> {
        let frames = self
            .inputs
            .iter()
            .map(|input| input.gene_frame(path))
            .collect::<Result<Vec<_>>>()?;
        let places: Vec<Vec<Option<u32>>> = genes
            .maps
            .iter()
            .zip(&frames)
            .map(|(map, frame)| map.places(frame.rows()))
            .collect();
        concat::genes(&frames, &places, &genes.index, &self.names(), out, path)
            .with_context(|| format!("Merge '{path}'"))
    }
}

/// Where a node stands in the current layout.
fn folder_of(path: &str) -> String {
    match path.strip_prefix("raw.") {
        Some(rest) => format!("raw/{rest}"),
        None => path.to_string(),
    }
}

/// Whether a node of the root is put together from all inputs, or named where it is not.
fn is_merged(name: &str) -> bool {
    const MERGED: [&str; 9] = [
        "X", "obs", "var", "layers", "obsm", "obsp", "varm", "varp", "raw",
    ];
    MERGED.contains(&name) || name.starts_with("raw.")
}

/// Joins the genes of all inputs.
fn join_genes(inputs: &[Input], path: &str, join: Join) -> Result<Joined> {
    let mut joiner = Joiner::default();
    for input in inputs {
        joiner
            .add(&input.gene_frame(path)?.index()?)
            .with_context(|| format!("Read '{path}' of {}", input.name))?;
    }
    let names: Vec<String> = inputs.iter().map(|i| i.name.clone()).collect();
    joiner.join(join, &names)
}

impl Input {
    fn open(path: &Path) -> Result<Input> {
        let name = path.display().to_string();
        Format::of(path)?;
        let open = || -> Result<_> {
            let root = store::open(path)?;
            let selection = Selection::of(&root)?;
            Ok((root, selection))
        };
        let (root, selection) = open().with_context(|| format!("Cannot merge {name}"))?;
        Ok(Input {
            name,
            root,
            selection,
        })
    }

    /// The arrays over cells that are merged: all but obs, obsp and dataframes.
    fn arrays(&self) -> Vec<String> {
        let leaves = self.selection.leaves.iter().filter(|l| !l.is_square());
        leaves
            .map(|leaf| leaf.path.clone())
            .chain(self.selection.csc.iter().map(|(path, _)| path.clone()))
            .filter(|path| self.selection.frame_of(path).is_none())
            .collect()
    }

    fn leaf(&self, path: &str) -> Option<&Leaf> {
        self.selection.leaves.iter().find(|leaf| leaf.path == path)
    }

    fn shape(&self, path: &str) -> Result<Option<Shape>> {
        if let Some(leaf) = self.leaf(path) {
            return Shape::of_leaf(leaf)
                .map(Some)
                .with_context(|| format!("Read '{path}' of {}", self.name));
        }
        let csc = self.selection.csc.iter().find(|(p, _)| p == path);
        Ok(csc.map(|(_, matrix)| Shape::of_sparse(matrix)))
    }

    fn rows_of(&self, path: &str) -> stack::Input<'_> {
        if let Some(leaf) = self.leaf(path) {
            return stack::Input::Leaf(leaf);
        }
        match self.selection.csc.iter().find(|(p, _)| p == path) {
            Some((_, matrix)) => stack::Input::Csc(matrix),
            None => stack::Input::Absent(self.selection.cells),
        }
    }

    fn frame(&self, path: &str) -> Result<Option<Frame>> {
        if self.root.get(path)?.is_none() {
            return Ok(None);
        }
        Frame::open(&self.root, path)
            .map(Some)
            .with_context(|| format!("Read '{path}' of {}", self.name))
    }

    /// A frame of genes, wherever an old layout keeps it.
    fn gene_frame(&self, path: &str) -> Result<Frame> {
        let old = path.replace('/', ".");
        let path = match self.root.get(&old)? {
            Some(_) => old.as_str(),
            None => path,
        };
        self.frame(path)?
            .with_context(|| format!("{} has no '{path}'", self.name))
    }
}
