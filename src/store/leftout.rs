//! Attributes that the format of an output cannot hold. anndata reads none of them: they are left out, with a warning.

use std::borrow::Cow;

use anyhow::{Result, bail, ensure};

use super::spec::{Attr, Attrs, Dtype};
use super::{Format, hdf5, zarr};
use crate::report::once::warn_once;

/// Whether the node that attributes are for is made with them or is there.
#[derive(Clone, Copy)]
pub enum To {
    /// Large ones are kept: HDF5 is told of them when it makes the node.
    New,
    Old,
}

/// Those of the attributes of the node at `path` that can be written.
pub fn writable<'a>(attrs: &'a Attrs, path: &str, format: Format, to: To) -> Cow<'a, Attrs> {
    let cannot = |attr: &Attr| check(attr, format, to).err();
    if attrs.iter().all(|(_, attr)| cannot(attr).is_none()) {
        return Cow::Borrowed(attrs);
    }
    let mut kept = Attrs::default();
    let place = if path.is_empty() { "/" } else { path };
    for (name, attr) in attrs.iter() {
        match cannot(attr) {
            None => kept.set(name, attr.clone()),
            Some(why) => warn_once(format!(
                "Attribute '{name}' of '{place}' is left out: {why:#}"
            )),
        }
    }
    Cow::Owned(kept)
}

/// An error, which says why, where a format cannot hold an attribute.
fn check(attr: &Attr, format: Format, to: To) -> Result<()> {
    if let Attr::Null(Dtype::Unsupported(why))
    | Attr::Bytes {
        dtype: Dtype::Unsupported(why),
        ..
    } = attr
    {
        bail!("{why}");
    }
    match (format, attr) {
        (Format::H5ad, _) if matches!(to, To::Old) && hdf5::is_large(attr) => {
            bail!("HDF5 stores no attribute of more than 64 kB there")
        }
        (Format::Zarr, _) => zarr::attr_value(attr).map(drop),
        // Text is written as C strings, which end at a NUL; JSON has a form for it.
        (Format::H5ad, Attr::Text(text)) => without_nul(text),
        (Format::H5ad, Attr::Texts { values, .. }) => values.iter().try_for_each(without_nul),
        _ => Ok(()),
    }
}

fn without_nul(text: impl AsRef<str>) -> Result<()> {
    ensure!(
        !text.as_ref().contains('\0'),
        "HDF5 cannot store text that holds a NUL"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::spec::Kind;

    #[test]
    fn what_a_format_cannot_hold_is_left_out_alone() {
        let complex = Attr::Bytes {
            dtype: Dtype::native(Kind::Complex, 16),
            shape: vec![],
            bytes: vec![0; 16],
        };
        let attrs = Attrs::default()
            .with("text", Attr::Text("a".into()))
            .with("nul", Attr::Text("a\0b".into()))
            .with("complex", complex)
            .with(
                "reference",
                Attr::Null(Dtype::Unsupported("it is a reference".into())),
            );
        let names = |format| {
            let kept = writable(&attrs, "obs", format, To::New);
            kept.iter().map(|(n, _)| n.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(Format::H5ad), ["text", "complex"]);
        assert_eq!(names(Format::Zarr), ["text", "nul"]);
    }
}
