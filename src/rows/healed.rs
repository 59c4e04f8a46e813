//! Warnings of values that are written as their writer meant them, since anndata does not open the file that they are in.

use crate::report::once::warn_once;
use crate::store::Array;

/// `path` is that of the codes.
pub fn codes(path: &str) {
    warn_once(format!(
        "'{path}' holds codes of -2^31, as R stores missing values; they are written as -1, which anndata reads so"
    ));
}

/// A mask of another type than bool, whose values are 0 and 1.
pub fn mask(array: &Array) {
    warn_once(format!(
        "'{}' is {}, where a mask is of bools; it is written as such, which anndata asks for",
        array.path(),
        array.spec().dtype
    ));
}

/// `path` is that of the column.
pub fn level(path: &str) {
    warn_once(format!(
        "'{path}' has NaN among its categories, which pandas takes for none; its cells are written as missing"
    ));
}
