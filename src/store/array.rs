//! An array that is read: the facade over those of HDF5 and Zarr, over fields of compound datasets, and over arrays
//! unpacked into scratch files.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::io::buffer::Buffer;
use super::io::raw;
use super::io::stored::{Recipe, Stored};
use super::io::unpacked::Unpacked;
use super::spec::{ArraySpec, Attrs, Field, Strings};
use super::{Format, hdf5, zarr};
use crate::limits;
use crate::report::failure::in_element;

/// An array, open for reading.
pub struct Array {
    of: ArrayOf,
    /// Text with a mask, that is read as plain text.
    masked: Option<Box<Masked>>,
}

/// What makes plain text of the values of a nullable string array.
struct Masked {
    /// Not 0 where a text is missing.
    mask: Array,
    /// What is read there.
    missing: Vec<u8>,
    attrs: Attrs,
}

pub(super) enum ArrayOf {
    Hdf5(Arc<hdf5::Array>),
    /// One field of a compound dataset.
    Field(Box<FieldArray>),
    Zarr(Box<zarr::Array>),
    /// Decoded into a scratch file.
    Unpacked(Box<Unpacked>),
}

/// One field of all records, which the library reads.
pub(super) struct FieldArray {
    records: Arc<hdf5::Array>,
    field: Field,
    spec: ArraySpec,
}

/// How the values of an array lie in its file, as far as its metadata tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageInfo {
    /// The shape of a chunk; `None` where the array lies in one piece.
    pub chunk: Option<Vec<u64>>,
    /// The names of its filters or codecs, in the order of writing.
    pub filters: Vec<String>,
    /// Whether readers get its numbers with the most significant byte first, as HDF5 and Zarr of version 2 keep them.
    pub big_endian: bool,
    /// Of a virtual dataset, the number of files that its values are in.
    pub files: Option<u64>,
    /// What the values take on disk, in HDF5 without text of any length; `None` where they have no chunks in Zarr.
    pub bytes: Option<u64>,
}

impl From<ArrayOf> for Array {
    fn from(of: ArrayOf) -> Array {
        Array { of, masked: None }
    }
}

impl Array {
    /// The same text, with `missing` wherever `mask` is not 0, and with these attributes.
    pub(super) fn masked(self, mask: Array, missing: &str, attrs: Attrs) -> Array {
        let missing = missing.into();
        let masked = Some(Box::new(Masked {
            mask,
            missing,
            attrs,
        }));
        Array { masked, ..self }
    }

    pub fn path(&self) -> String {
        match &self.of {
            ArrayOf::Hdf5(a) => a.path(),
            ArrayOf::Field(a) => format!("{}/{}", a.records.path(), a.field.name),
            ArrayOf::Zarr(a) => a.path(),
            ArrayOf::Unpacked(a) => a.path(),
        }
    }

    /// That of the file that it is read from; `H5ad` of what is unpacked to scratch, whichever it came from.
    pub fn format(&self) -> Format {
        match &self.of {
            ArrayOf::Zarr(_) => Format::Zarr,
            ArrayOf::Hdf5(_) | ArrayOf::Field(_) | ArrayOf::Unpacked(_) => Format::H5ad,
        }
    }

    pub fn spec(&self) -> &ArraySpec {
        match &self.of {
            ArrayOf::Hdf5(a) => a.spec(),
            ArrayOf::Field(a) => &a.spec,
            ArrayOf::Zarr(a) => a.spec(),
            ArrayOf::Unpacked(a) => a.spec(),
        }
    }

    pub fn attrs(&self) -> Result<Attrs> {
        if let Some(masked) = &self.masked {
            return Ok(masked.attrs.clone());
        }
        match &self.of {
            ArrayOf::Hdf5(a) => a.attrs(),
            ArrayOf::Field(_) => Ok(Attrs::default()),
            ArrayOf::Zarr(a) => a.attrs(),
            ArrayOf::Unpacked(a) => a.attrs(),
        }
    }

    /// Their names alone, which take fewer reads than their values.
    pub fn attr_names(&self) -> Result<Vec<String>> {
        if let (ArrayOf::Hdf5(a), None) = (&self.of, &self.masked) {
            return a.attr_names();
        }
        let attrs = self.attrs()?;
        Ok(attrs.iter().map(|(name, _)| name.to_owned()).collect())
    }

    /// Reads the rows in `ranges` (sorted, disjoint) as they are stored, into exactly as many bytes. A scalar is
    /// one row. For every type but text of any length.
    pub fn read_into(&self, ranges: &[Range<u64>], dst: &mut [u8]) -> Result<()> {
        match &self.of {
            ArrayOf::Hdf5(a) => a.read_into(ranges, dst),
            ArrayOf::Field(a) => {
                let read = a.read(ranges)?;
                ensure!(read.len() == dst.len(), "{}", a.reading());
                dst.copy_from_slice(&read);
                return Ok(());
            }
            ArrayOf::Zarr(a) => a.read_into(ranges, dst),
            ArrayOf::Unpacked(a) => a.read_into(ranges, dst),
        }
        .with_context(|| in_element("Read", self.path()))
    }

    /// As [`Array::read_into`], into bytes of its own.
    pub fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<u8>> {
        let len = self.bytes_in(ranges)?;
        // What a header claims may be more than there is.
        Vec::<u8>::new()
            .try_reserve_exact(len)
            .with_context(|| format!("Read '{}': {len} bytes", self.path()))?;
        let mut dst = vec![0; len];
        self.read_into(ranges, &mut dst)?;
        Ok(dst)
    }

    /// As [`Array::read_into`], into the memory of a buffer that is no longer needed, where that is enough.
    pub fn read_over(&self, ranges: &[Range<u64>], mut dst: Buffer) -> Result<Buffer> {
        let len = self.bytes_in(ranges)?;
        if dst.capacity() < len {
            // The next block may be a little larger.
            let room = len.saturating_add(len / 16);
            drop(dst);
            // Fresh memory is zero without being written, so the threads that read touch it first.
            dst = Buffer::zeros(room).with_context(|| in_element("Read", self.path()))?;
        }
        dst.set_len(len);
        self.read_into(ranges, &mut dst)?;
        Ok(dst)
    }

    /// What the rows in `ranges` take.
    pub(super) fn bytes_in(&self, ranges: &[Range<u64>]) -> Result<usize> {
        let rows: u64 = ranges.iter().map(|r| r.end - r.start).sum();
        rows.checked_mul(self.spec().row_bytes())
            .and_then(|n| usize::try_from(n).ok())
            .with_context(|| format!("Read '{}': its shape is too large", self.path()))
    }

    /// Reads the rows in `ranges` (sorted, disjoint) of an array of text, fixed width or not (padding is taken
    /// off), in order of storage: a row of several values gives as many texts. An error where one is not UTF-8.
    pub fn read_strings(&self, ranges: &[Range<u64>]) -> Result<Strings> {
        let texts = match &self.of {
            ArrayOf::Hdf5(a) => a.read_strings(ranges),
            ArrayOf::Field(a) => return a.read_strings(ranges),
            ArrayOf::Zarr(a) => a.read_strings(ranges),
            ArrayOf::Unpacked(_) => bail!("It holds no text"),
        };
        let texts = texts
            .and_then(in_utf8)
            .with_context(|| in_element("Read", self.path()))?;
        match &self.masked {
            Some(masked) => masked.fill(texts, ranges),
            None => Ok(texts),
        }
    }

    /// Whether its type says of its text that it is ASCII.
    pub fn says_ascii(&self) -> bool {
        match &self.of {
            ArrayOf::Hdf5(a) => a.says_ascii(),
            _ => false,
        }
    }

    /// One field of a compound dataset as an array of its own.
    pub fn field(&self, field: &Field) -> Result<Array> {
        Ok(ArrayOf::Field(Box::new(self.field_of(field)?)).into())
    }

    /// Reads the rows in `ranges` of one field of a compound dataset, whose type is of a fixed width.
    pub fn read_field(&self, field: &Field, ranges: &[Range<u64>]) -> Result<Vec<u8>> {
        self.field_of(field)?.read(ranges)
    }

    /// As [`Array::read_field`], for a field of text.
    pub fn read_field_strings(&self, field: &Field, ranges: &[Range<u64>]) -> Result<Strings> {
        self.field_of(field)?.read_strings(ranges)
    }

    fn field_of(&self, field: &Field) -> Result<FieldArray> {
        let ArrayOf::Hdf5(records) = &self.of else {
            let (name, path) = (&field.name, self.path());
            bail!("Read field '{name}' of '{path}': It is no compound dataset");
        };
        let shape = [&[self.spec().rows()], field.shape.as_slice()].concat();
        Ok(FieldArray {
            spec: ArraySpec::new(shape, field.dtype.clone()),
            records: records.clone(),
            field: field.clone(),
        })
    }

    /// Hands the rows in `rows` to `take` as they are read, from many threads. False, and nothing was done, where they
    /// do not come as whole rows.
    pub(super) fn each(&self, rows: Range<u64>, take: raw::Take) -> Result<bool> {
        match &self.of {
            ArrayOf::Hdf5(a) => a.each(rows, take),
            ArrayOf::Field(_) => Ok(false),
            ArrayOf::Zarr(a) => a.each(rows, take),
            ArrayOf::Unpacked(a) => a.each(rows, take).map(|()| true),
        }
        .with_context(|| in_element("Read", self.path()))
    }

    /// The same array, decoded once into a file in `scratch`, so that any row can be read by itself.
    pub fn unpacked(&self, scratch: &Path) -> Result<Array> {
        /// Bytes decoded at a time.
        const BLOCK: u64 = 32 << 20;
        let spec = self.spec();
        let mut unpacked = Unpacked::create(scratch, self.path(), spec.clone(), self.attrs()?)?;
        let step = (BLOCK / spec.row_bytes().max(1)).max(1);
        let mut start = 0;
        while start < spec.rows() {
            let end = spec.rows().min(start.saturating_add(step));
            unpacked.append(&self.read(std::slice::from_ref(&(start..end)))?)?;
            start = end;
        }
        Ok(Array::from(ArrayOf::Unpacked(Box::new(unpacked))))
    }

    /// As [`Array::unpacked`], of an array whose values are those of one that is unpacked.
    pub fn unpacked_as(&self, other: &Array) -> Result<Array> {
        let ArrayOf::Unpacked(other) = &other.of else {
            bail!("'{}' is not unpacked", other.path());
        };
        let shared = other.shared(self.path(), self.attrs()?);
        Ok(Array::from(ArrayOf::Unpacked(Box::new(shared))))
    }

    /// What makes values of its chunks, if it is a list; the error says why they are not looked at.
    pub(super) fn recipe(&self) -> Result<Recipe> {
        match &self.of {
            ArrayOf::Hdf5(a) => a.recipe(),
            ArrayOf::Field(_) => bail!("It is a field of a compound dataset"),
            ArrayOf::Zarr(a) => a.recipe(),
            ArrayOf::Unpacked(a) => Ok(a.recipe()),
        }
    }

    /// A chunk as it is stored, in its pieces, none where it is missing; `None` where that cannot be told.
    pub(super) fn stored(&self, chunk: u64) -> Result<Option<Vec<Stored>>> {
        match &self.of {
            ArrayOf::Hdf5(a) => a.stored(chunk).map(Some),
            ArrayOf::Field(_) => Ok(None),
            ArrayOf::Zarr(a) => a.stored(chunk),
            ArrayOf::Unpacked(a) => Ok(Some(a.stored(chunk))),
        }
        .with_context(|| in_element("Read", self.path()))
    }

    /// Whether its values are a field of records, as those of old frames.
    pub fn is_field(&self) -> bool {
        matches!(self.of, ArrayOf::Field(_))
    }

    /// The dataset of an HDF5 file that holds its values; `None` where there is none.
    pub(super) fn in_hdf5(&self) -> Option<&hdf5::Array> {
        match &self.of {
            ArrayOf::Hdf5(a) => Some(a),
            ArrayOf::Field(_) | ArrayOf::Zarr(_) | ArrayOf::Unpacked(_) => None,
        }
    }

    /// Where its values lie, if as they are.
    pub(super) fn extents(&self) -> Option<(&File, &raw::Extents)> {
        match &self.of {
            ArrayOf::Hdf5(a) => a.extents(),
            ArrayOf::Field(_) | ArrayOf::Zarr(_) => None,
            ArrayOf::Unpacked(a) => Some(a.extents()),
        }
    }

    /// Whether any row is read from its place, without decoding.
    pub fn is_placed(&self) -> bool {
        self.extents().is_some()
    }

    /// How its values are stored and read, for the log: `Plain (pieces)`, `Direct (chunks)` or `Library (why)`; of what
    /// is unpacked, `Contiguous (in scratch)`.
    pub fn storage(&self) -> String {
        match &self.of {
            ArrayOf::Hdf5(a) => a.storage(),
            ArrayOf::Field(_) => "Library (a compound dataset)".into(),
            ArrayOf::Zarr(a) => a.storage(),
            ArrayOf::Unpacked(a) => a.storage(),
        }
    }

    /// How its values lie in the file; no value is read.
    pub fn layout(&self) -> Result<StorageInfo> {
        match &self.of {
            ArrayOf::Hdf5(a) => a.layout(),
            ArrayOf::Zarr(a) => a.layout(),
            ArrayOf::Field(_) | ArrayOf::Unpacked(_) => Ok(StorageInfo::default()),
        }
    }

    /// An error where next to nothing of what its shape declares is stored: to read values that were never written,
    /// one after another, may take days.
    pub fn check_declared(&self) -> Result<()> {
        let spec = self.spec();
        // Text has no width: a byte is counted for each.
        let row = spec.row_bytes().max(spec.row_items());
        let declared = row.saturating_mul(spec.rows());
        if declared > limits::UNWRITTEN
            && let Some(stored) = self.layout()?.bytes
        {
            ensure!(
                limits::is_stored(declared, stored, limits::UNWRITTEN),
                "'{}' declares {declared} bytes, next to nothing of which is stored",
                self.path()
            );
        }
        Ok(())
    }

    /// Bytes that must be decoded to reach any one row; 1 where rows can be read by themselves.
    pub fn chunk_bytes(&self) -> u64 {
        match &self.of {
            ArrayOf::Hdf5(a) => a.chunk_bytes(),
            ArrayOf::Field(_) => 1,
            ArrayOf::Zarr(a) => a.chunk_bytes(),
            ArrayOf::Unpacked(a) => a.chunk_bytes(),
        }
    }

    /// Bytes that a read takes while it decodes chunks, besides what it returns.
    pub fn decode_bytes(&self) -> u64 {
        match &self.of {
            ArrayOf::Hdf5(a) => a.decode_bytes(),
            ArrayOf::Zarr(a) => a.decode_bytes(),
            ArrayOf::Field(_) | ArrayOf::Unpacked(_) => 0,
        }
    }
}

impl FieldArray {
    fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<u8>> {
        let read = self.records.read_field(&self.field, ranges);
        read.with_context(|| self.reading())
    }

    fn read_strings(&self, ranges: &[Range<u64>]) -> Result<Strings> {
        let read = self.records.read_field_strings(&self.field, ranges);
        read.and_then(in_utf8).with_context(|| self.reading())
    }

    fn reading(&self) -> String {
        let (name, path) = (&self.field.name, self.records.path());
        format!("Read field '{name}' of '{path}'")
    }
}

impl Masked {
    /// The texts of the rows in `ranges`, those that are missing too.
    fn fill(&self, texts: Strings, ranges: &[Range<u64>]) -> Result<Strings> {
        let mask = self.mask.read(ranges)?;
        let width = self.mask.spec().row_bytes().max(1) as usize;
        let is_missing = |flag: &[u8]| flag.iter().any(|byte| *byte != 0);
        let flags = mask.chunks_exact(width).map(is_missing);
        ensure!(
            flags.len() == texts.len(),
            "'{}' is as long as its values are not",
            self.mask.path()
        );
        let each = texts.iter().zip(flags);
        let filled = each.map(|(text, missing)| if missing { &self.missing } else { text });
        Ok(filled.collect())
    }
}

/// An error with the first of the texts that is not UTF-8, whatever their type says.
fn in_utf8(texts: Strings) -> Result<Strings> {
    let wrong = |text: &&[u8]| str::from_utf8(text).is_err();
    if !texts.bytes.is_ascii()
        && let Some(text) = texts.iter().find(wrong)
    {
        bail!(
            "It holds text that is not UTF-8, the first {}; write it anew as UTF-8",
            quoted(text)
        );
    }
    Ok(texts)
}

/// Bytes as Python shows them, the first of many.
fn quoted(text: &[u8]) -> String {
    const SHOWN: usize = 60;
    let dots = if text.len() > SHOWN { "..." } else { "" };
    format!("b'{}'{dots}", text[..text.len().min(SHOWN)].escape_ascii())
}
