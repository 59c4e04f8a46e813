//! The anndata layout on disk; the files of this folder mirror it.
//!
//! [`select`] sorts a file into what lies on the obs axis ([`rows`]) and what is copied ([`copy`]).

pub mod agree;
pub mod awkward;
pub mod categories;
pub mod cellset;
pub mod check;
pub mod column;
pub mod concat;
pub mod copy;
pub mod csc;
pub mod csr;
pub mod demote;
pub mod digest;
pub mod distinct;
pub mod encoding;
pub mod frame;
pub mod genes;
pub mod ints;
pub mod join;
pub mod lengths;
pub mod matrix;
pub mod number;
pub mod old;
pub mod promote;
pub mod reindex;
pub mod rows;
pub mod select;
pub mod sizes;
pub mod stack;
pub mod survey;
pub mod unify;
pub mod values;
