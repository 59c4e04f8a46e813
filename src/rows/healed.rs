//! Warnings of values that are written as their writer meant them, since anndata does not open the file that they are in.

use crate::report::once::warn_once;
use crate::store::Array;

pub fn codes(path: &str) {
    warn_once(format!(
        "'{path}' holds codes of -2^31, as R stores missing values; they are written as -1, which anndata reads so"
    ));
}

pub fn mask(array: &Array) {
    warn_once(format!(
        "'{}' is {}, where a mask is of bools; it is written as such, which anndata asks for",
        array.path(),
        array.spec().dtype
    ));
}
