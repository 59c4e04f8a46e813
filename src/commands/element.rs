//! What `info` tells of one element of a file, as a line of text or as JSON.
//!
//! A line has the name, indented by its depth, the encoding and the type in columns, then pieces with what else is
//! known, which go on in the next line where they are too wide: `X  csr_matrix  float32  2,700 × 32,738, 2,286,884
//! non-zeros, chunks ...`.

use std::fmt::Write;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::anndata::encoding::array_attrs;
use crate::frame::column::Column;
use crate::limits;
use crate::report::words::{count, thousands};
use crate::store::spec::{Attr, Attrs, Dtype};
use crate::store::{Array, Group, Node, StorageInfo};

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Columns of names, which are indented by their depth.
const NAMES: usize = 24;
/// Categories that are told by name.
const NAMED: u64 = 20;
/// Columns of a terminal that their names take together.
const NAMED_WIDTH: usize = 100;
/// Memory of one text in numpy: a pointer and a short Python `str`.
const TEXT_BYTES: u64 = 64;

/// One node of the tree; what does not apply is empty.
#[derive(Default)]
pub struct ElementInfo {
    pub path: String,
    /// Groups above it: 0 for `X`, 1 for `obs/age`.
    pub depth: usize,
    pub encoding: String,
    pub version: String,
    pub dtype: Option<String>,
    /// Of a dataframe its rows and columns, without the index.
    pub shape: Option<Vec<u64>>,
    pub nonzeros: Option<u64>,
    pub categories: Option<u64>,
    /// The first of them.
    named: Vec<String>,
    layout: StorageInfo,
    /// Of its values of a fixed width: as numpy holds them, and in the file.
    raw: u64,
    stored: Option<u64>,
    /// Estimate for the element when it is loaded.
    pub memory: u64,
    /// Why it cannot be read.
    pub error: Option<String>,
}

impl ElementInfo {
    /// The element at `path`, of which nothing is known yet.
    pub fn at(path: &str, depth: usize) -> ElementInfo {
        ElementInfo {
            path: path.into(),
            depth,
            ..ElementInfo::default()
        }
    }

    /// Its encoding; `default` where it names none.
    pub fn name(&mut self, attrs: &Attrs, default: &str) {
        let text = |name| attrs.text(name).map(str::to_owned);
        self.encoding = text("encoding-type").unwrap_or_else(|| default.into());
        self.version = text("encoding-version").unwrap_or_default();
    }

    /// Fills in an element that is one array. `root` is for references of anndata 0.7, which lead elsewhere.
    pub fn array(&mut self, root: &Group, array: &Array) -> Result<()> {
        let attrs = array_attrs(array)?;
        self.name(&attrs, "array");
        self.count(array)?;
        self.of(array)?;
        // Codes as anndata 0.7 wrote them.
        if let Some(Attr::Reference(path)) = attrs.get("categories")
            && let Some(Node::Array(categories)) = root.get(path.trim_start_matches('/'))?
        {
            self.categories = Some(categories.spec().rows());
            self.name_categories(Node::Array(categories));
        }
        Ok(())
    }

    /// Takes the names of the first categories, where they can be read.
    pub fn name_categories(&mut self, categories: Node) {
        let first = Column::open(categories).and_then(|column| column.first(NAMED));
        self.named = first.unwrap_or_default();
    }

    /// Takes type, shape and layout of its values.
    pub fn of(&mut self, values: &Array) -> Result<()> {
        let spec = values.spec();
        self.shape = Some(spec.shape.clone());
        self.layout = values.layout()?;
        match &spec.dtype {
            Dtype::Unsupported(why) => bail!("{why}"),
            Dtype::Record { .. } => self.dtype = Some("record".into()),
            dtype => self.dtype = Some(dtype.to_string()),
        }
        Ok(())
    }

    /// Counts the bytes of all arrays in a group. Text of any length counts for memory alone: what it takes in the file
    /// is not known without reading it.
    pub fn parts(&mut self, group: &Group) -> Result<()> {
        for name in group.names()? {
            match group.get(&name)? {
                Some(Node::Array(array)) => self.count(&array)?,
                Some(Node::Group(group)) if group.path().split('/').count() < limits::DEPTH => {
                    self.parts(&group)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds the bytes of an array, as they are declared; nothing is read.
    fn count(&mut self, array: &Array) -> Result<()> {
        let spec = array.spec();
        if spec.null {
            return Ok(());
        }
        let items = spec.rows().saturating_mul(spec.row_items());
        let raw = items.saturating_mul(spec.dtype.size() as u64);
        if spec.dtype.is_string() {
            self.memory = self.memory.saturating_add(items.saturating_mul(TEXT_BYTES));
        } else {
            self.memory = self.memory.saturating_add(raw);
        }
        if raw > 0 && !spec.dtype.is_record_with_text() {
            self.raw = self.raw.saturating_add(raw);
            if let Some(bytes) = array.layout()?.bytes {
                self.stored = Some(self.stored.unwrap_or(0) + bytes);
            }
        }
        Ok(())
    }

    /// Stored bytes for each raw one.
    fn ratio(&self) -> Option<f64> {
        let stored = self.stored.filter(|_| self.raw > 0)?;
        Some(stored as f64 / self.raw as f64)
    }

    /// Whether it is the same element of a file with other cells.
    pub fn is_like(&self, other: &ElementInfo) -> bool {
        let is = |element: &ElementInfo| {
            let shape = element.shape.as_deref().unwrap_or_default();
            let row = shape
                .get(1..)
                .filter(|_| !element.path.starts_with("obsp/"));
            (
                element.path.clone(),
                element.encoding.clone(),
                element.dtype.clone(),
                row.map(<[u64]>::to_vec),
            )
        };
        is(self) == is(other)
            // Shards of one collection have the same categories and filters; chunks and sizes go by the cells.
            && self.categories == other.categories
            && self.layout.filters == other.layout.filters
            && self.error == other.error
    }

    pub fn json(&self) -> Value {
        let named = |text: &String| (!text.is_empty()).then(|| text.clone());
        json!({
            "path": self.path,
            "encoding": named(&self.encoding),
            "version": named(&self.version),
            "dtype": self.dtype,
            "shape": self.shape,
            "nonzeros": self.nonzeros,
            "categories": self.categories,
            "first_categories": self.categories.map(|_| &self.named),
            "storage": self.dtype.as_ref().map(|_| json!({
                "chunk": self.layout.chunk,
                "filters": self.layout.filters,
                "virtual_files": self.layout.files,
                "raw_bytes": self.raw,
                "stored_bytes": self.stored,
                "ratio": self.ratio(),
            })),
            "memory": self.memory,
            "error": self.error,
        })
    }

    /// A line, and more where it is wider than a terminal.
    pub fn text(&self) -> String {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let name = clip(name, NAMES.saturating_sub(2 * self.depth).max(8));
        let name = format!("{:1$}{name}", "", (2 * self.depth).min(NAMES - 8));
        let dtype = self.dtype.as_deref().unwrap_or_default();
        let encoding = clip(&self.encoding, 21);
        let mut text = format!("{name:NAMES$} {encoding:14} {:8}", clip(dtype, 20));
        let mut column = text.chars().count();
        let indent = NAMES + 1;
        for word in self.details() {
            if column + 1 + word.chars().count() > WIDTH && column > indent {
                text.truncate(text.trim_end().len());
                let _ = write!(text, "\n{:indent$}", "");
                column = indent - 1;
            } else {
                text.push(' ');
            }
            text += &word;
            column += 1 + word.chars().count();
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    }

    /// How many categories there are, and the first by name, in pieces that are not broken.
    fn named_categories(&self, categories: u64) -> Vec<String> {
        let mut width = 0;
        let names = self.named.iter().map(|name| clip(name, 40));
        let names = names.take_while(|name| {
            width += name.chars().count() + 2;
            width <= NAMED_WIDTH
        });
        let mut names: Vec<String> = names.collect();
        if (names.len() as u64) < categories && !names.is_empty() {
            names.push("…".into());
        }
        let told = count(categories, "category");
        match names.first_mut() {
            None => return vec![told],
            Some(first) => first.insert_str(0, &format!("{told} (")),
        }
        names.last_mut().into_iter().for_each(|last| last.push(')'));
        names
    }

    /// What is told beside encoding and type, in pieces that are not broken.
    fn details(&self) -> Vec<String> {
        if let Some(error) = &self.error {
            let words = format!("cannot be read: {error}");
            return words
                .split_whitespace()
                .map(|word| clip(word, 50))
                .collect();
        }
        let mut told: Vec<String> = vec![];
        let by = |shape: &[u64]| {
            let sizes: Vec<_> = shape.iter().copied().map(thousands).collect();
            sizes.join(" × ")
        };
        told.extend(self.shape.iter().filter(|s| !s.is_empty()).map(|s| by(s)));
        told.extend(self.nonzeros.map(|n| count(n, "non-zero")));
        let categories = self.categories.map(|n| self.named_categories(n));
        told.extend(categories.into_iter().flatten());
        let chunk = self.layout.chunk.as_ref();
        let cut =
            chunk.filter(|chunk| self.nonzeros.is_some() || self.shape.as_ref() != Some(*chunk));
        told.extend(cut.map(|chunk| format!("chunks {}", by(chunk))));
        let files = self
            .layout
            .files
            .map(|n| format!("virtual, of {}", count(n, "file")));
        told.extend(files);
        if !self.layout.filters.is_empty() {
            let ratio = self.ratio().map(|ratio| format!(" {:.0}%", 100.0 * ratio));
            told.push(self.layout.filters.join("+") + &ratio.unwrap_or_default());
        }
        let last = told.len().saturating_sub(1);
        told.iter_mut().take(last).for_each(|piece| piece.push(','));
        told
    }
}

/// Text of at most `most` characters, none of which moves the cursor.
fn clip(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    let mut clipped: String = text.chars().take(most).map(plain).collect();
    if text.chars().nth(most).is_some() {
        clipped.pop();
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed() -> ElementInfo {
        ElementInfo {
            path: "layers/counts".into(),
            depth: 1,
            encoding: "csr_matrix".into(),
            dtype: Some("float32".into()),
            shape: Some(vec![1_000_000, 30_000]),
            nonzeros: Some(2_000_000_000),
            layout: StorageInfo {
                chunk: Some(vec![100_000]),
                filters: vec!["shuffle".into(), "gzip".into()],
                big_endian: false,
                files: None,
                bytes: Some(1),
            },
            raw: 1000,
            stored: Some(250),
            ..ElementInfo::default()
        }
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_and_nothing_is_left_out() {
        let text = compressed().text();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        for told in [
            "  counts ",
            "csr_matrix",
            "float32",
            "1,000,000 × 30,000",
            "25%",
        ] {
            assert!(text.contains(told), "{text}");
        }
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn an_error_is_told_in_place_of_the_values() {
        let element = ElementInfo {
            error: Some("a reason of many words ".repeat(9)),
            ..compressed()
        };
        let text = element.text();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        assert!(text.contains("cannot be read: a"), "{text}");
        assert!(element.json()["error"].is_string());
    }

    #[test]
    fn names_are_cut_at_characters_and_move_no_cursor() {
        assert_eq!(clip("größe", 5), "größe");
        assert_eq!(clip("größer", 5), "größ…");
        assert_eq!(clip("a\x1b[2J\n", 9), "a?[2J?");
    }
}
