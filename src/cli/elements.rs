//! The arguments that say which elements of a file are taken, and as what.

use clap::Args;

use crate::anndata::elements::{Asked, Elements, NewX, OldX, Pattern};

#[derive(Args, Debug)]
#[command(next_help_heading = "Elements")]
pub struct ElementArgs {
    /// Keep only these elements, by their paths: raw, layers/counts, obs/cell_type, 'obsm/*'. X and the names of cells
    /// and genes are always kept
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    pub keep: Vec<Pattern>,

    /// Leave out these elements, which are not read; * is any text within a name. Give the patterns after the files, or
    /// end them with '--'
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    pub drop: Vec<Pattern>,

    /// Make this matrix X: raw, which brings its var, or layers/NAME. The old X is left out
    #[arg(long, value_name = "MATRIX")]
    pub x_from: Option<NewX>,

    /// Keep the old X, as this layer
    #[arg(long, value_name = "layers/NAME", requires = "x_from")]
    pub x_to: Option<OldX>,

    /// Write CSC matrices along the cells as CSR; merge does so anyway
    #[arg(long)]
    pub csr: bool,

    /// Write nullable strings as plain arrays of strings, which anndata before 0.11, R and readers by path know: columns,
    /// names of cells and genes, categories, uns
    #[arg(long)]
    pub plain_strings: bool,

    /// What --plain-strings writes where a text is missing [default: none, that is an error]
    #[arg(long, value_name = "TEXT", requires = "plain_strings")]
    #[arg(allow_hyphen_values = true)]
    pub missing_as: Option<String>,
}

impl ElementArgs {
    pub fn chooses(&self) -> bool {
        let patterns = !self.keep.is_empty() || !self.drop.is_empty();
        patterns || self.x_from.is_some() || self.csr || self.plain_strings
    }

    pub fn settle(self) -> Elements {
        Elements::new(Asked {
            keep: self.keep,
            drop: self.drop,
            x_from: self.x_from,
            x_to: self.x_to,
            plain_strings: self.plain_strings.then_some(self.missing_as),
        })
    }
}
