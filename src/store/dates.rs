//! Dates on their way into HDF5.

use super::spec::{ArraySpec, Dtype};
use super::warn_once;

/// HDF5 has no dates: they become the numbers that they are.
pub fn without_dates(spec: &ArraySpec, path: &str) -> ArraySpec {
    let mut spec = spec.clone();
    numbers_of_dates(&mut spec.dtype, path);
    spec
}

/// Makes int64 of a type that is a date, and of those of the fields of a record.
fn numbers_of_dates(dtype: &mut Dtype, path: &str) {
    match dtype {
        Dtype::Date(_) => {
            warn_once(format!(
                "'{path}' is {dtype}, which .h5ad cannot hold: its values become whole numbers of that unit"
            ));
            *dtype = Dtype::INT64;
        }
        Dtype::Record { fields, .. } => {
            for field in fields {
                numbers_of_dates(&mut field.dtype, &format!("{path}/{}", field.name));
            }
        }
        _ => {}
    }
}
