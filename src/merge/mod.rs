//! How several files become one: the rules of merge.
//!
//! The modules in the order of a run: `input` opens a file by its elements. `scan` looks at each input once, and keeps
//! shapes, names of genes and surveys of columns, but no matrix. `decide` makes a plan of each element, or names it in
//! a warning. `joined` writes what is not along the cells. `rows` appends frames, text and awkward arrays, one input
//! after another, and `matrices` makes leaves of the matrices of numbers, which the engine reads.
//!
//! Of the genes, `join` numbers the names over all inputs, `genes` unites the columns of var, and `reindex` puts varm
//! and varp in the order of the result. No two inputs need to be open together, but the first stays open.

pub mod agree;
pub mod chosen;
pub mod decide;
pub mod extras;
pub mod frames;
pub mod genes;
pub mod input;
pub mod input_keys;
pub mod join;
pub mod joined;
mod matrices;
mod mismatch;
pub mod names;
mod reader;
pub mod reindex;
pub mod rows;
pub mod scan;
pub mod shared;
pub mod stack;
mod unlinked;

use agree::Strategy;
use join::Join;
use serde_json::{Value, json};

use crate::report::near::and_more;

/// What the user asked for, beside the files.
#[derive(Clone, Copy)]
pub struct Modes {
    pub join: Join,
    /// For what is in uns, at each depth.
    pub uns: Strategy,
    /// For the columns of var, and for varm and varp.
    pub var: Strategy,
    /// Whether obsp is kept, as blocks on the diagonal, one for each input. Else it is left out and named.
    pub pairwise: bool,
    /// What an input lacks in X, layers, raw and obsm gets this value. `None`: 0 for genes, NaN for rows of obsm, 0
    /// where these are sparse.
    pub fill: Option<f64>,
    /// Above this a categorical column of obs becomes plain values.
    pub categories: u64,
}

impl Modes {
    /// What decides, for the identity of a run.
    pub fn identity(&self) -> Value {
        let Modes {
            join,
            uns,
            var,
            pairwise,
            fill,
            categories,
        } = self;
        json!({
            "join": join.name(),
            "uns_merge": uns.name(),
            "var_merge": var.name(),
            "pairwise": pairwise,
            "fill_value": fill.map(|fill| fill.to_string()),
            "max_categories": categories,
        })
    }
}

/// Whether a node of the root is put together from all inputs, or named where it is not. uns is not among them: what is
/// in it comes from one input each, by a strategy. Old files have raw as `raw.X`, `raw.var` and `raw.varm` at the root.
pub fn is_merged(name: &str) -> bool {
    const MERGED: [&str; 9] = [
        "X", "obs", "var", "layers", "obsm", "obsp", "varm", "varp", "raw",
    ];
    MERGED.contains(&name) || name.starts_with("raw.")
}

/// Where a node of the root stands in the current layout. `raw.var` -> `raw/var`; all other names stay.
pub fn folder_of(path: &str) -> String {
    match path.strip_prefix("raw.") {
        Some(rest) => format!("raw/{rest}"),
        None => path.to_string(),
    }
}

/// Paths as a message tells them, the first ones of many.
pub fn named(paths: &[String]) -> String {
    const TOLD: usize = 10;
    let told = paths.iter().take(TOLD).map(|path| format!("'{path}'"));
    let told = told.collect::<Vec<_>>().join(", ");
    told + &and_more(paths.len().saturating_sub(TOLD))
}

/// The frame of the genes that the columns of an array are; `None` where they are none. `layers/counts` -> `var`,
/// `raw/X` -> `raw/var`, `obsm/X_pca` -> `None`.
pub fn genes_of(path: &str) -> Option<&'static str> {
    match path {
        "raw/X" => Some("raw/var"),
        _ if path == "X" || path.starts_with("layers/") => Some("var"),
        _ => None,
    }
}
