//! Parts of the HDF5 file format that are read past the library.

pub mod headers;
pub mod heap;
