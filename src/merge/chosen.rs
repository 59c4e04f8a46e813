//! Which genes are kept where not all are: those of a list, in its order, and those for which an expression over var is
//! true.
//!
//! A list may have values of a column of var in place of names. Each input is told in the first pass; the names of its
//! genes are what is decided on in the end ([`ChosenGenes`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tracing::warn;

use crate::cells::expr::TypedExpr;
use crate::cells::key::Key;
use crate::cells::names::{self, Names};
use crate::cells::{Obs, eval};
use crate::frame::dataframe::Frame;
use crate::report::failure::Failure;
use crate::report::near::{listed, near};
use crate::report::words::{clause, count, thousands};
use crate::store::spec::Strings;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct GeneChoice {
    /// A file of names.
    pub list: Option<PathBuf>,
    /// The column of var in which the names of the list are looked up; the index without it.
    pub column: Option<String>,
    pub expr: Option<TypedExpr>,
    pub lacking: Lacking,
}

/// What becomes of a listed gene that an input lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    Refuse,
    Fill,
    Skip,
}

/// The genes that are chosen from, as far as they are known.
pub struct Candidates {
    asked: GeneChoice,
    list: Option<Names>,
    /// By number in the list the name of the gene, where a column gives it. With the column `gene_name` and the list
    /// `[ACTB, CD3E]`: `[ENSG00000075624, ENSG00000198851]`.
    named: Vec<Option<Vec<u8>>>,
    /// Whether the expression is true of a gene in the first input that has it.
    passes: HashMap<Vec<u8>, bool>,
    /// Values of the column in the first input, for a message.
    values: Vec<String>,
}

/// The genes that are kept, in order; `None` is all in the order of the join.
pub struct ChosenGenes {
    pub list: Option<Strings>,
    pub lacking: Lacking,
    passes: Option<HashMap<Vec<u8>, bool>>,
}

impl GeneChoice {
    /// For the identity of a run; the list is among the files that are read.
    pub fn identity(&self) -> Value {
        json!({
            "genes": self.list.is_some(),
            "gene_column": self.column,
            "var_where": self.expr.as_ref().map(|typed| &typed.text),
            "missing_genes": match self.lacking {
                Lacking::Refuse => "refuse",
                Lacking::Fill => "fill",
                Lacking::Skip => "skip",
            },
        })
    }

    /// The columns of var that decide.
    pub fn columns(&self) -> Vec<&str> {
        let expr = self.expr.iter().flat_map(|typed| typed.expr.columns());
        expr.chain(self.column.as_deref()).collect()
    }

    /// Reads the list, which may take `memory` bytes.
    pub fn begin(&self, memory: u64) -> Result<Candidates> {
        let read = |path: &PathBuf| {
            names::read_distinct(path, memory)
                .with_context(|| format!("Cannot read --genes {}", path.display()))
        };
        let list = self.list.as_ref().map(read).transpose()?;
        ensure!(
            list.as_ref().is_none_or(|list| list.len() > 0),
            "--genes names no gene"
        );
        let named = list.as_ref().map_or(0, Names::len);
        Ok(Candidates {
            asked: self.clone(),
            list,
            named: vec![None; named],
            passes: HashMap::new(),
            values: vec![],
        })
    }
}

impl Candidates {
    /// Whether genes that an input lacks are filled in.
    pub fn fills(&self) -> bool {
        self.asked.lacking == Lacking::Fill
    }

    /// Looks at the genes of the next input.
    pub fn look(&mut self, var: Frame, index: &Strings) -> Result<()> {
        let var = Obs::of_genes(var);
        if let Some(column) = self.asked.column.clone() {
            self.look_up(&var, &column, index)
                .with_context(|| format!("Look up --genes in 'var/{column}'"))?;
        }
        if let Some(TypedExpr { expr, .. }) = &self.asked.expr {
            let mut mask = vec![true; index.len()];
            eval::keep(&var, expr, &mut mask).context("Cannot evaluate --var-where")?;
            for (gene, passes) in index.iter().zip(mask) {
                self.passes.entry(gene.to_vec()).or_insert(passes);
            }
        }
        Ok(())
    }

    /// Finds the genes whose values in a column are in the list.
    fn look_up(&mut self, var: &Obs, column: &str, index: &Strings) -> Result<()> {
        let Some(list) = &self.list else {
            return Ok(());
        };
        let key = Key::of(var, column)?;
        let mut here = vec![None; list.len()];
        for (gene, code) in index.iter().zip(&key.codes) {
            let value = key.labels.get(*code as usize);
            let Some((value, number)) = value.and_then(|v| Some((v, list.find(v.as_bytes())?)))
            else {
                continue;
            };
            if let Some(other) = here[number as usize].replace(gene.to_vec()) {
                let [one, other] = [gene, &other].map(String::from_utf8_lossy);
                bail!(Failure::value(format!(
                    "'{value}' is there twice, for '{other}' and '{one}'; list the name in the index of var that you \
                     mean, without --gene-column"
                )));
            }
        }
        for (number, (known, here)) in self.named.iter_mut().zip(here).enumerate() {
            match (&known, here) {
                (Some(known), Some(here)) if **known != here => {
                    let value = String::from_utf8_lossy(list.get(number));
                    let [known, here] = [known, &here].map(|name| String::from_utf8_lossy(name));
                    bail!(Failure::value(format!(
                        "'{value}' is '{known}' in one input and '{here}' in another; list names in the index of var, \
                         without --gene-column"
                    )));
                }
                (None, Some(here)) => *known = Some(here),
                _ => {}
            }
        }
        if self.values.is_empty() {
            self.values = key.labels;
        }
        Ok(())
    }

    /// Decides, when all inputs are known.
    ///
    /// # Errors
    /// A value of the list that the column has in no input.
    pub fn decide(self) -> Result<ChosenGenes> {
        let Candidates {
            asked,
            list,
            named,
            passes,
            values,
        } = self;
        // Names of the index are looked up in `Joiner::join`, which knows the genes of all inputs.
        let by_column = asked.column.is_some();
        if let (Some(list), true) = (&list, by_column) {
            let lacking = named.iter().enumerate().filter(|(_, name)| name.is_none());
            let lacking: Vec<&[u8]> = lacking.map(|(number, _)| list.get(number)).collect();
            // What is filled in is looked up by its name, too.
            if asked.lacking != Lacking::Fill {
                asked.lacking.settle(&lacking, list.len(), &values)?;
            }
        }
        let skips = by_column && asked.lacking == Lacking::Skip;
        let list = list.map(|list| {
            let names = named.iter().enumerate();
            let names = names.filter(|(_, name)| !skips || name.is_some());
            let names = names.map(|(at, name)| name.as_deref().unwrap_or(list.get(at)));
            names.collect()
        });
        Ok(ChosenGenes {
            list,
            lacking: asked.lacking,
            passes: asked.expr.is_some().then_some(passes),
        })
    }
}

impl ChosenGenes {
    /// Whether the expression lets a gene pass.
    pub fn passes(&self, gene: &[u8]) -> bool {
        let passes = self.passes.as_ref().map(|passes| passes.get(gene));
        passes.is_none_or(|passes| passes == Some(&true))
    }
}

/// What the first line of a list may say that is no gene.
const HEADINGS: [&str; 8] = [
    "gene",
    "genes",
    "gene_id",
    "gene_ids",
    "gene_name",
    "gene_names",
    "symbol",
    "name",
];

impl Lacking {
    /// Refuses names that are lacking, of so many in the list, or says that they are skipped; `known` are those that there
    /// are. Where all are lacking, skipping them is refused too.
    pub fn settle(self, lacking: &[&[u8]], of: usize, known: &[String]) -> Result<()> {
        let names: Vec<_> = lacking
            .iter()
            .map(|name| String::from_utf8_lossy(name))
            .collect();
        let is_all = names.len() == of;
        match (self, names.first()) {
            (_, None) => {}
            (Lacking::Fill, Some(_)) => warn!(
                "--genes: {} in no input, and so without any value: {}",
                clause(names.len() as u64, "gene", ("is", "are")),
                listed(names.iter().map(|name| &**name), names.len())
            ),
            (Lacking::Skip, Some(_)) if !is_all => warn!(
                "{} left out of --genes, which not every input has: {}",
                clause(names.len() as u64, "gene", ("is", "are")),
                listed(names.iter().map(|name| &**name), names.len())
            ),
            (_, Some(first)) => bail!(refusal(first, &names, of, known)),
        }
        Ok(())
    }
}

/// The error of names that are lacking, and what to do.
fn refusal(first: &str, names: &[Cow<str>], of: usize, known: &[String]) -> Failure {
    let is_table = names.iter().any(|name| name.contains([',', '\t', ';']));
    let is_heading = names.len() == 1 && HEADINGS.contains(&first.to_lowercase().as_str());
    let advice = if is_table {
        "the list has one name a line, and no other columns"
    } else if is_heading {
        "the list has no heading"
    } else {
        "--missing-genes fill keeps them, as 0 in X and layers, skip goes without"
    };
    Failure::key(format!(
        "Of {} in --genes, {} not in every input: {}{}; {advice}",
        count(of as u64, "gene"),
        match names.len() {
            1 => "1 is".to_owned(),
            n => format!("{} are", thousands(n as u64)),
        },
        listed(names.iter().map(|name| &**name), names.len()),
        near(first, known)
    ))
}
