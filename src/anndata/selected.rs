//! What is done with a [`Selection`]: its columns changed, what is the same for all rows written.

use std::ops::Range;

use anyhow::{Context, Result};
use tracing::warn;

use super::copy;
use super::select::Selection;
use crate::store::Group;
use crate::store::spec::Attr;

impl Selection {
    /// Warns of what lies in a dataframe that does not list it.
    pub fn warn_unlisted(&self) {
        for path in &self.unlisted {
            let how = if self.copies.iter().any(|copy| copy.to == *path) {
                "it is copied whole"
            } else {
                "its rows are taken, as it has one for each cell"
            };
            warn!("'{path}' is not listed in 'column-order'; {how}");
        }
    }

    /// Rows `rows`, cut where those of another file begin. Where files begin at 0, 4 and 9, `2..10` is `[2..4, 4..9,
    /// 9..10]`.
    pub fn by_file(&self, rows: Range<u64>) -> Vec<Range<u64>> {
        let inside = self
            .files
            .iter()
            .filter(|at| (rows.start + 1..rows.end).contains(at));
        let cuts: Vec<u64> = [rows.start].iter().chain(inside).copied().collect();
        let ends = cuts.iter().skip(1).copied().chain([rows.end]);
        cuts.iter()
            .zip(ends)
            .map(|(start, end)| *start..end)
            .collect()
    }

    /// Makes the categorical in `group` the last column of obs, in place of one of the same name. It may be in another
    /// file, as where splits are noted (`cells/added.rs`).
    pub fn set_column(&mut self, name: &str, group: &Group) -> Result<()> {
        let path = format!("obs/{name}");
        self.remove(&path);
        let obs = self.groups.iter_mut().find(|(p, _)| p == "obs");
        let (_, attrs) = obs.context("It has no dataframe 'obs'")?;
        let order = attrs.get("column-order").and_then(Attr::as_texts);
        let mut order = order.context("'obs' has no list of names 'column-order'")?;
        order.retain(|n| n != name);
        order.push(name.into());
        attrs.set("column-order", Attr::texts(order));
        self.categorical(group, &path)
    }

    /// The categorical columns of obs that have more than `most` categories, and how many.
    pub fn categoricals_beyond(&self, most: u64) -> Vec<(String, u64)> {
        let found = self.categoricals.iter().filter(|(_, n)| *n > most);
        let named = found.filter_map(|(p, n)| Some((p.strip_prefix("obs/")?.to_string(), *n)));
        named.collect()
    }

    /// Puts the column that stands at `from` in `root` in place of the column `name` of obs. `column-order` stays, as
    /// the name does.
    pub fn replace_column(&mut self, name: &str, root: &Group, from: &str) -> Result<()> {
        let path = format!("obs/{name}");
        self.remove(&path);
        self.take(root, from, &path)
    }

    /// Leaves the codes of the column `name` of obs alone: for sizes, they stand for its values.
    pub fn forget_categories(&mut self, name: &str) {
        let path = format!("obs/{name}/categories");
        self.copies.retain(|copy| copy.to != path);
    }

    /// Forgets what would be written at or below `path`.
    fn remove(&mut self, path: &str) {
        let old = |p: &str| {
            p.strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.groups.retain(|(p, _)| !old(p));
        self.leaves.retain(|leaf| !old(&leaf.path));
        self.copies.retain(|copy| !old(&copy.to));
        self.categoricals.retain(|(p, _)| !old(p));
    }

    /// Bytes without compression of what is the same whatever rows are taken.
    pub fn skeleton_bytes(&self) -> Result<u64> {
        let bytes = self.copies.iter().map(copy::bytes);
        bytes.sum()
    }

    /// The path of the dataframe that `path` is, or lies in.
    pub fn frame_of<'p>(&self, path: &'p str) -> Option<&'p str> {
        self.groups
            .iter()
            .filter(|(_, attrs)| attrs.text("encoding-type") == Some("dataframe"))
            .filter_map(|(group, _)| {
                let rest = path.strip_prefix(group.as_str())?;
                (rest.is_empty() || rest.starts_with('/')).then(|| &path[..group.len()])
            })
            .next()
    }

    /// The dataframes below `folder`.
    pub fn frames(&self, folder: &str) -> Vec<String> {
        self.groups
            .iter()
            .filter(|(path, attrs)| {
                attrs.text("encoding-type") == Some("dataframe")
                    && path
                        .strip_prefix(folder)
                        .is_some_and(|rest| rest.starts_with('/'))
            })
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// Writes those groups and copies whose path `wanted` accepts. So merge takes from its first input what it does not
    /// put together.
    pub fn write_part(&self, out: &Group, wanted: impl Fn(&str) -> bool) -> Result<()> {
        for (path, attrs) in self.groups.iter().filter(|(path, _)| wanted(path)) {
            out.create_group(path, attrs)?;
        }
        let mut copies = self.copies.iter().filter(|copy| wanted(copy.to()));
        copies.try_for_each(|copy| copy::run(copy, out))
    }

    /// Writes to a new file all that is the same whatever rows are taken. Groups come first, so those of leaves are
    /// there with their attributes when the leaves are created.
    pub fn write_skeleton(&self, out: &Group) -> Result<()> {
        for (path, attrs) in &self.groups {
            if path.is_empty() {
                out.set_attrs("", attrs)?
            } else {
                drop(out.create_group(path, attrs)?)
            }
        }
        for copy in &self.copies {
            copy::run(copy, out)?;
        }
        Ok(())
    }
}
