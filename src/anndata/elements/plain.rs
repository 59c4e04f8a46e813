//! Nullable string arrays as plain ones: `--plain-strings`.
//!
//! anndata writes text with a mask as a group of `values` and `mask`, wherever text is: columns, indexes, categories, uns.
//! Readers from before anndata 0.11, and those that go by path, know arrays of strings alone.

use std::slice::from_ref;

use anyhow::{Context, Result, ensure};

use crate::anndata::encoding::{Encoding, extras};
use crate::report::failure::{Failure, in_element};
use crate::report::words::count;
use crate::rows::ranges::blocks;
use crate::store::spec::Attrs;
use crate::store::{Array, Group, Node, Place, PlainText, Shown};

/// Shows every nullable string array in `root` as a plain one, with `missing` where a text is missing.
///
/// # Errors
/// Missing values, where there is nothing to put in their place.
pub fn put(root: &Group, missing: Option<&str>, shown: &mut Shown) -> Result<()> {
    let mut texts = vec![];
    find(root, "", &mut texts)?;
    for (path, group) in texts {
        let place = place(root, &group, missing).with_context(|| in_element("Read", &path))?;
        if let Some(place) = place {
            shown.put(&path, place);
        }
    }
    Ok(())
}

/// All nullable string arrays below a group, by their paths.
fn find(parent: &Group, path: &str, found: &mut Vec<(String, Group)>) -> Result<()> {
    for name in parent.names()? {
        let Some(Node::Group(group)) = parent.get(&name)? else {
            continue;
        };
        let path = match path {
            "" => name,
            _ => format!("{path}/{name}"),
        };
        match Encoding::of_group(&group)? {
            Encoding::Nullable if is_text(&group)? => found.push((path, group)),
            Encoding::Dict | Encoding::DataFrame | Encoding::Categorical => {
                find(&group, &path, found)?
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_text(group: &Group) -> Result<bool> {
    Ok(group.attrs()?.text("encoding-type") == Some("nullable-string-array"))
}

/// Where the text of a nullable string array is; `None` where it lacks a part, which its reader refuses.
fn place(root: &Group, group: &Group, missing: Option<&str>) -> Result<Option<Place>> {
    let (Some(Node::Array(values)), Some(Node::Array(mask))) =
        (group.get("values")?, group.get("mask")?)
    else {
        return Ok(None);
    };
    let lacking = missing_in(&mask)?;
    let what = || {
        let lacking = count(lacking, "missing value");
        Failure::value(format!(
            "It has {lacking}, for which plain strings have no form; give --missing-as TEXT, or --drop it"
        ))
    };
    ensure!(lacking == 0 || missing.is_some(), what());
    // The values alone are plain text already, but what a user noted is on the group.
    let own = extras(&group.attrs()?);
    if lacking == 0 && own == Attrs::default() {
        return Ok(Some(Place::from(below(root, &values.path()))));
    }
    let mut attrs = Attrs::encoding("string-array", "0.2.0");
    own.iter()
        .for_each(|(name, value)| attrs.set(name, value.clone()));
    Ok(Some(Place {
        path: below(root, &values.path()).into(),
        plain: Some(PlainText {
            mask: below(root, &mask.path()).into(),
            missing: missing.unwrap_or_default().into(),
            attrs,
        }),
    }))
}

/// A path of the file that `root` is in, as one below it.
fn below<'p>(root: &Group, path: &'p str) -> &'p str {
    let rest = path.strip_prefix(&root.path()).unwrap_or(path);
    rest.trim_start_matches('/')
}

/// Values of a mask that are not 0, whatever its type.
fn missing_in(mask: &Array) -> Result<u64> {
    mask.check_declared()?;
    let (rows, row) = (mask.spec().rows(), mask.spec().row_bytes());
    let mut missing = 0;
    for rows in blocks(rows, row) {
        let flags = mask.read(from_ref(&rows))?;
        let flags = flags.chunks_exact(row.max(1) as usize);
        missing += flags.filter(|flag| flag.iter().any(|b| *b != 0)).count() as u64;
    }
    Ok(missing)
}
