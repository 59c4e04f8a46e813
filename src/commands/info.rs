//! `annslicer info`: what files hold and how it is stored, from their metadata; no matrix is read.
//!
//! A file becomes a list of elements in the order of its tree, which is then told as text or as JSON.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::anndata::columns;
use crate::anndata::encoding::{Encoding, array_attrs};
use crate::cli::{self, InfoRequest};
use crate::limits;
use crate::report::logging::one_line;
use crate::report::words::{count, thousands};
use crate::resources::{format_size, size_on_disk};
use crate::rows::sparse;
use crate::store::spec::{Attr, Attrs, Dtype};
use crate::store::{self, Access, Array, Group, Node, StorageInfo};

/// The version of the objects of `--json`: fields are added within a version.
const SCHEMA: u32 = 1;
/// Columns of a terminal.
const WIDTH: usize = 80;
/// Columns of names, which are indented by their depth.
const NAMES: usize = 24;
/// Memory of one text in numpy: a pointer and a short Python `str`.
const TEXT_BYTES: u64 = 64;

/// What a file is, as far as it tells.
struct File {
    path: String,
    format: &'static str,
    written_by: String,
    /// Cells and genes.
    shape: [Option<u64>; 2],
    bytes: u64,
    elements: Vec<ElementInfo>,
}

/// One node of the tree; what does not apply is empty.
#[derive(Default)]
struct ElementInfo {
    path: String,
    depth: usize,
    encoding: String,
    version: String,
    dtype: Option<String>,
    shape: Option<Vec<u64>>,
    nonzeros: Option<u64>,
    categories: Option<u64>,
    layout: StorageInfo,
    /// Of its values of a fixed width: as numpy holds them, and in the file.
    raw: u64,
    stored: Option<u64>,
    /// Estimate for the element when it is loaded.
    memory: u64,
    /// Why it cannot be read.
    error: Option<String>,
}

pub fn run(request: &InfoRequest) -> Result<()> {
    let open = |path: &std::path::PathBuf| {
        File::open(path, &request.access).with_context(|| format!("Cannot read {}", path.display()))
    };
    let files = request.files.iter().map(open).collect::<Result<Vec<_>>>()?;
    if request.json {
        let files: Vec<_> = files.iter().map(File::json).collect();
        cli::print((serde_json::to_string_pretty(&files)? + "\n").as_bytes())
    } else {
        let files: Vec<_> = files.iter().map(File::text).collect();
        cli::print_text(&files.join("\n"))
    }
}

impl File {
    fn open(path: &Path, access: &Access) -> Result<File> {
        let root = store::open(path, access)?;
        let mut elements = vec![];
        below(&root, &root, "", 0, &mut elements)?;
        Ok(File {
            path: path.display().to_string(),
            format: match (path.is_dir(), path.join("zarr.json").exists()) {
                (false, _) => "HDF5",
                (true, true) => "Zarr v3",
                (true, false) => "Zarr v2",
            },
            written_by: written_by(&root)?,
            shape: ["obs", "var"].map(|name| columns::length(&root, name).ok()),
            bytes: size_on_disk(path)?,
            elements,
        })
    }

    /// Estimate for the whole file when it is loaded.
    fn memory(&self) -> u64 {
        let each = self.elements.iter().map(|e| e.memory);
        each.fold(0, u64::saturating_add)
    }

    fn json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "path": self.path,
            "format": self.format,
            "written_by": self.written_by,
            "shape": self.shape,
            "bytes": self.bytes,
            "memory": self.memory(),
            "elements": self.elements.iter().map(ElementInfo::json).collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let count = |n: Option<u64>| n.map_or("unknown".into(), thousands);
        let [cells, genes] = self.shape.map(count);
        let (disk, memory) = (format_size(self.bytes), format_size(self.memory()));
        let mut text = format!(
            "{}\n{cells} cells × {genes} genes, {disk} on disk, about {memory} in memory\n{}, {}\n\n",
            one_line(&self.path),
            self.format,
            one_line(&self.written_by)
        );
        for element in &self.elements {
            text += &element.text();
        }
        text
    }
}

/// Which anndata wrote a file, by the encodings that its releases brought.
fn written_by(root: &Group) -> Result<String> {
    let attrs = root.attrs()?;
    if let (Some("anndata"), Some(version)) =
        (attrs.text("encoding-type"), attrs.text("encoding-version"))
    {
        return Ok(format!(
            "AnnData format {version} (written by anndata 0.8 or later)"
        ));
    }
    if let (Some(kind), Some(version)) =
        (attrs.text("encoding-type"), attrs.text("encoding-version"))
    {
        return Ok(format!("format '{kind}' {version}"));
    }
    Ok(match root.get("obs") {
        Ok(Some(Node::Array(_))) => "compound frames (written by anndata 0.6 or earlier)",
        Ok(Some(Node::Group(obs))) => match Encoding::of_group(&obs)? {
            Encoding::OldDataFrame => "dataframe 0.1.0 (written by anndata 0.7)",
            _ => "AnnData format not named at the root",
        },
        _ => "no AnnData format: it has no obs",
    }
    .into())
}

/// Adds the elements of a folder of elements.
fn below(
    root: &Group,
    group: &Group,
    path: &str,
    depth: usize,
    elements: &mut Vec<ElementInfo>,
) -> Result<()> {
    let deepest = limits::DEPTH;
    ensure!(depth < deepest, "It lies deeper than {deepest} groups");
    for name in group.names()? {
        add(root, group, &name, (path, depth), elements);
    }
    Ok(())
}

/// Adds an element and those below it; one that cannot be read says why.
fn add(
    root: &Group,
    parent: &Group,
    name: &str,
    (path, depth): (&str, usize),
    elements: &mut Vec<ElementInfo>,
) {
    let at = elements.len();
    let path = match path {
        "" => name.into(),
        _ => format!("{path}/{name}"),
    };
    elements.push(ElementInfo {
        path: path.clone(),
        depth,
        ..ElementInfo::default()
    });
    if let Err(error) = describe(root, parent, name, (&path, depth), elements) {
        elements[at].error = Some(format!("{error:#}"));
    }
}

/// Fills in the last element, and adds those below it.
fn describe(
    root: &Group,
    parent: &Group,
    name: &str,
    (path, depth): (&str, usize),
    elements: &mut Vec<ElementInfo>,
) -> Result<()> {
    let Some(element) = elements.last_mut() else {
        return Ok(());
    };
    let node = parent.get(name)?.context("A link that leads nowhere")?;
    let group = match node {
        Node::Array(array) => return element.array(root, &array),
        Node::Group(group) => group,
    };
    let encoding = Encoding::of_group(&group)?;
    element.name(&group.attrs()?, "dict");
    let part = |name: &str| match group.get(name)? {
        Some(Node::Array(array)) => Ok(array),
        _ => bail!("It has no array '{name}'"),
    };
    match encoding {
        Encoding::Dict => below(root, &group, path, depth + 1, elements)?,
        Encoding::DataFrame | Encoding::OldDataFrame => {
            let columns = columns::columns(&group)?;
            let rows = columns::length(root, path)?;
            element.shape = Some(vec![rows, columns.len() as u64 - 1]);
            for column in columns {
                add(root, &group, &column, (path, depth + 1), elements);
            }
        }
        Encoding::Csr | Encoding::Csc => {
            let (shape, attrs) = sparse::describe(&group)?;
            element.name(&attrs, "");
            element.parts(&group)?;
            let data = part("data")?;
            element.of(&data)?;
            element.nonzeros = Some(data.spec().rows());
            element.shape = Some(shape.into());
        }
        Encoding::Categorical => {
            element.parts(&group)?;
            element.of(&part("codes")?)?;
            let categories = group.get("categories")?.context("It has no categories")?;
            element.categories = Some(columns::column_length(&categories)?);
        }
        Encoding::Nullable => {
            element.parts(&group)?;
            element.of(&part("values")?)?;
        }
        Encoding::Awkward => {
            element.parts(&group)?;
            element.shape = group.attrs()?.get("length").and_then(Attr::as_ints);
        }
        _ => element.parts(&group)?,
    }
    Ok(())
}

impl ElementInfo {
    /// Its encoding; `default` where it names none.
    fn name(&mut self, attrs: &Attrs, default: &str) {
        let text = |name| attrs.text(name).map(str::to_owned);
        self.encoding = text("encoding-type").unwrap_or_else(|| default.into());
        self.version = text("encoding-version").unwrap_or_default();
    }

    fn array(&mut self, root: &Group, array: &Array) -> Result<()> {
        let attrs = array_attrs(array)?;
        self.name(&attrs, "array");
        self.count(array)?;
        self.of(array)?;
        // Codes as anndata 0.7 wrote them.
        if let Some(Attr::Reference(path)) = attrs.get("categories")
            && let Some(Node::Array(categories)) = root.get(path.trim_start_matches('/'))?
        {
            self.categories = Some(categories.spec().rows());
        }
        Ok(())
    }

    /// Takes type, shape and layout of its values.
    fn of(&mut self, values: &Array) -> Result<()> {
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

    /// Counts the bytes of all arrays in a group.
    fn parts(&mut self, group: &Group) -> Result<()> {
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

    fn json(&self) -> Value {
        let named = |text: &String| (!text.is_empty()).then(|| text.clone());
        json!({
            "path": self.path,
            "encoding": named(&self.encoding),
            "version": named(&self.version),
            "dtype": self.dtype,
            "shape": self.shape,
            "nonzeros": self.nonzeros,
            "categories": self.categories,
            "storage": self.dtype.as_ref().map(|_| json!({
                "chunk": self.layout.chunk,
                "filters": self.layout.filters,
                "raw_bytes": self.raw,
                "stored_bytes": self.stored,
                "ratio": self.ratio(),
            })),
            "memory": self.memory,
            "error": self.error,
        })
    }

    /// A line, and more where it is wider than a terminal.
    fn text(&self) -> String {
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
        told.extend(self.categories.map(|n| count(n, "category")));
        let chunk = self.layout.chunk.as_ref();
        let cut =
            chunk.filter(|chunk| self.nonzeros.is_some() || self.shape.as_ref() != Some(*chunk));
        told.extend(cut.map(|chunk| format!("chunks {}", by(chunk))));
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

    #[test]
    fn a_zarr_store_tells_its_layout_and_size() {
        use crate::codec::compression::Compression;
        use crate::store::spec::ArraySpec;
        use crate::store::{Container, Rows};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zarr");
        let root = store::create(&path, Container::ZARR.compressed(Compression::Gzip(1))).unwrap();
        let spec = ArraySpec::new(vec![4, 3], Dtype::FLOAT64);
        let mut x = root
            .create_array("X", &spec, Rows::Known, &Attrs::default())
            .unwrap();
        x.append(&[0; 96]).unwrap();
        x.finish().unwrap();
        root.finish().unwrap();
        let file = File::open(&path, &Access::default()).unwrap();
        assert_eq!((file.format, file.memory()), ("Zarr v2", 96));
        assert!(file.bytes > 0);
        let x = file.json()["elements"][0].clone();
        assert_eq!(x["storage"]["chunk"], json!([4, 3]));
        assert_eq!(x["storage"]["filters"], json!(["gzip"]));
        assert_eq!(x["shape"], json!([4, 3]));
        let chunk = std::fs::metadata(path.join("X/0.0")).unwrap().len();
        assert_eq!(x["storage"]["stored_bytes"], json!(chunk));
        assert!(file.text().contains("unknown cells"));
    }
}
