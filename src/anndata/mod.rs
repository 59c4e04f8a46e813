//! The anndata layout on disk; the files of this folder mirror it.
//!
//! An element is an HDF5 or Zarr node with the attributes `encoding-type` and `encoding-version` (anndata documentation,
//! "On-disk format"). Files of anndata 0.5 to 0.7 lack them or say them otherwise; `encoding` guesses what such a node is,
//! and `older` describes it in the current layout, so that no other room has to know.
//!
//! [`select`] sorts a file into what lies on the obs axis ([`rows`]) and what is copied ([`copy`]).

pub mod columns;
pub mod copy;
pub mod elements;
pub mod encoding;
pub mod heal;
pub mod lengths;
pub mod older;
pub mod root;
pub mod same;
pub mod select;
mod selected;
