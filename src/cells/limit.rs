//! `--max-categories`: categorical columns of obs that have more categories than a shard should carry.
//!
//! A category takes room in each shard whether or not a cell there has it, so a column of nearly as many categories as
//! cells would be in full in all of them.

use anyhow::{Context, Result};

use super::Obs;
use crate::anndata::elements::MissingText;
use crate::anndata::select::Selection;
use crate::frame::demote::Demoted;
use crate::output::Scratch;
use crate::store::{self, Access, Container};

/// Makes plain values of the columns that have more than `most` categories. They are written to
/// `scratch`, and from there it is as if the file had them; `texts` as for [`Demoted::plain`]. Without `scratch` it is
/// only said what they become.
pub fn categories(
    obs: &Obs,
    selection: &mut Selection,
    most: u64,
    texts: Option<&MissingText>,
    scratch: Option<&Scratch>,
) -> Result<()> {
    let mut beyond = selection.categoricals_beyond(most);
    beyond.retain(|(name, _)| *name != obs.frame.index_name);
    if beyond.is_empty() {
        return Ok(());
    }
    let folder = scratch.map(Scratch::folder).transpose()?;
    // One file holds all columns, which are called there by their numbers in `beyond`.
    let path = folder.map(|folder| folder.join("demoted.h5ad"));
    let create = |path| store::create(path, Container::H5AD);
    let out = path.as_deref().map(create).transpose()?;
    for (at, (name, _)) in beyond.iter().enumerate() {
        let context = || format!("Column 'obs/{name}'");
        let column = obs.column(name)?;
        let demoted = Demoted::of(&column).with_context(context)?;
        let demoted = demoted.plain(texts, name)?;
        demoted.tell(name, most);
        match &out {
            Some(out) => demoted.write(out, &at.to_string()).with_context(context)?,
            // In a dry run the codes stand for the values, whose sizes are not known yet.
            None => selection.forget_categories(name),
        }
    }
    let (Some(out), Some(path)) = (out, path) else {
        return Ok(());
    };
    out.finish()?;
    let made = store::open(&path, &Access::default())?;
    for (at, (name, _)) in beyond.iter().enumerate() {
        selection.replace_column(name, &made, &at.to_string())?;
    }
    Ok(())
}
