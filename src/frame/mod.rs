//! Dataframes as typed columns: obs and var of one file, and what columns of many files become together.
//!
//! A [`column::Column`] is on disk, [`values::Values`] are some of its rows in memory. Slice copies columns as leaves and
//! needs none of this; merge, `--max-categories`, `--where` and `check` do. To decide what the columns of one name become
//! together, each is looked at once ([`survey`]), then [`unify`] gives the type and writes the values.

pub mod categories;
pub mod column;
pub mod dataframe;
pub mod demote;
pub mod digest;
pub mod distinct;
pub mod plain;
pub mod survey;
pub mod unify;
pub mod unsound;
pub mod values;
