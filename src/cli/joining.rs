//! How several inputs become one source of cells: the same options for every command that takes several.

use std::path::{Path, PathBuf};

use anyhow::{Error, Result, ensure};
use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args, ValueEnum, ValueHint};
use serde_json::{Value, json};
use tracing::warn;

use crate::cells::expr::TypedExpr;
use crate::merge::agree::Strategy;
use crate::merge::chosen::{GeneChoice, Lacking};
use crate::merge::input_keys::InputKeys;
use crate::merge::{self, Modes};
use crate::output;
use crate::report::failure::InFile;
use crate::report::words::count;
use crate::store::Format;

#[derive(Args, Debug)]
pub struct JoinArgs {
    /// Which genes to keep of several files
    #[arg(long, value_enum, default_value_t, help_heading = "Merging")]
    pub join: Join,

    #[command(flatten)]
    pub modes: ModeArgs,

    /// Sort the files of a pattern by the numbers in their names: shard_2 before shard_10
    #[arg(long, help_heading = "Merging")]
    pub natural_sort: bool,

    #[command(flatten)]
    pub labels: LabelArgs,

    #[command(flatten)]
    pub genes: GeneArgs,
}

/// Which genes are kept.
#[derive(Args, Debug)]
#[command(next_help_heading = "Genes")]
pub struct GeneArgs {
    /// Keep the genes whose names are in this file (.gz too), one a line, in its order; - is standard input. raw keeps
    /// its own
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, value_hint = ValueHint::FilePath)]
    pub genes: Option<PathBuf>,

    /// Look up --genes in this column of var, such as gene_name, in place of the index
    #[arg(long, value_name = "COLUMN", requires = "genes")]
    pub gene_column: Option<String>,

    /// What to do with names in --genes that a file lacks
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        default_value_t,
        requires = "genes"
    )]
    pub missing_genes: MissingGenes,

    /// Keep the genes for which this expression over columns of var is true, as --where of filter has it for cells; of
    /// several files the first that has a gene decides
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub var_where: Option<TypedExpr>,
}

/// What becomes of a gene that a file lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MissingGenes {
    /// Stop
    #[default]
    Error,
    /// Keep it: as 0 in X and layers, NaN in varm, missing in var
    Fill,
    /// Go without it
    Skip,
}

impl GeneArgs {
    pub fn chooses(&self) -> bool {
        self.genes.is_some() || self.var_where.is_some()
    }

    fn resolve(self) -> Option<GeneChoice> {
        self.chooses().then_some(GeneChoice {
            list: self.genes,
            column: self.gene_column,
            expr: self.var_where,
            lacking: match self.missing_genes {
                MissingGenes::Error => Lacking::Refuse,
                MissingGenes::Fill => Lacking::Fill,
                MissingGenes::Skip => Lacking::Skip,
            },
        })
    }
}

/// What tells from which file a cell is.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sources")]
#[group(skip)]
#[command(group = ArgGroup::new("told").args(["label", "index_unique"]).multiple(true))]
pub struct LabelArgs {
    /// Add this column to obs, a categorical that holds the key of each cell's file
    #[arg(long, value_name = "COLUMN", value_parser = NonEmptyStringValueParser::new())]
    pub label: Option<String>,

    /// Keys of the files, one for each, in their order; give them after the inputs, or end them
    /// with '--' [default: the files' names without extension]
    #[arg(long, value_name = "KEY", num_args = 1.., requires = "told")]
    pub keys: Vec<String>,

    /// Put this and the key of its file after the name of each cell
    #[arg(long, value_name = "SEPARATOR")]
    pub index_unique: Option<String>,
}

/// What becomes of values that are not along the cells, or that no file has.
#[derive(Args, Debug)]
#[command(next_help_heading = "Merging")]
pub struct ModeArgs {
    /// What to do with entries of uns that occur in several files
    #[arg(long, value_enum, value_name = "STRATEGY", default_value_t)]
    pub uns_merge: Keep,

    /// What to do with columns of var, and with varm and varp, that occur in several files: as above
    #[arg(long, value_enum, value_name = "STRATEGY", default_value_t)]
    pub var_merge: Keep,

    /// Keep obsp, the values between cells of one file; there are none between cells of different files
    #[arg(long)]
    pub pairwise: bool,

    /// Value for cells and genes that are missing in a file, in X, layers, raw and obsm, as nan
    /// [default: 0 for genes that a file lacks, NaN for rows of obsm, 0 where that is sparse]
    #[arg(long, value_name = "X", value_parser = number, allow_hyphen_values = true)]
    pub fill_value: Option<f64>,
}

/// Which of several values for one place is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Keep {
    /// Keep that of the first file that has it
    #[default]
    First,
    /// Keep it if all files have it, with the same value
    Same,
    /// Keep it if all files that have it have the same value
    Unique,
    /// Keep it if a single file has it
    Only,
    /// Keep nothing
    None,
}

fn number(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "give a number, or nan")?;
    // As 2^53 + 1, which would be another number in the matrix.
    match text.parse::<i128>() {
        Ok(integer) if value as i128 != integer => {
            Err("give an integer that a float64 holds exactly".into())
        }
        _ => Ok(value),
    }
}

/// How the genes of files are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Join {
    /// Only those found in all files, in the order of the first
    Inner,
    /// Those found in at least one file, sorted
    #[default]
    Outer,
}

/// The inputs and the output of a line that has two places or more, of which the last is the output. `slice a b c p`:
/// the parser gives `a`, `b` and, as `more`, `c` and `p`; inputs are `a`, `b` and `c`.
pub fn inputs_and_output(
    first: PathBuf,
    second: PathBuf,
    mut more: Vec<PathBuf>,
) -> (Vec<PathBuf>, PathBuf) {
    match more.pop() {
        None => (vec![first], second),
        Some(output) => ([vec![first, second], more].concat(), output),
    }
}

/// The files whose cells are taken, and how they become one source.
pub struct JoinRequest {
    /// As typed, patterns among them.
    pub typed: Vec<PathBuf>,
    pub inputs: Vec<PathBuf>,
    pub modes: Modes,
    pub keys: InputKeys,
    /// Which genes are kept, where not all are.
    pub genes: Option<GeneChoice>,
}

impl JoinRequest {
    /// The file, where there is one alone, which is taken as it is.
    pub fn one_file(&self) -> Option<&PathBuf> {
        match self.inputs.as_slice() {
            [one] if !self.keys.tell() && self.genes.is_none() => Some(one),
            _ => None,
        }
    }

    /// The files that are read; `-` is standard input.
    pub fn reads(&self) -> impl Iterator<Item = &PathBuf> {
        let list = self.genes.as_ref().and_then(|genes| genes.list.as_ref());
        self.inputs.iter().chain(list)
    }

    /// What a message calls them.
    pub fn name(&self) -> String {
        match self.typed.as_slice() {
            [one] => one.display().to_string(),
            many => count(many.len() as u64, "input"),
        }
    }

    /// An error of a command, which could not do `what` with them.
    pub fn blame(&self, what: &'static str, error: Error) -> Error {
        match self.inputs.as_slice() {
            [one] => error.context(InFile(what, one.clone())),
            many => error.context(format!("{what} {}", count(many.len() as u64, "input"))),
        }
    }

    /// What decides which cells and genes there are, but for the files themselves; null for one file as it is.
    pub fn identity(&self) -> Value {
        if self.one_file().is_some() {
            return Value::Null;
        }
        json!({
            "modes": self.modes.identity(),
            "sources": self.keys.identity(),
            "genes": self.genes.as_ref().map(GeneChoice::identity),
        })
    }
}

impl JoinArgs {
    /// Finds the files of `typed`, behind which `output` was typed, and warns where their order may not be what is meant.
    /// One file keeps the values between its cells if `pairs` is set, and where genes of it are chosen.
    ///
    /// # Errors
    /// A file that is not there, or whose name says no format.
    pub fn resolve(
        self,
        (typed, output): (Vec<PathBuf>, Option<&Path>),
        categories: u64,
        pairs: bool,
    ) -> Result<JoinRequest> {
        output::refuse_unquoted(&typed, output)?;
        let found = output::expand_inputs(&typed, self.natural_sort)?;
        let mut files = found.paths.iter();
        files.try_for_each(|path| Format::check_input(path))?;
        for pattern in &found.orders_differ {
            warn!(
                "The files of {pattern} are merged in the order of their names, where 10 comes before 2; use \
                 --natural-sort to order them by number"
            );
        }
        ensure!(
            !found.reordered || self.labels.keys.is_empty(),
            "--natural-sort changes the order of the list that --keys are for; give a quoted pattern, or list the \
             files in the order of the keys"
        );
        let LabelArgs {
            label,
            keys,
            index_unique,
        } = self.labels;
        let unused = self.modes.given(self.join).join(" and ");
        let mut modes = self.modes.resolve(self.join, categories);
        let genes = self.genes.resolve();
        // The obsp of a single file is whole; between cells of several files there is none.
        modes.pairwise |= (pairs || genes.is_some()) && found.paths.len() == 1;
        let request = JoinRequest {
            typed,
            modes,
            genes,
            keys: InputKeys::of(label, keys, index_unique, &found.paths)?,
            inputs: found.paths,
        };
        // A pattern may match one file today and several tomorrow, so it is no error.
        if pairs && request.one_file().is_some() && !unused.is_empty() {
            warn!("Only one file is read, which is taken as it is: no effect of {unused}");
        }
        Ok(request)
    }
}

impl ModeArgs {
    /// The options that say how files become one, as far as they are not left as they are by default.
    fn given(&self, join: Join) -> Vec<&'static str> {
        let options = [
            ("--join", join != Join::default()),
            ("--uns-merge", self.uns_merge != Keep::default()),
            ("--var-merge", self.var_merge != Keep::default()),
            ("--pairwise", self.pairwise),
            ("--fill-value", self.fill_value.is_some()),
        ];
        let given = options.into_iter().filter(|(_, is_given)| *is_given);
        given.map(|(option, _)| option).collect()
    }

    fn resolve(self, join: Join, categories: u64) -> Modes {
        let join = match join {
            Join::Inner => merge::join::Join::Inner,
            Join::Outer => merge::join::Join::Outer,
        };
        if self.fill_value.is_some() && join == merge::join::Join::Inner {
            warn!("--fill-value is not used: an inner join adds no rows and columns");
        }
        Modes {
            join,
            uns: self.uns_merge.strategy(),
            var: self.var_merge.strategy(),
            pairwise: self.pairwise,
            fill: self.fill_value,
            categories,
        }
    }
}

impl Keep {
    fn strategy(self) -> Strategy {
        match self {
            Keep::First => Strategy::First,
            Keep::Same => Strategy::Same,
            Keep::Unique => Strategy::Unique,
            Keep::Only => Strategy::Only,
            Keep::None => Strategy::None,
        }
    }
}
