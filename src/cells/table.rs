//! Lines of a `.csv` or `.tsv` file, `.gz` too, in memory that does not depend on what the file holds: a few bytes of a
//! packed file may stand for a line of any length.
//!
//! `csv_core` takes what is there of the input and gives back where it stopped: at the end of a line, or because input,
//! room for bytes or room for fields ran out. Then it is called again with more of that, and goes on where it was. It
//! also passes over empty lines and a byte order mark at the start.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Result, bail, ensure};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::unpacked;
use crate::limits;
use crate::resources::format_size;

/// One line at a time of a table whose lines all have as many fields as the first.
pub struct Lines {
    input: Box<dyn BufRead>,
    parser: Reader,
    /// The fields of the line one after the other, with room for more, and where each ends.
    fields: Vec<u8>,
    ends: Vec<usize>,
    /// Fields of the line.
    count: usize,
    /// Those of the first line, once it is read.
    columns: Option<usize>,
    /// Where the line begins, from 1.
    line: u64,
}

impl Lines {
    /// Tabs part the fields where the name ends in `.tsv` or `.tsv.gz`; else commas do.
    pub fn open(path: &Path) -> Result<Lines> {
        let file = BufReader::with_capacity(1 << 18, File::open(path)?);
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().to_lowercase();
        let tabs = name.trim_end_matches(".gz").ends_with(".tsv");
        let delimiter = if tabs { b'\t' } else { b',' };
        Ok(Lines {
            input: unpacked(file)?,
            parser: ReaderBuilder::new().delimiter(delimiter).build(),
            fields: vec![0; 1 << 12],
            ends: vec![0; 1 << 6],
            count: 0,
            columns: None,
            line: 0,
        })
    }

    /// Reads the next line that is not empty; whether there is one.
    ///
    /// # Errors
    /// A line that is longer than any that means something, or has more or fewer fields than the first.
    pub fn advance(&mut self) -> Result<bool> {
        self.line = self.parser.line();
        let (mut written, mut count) = (0, 0);
        loop {
            let input = self.input.fill_buf()?;
            let (fields, ends) = (&mut self.fields[written..], &mut self.ends[count..]);
            let (result, read, bytes, more) = self.parser.read_record(input, fields, ends);
            self.input.consume(read);
            (written, count) = (written + bytes, count + more);
            match result {
                // At the end of the file the next input is empty, which tells the parser to end the last line.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.widen()?,
                ReadRecordResult::OutputEndsFull => self.add_columns()?,
                ReadRecordResult::End => return Ok(false),
                ReadRecordResult::Record => break,
            }
        }
        self.count = count;
        let columns = *self.columns.get_or_insert(count);
        ensure!(
            count == columns,
            "Line {} has {count} fields, and the first line has {columns}",
            self.line
        );
        Ok(true)
    }

    /// Makes room for a longer line.
    fn widen(&mut self) -> Result<()> {
        ensure!(
            self.fields.len() < limits::LINE,
            "Line {} is longer than {}; is a quotation mark missing?",
            self.line,
            format_size(limits::LINE as u64)
        );
        self.fields.resize(2 * self.fields.len(), 0);
        Ok(())
    }

    /// Makes room for more columns in the first line.
    fn add_columns(&mut self) -> Result<()> {
        // Room for one field more than there may be, so that one too many is seen.
        let most = self.columns.unwrap_or(limits::FIELDS);
        if self.ends.len() > most {
            match self.columns {
                Some(columns) => bail!(
                    "Line {} has more fields than the first line, which has {columns}",
                    self.line
                ),
                None => bail!("Line {} has more than {most} fields", self.line),
            }
        }
        self.ends.resize((2 * self.ends.len()).min(most + 1), 0);
        Ok(())
    }

    /// Where the line begins, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// How many fields the line has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// A field of the line. `at` is less than [`count`](Self::count); an error where it is longer than any name or
    /// value.
    pub fn field(&self, at: usize) -> Result<&[u8]> {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        let field = &self.fields[start..self.ends[at]];
        ensure!(
            field.len() <= limits::FIELD,
            "Line {} has a field of more than {}",
            self.line,
            format_size(limits::FIELD as u64)
        );
        Ok(field)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn opened(dir: &Path, name: &str, bytes: &[u8]) -> Lines {
        fs::write(dir.join(name), bytes).unwrap();
        Lines::open(&dir.join(name)).unwrap()
    }

    fn all(lines: &mut Lines) -> Result<Vec<Vec<Vec<u8>>>> {
        let mut read = vec![];
        while lines.advance()? {
            let fields = (0..lines.count()).map(|at| lines.field(at).map(<[u8]>::to_vec));
            read.push(fields.collect::<Result<_>>()?);
        }
        Ok(read)
    }

    #[test]
    fn tables_are_read_packed_or_not_with_commas_or_tabs() {
        let dir = tempfile::tempdir().unwrap();
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        packed.write_all(b"id\tkind\nc1\ta,b\n").unwrap();
        for (name, bytes) in [
            (
                "t.csv",
                b"\xef\xbb\xbfid,kind\r\n\r\nc1,\"a,b\"\r\n".to_vec(),
            ),
            ("t.tsv", b"id\tkind\nc1\ta,b".to_vec()),
            ("t.tsv.gz", packed.finish().unwrap()),
        ] {
            let read = all(&mut opened(dir.path(), name, &bytes)).unwrap();
            assert_eq!(
                read,
                [
                    [b"id".to_vec(), b"kind".into()],
                    [b"c1".into(), b"a,b".into()]
                ]
            );
        }
        let wide = vec!["name"; 5000].join(",") + "\n" + &vec!["1"; 5000].join(",");
        let read = all(&mut opened(dir.path(), "wide.csv", wide.as_bytes())).unwrap();
        assert!(read.iter().map(Vec::len).eq([5000, 5000]));
    }

    #[test]
    fn lines_are_bounded_whatever_they_hold() {
        let dir = tempfile::tempdir().unwrap();
        let long = |byte: u8, n: usize| vec![byte; n];
        let cases = [
            (
                [b"a,b\n1,2\n".to_vec(), long(b',', 100)].concat(),
                "Line 3 has more fields",
            ),
            (b"a,b\n1\n".to_vec(), "Line 2 has 1 fields"),
            (b"a,b\n1,2,3\n".to_vec(), "Line 2 has 3 fields"),
            (long(b',', 2 << 20), "Line 1 has more than 1048576 fields"),
            (long(b'x', 17 << 20), "Line 1 is longer than 17 MB"),
            (
                [b"a,b\n1,\"2\n".to_vec(), long(b'\n', 17 << 20)].concat(),
                "Line 2 is longer",
            ),
            (
                [b"a,b\n1,".to_vec(), long(b'x', 2 << 20)].concat(),
                "Line 2 has a field",
            ),
        ];
        for (bytes, told) in cases {
            let error = all(&mut opened(dir.path(), "t.csv", &bytes)).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
