//! Dataframes over genes in merge: each gene takes its value of a column from the first input that has both.
//!
//! The frames are told one by one. Of each only the values are held that no input before it had.
//!
//! Columns are united as those of obs are ([`Survey`], [`ColumnPlan`]), but in memory: genes are few beside cells. Each
//! input that adds values to a column is a piece of it, and a gene of the result is a place in one piece. Also here is
//! the dataframe of a single input put on the joined genes, for varm.

use anyhow::{Context, Result, ensure};

use super::chosen::ChosenGenes;
use super::frames::Head;
use super::join::{Join, Joined, Joiner};
use crate::anndata::elements::MissingText;
use crate::frame::column::{Column, ColumnKind};
use crate::frame::dataframe::Frame;
use crate::frame::survey::Survey;
use crate::frame::unify::ColumnPlan;
use crate::frame::values::{Data, Values};
use crate::store::Group;

/// The frames at one path ("var", "raw/var") that were told so far.
pub struct Genes {
    joiner: Joiner,
    head: Head,
    /// By the columns of the head.
    columns: Vec<Picked>,
    /// Each column is that of one input alone: the first that has it. So it is with every `--var-merge` but first: what
    /// is kept there is alike in all inputs that have it.
    alone: bool,
}

/// The values of one column.
#[derive(Default)]
struct Picked {
    /// Of the columns of those inputs from which values were taken.
    survey: Survey,
    pieces: Vec<GeneValues>,
    /// Whether a gene has its value, by number. Genes beyond its end have none.
    taken: Vec<bool>,
}

/// Values of some genes, from one input.
struct GeneValues {
    /// The numbers of the genes.
    genes: Vec<u32>,
    values: Values,
    /// Where the column is categorical, all its categories. Those that no gene has count too, and `values` are
    /// categories, not codes.
    categories: Option<Values>,
}

impl Genes {
    pub fn new(how: Join, alone: bool) -> Genes {
        Genes {
            alone,
            joiner: Joiner::new(how),
            head: Head::default(),
            columns: vec![],
        }
    }

    /// Adds the frame of the next input; `file` is its name for messages.
    pub fn add(&mut self, frame: &Frame, file: &str) -> Result<()> {
        let genes = self.joiner.add(&frame.index()?, file)?;
        let places = self.head.add(frame)?;
        self.columns
            .resize_with(self.head.columns().len(), Picked::default);
        for (name, at) in frame.columns.iter().zip(places) {
            let picked = &mut self.columns[at];
            // Rows whose genes have no value in this column yet.
            let missing = picked.missing(&genes);
            // Of the genes that all files have, the first file with the column has them all.
            let all = self.alone || self.joiner.how() == Join::Inner;
            if picked.pieces.is_empty() || !missing.is_empty() && !all {
                let column = frame.find(name)?.context("It is missing")?;
                picked
                    .add(&column, &genes, missing)
                    .with_context(|| format!("Column '{name}'"))?;
            }
        }
        Ok(())
    }

    /// Whether all inputs have had the same genes in the same order.
    pub fn identical(&self) -> bool {
        self.joiner.identical()
    }

    /// Joins the genes, or those that are `chosen` of them.
    pub fn join(self, chosen: Option<&ChosenGenes>) -> Result<JoinedGenes> {
        Ok(JoinedGenes {
            joined: self.joiner.join(chosen)?,
            head: self.head,
            columns: self.columns,
        })
    }
}

/// The genes of all inputs, and what is known of each.
pub struct JoinedGenes {
    pub joined: Joined,
    head: Head,
    columns: Vec<Picked>,
}

impl JoinedGenes {
    /// Leaves out the columns that are not `wanted`.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        let named = self.head.columns().iter();
        let kept: Vec<bool> = named.map(|name| wanted(name)).collect();
        let mut at = kept.iter();
        self.columns.retain(|_| at.next() == Some(&true));
        self.head.retain(wanted);
    }

    /// Writes the frame; what a gene has in no input is missing. `texts` as for [`ColumnPlan::plain`].
    pub fn write(self, out: &Group, path: &str, texts: Option<&MissingText>) -> Result<Joined> {
        let JoinedGenes {
            joined,
            head,
            columns,
        } = self;
        let index = head.create(out, path)?;
        let named = head.columns().iter().zip(columns);
        for (name, picked) in named.filter(|(name, _)| **name != index) {
            picked.write(&joined, out, &format!("{path}/{name}"), texts)?;
        }
        let rows = joined.index.len() as u64;
        let mut names = head.create_index(out, &format!("{path}/{index}"), rows)?;
        names.append(joined.index.clone())?;
        names.finish()?;
        Ok(joined)
    }
}

/// Writes the frame of one input over the joined genes; what it has not is missing. For dataframes in varm, which are
/// not united: one input gives each.
pub fn reindexed(
    frame: &Frame,
    joined: &Joined,
    out: &Group,
    path: &str,
    texts: Option<&MissingText>,
) -> Result<()> {
    let mut head = Head::default();
    head.add(frame)?;
    let genes = joined.numbers(&frame.index()?)?;
    let index = head.create(out, path)?;
    for name in head.columns().iter().filter(|name| **name != index) {
        let mut picked = Picked::default();
        let column = frame.find(name)?.context("It is missing")?;
        picked.add(&column, &genes, (0..genes.len()).collect())?;
        picked.write(joined, out, &format!("{path}/{name}"), texts)?;
    }
    let rows = joined.index.len() as u64;
    let mut names = head.create_index(out, &format!("{path}/{index}"), rows)?;
    names.append(joined.index.clone())?;
    names.finish()
}

impl Picked {
    /// The rows of the genes in `genes` that have no value yet.
    fn missing(&self, genes: &[u32]) -> Vec<usize> {
        let is_new = |gene: &u32| !self.taken.get(*gene as usize).is_some_and(|taken| *taken);
        let rows = genes.iter().enumerate();
        rows.filter(|(_, gene)| is_new(gene))
            .map(|(row, _)| row)
            .collect()
    }

    /// Adds the values in `rows`; row i is that of gene `genes[i]`.
    fn add(&mut self, column: &Column, genes: &[u32], rows: Vec<usize>) -> Result<()> {
        self.survey.add(column)?;
        let categories = match &column.kind {
            ColumnKind::Categorical { categories, .. } => Some(categories.read_all()?),
            _ => None,
        };
        let all = match &categories {
            Some(categories) => categories.of_codes(&column.codes(0..column.rows())?)?,
            None => column.read_all()?,
        };
        let found = all.data.len();
        ensure!(
            found == genes.len(),
            "It has {found} rows for {} genes",
            genes.len()
        );
        let mut piece = GeneValues {
            genes: rows.iter().map(|row| genes[*row]).collect(),
            values: Data::empty(&all.data.dtype()).into(),
            categories,
        };
        for row in rows {
            piece.values.push(&all, row);
        }
        for gene in piece.genes.iter().map(|gene| *gene as usize) {
            if gene >= self.taken.len() {
                self.taken.resize(gene + 1, false);
            }
            self.taken[gene] = true;
        }
        self.pieces.push(piece);
        Ok(())
    }

    /// Where each gene has its value: piece and place in it. Pieces of the genes `[a, b]` and `[c]`, where the result
    /// is `[c, a, d]` -> `[(1, 0), (0, 0), none]`.
    fn sources(&self, joined: &Joined) -> Vec<Option<(usize, usize)>> {
        let mut sources = vec![None; joined.index.len()];
        for (piece, from) in self.pieces.iter().enumerate() {
            for (at, gene) in from.genes.iter().enumerate() {
                // A name may be there twice where all inputs have the same.
                let place = if joined.identical {
                    Some(at)
                } else {
                    joined.place(*gene)
                };
                if let Some(source) = place.and_then(|place| sources.get_mut(place)) {
                    *source = Some((piece, at));
                }
            }
        }
        sources
    }

    fn write(
        mut self,
        joined: &Joined,
        out: &Group,
        to: &str,
        texts: Option<&MissingText>,
    ) -> Result<()> {
        let sources = self.sources(joined);
        let absent = sources.contains(&None);
        // The values are in memory, so a second look at them opens no file.
        if self.survey.reopen(absent) {
            for piece in &self.pieces {
                let seen = piece.categories.as_ref().unwrap_or(&piece.values);
                self.survey.look_at(seen)?;
            }
        }
        let plan = ColumnPlan::of(self.survey, absent, to)?.plain(texts, to)?;
        let pieces = self.pieces.into_iter().map(|p| plan.convert(p.values));
        let pieces = pieces.collect::<Result<Vec<_>>>()?;
        // One missing value, to be repeated; where no gene lacks one, the plan may have no form for it.
        let blank = plan.missing(usize::from(absent))?;
        let mut values = Values::from(Data::empty(&blank.data.dtype()));
        for source in &sources {
            match source {
                Some((piece, at)) => values.push(&pieces[*piece], *at),
                None => values.push(&blank, 0),
            }
        }
        let mut writer = plan.create(out, to, sources.len() as u64)?;
        writer.append(&values)?;
        writer.finish()
    }
}
