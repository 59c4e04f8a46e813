//! Number types: integers of any width, promotion as numpy does it, numbers in text.
//!
//! Values are bytes with a `Dtype` beside them, so nothing here is generic over types of values. What converts says
//! whether it is exact: a caller that would lose a value learns of it before the value is written.

pub mod ints;
pub mod number;
pub mod promote;
