//! What a check found, in the order of finding, few enough to be read.
//!
//! At most 20 of a level are kept for each node of the root; all are counted. The cause of an error is told once,
//! however many readers run into it.

use std::collections::BTreeMap;

use anyhow::Error;

use crate::store::OverLimit;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The format forbids it, or it cannot be read.
    Error,
    /// The format allows it, but a reader may want to know.
    Note,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Note => "note",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path of the element; empty for the root.
    pub element: String,
    pub level: Level,
    /// A sentence without the element, which is printed before it.
    pub what: String,
}

#[derive(Debug, Default)]
pub struct Findings {
    /// Those that are told.
    list: Vec<Finding>,
    /// Findings of each level under each node of the root.
    counts: BTreeMap<(String, Level), u64>,
    /// Whether something takes more memory than there is.
    pub is_partial: bool,
}

impl Findings {
    /// Most findings of one level that are told of what lies under one node of the root.
    const MOST: u64 = 20;

    /// Adds a finding, unless one at the same element, above or below it says the same: a cause comes up again on
    /// the way up.
    pub fn add(&mut self, element: &str, level: Level, what: String) {
        let above = |a: &str, b: &str| b.strip_prefix(a).is_some_and(|b| b.starts_with('/'));
        let told = |f: &Finding| {
            let near =
                f.element == element || above(&f.element, element) || above(element, &f.element);
            near && (says(&f.what, &what) || says(&what, &f.what))
        };
        if self.list.iter().any(told) {
            return;
        }
        let count = self.counts.entry((top(element).into(), level)).or_default();
        *count += 1;
        if *count <= Self::MOST {
            self.list.push(Finding {
                element: element.into(),
                level,
                what,
            });
        }
    }

    pub fn error(&mut self, element: &str, what: impl Into<String>) {
        self.add(element, Level::Error, what.into());
    }

    pub fn note(&mut self, element: &str, what: impl Into<String>) {
        self.add(element, Level::Note, what.into());
    }

    /// An error with its causes, without words that only name the element again. What cannot be read in the memory at
    /// hand is no fault of the file: it is not checked.
    pub fn failed(&mut self, element: &str, error: &Error) {
        let what = format!("{error:#}");
        let named = ["Read", "Open"].map(|step| format!("{step} '{element}': "));
        let mut what = what.as_str();
        while let Some(rest) = named.iter().find_map(|named| what.strip_prefix(named)) {
            what = rest;
        }
        if error.is::<OverLimit>() {
            self.is_partial = true;
            self.note(element, format!("It is not checked: {what}"));
        } else {
            self.error(element, what);
        }
    }

    /// Findings of a level, those that are not told too: by them a file is sound or not.
    pub fn count(&self, level: Level) -> u64 {
        let of_level = self.counts.iter().filter(|((_, l), _)| *l == level);
        of_level.map(|(_, count)| count).sum()
    }

    /// All that is told, with a last one for what is counted only, where there is such.
    pub fn into_list(mut self) -> Vec<Finding> {
        for ((top, level), count) in self.counts {
            if count > Self::MOST {
                let (more, name) = (count - Self::MOST, level.name());
                self.list.push(Finding {
                    element: top,
                    level,
                    what: format!("Further findings of level {name}: {more}"),
                });
            }
        }
        self.list
    }
}

/// Whether a finding is another one, or ends with it as its cause.
fn says(finding: &str, other: &str) -> bool {
    let before = finding.strip_suffix(other);
    before.is_some_and(|before| before.is_empty() || before.ends_with(": "))
}

/// The node of the root that `path` is, or lies under.
fn top(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_and_many_are_counted() {
        let mut findings = Findings::default();
        findings.failed("X", &Error::msg("bad").context("Read 'X'"));
        findings.error("X/data", "bad");
        findings.error("layers/a", "bad");
        findings.failed("layers", &Error::msg("bad").context("Read 'layers/a'"));
        findings.error("layers/b", "bad");
        for i in 0..30 {
            findings.note("obs", format!("{i} times"));
        }
        assert_eq!(findings.count(Level::Error), 3);
        assert_eq!(findings.count(Level::Note), 30);
        let list = findings.into_list();
        assert_eq!(list.len(), 3 + 20 + 1);
        assert_eq!(
            (list[0].element.as_str(), list[0].what.as_str()),
            ("X", "bad")
        );
        assert_eq!(list[23].what, "Further findings of level note: 10");
    }
}
