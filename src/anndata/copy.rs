//! Copying a node as a whole: verbatim where that is possible, else value by value, block by block, into the
//! current encoding.
//!
//! Verbatim: the chunks as they are stored, within one format, of a node that says in today's terms what it is and in
//! which nothing is to be mended ([`heal`]) or hidden. Else groups are made anew with today's attributes, and of arrays
//! about 16 MiB of values are in memory at a time, but for records that hold text, which are read as a whole.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use tracing::warn;

use super::encoding::{Encoding, array_attrs};
use super::older::ColumnLayout;
use super::{columns, heal, older};
use crate::report::failure::in_element;
use crate::rows::block::Block;
use crate::rows::healed;
use crate::rows::leaf::{Leaf, LeafKind};
use crate::rows::ranges::blocks;
use crate::rows::records::TextRecords;
use crate::rows::writer::LeafWriter;
use crate::store::spec::{ArraySpec, Attr, Attrs, Dtype};
use crate::store::{Array, Format, Group, Node, Rows};

/// One node to be copied.
pub struct Copy {
    parent: Group,
    name: String,
    /// Its path in the output.
    pub to: String,
}

impl Copy {
    /// The node `name` of `parent`, to be written at the path `to`.
    pub fn new(parent: &Group, name: &str, to: &str) -> Copy {
        Copy {
            parent: parent.clone(),
            name: name.into(),
            to: to.into(),
        }
    }
}

impl Copy {
    /// Where it will stand.
    pub fn to(&self) -> &str {
        &self.to
    }
}

/// Copies one node with all below it into `out`, in the current encoding. An error names the node.
pub fn run(copy: &Copy, out: &Group) -> Result<()> {
    // What anndata does not know keeps even its lack of attributes.
    let known = ["obs", "obsm", "layers", "var", "uns", "varm", "varp", "raw"];
    let known = known.contains(&copy.to.split('/').next().unwrap_or_default());
    if !known && copy.parent.copy_verbatim(&copy.name, out, &copy.to)? {
        return Ok(());
    }
    node(&copy.parent, &copy.name, out, &copy.to).with_context(|| in_element("Copy", &copy.to))
}

/// As [`run`], of what may be a field of an old compound folder.
pub fn element(root: &Group, path: &str, out: &Group, to: &str) -> Result<()> {
    match older::field(root, path)? {
        Some(field) => {
            whole_leaf(&older::leaf(field, to)?, out).with_context(|| in_element("Copy", to))
        }
        None => run(&Copy::new(root, path, to), out),
    }
}

/// Makes the folder `to` as `from` is, without what is in it.
pub fn folder(from: &Group, out: &Group, to: &str) -> Result<()> {
    out.create_group(to, &group_attrs(from, &Encoding::Dict)?)
        .map(drop)
}

/// Bytes that a node holds without compression; text is sampled at its beginning.
pub fn bytes(copy: &Copy) -> Result<u64> {
    fn of(node: Node) -> Result<u64> {
        let group = match node {
            Node::Array(array) => {
                let spec = array.spec();
                let rows = spec.rows().min(256);
                if spec.dtype != Dtype::String || spec.null || rows == 0 {
                    return Ok(spec.row_bytes().saturating_mul(spec.rows()));
                }
                let text = array.read_strings(std::slice::from_ref(&(0..rows)))?;
                let row = text.bytes.len() as u64 / rows + spec.row_items().saturating_mul(16);
                return Ok(row.saturating_mul(spec.rows()));
            }
            Node::Group(group) => group,
        };
        let mut bytes = 0u64;
        for name in group.names()? {
            bytes = bytes.saturating_add(group.get(&name)?.map_or(Ok(0), of)?);
        }
        Ok(bytes)
    }
    copy.parent.get(&copy.name)?.map_or(Ok(0), of)
}

fn node(parent: &Group, name: &str, out: &Group, to: &str) -> Result<()> {
    let Some(found) = parent.get(name)? else {
        bail!("It is missing");
    };
    // The codes are written without the category that is NaN, so it goes here too.
    if name == "categories"
        && let Node::Array(categories) = &found
        && Encoding::of_group(parent)? == Encoding::Categorical
        && let Some(missing) = heal::missing_level(parent)?
    {
        return without(categories, missing, out, to);
    }
    // What is not copied as it is stored is seen to be right as it is read.
    let as_stored = parent.may_copy_to(out) && is_current(&found)? && heal::is_right(&found)?;
    if as_stored && parent.copy_verbatim(name, out, to)? {
        return Ok(());
    }
    let encoding = Encoding::of(&found)?;
    match (encoding, found) {
        (_, Node::Array(array)) => self::array(array, parent, name, out, to),
        (Encoding::DataFrame, Node::Group(group)) if older::is_frame(&group.attrs()?) => {
            old_frame(older::frame(&group, parent)?, out, to)
        }
        (encoding, Node::Group(group)) => {
            let attrs = group_attrs(&group, &encoding)?;
            out.create_group(to, &attrs)?;
            // A node is asked for again at each level, as one below may be copied verbatim where the whole may not.
            let plain = matches!(encoding, Encoding::Csr | Encoding::Csc);
            for name in group.names()? {
                let path = format!("{to}/{name}");
                match (plain, group.get(&name)?) {
                    (_, Some(Node::Array(part))) if is_mended(&encoding, &name, &part) => {
                        mended(&group, &name, part, out, &path)?
                    }
                    // The three arrays of a sparse matrix carry no attributes.
                    (true, Some(Node::Array(part))) => {
                        values(&part, out, &path, &part.attrs()?, part.spec().clone())?
                    }
                    _ => node(&group, &name, out, &path)?,
                }
            }
            Ok(())
        }
    }
}

/// Categories but the one that is a missing value.
fn without(categories: &Array, missing: u64, out: &Group, to: &str) -> Result<()> {
    healed::level(&parent_of(&categories.path()));
    let mut spec = categories.spec().clone();
    let rest = [0..missing, missing + 1..spec.rows()];
    spec.shape = vec![spec.rows() - 1];
    let mut writer = out.create_array(to, &spec, Rows::Known, &categories.attrs()?)?;
    writer.append(&categories.read(&rest)?)?;
    writer.finish().map(drop)
}

fn parent_of(path: &str) -> String {
    let parent = path.rsplit_once('/').map_or(path, |(parent, _)| parent);
    parent.trim_start_matches('/').to_owned()
}

/// Whether such a part of a column is read as its rows are, which mends it where that is needed.
fn is_mended(encoding: &Encoding, name: &str, part: &Array) -> bool {
    match encoding {
        Encoding::Categorical => name == "codes" && part.spec().dtype.is_integer(),
        Encoding::Nullable => name == "mask" && !heal::is_mask(part),
        _ => false,
    }
}

/// Copies codes or a mask as a leaf, whose reader mends them.
fn mended(column: &Group, name: &str, part: Array, out: &Group, to: &str) -> Result<()> {
    let attrs = array_attrs(&part)?;
    let kind = match name {
        "codes" => LeafKind::Codes(part, heal::levels(column)?),
        _ => LeafKind::Mask(part),
    };
    let path = to.into();
    whole_leaf(&Leaf { path, attrs, kind }, out)
}

/// Whether a node says what it is in today's terms; below such a node everything does.
fn is_current(node: &Node) -> Result<bool> {
    let attrs = node.attrs()?;
    Ok(match attrs.text("encoding-type") {
        Some("dataframe") => !older::is_frame(&attrs),
        // anndata 0.7 labelled raw, but not what is in it.
        Some("raw") | None => false,
        Some(_) => true,
    })
}

/// The attributes of a group as they are today: `h5sparse_shape`, of anndata before 0.7, becomes `shape`.
fn group_attrs(group: &Group, encoding: &Encoding) -> Result<Attrs> {
    let mut attrs = columns::attrs(group)?;
    if attrs.get("encoding-type").is_some() {
        return Ok(attrs);
    }
    let kind = match encoding {
        Encoding::Csr => "csr_matrix",
        Encoding::Csc => "csc_matrix",
        _ => "dict",
    };
    attrs.remove("h5sparse_format");
    if let Some(shape) = attrs.remove("h5sparse_shape") {
        attrs.set("shape", shape);
    }
    let mut full = Attrs::encoding(kind, "0.1.0");
    attrs.iter().for_each(|(n, v)| full.set(n, v.clone()));
    Ok(full)
}

/// Copies an array value by value. In this order: frames and folders of old, which were compound datasets; what the
/// target cannot hold, or cannot be read; text of a fixed width; all others.
fn array(array: Array, parent: &Group, name: &str, out: &Group, to: &str) -> Result<()> {
    let attrs = array.attrs()?;
    let unlabelled = attrs.get("encoding-type").is_none();
    let spec = array.spec().clone();
    if unlabelled && matches!(spec.dtype, Dtype::Record { .. }) {
        if matches!(to, "var" | "raw/var") {
            let frame = older::record_frame(array, parent)?;
            return old_frame(frame.shown(parent, name), out, to);
        }
        if to == "varm" || to == "raw/varm" {
            out.create_group(to, &Attrs::encoding("dict", "0.1.0"))?;
            let fields = older::folder(&array, parent, name, to)?;
            return fields.iter().try_for_each(|leaf| whole_leaf(leaf, out));
        }
    }
    // In Zarr text within records has a fixed width; within HDF5 the library copies such records.
    let between = array.format() == Format::H5ad && out.format() == Format::Zarr;
    if between && spec.dtype.is_record_with_text() && !spec.dtype.has_records() {
        return text_records(TextRecords::open(array)?, out, to);
    }
    if let Some(why) = &why_not(&spec, out) {
        if !parent.copy_verbatim(name, out, to)? {
            return leave_out(&array, to, why);
        }
        // The library has copied the attributes that the array has.
        return if unlabelled {
            out.set_attrs(to, &array_attrs(&array)?)
        } else {
            Ok(())
        };
    }
    if matches!(spec.dtype, Dtype::FixedString { .. }) && (unlabelled || spec.shape.is_empty()) {
        return fixed_text(&array, out, to, unlabelled);
    }
    let mut attrs = array_attrs(&array)?;
    if unlabelled {
        // Of categories, before anndata 0.8; now their group says it.
        attrs.remove("ordered");
    }
    if let Dtype::Record { fields, .. } = &spec.dtype
        && fields
            .iter()
            .any(|f| matches!(f.dtype, Dtype::FixedString { .. }))
    {
        let records = array.read(std::slice::from_ref(&(0..spec.rows())))?;
        // Readers decode text of a fixed width within records as ASCII, so it is written as text of any length, or as
        // UTF-32 in Zarr.
        if has_foreign_text(&records, &spec.dtype) {
            return out.write_records(to, &spec, &records, &attrs);
        }
    }
    let mut spec = spec;
    if heal::is_text(&array)? {
        spec.dtype = Dtype::String; // of any length, which is UTF-8
    }
    values(&array, out, to, &attrs, spec)
}

/// Why an array cannot be written value by value; `None` where it can.
fn why_not(spec: &ArraySpec, out: &Group) -> Option<String> {
    match &spec.dtype {
        Dtype::Unsupported(why) => Some(why.clone()),
        dtype if dtype.is_record_with_text() => Some("its records hold text of any length".into()),
        _ => out.refuses(spec),
    }
}

/// Records whose text of any length gets a fixed width on the way, for a store that holds no other within records.
fn text_records(records: TextRecords, out: &Group, to: &str) -> Result<()> {
    let (rows, array) = (records.rows(), records.array());
    let spec = records.spec(rows);
    match out.refuses(&spec) {
        Some(why) => leave_out(array, to, &why),
        None => {
            let values = records.read(std::slice::from_ref(&(0..rows)))?;
            out.write_records(to, &spec, &values, &array_attrs(array)?)
        }
    }
}

/// Names an array that cannot be converted to another format.
fn leave_out(array: &Array, to: &str, why: &str) -> Result<()> {
    // Of Zarr no type is known that anndata writes and this program does not read.
    ensure!(
        array.format() != Format::Zarr || !matches!(array.spec().dtype, Dtype::Unsupported(_)),
        "It cannot be read: {why}; remove it from the input"
    );
    warn!("'{to}' is left out: it cannot be converted between formats: {why}");
    Ok(())
}

/// Whether the fixed-width text of some record is not ASCII.
fn has_foreign_text(records: &[u8], dtype: &Dtype) -> bool {
    let Dtype::Record { size, fields } = dtype else {
        return false;
    };
    let texts = fields.iter().filter_map(|f| match f.dtype {
        Dtype::FixedString { size } => Some(f.offset..f.offset + size),
        _ => None,
    });
    let texts: Vec<Range<usize>> = texts.collect();
    records
        .chunks_exact((*size).max(1))
        .any(|record| texts.iter().any(|at| !record[at.clone()].is_ascii()))
}

/// Text of a fixed width, which anndata wrote before it had attributes; alone in its array it stood for a scalar.
fn fixed_text(array: &Array, out: &Group, to: &str, unlabelled: bool) -> Result<()> {
    let shape = &array.spec().shape;
    if !unlabelled {
        let (attrs, mut spec) = (array_attrs(array)?, array.spec().clone());
        if heal::is_text(array)? {
            spec.dtype = Dtype::String;
        }
        return values(array, out, to, &attrs, spec);
    }
    let mut frames = ["obs/", "var/", "raw/var/"].iter();
    // One category is a list of one all the same.
    let is_list = to.ends_with("/categories") && frames.any(|frame| to.starts_with(frame));
    let (kind, shape) = match shape.as_slice() {
        [] | [1] if is_list => ("string-array", vec![1]),
        [] | [1] => ("string", vec![]),
        _ => ("string-array", shape.clone()),
    };
    let spec = ArraySpec::new(shape, Dtype::String);
    let mut writer = out.create_array(to, &spec, Rows::Known, &Attrs::encoding(kind, "0.2.0"))?;
    writer.append_strings(&array.read_strings(std::slice::from_ref(&(0..array.spec().rows())))?)?;
    writer.finish().map(drop)
}

/// Copies the values of an array in blocks. `spec` is what is written: the same values, or text of any length for text
/// of a fixed width.
pub fn values(array: &Array, out: &Group, to: &str, attrs: &Attrs, spec: ArraySpec) -> Result<()> {
    let whole = whole(array)?;
    let mut writer = out.create_array(to, &spec, Rows::Known, attrs)?;
    if !spec.null {
        for rows in whole {
            let rows = std::slice::from_ref(&rows);
            if spec.dtype == Dtype::String {
                writer.append_strings(&array.read_strings(rows)?)?
            } else {
                writer.append(&array.read(rows)?)?
            }
        }
    }
    writer.finish().map(drop)
}

/// Row ranges of all of an array. An error where what it declares is hardly stored.
pub fn whole(array: &Array) -> Result<impl Iterator<Item = Range<u64>> + use<>> {
    /// What is guessed for a text.
    const TEXT: u64 = 64;
    array.check_declared()?;
    let spec = array.spec();
    let row = if spec.dtype == Dtype::String {
        TEXT.saturating_mul(spec.row_items())
    } else {
        spec.row_bytes()
    };
    Ok(blocks(spec.rows(), row))
}

/// Writes all rows of a leaf that is not sparse.
fn whole_leaf(leaf: &Leaf, out: &Group) -> Result<()> {
    let rows = leaf.rows();
    let mut writer = LeafWriter::create(leaf, out, rows, 0)?;
    for rows in blocks(rows, leaf.cost()?.fixed) {
        let block: Block = leaf.read(std::slice::from_ref(&rows))?;
        writer.append(&block)?;
    }
    writer.finish()
}

/// A frame of an old layout, all rows.
fn old_frame(frame: older::OldFrame, out: &Group, to: &str) -> Result<()> {
    out.create_group(to, &frame.attrs)?;
    for column in frame.columns {
        let path = format!("{to}/{}", column.name);
        // The codes become `codes` in a group of the name of the column, and the categories its `categories`.
        let (values, categories) = match column.layout {
            ColumnLayout::Old(values, categories) => (values, categories),
            ColumnLayout::Current(parent) => {
                node(&parent, &column.name, out, &path)?;
                continue;
            }
        };
        let leaf = if let Some(categories) = &categories {
            let ordered = Attr::bool(categories.ordered);
            let group = Attrs::encoding("categorical", "0.2.0").with("ordered", ordered);
            out.create_group(&path, &group)?;
            node(
                &categories.parent,
                &categories.name,
                out,
                &format!("{path}/categories"),
            )?;
            older::codes(values, &format!("{path}/codes"), categories.count()?)
        } else {
            older::leaf(values, &path)?
        };
        whole_leaf(&leaf, out)?;
    }
    Ok(())
}
