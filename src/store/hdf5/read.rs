//! Reading a dataset: past the library where its storage allows, else through it.
//!
//! The library decodes under its global lock, on one thread. So the list of chunks is taken from it once, and the
//! pool reads and decodes them; contiguous data is read from its address. Everything else goes through `H5Dread`.
//! Text of any length is stored as references in such an array; `heap.rs` takes them to the text.

use std::fs::File;
use std::ops::Range;
use std::slice::from_ref;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, bail, ensure};
use hdf5_sys::h5t::H5T_cset_t;
use tracing::debug;

use super::datasets;
use super::ffi::{self, Dataset};
use super::format::heap::{self, Heap};
use super::guard::{claims, external};
use super::storage::{Storage, VIRTUAL};
use super::{Id, OpenFile, values, virtual_dataset};
use crate::limits;
use crate::store::StorageInfo;
use crate::store::io::raw;
use crate::store::io::stored::{self, Recipe, Stored};
use crate::store::spec::{ArraySpec, Attrs, ByteOrder, Dtype, Field, Strings};

pub struct Array {
    id: Id,
    /// By which it was opened: the library's own is that in another file where a link leads there.
    path: String,
    spec: ArraySpec,
    file: Arc<OpenFile>,
    /// Looked at when values are first asked for: many nodes are opened for their shape or attributes alone.
    storage: OnceLock<Storage>,
    /// Where its text lies, if it is text of any length.
    heap: OnceLock<Arc<Heap>>,
    /// Set once its text was seen to claim no more than the file holds.
    claims: OnceLock<()>,
}

/// Ranges of rows that the library is asked for at once: each call costs as much as the reading of many values, and with
/// the ranges the time grows that it takes to take them apart.
const TOGETHER: usize = 512;

impl Array {
    pub(super) fn open(id: Id, path: String, file: Arc<OpenFile>) -> Result<Array> {
        let spec = datasets::spec(&id)?;
        Ok(Array {
            id,
            path,
            spec,
            file,
            storage: OnceLock::new(),
            heap: OnceLock::new(),
            claims: OnceLock::new(),
        })
    }

    pub fn path(&self) -> String {
        self.path.clone()
    }

    pub(super) fn id(&self) -> &Id {
        &self.id
    }

    pub fn spec(&self) -> &ArraySpec {
        &self.spec
    }

    pub fn attrs(&self) -> Result<Attrs> {
        let path = self.path();
        self.file.at(&path);
        super::attrs(&self.id, &self.file)
            .with_context(|| format!("Read the attributes of '{path}'"))
    }

    pub fn says_ascii(&self) -> bool {
        let says = |of: Id| ffi::charset(&of) == H5T_cset_t::H5T_CSET_ASCII;
        self.spec.dtype.is_string() && ffi::type_of(&self.id).is_ok_and(says)
    }

    pub fn attr_names(&self) -> Result<Vec<String>> {
        let path = self.path();
        self.file.at(&path);
        let names = ffi::attr_names(&self.id)
            .with_context(|| format!("Read the attributes of '{path}'"))?;
        let text = |name: Vec<u8>| String::from_utf8_lossy(&name).into_owned();
        Ok(names.into_iter().map(text).collect())
    }

    pub fn storage(&self) -> String {
        match self.reach() {
            Ok(Storage::Direct(c)) => format!("Direct ({} chunks)", c.index.len()),
            Ok(Storage::Plain(extents, _)) => format!("Plain ({} pieces)", extents.count()),
            Ok(Storage::Virtual(_)) => format!("Library ({VIRTUAL})"),
            Ok(Storage::Library(why)) => format!("Library ({why})"),
            Err(error) => format!("Unreadable ({error:#})"),
        }
    }

    pub fn layout(&self) -> Result<StorageInfo> {
        let (layout, filters) = datasets::storage(&self.id)
            .with_context(|| format!("Read how '{}' is stored", self.path()))?;
        let name = |(id, _, name): (u32, _, String)| match (id, name) {
            (1, _) => "gzip".into(),
            (_, name) if !name.is_empty() => name,
            (id, _) => format!("filter {id}"),
        };
        // What a virtual dataset takes lies elsewhere.
        let is_virtual = layout == datasets::StorageClass::Virtual;
        Ok(StorageInfo {
            chunk: match layout {
                datasets::StorageClass::Chunked(chunk) => Some(chunk),
                _ => None,
            },
            filters: filters.into_iter().map(name).collect(),
            big_endian: matches!(
                self.spec.dtype,
                Dtype::Number {
                    order: ByteOrder::Big,
                    size: 2..,
                    ..
                }
            ),
            files: is_virtual
                .then(|| external::source_files(&self.id))
                .transpose()?,
            bytes: (!is_virtual).then(|| ffi::stored_bytes(&self.id)),
        })
    }

    /// Where its values lie, if as they are.
    pub fn extents(&self) -> Option<(&File, &raw::Extents)> {
        match self.reach() {
            _ if self.spec.dtype == Dtype::String => None,
            Ok(Storage::Plain(extents, file)) => Some((file, extents)),
            _ => None,
        }
    }

    pub fn recipe(&self) -> Result<Recipe> {
        match self.reach()? {
            Storage::Direct(chunked) => Ok(chunked.recipe()),
            Storage::Plain(..) => Ok(Recipe::plain(self.spec.row_bytes())),
            Storage::Virtual(_) => bail!("It is {VIRTUAL}"),
            Storage::Library(why) => bail!("The library reads it, because of {why}"),
        }
    }

    pub fn stored(&self, chunk: u64) -> Result<Vec<Stored>> {
        match self.reach()? {
            Storage::Direct(chunked) => Ok(chunked.stored(chunk)),
            Storage::Plain(extents, file) => {
                let rows = self.recipe()?.rows_of(chunk, self.spec.rows());
                let row = self.spec.row_bytes();
                Ok(stored::plain(file, extents, rows, row))
            }
            Storage::Virtual(_) | Storage::Library(_) => bail!("It has no chunks"),
        }
    }

    pub fn chunk_bytes(&self) -> u64 {
        match self.reach() {
            Ok(Storage::Direct(c)) => c.grid.kept_bytes(),
            // To be read once.
            // More than 1 unpacks it before rows are taken in another order (`rows/leaf.rs`).
            Ok(Storage::Virtual(_)) => 2,
            _ => 1,
        }
    }

    pub fn decode_bytes(&self) -> u64 {
        match self.reach() {
            Ok(Storage::Direct(c)) => c.grid.decode_bytes(),
            Ok(Storage::Virtual(_)) => virtual_dataset::READING,
            _ => 0,
        }
    }

    /// For the library to read from.
    fn dataset(&self) -> Result<Dataset<'_>> {
        let sources = match self.reach()? {
            Storage::Virtual(sources) => Some(&**sources),
            _ => None,
        };
        let id = &self.id;
        Ok(Dataset { id, sources })
    }

    fn reach(&self) -> Result<&Storage> {
        if let Some(found) = self.storage.get() {
            return Ok(found);
        }
        // Several threads may look at the same time. What they find is the same, and that of the first is kept.
        let found = Storage::find(&self.id, &self.spec, &self.file)?;
        Ok(self.storage.get_or_init(|| found))
    }

    /// An error where its text, which the library is to read, claims more than the file.
    fn check_claims(&self) -> Result<()> {
        if self.claims.get().is_none() {
            if let Some(heap) = self.file.heap(&self.id)? {
                claims::check_dataset(&self.id, &heap)?;
            }
            let _ = self.claims.set(());
        }
        Ok(())
    }

    /// Copies all its records to a new dataset.
    pub fn copy_records(&self, to: &Id, new_name: &str) -> Result<Id> {
        self.check(from_ref(&(0..self.spec.rows())))?;
        self.check_claims()?;
        values::copy_records(self.dataset()?, to, new_name, &self.spec)
    }

    pub fn read_into(&self, ranges: &[Range<u64>], dst: &mut [u8]) -> Result<()> {
        self.check(ranges)?;
        match &self.spec.dtype {
            Dtype::String => bail!("Text of any length is no row of bytes"),
            Dtype::Unsupported(why) => bail!("It cannot be read: {why}"),
            dtype if dtype.is_record_with_text() => bail!("Records with text are no rows of bytes"),
            _ => {}
        }
        match self.reach()? {
            Storage::Direct(chunked) => chunked.read(ranges, dst),
            Storage::Plain(extents, file) => extents.read(file, ranges, dst),
            Storage::Virtual(_) => self.read_by_library(VIRTUAL, ranges, dst),
            Storage::Library(why) => self.read_by_library(why, ranges, dst),
        }
    }

    /// Hands rows to `take` as they are read, from many threads. False, and nothing was done, where chunks hold parts
    /// of rows, and where the library alone reads them.
    pub fn each(&self, rows: Range<u64>, take: raw::Take) -> Result<bool> {
        self.check_rows(from_ref(&rows))?;
        match self.reach()? {
            Storage::Direct(chunked) => chunked.each(rows, take),
            Storage::Plain(extents, file) => extents.each(file, rows, take).map(|()| true),
            Storage::Virtual(_) | Storage::Library(_) => Ok(false),
        }
    }

    pub fn read_field(&self, field: &Field, ranges: &[Range<u64>]) -> Result<Vec<u8>> {
        self.check(ranges)?;
        let size = field.bytes();
        let mut bytes = vec![];
        for rows in ranges.chunks(TOGETHER) {
            let from = bytes.len();
            bytes.resize(from + count(rows) as usize * size, 0);
            values::read_field(self.dataset()?, field, rows, &mut bytes[from..])?;
        }
        Ok(bytes)
    }

    pub fn read_field_strings(&self, field: &Field, ranges: &[Range<u64>]) -> Result<Strings> {
        if let Dtype::FixedString { size } = field.dtype {
            return Ok(values::unpad(&self.read_field(field, ranges)?, size));
        }
        self.check(ranges)?;
        ensure!(
            field.shape.is_empty(),
            "Text of any length in an array of a compound"
        );
        self.check_claims()?;
        self.read_texts_by_library(Some(field), ranges)
    }

    /// Before each read: its rows are there, its storage is safe, and what it returns is no mere claim.
    fn check(&self, ranges: &[Range<u64>]) -> Result<()> {
        self.check_rows(ranges)?;
        self.reach()?;
        self.check_memory(ranges)
    }

    fn check_rows(&self, ranges: &[Range<u64>]) -> Result<()> {
        let end = ranges.last().map_or(0, |r| r.end);
        let rows = self.spec.rows();
        ensure!(end <= rows, "Row {end} of an array of {rows} rows");
        self.spec.check_size()
    }

    /// An error where rows take more than memory, but next to nothing in the file: a header claims them.
    fn check_memory(&self, ranges: &[Range<u64>]) -> Result<()> {
        let rows = count(ranges);
        let spec = &self.spec;
        let row = match spec.dtype.size() {
            // Text, as the library hands it over: pointers and what they lead to.
            0 => spec.row_items().saturating_mul(16),
            _ => spec.row_bytes(),
        };
        let bytes = rows.saturating_mul(row);
        ensure!(
            bytes <= self.file.memory || limits::is_stored(bytes, ffi::stored_bytes(&self.id), 0),
            "Rows of {row} bytes, next to nothing of which is in the file"
        );
        Ok(())
    }

    /// `why` not past it.
    fn read_by_library(&self, why: &str, ranges: &[Range<u64>], dst: &mut [u8]) -> Result<()> {
        let row = self.spec.row_bytes() as usize;
        let mut rest = dst;
        for rows in ranges.chunks(TOGETHER) {
            let len = count(rows) as usize * row;
            ensure!(len <= rest.len(), "A read into too few bytes");
            let (head, tail) = rest.split_at_mut(len);
            values::read_rows(self.dataset()?, &self.spec.dtype, rows, head)
                .with_context(|| format!("Read through the HDF5 library, because of {why}"))?;
            rest = tail;
        }
        Ok(())
    }

    pub fn read_strings(&self, ranges: &[Range<u64>]) -> Result<Strings> {
        self.check(ranges)?;
        if let Dtype::FixedString { size } = self.spec.dtype {
            let rows = count(ranges);
            let mut bytes = vec![0; (rows * self.spec.row_bytes()) as usize];
            self.read_into(ranges, &mut bytes)?;
            return Ok(values::unpad(&bytes, size));
        }
        ensure!(
            self.spec.dtype == Dtype::String,
            "It holds {}, not text",
            self.spec.dtype
        );
        // What is not as the format has it is left to the library, but no text that claims more than the file.
        self.read_heap(ranges).or_else(|why| {
            if why.is::<heap::Claimed>() {
                return Err(why);
            }
            debug!("'{}' through the library: {why:#}", self.path());
            self.check_claims()?;
            self.read_texts_by_library(None, ranges)
        })
    }

    /// Text past the library; an error where that cannot be.
    pub(super) fn read_heap(&self, ranges: &[Range<u64>]) -> Result<Strings> {
        let row = self.spec.row_items().saturating_mul(heap::REFERENCE as u64);
        let rows = count(ranges);
        let len = usize::try_from(rows.saturating_mul(row))?;
        let mut references = vec![];
        references.try_reserve_exact(len)?;
        references.resize(len, 0);
        match self.reach()? {
            Storage::Direct(chunked) => {
                // Their values are the fill value, which may be a text.
                ensure!(chunked.has_all(self.spec.rows()), "chunks are missing");
                chunked.read(ranges, &mut references)?;
            }
            Storage::Plain(extents, file) => extents.read(file, ranges, &mut references)?,
            Storage::Virtual(_) => bail!("{VIRTUAL}"),
            Storage::Library(why) => bail!("{why}"),
        }
        self.heap()?.read(&references)
    }

    fn heap(&self) -> Result<&Heap> {
        if let Some(heap) = self.heap.get() {
            return Ok(heap);
        }
        let heap = self.file.heap(&self.id)?;
        let heap = heap.context("its file is written, or has addresses of other than 8 bytes")?;
        Ok(self.heap.get_or_init(|| heap))
    }

    /// Of `field`, where it holds records.
    fn read_texts_by_library(
        &self,
        field: Option<&Field>,
        ranges: &[Range<u64>],
    ) -> Result<Strings> {
        let mut all = Strings::default();
        for rows in ranges.chunks(TOGETHER) {
            let part = values::read_strings(self.dataset()?, &self.spec.shape, field, rows)?;
            part.iter().for_each(|text| all.push(text));
        }
        Ok(all)
    }
}

fn count(rows: &[Range<u64>]) -> u64 {
    rows.iter().map(|range| range.end - range.start).sum()
}
