//! Dataframes over cells in merge: the rows of many frames one after another.
//!
//! The frames are told one by one, twice: [`Scan`] learns what the merged frame will be, [`Rows`] takes the rows. The
//! columns are those of all frames in order of first appearance; [`unify`](super::unify) says what each becomes.

mod head;

use anyhow::{Context, Result, ensure};

use super::frame::Frame;
use super::survey::Survey;
use super::unify::{Plan, Writer};
use crate::store::Group;
pub use head::{Head, Index};

/// What is known of the frames at one path.
#[derive(Default)]
pub struct Scan {
    head: Head,
    /// By the columns of the head.
    columns: Vec<Survey>,
    /// Which columns are to be told once more, and whether that has begun.
    open: Option<Vec<bool>>,
}

impl Scan {
    /// Tells of the frame of the next input that has one, with as many rows as it has cells.
    pub fn add(&mut self, frame: &Frame, cells: u64) -> Result<()> {
        ensure!(
            frame.rows() == cells,
            "It has {} rows, obs has {cells}",
            frame.rows()
        );
        let places = self.head.add(frame)?;
        self.columns
            .resize_with(self.head.columns().len(), Survey::default);
        for (name, at) in frame.columns.iter().zip(places) {
            let column = frame.find(name)?.context("It is missing")?;
            self.columns[at]
                .add(&column)
                .with_context(|| format!("Column '{name}'"))?;
        }
        Ok(())
    }

    /// Whether values must be looked at to decide, for `rows` rows in all. If so, all frames are to be told to
    /// [`Scan::look`].
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

    /// Creates the merged frame, for `rows` rows.
    pub fn create(self, out: &Group, path: &str, rows: u64) -> Result<Rows> {
        let index = self.head.create(out, path)?;
        let mut columns = vec![];
        for (name, survey) in self.head.columns().iter().zip(self.columns) {
            if *name == index {
                continue;
            }
            let to = format!("{path}/{name}");
            let absent = survey.rows < rows;
            let plan = Plan::of(survey, absent, &to).with_context(|| format!("Merge '{to}'"))?;
            let writer = plan.create(out, &to, rows)?;
            columns.push(Merged {
                name: name.clone(),
                plan,
                writer,
            });
        }
        let to = format!("{path}/{index}");
        Ok(Rows {
            path: path.into(),
            index: self.head.create_index(out, &to, rows)?,
            columns,
        })
    }
}

/// A merged frame that is being written, all columns at once.
pub struct Rows {
    path: String,
    index: Index,
    columns: Vec<Merged>,
}

struct Merged {
    name: String,
    plan: Plan,
    writer: Writer,
}

impl Rows {
    /// Appends the frame of the next input. `None` is an input that lacks it: its rows are missing in every column.
    /// The index is that of `obs`.
    pub fn append(&mut self, frame: Option<&Frame>, obs: &Frame) -> Result<()> {
        let (found, cells) = (frame.map_or(obs.rows(), Frame::rows), obs.rows());
        ensure!(
            found == cells,
            "'{}' has {found} rows, obs has {cells}",
            self.path
        );
        for rows in obs.index_blocks()? {
            self.index.append(obs.index_rows(rows)?)?;
        }
        for column in &mut self.columns {
            let context = format!("'{}/{}'", self.path, column.name);
            column.append(frame, cells).context(context)?;
        }
        Ok(())
    }

    pub fn finish(self) -> Result<()> {
        self.index.finish()?;
        let mut columns = self.columns.into_iter();
        columns.try_for_each(|column| column.writer.finish())
    }
}

impl Merged {
    fn append(&mut self, frame: Option<&Frame>, cells: u64) -> Result<()> {
        /// Missing values written at a time.
        const BLOCK: u64 = 1 << 20;
        let column = match frame {
            Some(frame) => frame.find(&self.name)?,
            None => None,
        };
        let Some(column) = column else {
            for start in (0..cells).step_by(BLOCK as usize) {
                let missing = self.plan.missing((cells - start).min(BLOCK) as usize)?;
                self.writer.append(&missing)?;
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
