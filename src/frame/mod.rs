//! Dataframes as typed columns: obs and var of one file, and what columns of many files become together.

pub mod categories;
pub mod column;
pub mod dataframe;
pub mod demote;
pub mod distinct;
pub mod survey;
pub mod unify;
pub mod values;
