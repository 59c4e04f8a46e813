//! Every call into the HDF5 C library, each under the library's lock, as thin functions over owned identifiers that
//! are safe whatever they are given; a file for each kind of object. What the answers mean is told by the files beside
//! this folder.
//!
//! All `unsafe` of the program stands here; so the one call of the C library's allocator does too. Three arguments hold
//! for all other blocks and are not repeated: every call is made inside [`sync`](call::sync), the lock that the library
//! needs; every identifier that is passed is that of an [`Id`], which is borrowed for the whole call, or one of the
//! library's own; and the library checks what an identifier is of, and plain numbers, and answers with an error. So
//! each block tells of the memory that it hands over.
#![allow(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks)]

mod attrs;
mod call;
mod datasets;
mod files;
mod filters;
mod links;
mod lists;
mod process;
mod spaces;
mod types;
mod values;

pub use self::attrs::*;
pub use self::call::{Id, kind, under_way};
pub use self::datasets::*;
pub use self::files::*;
pub use self::filters::register as register_filters;
pub use self::links::*;
pub use self::lists::*;
pub use self::process::{is_stdout_closed, prepare};
pub use self::spaces::*;
pub use self::types::*;
pub use self::values::*;
