//! Another matrix as X: `--x-from` and `--x-to`.
//!
//! Nothing is copied: nodes of the file are shown in other places. `--x-from layers/counts --x-to layers/old` shows
//! `layers/counts` as X, X as `layers/old`, and `layers/counts` no longer. With raw its var becomes var, so what is
//! along the genes of the old one goes, unless both have the same names in the same order.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use anyhow::{Result, bail, ensure};

use crate::anndata::{columns, same};
use crate::report::failure::Failure;
use crate::report::near::near;
use crate::store::spec::Dtype;
use crate::store::{Group, Node, Place, Shown};

/// What becomes X.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewX {
    /// That of raw, with its var.
    Raw,
    Layer(String),
}

/// The layer that the old X becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldX(String);

/// The name in `layers/NAME`.
fn layer(path: &str) -> Option<&str> {
    path.strip_prefix("layers/").filter(|name| !name.is_empty())
}

impl FromStr for NewX {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<NewX, &'static str> {
        match layer(text) {
            Some(name) => Ok(NewX::Layer(name.into())),
            None if text == "raw" => Ok(NewX::Raw),
            None => Err("give raw or layers/NAME"),
        }
    }
}

impl FromStr for OldX {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<OldX, &'static str> {
        let name = layer(text).ok_or("give layers/NAME")?;
        Ok(OldX(name.into()))
    }
}

impl Display for NewX {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            NewX::Raw => write!(f, "raw"),
            NewX::Layer(name) => write!(f, "layers/{name}"),
        }
    }
}

impl Display for OldX {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "layers/{}", self.0)
    }
}

/// Shows `new` as X, and the old X as the layer `old`. Returns the paths of what is on other genes than `new`, and goes.
///
/// # Errors
/// A file without such a matrix, or with another layer in the place of the old X.
pub fn put(root: &Group, new: &NewX, old: Option<&OldX>, shown: &mut Shown) -> Result<Vec<String>> {
    if let Some(OldX(name)) = old {
        let layers = names(root, "layers")?;
        ensure!(
            root.get("layers")?.is_some(),
            Failure::value("It has no folder 'layers' for the old X".into())
        );
        ensure!(
            // The two may change places.
            !layers.contains(name) || *new == NewX::Layer(name.clone()),
            Failure::value(format!(
                "--x-to layers/{name}: there is such a layer already"
            ))
        );
        let is_matrix = match root.get("X")? {
            Some(Node::Array(array)) => !array.spec().shape.is_empty(),
            node => node.is_some(),
        };
        ensure!(
            is_matrix,
            Failure::value("It has no X that --x-to could keep".into())
        );
    }
    let lost = match new {
        NewX::Layer(name) => {
            let (path, layers) = (format!("layers/{name}"), names(root, "layers")?);
            ensure!(
                layers.contains(name),
                Failure::key(format!(
                    "--x-from {path}: there is no such layer{}",
                    near(name, &layers)
                ))
            );
            shown.hide(&path);
            shown.put("X", Place::from(path.as_str()));
            vec![]
        }
        NewX::Raw => raw(root, old, shown)?,
    };
    if let Some(OldX(name)) = old {
        let path = format!("layers/{name}");
        // Of two that change places, the path was hidden above.
        shown.show(&path);
        shown.put(&path, Place::from("X"));
    }
    Ok(lost)
}

/// Shows X and var of raw as those of the file. Returns what is lost: of the same genes what varm of raw has by the same
/// name; of others layers, varm and varp, and varm of raw takes that place.
fn raw(root: &Group, old: Option<&OldX>, shown: &mut Shown) -> Result<Vec<String>> {
    // anndata 0.6 and before keep it at the root.
    let parts = if root.get("raw.X")?.is_some() {
        ["raw.X", "raw.var", "raw.varm"]
    } else {
        ["raw/X", "raw/var", "raw/varm"]
    };
    let [x, var, varm] = parts;
    for part in [x, var] {
        if root.get(part)?.is_none() {
            bail!(Failure::key(format!("--x-from raw: it has no '{part}'")));
        }
    }
    let is_same = has_same_names(root, var)?;
    ensure!(
        old.is_none() || is_same,
        Failure::value(
            "--x-to with --x-from raw: raw has other genes than X, which is no layer of it then"
                .into()
        )
    );
    shown.put("X", Place::from(x));
    shown.put("var", Place::from(var));
    ["raw", x, var, varm]
        .iter()
        .for_each(|path| shown.hide(path));
    if is_same {
        return varm_of_raw(root, varm, shown);
    }
    let mut lost = vec![];
    for folder in ["layers", "varm", "varp"] {
        lost.extend(below(root, folder)?);
        // A compound dataset of old, which is hidden as a whole.
        if let Some(Node::Array(_)) = root.get(folder)? {
            shown.hide(folder);
        }
    }
    lost.iter().for_each(|path| shown.hide(path));
    if root.get(varm)?.is_some() {
        shown.put("varm", Place::from(varm));
        lost.iter()
            // A name that both have is that of raw now.
            .filter(|path| path.starts_with("varm/"))
            .for_each(|path| shown.show(path));
    }
    Ok(lost)
}

/// Shows what varm of raw holds in varm, beside what is there. Returns what is in its place.
fn varm_of_raw(root: &Group, varm: &str, shown: &mut Shown) -> Result<Vec<String>> {
    let own = names(root, "varm")?;
    match root.get(varm)? {
        None => return Ok(vec![]),
        Some(_) if own.is_empty() => {
            shown.put("varm", Place::from(varm));
            return Ok(vec![]);
        }
        // A compound dataset of old, of which no field stands by itself.
        Some(Node::Array(_)) => return below(root, varm),
        Some(Node::Group(_)) => {}
    }
    let mut lost = vec![];
    for name in names(root, varm)? {
        let path = format!("varm/{name}");
        shown.put(&path, Place::from(format!("{varm}/{name}").as_str()));
        if own.contains(&name) {
            lost.push(path);
        }
    }
    Ok(lost)
}

/// Whether raw has the genes of var in their order, as far as their indexes are stored alike.
fn has_same_names(root: &Group, raw_var: &str) -> Result<bool> {
    let mut indexes = vec![];
    for path in ["var", raw_var] {
        let Some(Node::Group(frame)) = root.get(path)? else {
            return Ok(false);
        };
        indexes.push(frame.get(&columns::index_name(&frame)?)?);
    }
    let second = indexes.pop().flatten();
    same::nodes(indexes.pop().flatten(), second)
}

/// The paths of what is in a folder of arrays.
fn below(root: &Group, folder: &str) -> Result<Vec<String>> {
    let names = names(root, folder)?.into_iter();
    Ok(names.map(|name| format!("{folder}/{name}")).collect())
}

/// What is in a folder of arrays.
fn names(root: &Group, folder: &str) -> Result<Vec<String>> {
    Ok(match root.get(folder)? {
        Some(Node::Group(group)) => group.names()?,
        Some(Node::Array(array)) => match &array.spec().dtype {
            Dtype::Record { fields, .. } => fields.iter().map(|f| f.name.clone()).collect(),
            _ => vec![],
        },
        None => vec![],
    })
}
