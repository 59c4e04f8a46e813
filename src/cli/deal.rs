//! Which cells of a file go where: the arguments of `slice` about it, and what they come to.

use std::num::NonZeroU64;

use clap::Args;

use super::shared::{TableArgs, drop_option};
use super::values::{padding, positive, shares, size};
use crate::cells::shares::Shares;
use crate::cells::split::Unit;
use crate::permutation::Seed;

/// How large shards are, and the order of cells.
#[derive(Args, Debug)]
#[command(next_help_heading = "Shards")]
pub struct OrderArgs {
    /// Cells per shard; the last one holds the rest [default: 10000]
    #[arg(long, aliases = ["si", "siz"], value_name = "N")]
    #[arg(value_parser = positive::<NonZeroU64>, allow_hyphen_values = true)]
    pub size: Option<NonZeroU64>,

    /// Number of shards, of nearly equal size (instead of --size)
    #[arg(long, value_name = "N", conflicts_with = "size")]
    #[arg(value_parser = positive::<NonZeroU64>, allow_hyphen_values = true)]
    pub shards: Option<NonZeroU64>,

    /// Bytes per shard before compression, as 2GB: as many cells as fit (instead of --size)
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["size", "shards"])]
    #[arg(value_parser = size, allow_hyphen_values = true)]
    pub max_bytes: Option<u64>,

    /// Deal the cells out at random, so that each shard is a sample of the whole
    #[arg(long, alias = "sh")]
    pub shuffle: bool,

    /// Any unsigned integer; the order is numpy's default_rng(N).permutation [default: drawn, and
    /// logged]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub seed: Option<Seed>,

    /// Sort the cells of each shard by these columns of obs; equal ones stay in their order, or shuffled
    #[arg(long, value_name = "COLUMN", num_args = 1..)]
    pub sort_by: Vec<String>,

    /// Digits of the numbers of shards at the least: 3 gives PREFIX_shard_007.h5ad
    #[arg(long, value_name = "N", conflicts_with = "names")]
    #[arg(value_parser = padding, allow_hyphen_values = true)]
    pub pad: Option<usize>,
}

/// A shard for each category of a column.
#[derive(Args, Debug)]
#[command(next_help_heading = "Shards by columns")]
pub struct ByArgs {
    /// One shard for each value of this column of obs: PREFIX_VALUE.h5ad, with _ for each character of the value that
    /// is no letter, digit, _, . or -. Of several columns, one for each combination that occurs: PREFIX_A_B.h5ad. Then
    /// --size and --shuffle have no effect
    #[arg(long, value_name = "COLUMN", num_args = 1..)]
    #[arg(conflicts_with_all = ["shards", "max_bytes"])]
    pub obs_column: Vec<String>,

    /// Cut each of these by --size, shuffled by --shuffle: PREFIX_VALUE_shard_0.h5ad
    #[arg(long, requires = "obs_column")]
    pub size_within: bool,

    /// Put the cells with these values into every shard; no separate shard is written for them
    #[arg(long, value_name = "VALUE", num_args = 1.., allow_negative_numbers = true)]
    #[arg(conflicts_with_all = ["size_within", "split", "split_column"])]
    pub always_include: Vec<String>,

    #[command(flatten)]
    pub table: TableArgs,
}

/// Parts of the cells, as for training and validation.
#[derive(Args, Debug)]
#[command(next_help_heading = "Splits")]
pub struct SplitArgs {
    /// Deal the cells at random to parts, each cut into shards of its own, as train=0.8,val=10%,test=500 or
    /// train=*,test=0.1: fractions, percentages, numbers of cells, and * for the rest
    #[arg(long, value_name = "NAME=SHARE,...", value_parser = shares)]
    pub split: Option<Shares>,

    /// Keep cells with the same value of this column in one part, as those of a donor
    #[arg(
        long,
        value_name = "COLUMN",
        requires = "split",
        conflicts_with = "stratify"
    )]
    pub split_by: Option<String>,

    /// Split the cells of each value of this column in the same shares
    #[arg(long, value_name = "COLUMN", requires = "split")]
    pub stratify: Option<String>,

    /// Take the parts from this column of obs, instead of --split: PREFIX_VALUE_shard_0.h5ad
    #[arg(long, value_name = "COLUMN", conflicts_with = "split")]
    pub split_column: Option<String>,

    /// Add a column of this name to obs that tells the part of each cell
    #[arg(long, value_name = "COLUMN", requires = "split")]
    pub split_label: Option<String>,
}

/// Which cells go into which shard.
pub struct Deal {
    pub split: Option<Split>,
    /// A shard for each combination of their values.
    pub columns: Vec<String>,
    /// Values of the one column whose cells are in every shard.
    pub always_include: Vec<String>,
    /// How all cells, or those of each part, are cut; `None` is a shard for each value.
    pub cut: Option<Cut>,
    pub shuffle: bool,
    /// Where something is chosen at random.
    pub seed: Option<DealSeed>,
    pub sort_by: Vec<String>,
    /// Digits of the numbers of shards at the least.
    pub pad: usize,
    pub table: TableArgs,
}

/// What the parts of a split are.
pub enum Split {
    Random {
        shares: Shares,
        unit: Unit,
        /// The column that tells the part of each cell.
        label: Option<String>,
    },
    /// The values of a column.
    Column(String),
}

/// How large a shard is.
pub enum Cut {
    Size(u64),
    /// So many shards of nearly equal size.
    Parts(NonZeroU64),
    /// As many cells as fit so many bytes.
    Bytes(u64),
}

pub struct DealSeed {
    pub seed: Seed,
    /// Whether it was drawn here: then that of a run that is resumed takes its place.
    pub drawn: bool,
}

impl Deal {
    /// What the first shard is called after the prefix, as far as that is known.
    pub fn first_name(&self) -> String {
        let part = match &self.split {
            Some(Split::Random { shares, .. }) => shares.0.first().map(|(name, _)| name.clone()),
            Some(Split::Column(_)) => Some("PART".into()),
            None => None,
        };
        let values = self.columns.iter().map(|_| "VALUE".to_owned());
        let number = self
            .cut
            .is_some()
            .then(|| format!("shard_{:0pad$}", 0, pad = self.pad));
        let all: Vec<String> = part.into_iter().chain(values).chain(number).collect();
        all.join("_")
    }

    /// The columns of obs that decide.
    pub fn reads(&self) -> Vec<&str> {
        let split = match &self.split {
            Some(Split::Column(name)) => Some(name),
            Some(Split::Random { unit, .. }) => unit.column(),
            None => None,
        };
        let all = self.columns.iter().chain(split).chain(&self.sort_by);
        all.map(String::as_str).collect()
    }
}

/// Drops the options that have no effect beside the others, with a warning for each.
pub fn drop_unused(order: &mut OrderArgs, by: &mut ByArgs, split: &SplitArgs) {
    let by_column = !by.obs_column.is_empty();
    if by_column && !by.size_within {
        // The Python tool takes these, and passes over them.
        let why = "beside --obs-column without --size-within";
        drop_option(&mut order.size, "--size", why);
        drop_option(&mut order.shuffle, "--shuffle", why);
        drop_option(&mut order.pad, "--pad", why);
    }
    if !by_column {
        let why = "without --obs-column";
        drop_option(&mut by.always_include, "--always-include", why);
    }
    if !order.shuffle && split.split.is_none() {
        let why = "without --shuffle or --split";
        drop_option(&mut order.seed, "--seed", why);
    }
    let asked = by_column
        || !order.sort_by.is_empty()
        || [&split.split_by, &split.stratify, &split.split_column]
            .iter()
            .any(|column| column.is_some());
    by.table.drop_unused(asked);
}

/// What goes wrong with the options that are there, beyond what clap sees.
pub fn conflict(by: &ByArgs) -> Option<&'static str> {
    (by.obs_column.len() > 1 && !by.always_include.is_empty())
        .then_some("--always-include goes with one --obs-column, whose values it names")
}

impl Deal {
    /// What the arguments come to, after [`drop_unused`] and [`conflict`].
    pub fn resolve(order: OrderArgs, by: ByArgs, split: SplitArgs) -> Deal {
        // One shard for each value, as in the Python tool; --size-within cuts it.
        let whole = !by.obs_column.is_empty() && !by.size_within;
        let drawn = order.seed.is_none();
        let is_random = order.shuffle || split.split.is_some();
        Deal {
            cut: (!whole).then(|| order.cut()),
            columns: by.obs_column,
            always_include: by.always_include,
            shuffle: order.shuffle,
            seed: is_random.then(|| DealSeed {
                seed: order.seed.unwrap_or_else(Seed::random),
                drawn,
            }),
            sort_by: order.sort_by,
            pad: order.pad.unwrap_or(1),
            table: by.table,
            split: split.resolve(),
        }
    }
}

impl OrderArgs {
    pub fn cells_per_shard(&self) -> u64 {
        self.size.map_or(10_000, NonZeroU64::get)
    }

    fn cut(&self) -> Cut {
        match (self.shards, self.max_bytes) {
            (Some(shards), _) => Cut::Parts(shards),
            (None, Some(bytes)) => Cut::Bytes(bytes),
            (None, None) => Cut::Size(self.cells_per_shard()),
        }
    }
}

impl SplitArgs {
    fn resolve(self) -> Option<Split> {
        let unit = match (self.split_by, self.stratify) {
            (Some(column), _) => Unit::Groups(column),
            (None, Some(column)) => Unit::Strata(column),
            (None, None) => Unit::Cells,
        };
        let random = self.split.map(|shares| Split::Random {
            shares,
            unit,
            label: self.split_label,
        });
        random.or(self.split_column.map(Split::Column))
    }
}
