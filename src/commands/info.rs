//! `annslicer info`: what files hold and how it is stored, from their metadata; no matrix is read.
//!
//! A file becomes a list of elements in the order of its tree, which is then told as text or as JSON. Elements of a
//! dict or dataframe come right behind it, one deeper. What cannot be read is told at its element, and the rest is
//! shown all the same.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::element::ElementInfo;
use crate::anndata::encoding::Encoding;
use crate::anndata::{columns, older};
use crate::cli::{self, InfoRequest};
use crate::limits;
use crate::report::failure::NoFile;
use crate::report::logging::{self, one_line};
use crate::report::words::{count, thousands};
use crate::resources::{format_size, size_on_disk};
use crate::rows::sparse;
use crate::store::spec::Attr;
use crate::store::{self, Access, Format, Group, Node};

/// The version of the objects of `--json`: fields are added within a version.
const SCHEMA: u32 = 1;

/// What a file is, as far as it tells.
struct File {
    path: String,
    /// The collection that it is in.
    collection: Option<PathBuf>,
    format: &'static str,
    written_by: String,
    /// Cells and genes.
    shape: [Option<u64>; 2],
    bytes: u64,
    elements: Vec<ElementInfo>,
}

/// Of several files, those that cannot be read do not keep the others from being shown.
pub fn run(request: &InfoRequest) -> Result<()> {
    let several = request.files.len() > 1;
    let (mut files, mut objects, mut unread) = (vec![], vec![], 0);
    for path in &request.files {
        let opened = File::open(path, &request.access).map_err(|e| {
            if e.is::<NoFile>() {
                e // it names the file
            } else {
                e.context(format!("Cannot read {}", path.display()))
            }
        });
        match opened {
            Ok(file) if request.json => objects.push(file.json()),
            Ok(file) => files.push(file),
            Err(error) if several => {
                unread += 1;
                let path = path.display().to_string();
                objects
                    .push(json!({"schema": SCHEMA, "path": path, "error": format!("{error:#}")}));
                logging::report(&error);
            }
            Err(error) => return Err(error),
        }
    }
    if request.json {
        cli::print((serde_json::to_string_pretty(&objects)? + "\n").as_bytes())?;
    } else {
        cli::print_text(&texts(&files).join("\n"))?;
    }
    let files = request.files.len();
    ensure!(unread == 0, "{unread} of {files} files cannot be read");
    Ok(())
}

/// What is told of files: of those of a collection that are alike the first, and the others together.
fn texts(files: &[File]) -> Vec<String> {
    // A collection may have hundreds of datasets that look the same.
    let alike = files.chunk_by(|a, b| a.is_like(b));
    let told = alike.map(|files| {
        let (first, others) = files.split_first()?;
        let others = others.first().map(|_| together(others));
        Some(first.text() + &others.unwrap_or_default())
    });
    told.flatten().collect()
}

/// A line for files that are as another one.
fn together(files: &[File]) -> String {
    let names: Vec<String> = files.iter().map(|file| one_line(&file.path)).collect();
    let names = match names.as_slice() {
        [first, .., last] => format!("{first} to {last} are"),
        names => format!("{} is", names.concat()),
    };
    let cells = files.iter().filter_map(|file| file.shape[0]);
    let cells = count(cells.fold(0, u64::saturating_add), "cell");
    let bytes = files.iter().map(|file| file.bytes);
    let bytes = format_size(bytes.fold(0, u64::saturating_add));
    format!("\n{names} the same, with other cells: {cells}, {bytes} on disk\n")
}

/// The format for people. A zip archive is open as the folder that it was unpacked to.
fn format(path: &Path, root: &Group) -> &'static str {
    let unpacked = store::unpacked(path);
    let is_v3 = |folder: &Path| folder.join("zarr.json").exists();
    match (root.format(), &unpacked) {
        (Format::H5ad, _) => "HDF5",
        (Format::Zarr, Some(folder)) if is_v3(folder) => "Zarr v3 in a zip archive",
        (Format::Zarr, Some(_)) => "Zarr v2 in a zip archive",
        (Format::Zarr, None) if is_v3(path) => "Zarr v3",
        (Format::Zarr, None) => "Zarr v2",
    }
}

impl File {
    fn open(path: &Path, access: &Access) -> Result<File> {
        let root = store::open(path, access)?;
        let collection = path.parent().filter(|above| store::is_collection(above));
        let mut elements = vec![];
        below(&root, &root, "", 0, &mut elements)?;
        Ok(File {
            path: path.display().to_string(),
            collection: collection.map(Path::to_owned),
            format: format(path, &root),
            written_by: written_by(&root)?,
            shape: ["obs", "var"].map(|name| columns::length(&root, name).ok()),
            bytes: size_on_disk(path)?,
            elements,
        })
    }

    /// Whether both are of one collection, and differ in their cells alone.
    fn is_like(&self, other: &File) -> bool {
        let elements = self.elements.iter().zip(&other.elements);
        self.collection.is_some()
            && self.collection == other.collection
            && self.shape[1] == other.shape[1]
            && self.elements.len() == other.elements.len()
            && elements.into_iter().all(|(a, b)| a.is_like(b))
    }

    /// Estimate for the whole file when it is loaded. Each element counts its own arrays; groups of elements count
    /// nothing.
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
        Ok(Some(Node::Group(obs))) if older::is_frame(&obs.attrs()?) => {
            "dataframe 0.1.0 (written by anndata 0.7)"
        }
        Ok(Some(Node::Group(_))) => "AnnData format not named at the root",
        _ => "no AnnData format: it has no obs",
    }
    .into())
}

/// Adds the elements of a folder of elements. An error where groups lie in one another too deeply: a link may lead to a
/// group above.
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
    elements.push(ElementInfo::at(&path, depth));
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
    // `add` has put it there.
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
        Encoding::DataFrame => {
            let columns = columns::columns(&group)?;
            let rows = columns::length(root, path)?;
            // The index is the first of the columns, shown as one, but not counted.
            element.shape = Some(vec![rows, columns.len() as u64 - 1]);
            for column in columns {
                add(root, &group, &column, (path, depth + 1), elements);
            }
        }
        Encoding::Csr | Encoding::Csc => {
            let (shape, attrs) = sparse::describe(&group)?;
            // Older files call it otherwise (`h5sparse_format`), which `describe` has put in today's words.
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
            element.name_categories(categories);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::spec::{Attrs, Dtype};

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
