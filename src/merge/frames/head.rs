//! The index and the list of columns of a merged frame.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};

use crate::frame::dataframe::Frame;
use crate::frame::plain::Writer;
use crate::frame::survey::Survey;
use crate::frame::unify::ColumnPlan;
use crate::frame::values::{Data, Values};
use crate::store::Group;
use crate::store::spec::{Attr, Attrs, Dtype, Strings};

/// What the frames that were added say of the index and the columns.
#[derive(Default)]
pub struct Head {
    /// The name of the index of the first; `None` before it.
    index: Option<String>,
    /// Whether all have that name, and whether all list the index as a column too.
    agreed: bool,
    shared: bool,
    /// Whether the index of all has a mask; then what is known of it.
    masked: bool,
    indexes: Survey,
    columns: Vec<String>,
    places: HashMap<String, usize>,
}

impl Head {
    /// Adds the next frame; returns the places of its columns.
    pub fn add(&mut self, frame: &Frame) -> Result<Vec<usize>> {
        let first = self.index.get_or_insert_with(|| {
            (self.agreed, self.shared, self.masked) = (true, true, true);
            frame.index_name.clone()
        });
        self.agreed &= *first == frame.index_name;
        self.shared &= frame.lists_index();
        self.masked &= frame.has_masked_index();
        if self.masked {
            self.indexes.add(frame.index_column())?;
        }
        let place = |name: &String| match self.places.get(name) {
            Some(at) => *at,
            None => {
                self.places.insert(name.clone(), self.columns.len());
                self.columns.push(name.clone());
                self.columns.len() - 1
            }
        };
        Ok(frame.columns.iter().map(place).collect())
    }

    /// Adds a column that is not the index of any frame; whether they have one of that name.
    pub fn add_column(&mut self, name: &str) -> bool {
        self.shared &= self.index.as_deref() != Some(name);
        let known = self.places.contains_key(name);
        if !known {
            self.places.insert(name.into(), self.columns.len());
            self.columns.push(name.into());
        }
        known
    }

    /// The index is no longer what any frame lists as a column.
    pub fn rename(&mut self) {
        self.shared = false;
    }

    /// The columns of all frames in order of first appearance; one of them may be the index too.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Leaves out the columns that are not `wanted`.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.columns.retain(|name| wanted(name));
        let named = self.columns.iter().cloned();
        self.places = named.zip(0..).collect();
        let index = self.index.as_ref();
        self.shared &= index.is_some_and(|index| self.places.contains_key(index));
    }

    /// Creates the group of the merged frame; returns the name of its index.
    pub fn create(&self, out: &Group, path: &str) -> Result<String> {
        let index = self.index_name().with_context(|| format!("'{path}'"))?;
        let attrs = Attrs::encoding("dataframe", "0.2.0")
            .with("_index", Attr::Text(index.into()))
            .with("column-order", Attr::texts(self.columns.clone()));
        out.create_group(path, &attrs)?;
        Ok(index.into())
    }

    /// The index keeps its name where all frames agree and no column has it. An index that is a column too, in all
    /// frames, stays both.
    fn index_name(&self) -> Result<&str> {
        /// As anndata calls an index without a name.
        const UNNAMED: &str = "_index";
        let first = self.index.as_ref().context("No input has it")?;
        let shared = self.agreed && self.shared;
        let index = if self.agreed && (shared || !self.places.contains_key(first)) {
            first.as_str()
        } else {
            UNNAMED
        };
        ensure!(
            shared || !self.places.contains_key(index),
            "A column has the name '{UNNAMED}', which is kept for the index; rename it"
        );
        Ok(index)
    }

    /// Creates the index: text, with a mask where every input has one (as pandas 3 makes it).
    pub fn create_index(self, out: &Group, path: &str, rows: u64) -> Result<Index> {
        let plan = if self.masked {
            ColumnPlan::of(self.indexes, false, path)?
        } else {
            ColumnPlan::of_type(Dtype::String)
        };
        Ok(Index(plan.create(out, path, rows)?))
    }
}

/// The index of a merged frame that is being written.
pub struct Index(Writer);

impl Index {
    pub fn append(&mut self, names: Strings) -> Result<()> {
        self.0.append(&Values {
            missing: vec![false; names.len()],
            data: Data::Text(names),
        })
    }

    pub fn finish(self) -> Result<()> {
        self.0.finish()
    }
}
