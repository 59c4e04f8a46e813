//! Which elements of a file are taken, and as what: `--keep`, `--drop`, `--x-from`, `--plain-strings`.
//!
//! What is not taken is hidden in the file, and what becomes X stands in its place ([`Shown`]), so whatever reads the file
//! does as if it were so.
//!
//! Steps, for each input: what becomes X is put in its place; elements are listed by the paths that they have then
//! ([`tree`]); patterns keep or drop them; text with a mask is shown as plain. Which pattern meant something is noted
//! over all inputs, so that one that never did is an error at the end.

mod matrix;
mod pattern;
mod plain;
mod tree;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use serde_json::{Value, json};

pub use self::matrix::{NewX, OldX};
pub use self::pattern::Pattern;
use self::tree::Element;
use crate::report::failure::Failure;
use crate::report::near::{listed, near};
use crate::report::once::warn_once;
use crate::store::{Group, Shown};

const KEEP: &str = "--keep";
const DROP: &str = "--drop";

/// What a file may lack without a word, so that one command fits files with and without: no name of it can be misspelt.
const FOLDERS: [&str; 8] = [
    "layers", "obsm", "obsp", "raw", "raw/varm", "uns", "varm", "varp",
];

/// What is asked of the elements of each input.
#[derive(Debug, Default)]
pub struct Elements {
    asked: Asked,
    /// Columns by which cells and genes are chosen, by path: they are read, taken or not.
    choosing: Vec<String>,
    met: Mutex<Met>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Only these, where there are any.
    pub keep: Vec<Pattern>,
    pub drop: Vec<Pattern>,
    pub x_from: Option<NewX>,
    pub x_to: Option<OldX>,
    /// Nullable strings as plain ones, with such a text where one is missing.
    pub plain_strings: Option<MissingText>,
}

/// What is written in the place of a text that is missing, if there is something.
pub type MissingText = Option<String>;

/// What was met in the files that were looked at.
#[derive(Debug, Default)]
struct Met {
    /// The patterns that mean some element, each with its option.
    used: BTreeSet<(&'static str, String)>,
    /// All paths, for names that are near to one that matched nothing.
    known: BTreeSet<String>,
    /// Columns that are read and not taken.
    only_read: BTreeSet<String>,
}

impl Elements {
    pub fn new(asked: Asked) -> Elements {
        Elements {
            asked,
            choosing: vec![],
            met: Mutex::default(),
        }
    }

    /// The same, and these columns, by path, as what is only read where they are not taken.
    pub fn reading(&self, columns: Vec<String>) -> Elements {
        Elements {
            asked: self.asked.clone(),
            choosing: columns,
            met: Mutex::default(),
        }
    }

    /// The columns that were read and are not to be taken, by path.
    pub fn only_read(&self) -> BTreeSet<String> {
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.only_read.clone()
    }

    /// Whether text is written without masks, and what in the place of what is missing.
    pub fn plain_strings(&self) -> Option<&MissingText> {
        self.asked.plain_strings.as_ref()
    }

    /// All that is asked, for a run that asks it again.
    pub fn identity(&self) -> Value {
        let Asked {
            keep: _,
            drop: _,
            x_from,
            x_to,
            plain_strings,
        } = &self.asked;
        let texts = |option| -> Vec<&str> {
            let patterns = self.patterns(option).iter();
            patterns.map(Pattern::as_str).collect()
        };
        json!({
            "keep": texts(KEEP),
            "drop": texts(DROP),
            "x_from": x_from.as_ref().map(ToString::to_string),
            "x_to": x_to.as_ref().map(ToString::to_string),
            "plain_strings": plain_strings.is_some(),
            "missing_as": plain_strings.as_ref().and_then(Option::as_ref),
        })
    }

    /// The file as far as it is taken.
    ///
    /// # Errors
    /// A pattern that means what a file needs; no such matrix for X.
    pub fn of(&self, root: &Group) -> Result<Group> {
        if self.asked == Asked::default() {
            return Ok(root.clone());
        }
        let mut shown = Shown::default();
        if let Some(new) = &self.asked.x_from {
            let lost = matrix::put(root, new, self.asked.x_to.as_ref(), &mut shown)?;
            self.tell_lost(lost);
            // It may be named, though it is in another place now.
            let path = new.to_string();
            let names: Vec<&str> = path.split('/').collect();
            for option in [KEEP, DROP] {
                self.means(option, &names);
            }
        }
        let elements = tree::list(&root.showing(shown.clone()))?;
        let (kept, dropped) = (self.kept(&elements), self.dropped(&elements)?);
        let old = self.asked.x_to.as_ref().map(ToString::to_string);
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, element) in elements.iter().enumerate() {
            let hidden = dropped[at] || !kept[at];
            // A folder that a file has anyway has no place, and cannot be hidden.
            let Some(path) = element.at.as_ref().filter(|_| hidden) else {
                continue;
            };
            if self.choosing.contains(&element.path()) {
                met.only_read.insert(element.path());
            // The layer that the old X becomes is wanted, as it was asked for by name.
            } else if old.as_ref() != Some(path) {
                shown.hide(path);
            }
        }
        met.known.extend(elements.iter().map(Element::path));
        drop(met);
        if let Some(missing) = &self.asked.plain_strings {
            let taken = root.showing(shown.clone());
            plain::put(&taken, missing.as_deref(), &mut shown)?;
        }
        Ok(root.showing(shown))
    }

    /// An error that lists near names where a pattern matched nothing in all files.
    pub fn check_used(&self) -> Result<()> {
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<&String> = met.known.iter().collect();
        for option in [KEEP, DROP] {
            let mut names = self.patterns(option).iter().map(Pattern::as_str);
            let is_used = |name: &str| {
                let is_folder = FOLDERS.contains(&name.trim_end_matches("/*"));
                met.used.contains(&(option, name.into())) || is_folder && option == DROP
            };
            if let Some(name) = names.find(|name| !is_used(name)) {
                // A name may be right, and its folder missing.
                let last = format!("/{}", name.rsplit('/').next().unwrap_or(name));
                let mut alike = known.clone();
                alike.retain(|path| path.ends_with(&last));
                let near = near(name, if alike.is_empty() { &known } else { &alike });
                let what = format!("{option} '{name}' matches no element{near}");
                bail!(Failure::key(what));
            }
        }
        Ok(())
    }

    /// Warns of what is on the genes of the old X, unless it is not wanted anyway.
    fn tell_lost(&self, mut lost: Vec<String>) {
        let is_meant = |patterns: &[Pattern], path: &str| {
            let names: Vec<&str> = path.splitn(2, '/').collect();
            let mut patterns = patterns.iter();
            patterns.any(|p| p.matches(&names) || p.matches(&names[..1]))
        };
        let Asked { keep, drop, .. } = &self.asked;
        lost.retain(|path| !is_meant(drop, path) && (keep.is_empty() || is_meant(keep, path)));
        if !lost.is_empty() {
            warn_once(format!(
                "--x-from raw leaves out what is on the other genes, or has the name of what raw has: {}",
                listed(lost.iter().map(String::as_str), lost.len())
            ));
        }
    }

    fn patterns(&self, option: &'static str) -> &[Pattern] {
        if option == KEEP {
            &self.asked.keep
        } else {
            &self.asked.drop
        }
    }

    /// Whether each element is kept, what others need with them.
    fn kept(&self, elements: &[Element]) -> Vec<bool> {
        if self.asked.keep.is_empty() {
            return vec![true; elements.len()];
        }
        // Down the tree: what a pattern means, and all in it. Up: the folders that lead to it. Down again: what these
        // need, as the index of a frame.
        let mut kept: Vec<bool> = vec![];
        for element in elements {
            let within = element.parent.is_some_and(|parent| kept[parent]);
            kept.push(self.means(KEEP, &element.names()) || within);
        }
        for (at, element) in elements.iter().enumerate().rev() {
            if let Some(parent) = element.parent.filter(|_| kept[at]) {
                kept[parent] = true;
            }
        }
        for (at, element) in elements.iter().enumerate() {
            let within = element.parent.is_none_or(|parent| kept[parent]);
            kept[at] |= element.needed.is_some() && within;
        }
        kept
    }

    /// Whether each element is dropped. A pattern with a `*` means only what can be.
    fn dropped(&self, elements: &[Element]) -> Result<Vec<bool>> {
        let mut dropped: Vec<bool> = vec![];
        for element in elements {
            let within = element.parent.is_some_and(|parent| dropped[parent]);
            let meant = element.needed.is_none() && self.means(DROP, &element.names());
            dropped.push(within || meant);
        }
        for element in elements {
            let path = element.path();
            if let Some(why) = element.needed
                && self.asked.drop.iter().any(|p| p.as_str() == path)
            {
                bail!(Failure::value(format!("'{path}' cannot be dropped: {why}")));
            }
        }
        Ok(dropped)
    }

    /// Whether a pattern of `option` means the element with these names, which is noted.
    fn means(&self, option: &'static str, names: &[&str]) -> bool {
        let patterns = self.patterns(option).iter();
        let used = patterns.filter(|pattern| pattern.matches(names));
        let used: Vec<_> = used.map(|p| (option, p.as_str().to_owned())).collect();
        let is_meant = !used.is_empty();
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.used.extend(used);
        is_meant
    }
}
