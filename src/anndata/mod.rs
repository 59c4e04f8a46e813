//! The anndata layout on disk; the files of this folder mirror it.
//!
//! [`select`] sorts a file into what lies on the obs axis ([`rows`]) and what is copied ([`copy`]).

pub mod columns;
pub mod copy;
pub mod encoding;
pub mod lengths;
pub mod older;
pub mod select;
