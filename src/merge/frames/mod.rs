//! Dataframes over cells in merge: the rows of many frames one after another.
//!
//! The frames are told one by one, twice: [`FrameScan`] learns what the merged frame will be, [`MergedRows`] takes the
//! rows. The columns are those of all frames in order of first appearance; [`unify`](crate::frame::unify) says what
//! each becomes.

mod head;

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use tracing::warn;

pub use self::head::{Head, Index};
use crate::anndata::elements::MissingText;
use crate::frame::dataframe::Frame;
use crate::frame::plain::Writer;
use crate::frame::survey::Survey;
use crate::frame::unify::ColumnPlan;
use crate::store::Group;
use crate::store::spec::Strings;

/// What is known of the frames at one path.
#[derive(Default)]
pub struct FrameScan {
    head: Head,
    /// By the columns of the head.
    columns: Vec<Survey>,
    /// Which columns are to be told once more, and whether that has begun.
    open: Option<Vec<bool>>,
    /// How many categories a column may have, where there is a limit.
    most_categories: Option<u64>,
}

impl FrameScan {
    /// Columns that come to more than `most` categories become plain.
    pub fn with_limit(most: u64) -> FrameScan {
        FrameScan {
            most_categories: Some(most),
            ..FrameScan::default()
        }
    }

    /// Tells of the frame of the next input that has one, with as many rows as it has cells.
    pub fn add(&mut self, frame: &Frame, cells: u64) -> Result<()> {
        ensure!(
            frame.rows() == cells,
            "It has {} rows, obs has {cells}",
            frame.rows()
        );
        // Frames may have their columns in any order; surveys are found by name.
        let places = self.head.add(frame)?;
        self.columns.resize_with(self.head.columns().len(), || {
            Survey::with_limit(self.most_categories)
        });
        for (name, at) in frame.columns.iter().zip(places) {
            let column = frame.find(name)?.context("It is missing")?;
            self.columns[at]
                .add(&column)
                .with_context(|| format!("Column '{name}'"))?;
        }
        Ok(())
    }

    /// Whether values must be looked at to decide, for `rows` rows in all. If so, all frames are to be told to
    /// [`FrameScan::look`].
    pub fn reopen(&mut self, rows: u64) -> bool {
        let columns = self.columns.iter_mut();
        let open: Vec<bool> = columns.map(|c| c.reopen(c.rows < rows)).collect();
        let any = open.contains(&true);
        self.open = Some(open);
        any
    }

    /// Looks at the values of those columns that types alone do not decide.
    pub fn look(&mut self, frame: &Frame) -> Result<()> {
        let open = self.open.iter().flatten();
        let named = self.head.columns().iter().zip(open);
        for ((name, open), survey) in named.zip(&mut self.columns) {
            if *open && let Some(column) = frame.find(name)? {
                survey
                    .look(&column)
                    .with_context(|| format!("Column '{name}'"))?;
            }
        }
        Ok(())
    }

    /// Tells that the names of rows will be others than those of the inputs: an index that is a column too stays that
    /// alone.
    pub fn rename(&mut self) {
        self.head.rename();
    }

    /// Columns that the merged frame will have.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Creates the merged frame, for `rows` rows, with a column of labels in place of one of the same name; `texts` as for
    /// [`ColumnPlan::plain`].
    pub fn create(
        mut self,
        out: &Group,
        path: &str,
        rows: u64,
        labels: Option<&Labels>,
        texts: Option<&MissingText>,
    ) -> Result<MergedRows> {
        if let Some(labels) = labels {
            if self.head.add_column(&labels.column) {
                let column = &labels.column;
                warn!("'{path}/{column}' of the inputs is replaced by the label of the source");
            }
            self.columns
                .resize_with(self.head.columns().len(), Survey::default);
        }
        let index = self.head.create(out, path)?;
        let mut columns = vec![];
        for (name, survey) in self.head.columns().iter().zip(self.columns) {
            if *name == index {
                continue;
            }
            let to = format!("{path}/{name}");
            if let Some(labels) = labels.filter(|labels| labels.column == *name) {
                let plan = ColumnPlan::of_keys(&labels.keys)?;
                let writer = plan.create(out, &to, rows)?;
                columns.push(MergedColumn {
                    name: name.clone(),
                    labels: true,
                    plan,
                    writer,
                });
                continue;
            }
            // Some input has no such column, or no such frame.
            let absent = survey.rows < rows;
            let plan =
                ColumnPlan::of(survey, absent, &to).with_context(|| format!("Merge '{to}'"))?;
            let plan = plan.plain(texts, &to)?;
            let writer = plan.create(out, &to, rows)?;
            columns.push(MergedColumn {
                name: name.clone(),
                labels: false,
                plan,
                writer,
            });
        }
        let to = format!("{path}/{index}");
        Ok(MergedRows {
            path: path.into(),
            index: self.head.create_index(out, &to, rows)?,
            columns,
        })
    }
}

/// A column that tells the source of each row.
pub struct Labels {
    pub column: String,
    /// The name of each input.
    pub keys: Vec<String>,
}

/// A merged frame that is being written, all columns at once.
pub struct MergedRows {
    path: String,
    index: Index,
    columns: Vec<MergedColumn>,
}

struct MergedColumn {
    name: String,
    /// Whether it tells the source, rather than what the inputs have.
    labels: bool,
    plan: ColumnPlan,
    writer: Writer,
}

/// Where rows come from.
pub struct Origin<'a> {
    pub obs: &'a Frame,
    /// The number of the input.
    pub input: usize,
    /// What is put after each name of its cells.
    pub suffix: &'a str,
}

impl Origin<'_> {
    /// Some names of the cells of the result.
    fn names(&self, rows: Range<u64>) -> Result<Strings> {
        let names = self.obs.index_rows(rows)?;
        if self.suffix.is_empty() {
            return Ok(names);
        }
        let mut longer = Strings::default();
        for name in names.iter() {
            longer.push(&[name, self.suffix.as_bytes()].concat());
        }
        Ok(longer)
    }
}

impl MergedRows {
    /// Appends the frame of an input. `None` is one that lacks it: its rows are missing in every column. The names are
    /// those of the cells; `told` gets to see them. An input is appended whole: first its names, then column after
    /// column, each block by block.
    pub fn append(
        &mut self,
        frame: Option<&Frame>,
        origin: &Origin,
        mut told: impl FnMut(&Strings) -> Result<()>,
    ) -> Result<()> {
        let cells = origin.obs.rows();
        let found = frame.map_or(cells, Frame::rows);
        ensure!(
            found == cells,
            "'{}' has {found} rows, obs has {cells}",
            self.path
        );
        for rows in origin.obs.index_blocks()? {
            let names = origin.names(rows)?;
            told(&names)?;
            self.index.append(names)?;
        }
        for column in &mut self.columns {
            let context = format!("'{}/{}'", self.path, column.name);
            column.append(frame, origin).context(context)?;
        }
        Ok(())
    }

    pub fn finish(self) -> Result<()> {
        self.index.finish()?;
        let mut columns = self.columns.into_iter();
        columns.try_for_each(|column| column.writer.finish())
    }
}

impl MergedColumn {
    fn append(&mut self, frame: Option<&Frame>, origin: &Origin) -> Result<()> {
        /// Rows written at a time that are not read.
        const BLOCK: u64 = 1 << 20;
        let column = match frame {
            Some(frame) if !self.labels => frame.find(&self.name)?,
            _ => None,
        };
        let Some(column) = column else {
            let cells = origin.obs.rows();
            for start in (0..cells).step_by(BLOCK as usize) {
                let rows = (cells - start).min(BLOCK) as usize;
                self.writer.append(&if self.labels {
                    self.plan.repeat(origin.input, rows)?
                } else {
                    self.plan.missing(rows)?
                })?;
            }
            return Ok(());
        };
        let conversion = self.plan.conversion(&column)?;
        for rows in column.blocks()? {
            self.writer.append(&conversion.read(rows)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
