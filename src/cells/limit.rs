//! `--max-categories`: categorical columns of obs that have more categories than a shard should carry.

use std::path::Path;

use anyhow::{Context, Result};
use tracing::info;

use super::Obs;
use crate::anndata::demote::Demoted;
use crate::anndata::select::Selection;
use crate::compression::Compression;
use crate::store::{self, Access, Format};

/// Makes plain values of the columns that have more than `most` categories. They are written to
/// `scratch`, and from there it is as if the file had them.
pub fn categories(obs: &Obs, selection: &mut Selection, most: u64, scratch: &Path) -> Result<()> {
    let mut beyond = selection.categoricals_beyond(most);
    beyond.retain(|(name, _)| *name != obs.frame.index_name);
    if beyond.is_empty() {
        return Ok(());
    }
    let path = scratch.join("demoted.h5ad");
    let out = store::create(&path, Format::H5ad, Compression::None)?;
    for (at, (name, count)) in beyond.iter().enumerate() {
        let context = || format!("Column 'obs/{name}'");
        let column = obs.column(name)?;
        let demoted = Demoted::of(&column).with_context(context)?;
        info!(
            "obs column '{name}' has {count} categories (more than {most}): treating it as {}, not categorical.",
            demoted.kind()
        );
        demoted.write(&out, &at.to_string()).with_context(context)?;
    }
    out.finish()?;
    let made = store::open(&path, &Access::default())?;
    for (at, (name, _)) in beyond.iter().enumerate() {
        selection.replace_column(name, &made, &at.to_string())?;
    }
    Ok(())
}
