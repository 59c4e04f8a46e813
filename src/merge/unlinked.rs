//! What keeps matrices from staying in the inputs, as `--virtual` has it: values would have to change, or lie in no dataset
//! that another file can refer to. All of it is seen before a byte is written.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use super::decide::Outline;
use super::genes_of;
use super::input::Input;
use super::join::ColumnMap;
use super::stack::{self, ArrayPlan, Shape};
use crate::report::failure::Failure;
use crate::report::near::and_more;
use crate::rows::leaf::LeafKind;
use crate::store::{Array, Format};

/// The matrices that cannot stay, each with the first input that keeps it from that, and why.
#[derive(Default)]
struct Unlinked(BTreeMap<String, String>);

/// An error that names the matrices which cannot stay in the inputs, and why. Opens every input once more.
pub fn refuse(outline: &Outline, open: impl Fn(usize) -> Result<Input>) -> Result<()> {
    /// Those that are told.
    const TOLD: usize = 5;
    let mut found = Unlinked::default();
    for at in 0..outline.inputs.len() {
        found.look(outline, at, &open(at)?)?;
    }
    if found.0.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = found.0.values().take(TOLD).cloned().collect();
    let more = and_more(found.0.len() - told.len());
    bail!(Failure::value(format!(
        "No virtual dataset can refer to {}{more}; merge without --virtual",
        told.join(", ")
    )))
}

impl Unlinked {
    fn look(&mut self, outline: &Outline, at: usize, input: &Input) -> Result<()> {
        // It has no rows to refer to, so what it is does not matter.
        if input.cells() == 0 {
            return Ok(());
        }
        let moved = moved_genes(outline, input)?;
        for (path, (plan, shapes)) in &outline.arrays {
            // All else is written as in any merge, and obsp too: its columns move.
            let of_numbers = matches!(plan, ArrayPlan::Dense { .. } | ArrayPlan::Sparse { .. });
            if !of_numbers || path.starts_with("obsp/") || self.0.contains_key(path) {
                continue;
            }
            let shape = shapes.get(at).and_then(Option::as_ref);
            let has_others = genes_of(path).is_some_and(|genes| moved.contains(genes));
            let others = has_others.then(|| "has other genes than the result".to_owned());
            let why = not_there(&input.rows_of(path)).or(others);
            if let Some(why) = why.or_else(|| shape.and_then(|shape| changed(plan, shape))) {
                let told = format!("'{path}' of {}, which {why}", input.name);
                self.0.insert(path.clone(), told);
            }
        }
        Ok(())
    }
}

/// The frames of genes of an input that come to other places in the result, or not all of them.
fn moved_genes(outline: &Outline, input: &Input) -> Result<BTreeSet<&'static str>> {
    let raw = outline.raw_genes.as_ref().map(|raw| ("raw/var", raw));
    let mut moved = BTreeSet::new();
    for (path, genes) in [("var", &outline.genes)].into_iter().chain(raw) {
        if input.map_to(&genes.joined, path)? != ColumnMap::Identity {
            moved.insert(path);
        }
    }
    Ok(moved)
}

/// Why rows are in no dataset that can be referred to.
fn not_there(rows: &stack::InputRows) -> Option<String> {
    let of_array = |array: &Array| match array.format() {
        Format::H5ad if array.is_field() => Some("is stored in an older form"),
        Format::H5ad => None,
        Format::Zarr => Some("is in a Zarr store"),
    };
    let why = match rows {
        stack::InputRows::Absent(_) => Some("it lacks"),
        stack::InputRows::Csc(_) => Some("is stored by columns (CSC)"),
        stack::InputRows::Leaf(leaf) => match &leaf.kind {
            LeafKind::Fixed(array) => of_array(array),
            LeafKind::Sparse(matrix) => of_array(&matrix.data),
            _ => Some("is stored in an older form"),
        },
    };
    why.map(str::to_owned)
}

/// What would change of values as they are stored.
fn changed(plan: &ArrayPlan, shape: &Shape) -> Option<String> {
    let types = |what: &str, own: String, to: String| {
        (own != to).then(|| format!("has {what} of type {own}, which become {to}"))
    };
    match (plan, shape) {
        (ArrayPlan::Dense { dtype: to, row, .. }, Shape::Dense { dtype, row: own }) => {
            let wide = || format!("has rows of shape {own:?}, {row:?} in the result");
            types("values", dtype.to_string(), to.to_string()).or_else(|| (row != own).then(wide))
        }
        (ArrayPlan::Sparse { spec, .. }, Shape::Sparse { data, indices, .. }) => {
            types("values", data.to_string(), spec.data.to_string())
                .or_else(|| types("indices", indices.to_string(), spec.indices.to_string()))
        }
        (ArrayPlan::Sparse { .. }, _) => Some("is dense, but sparse in another input".to_owned()),
        _ => Some("is of another kind than in the result".to_owned()),
    }
}
