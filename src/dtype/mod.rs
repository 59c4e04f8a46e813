//! Number types: integers of any width, promotion as numpy does it, numbers in text.

pub mod ints;
pub mod number;
pub mod promote;
