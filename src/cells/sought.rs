//! Text that an expression looks for in a column of text that is not categorical: whether any cell has it, and if
//! none has, what is like it among values that were seen.

use std::collections::BTreeSet;

use tracing::warn;

use super::near;
use super::typed::Typed;

/// Values that are kept of a column, and those of a block that are looked at for that.
const KEPT: usize = 1000;
const LOOKED_AT: usize = 4096;

/// One text of an expression. A misspelt value keeps no cell, or all of them, and is no error; so it is warned of. For
/// categories the same is known without reading cells (`Opened::warn_of_no_category`).
pub struct Sought {
    /// The number of the column, and its name.
    pub column: usize,
    name: String,
    text: String,
    is_found: bool,
    seen: BTreeSet<String>,
}

impl Sought {
    pub fn new(column: usize, name: &str, text: &str) -> Sought {
        Sought {
            column,
            name: name.into(),
            text: text.into(),
            is_found: false,
            seen: BTreeSet::new(),
        }
    }

    /// Looks at the texts of some cells, as far as they have any.
    pub fn look(&mut self, cells: &Typed) {
        self.is_found |= cells.texts().any(|text| text == self.text.as_bytes());
        if self.is_found {
            return;
        }
        for text in cells.texts().take(LOOKED_AT) {
            let text = String::from_utf8_lossy(text);
            if self.seen.len() < KEPT && !self.seen.contains(&*text) {
                self.seen.insert(text.into_owned());
            }
        }
    }

    /// Warns if no cell has the text.
    pub fn warn(&self) {
        if !self.is_found {
            let seen: Vec<&String> = self.seen.iter().collect();
            warn!(
                "No cell has '{}' in column '{}'{}",
                self.text,
                self.name,
                near(&self.text, &seen)
            );
        }
    }
}
