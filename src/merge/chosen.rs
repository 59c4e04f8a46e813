//! Which genes are kept where not all are: those of a list, in its order, and those for which an expression over var is
//! true.
//!
//! A list may have values of a column of var in place of names. Each input is told in the first pass; the names of its
//! genes are what is decided on in the end ([`ChosenGenes`]).

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::cells::expr::TypedExpr;
use crate::cells::names::{self, Names};
use crate::cells::{Obs, eval};
use crate::frame::column::ColumnKind;
use crate::frame::dataframe::Frame;
use crate::frame::values::Data;
use crate::report::failure::Failure;
use crate::report::near::near;
use crate::report::words::{count, thousands};
use crate::store::spec::{Dtype, Strings};

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct GeneChoice {
    /// A file of names.
    pub list: Option<PathBuf>,
    /// The column of var in which the names of the list are looked up; the index without it.
    pub column: Option<String>,
    pub expr: Option<TypedExpr>,
    /// Whether a gene that an input lacks is filled in.
    pub fill: bool,
}

/// What is known of the genes that are chosen from.
pub struct Choice {
    asked: GeneChoice,
    list: Option<Names>,
    /// By number in the list the name of the gene, where a column gives it.
    named: Vec<Option<Vec<u8>>>,
    /// Whether the expression is true of a gene in the first input that has it.
    passes: HashMap<Vec<u8>, bool>,
    /// Values of the column, for a message.
    seen: Vec<String>,
}

/// The genes that are kept, in order; `None` is all in the order of the join.
pub struct ChosenGenes {
    pub list: Option<Strings>,
    pub fill: bool,
    passes: Option<HashMap<Vec<u8>, bool>>,
}

impl GeneChoice {
    /// For the identity of a run; the list is among the files that are read.
    pub fn identity(&self) -> Value {
        json!({
            "list": self.list.is_some(),
            "column": self.column,
            "where": self.expr.as_ref().map(|typed| &typed.text),
            "fill": self.fill,
        })
    }

    /// Reads the list, which may take `memory` bytes.
    pub fn begin(&self, memory: u64) -> Result<Choice> {
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
        Ok(Choice {
            asked: self.clone(),
            list,
            named: vec![None; named],
            passes: HashMap::new(),
            seen: vec![],
        })
    }
}

impl Choice {
    /// Whether genes that an input lacks are filled in.
    pub fn fills(&self) -> bool {
        self.asked.fill
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
        let values = texts(var, column)?;
        let mut here = vec![None; list.len()];
        for (gene, value) in index.iter().zip(&values) {
            let Some(number) = value.as_ref().and_then(|value| list.find(value.as_bytes())) else {
                continue;
            };
            let number = number as usize;
            if let Some(other) = here[number].replace(gene.to_vec()) {
                let [one, other] = [gene, &other].map(String::from_utf8_lossy);
                let value = value.as_deref().unwrap_or_default();
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
        if self.seen.is_empty() {
            self.seen = values.into_iter().flatten().collect();
        }
        Ok(())
    }

    /// Decides, when all inputs are known.
    ///
    /// # Errors
    /// A value of the list that the column has in no input.
    pub fn decide(self) -> Result<ChosenGenes> {
        let Choice {
            asked,
            list,
            named,
            passes,
            seen,
        } = self;
        let by_column = asked.column.is_some();
        let name = |(number, named): (usize, Option<Vec<u8>>), list: &Names| {
            named.unwrap_or_else(|| list.get(number).to_vec())
        };
        if let (Some(list), true, false) = (&list, by_column, asked.fill) {
            let lacking = named.iter().enumerate().filter(|(_, name)| name.is_none());
            let lacking: Vec<&[u8]> = lacking.map(|(number, _)| list.get(number)).collect();
            refuse_lacking(&lacking, list.len(), &seen)?;
        }
        let list = list.map(|list| {
            let names = named.into_iter().enumerate();
            let names = names.map(|named| name(named, &list));
            let passes = |name: &Vec<u8>| asked.expr.is_none() || passes.get(name) != Some(&false);
            let mut kept = Strings::default();
            names.filter(passes).for_each(|name| kept.push(&name));
            kept
        });
        Ok(ChosenGenes {
            list,
            fill: asked.fill,
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

/// An error where names are lacking, of so many in the list; `known` are those that there are.
pub fn refuse_lacking(lacking: &[&[u8]], of: usize, known: &[String]) -> Result<()> {
    /// Names that a message lists.
    const TOLD: usize = 5;
    let Some(first) = lacking.first() else {
        return Ok(());
    };
    let told = lacking.iter().take(TOLD);
    let told: Vec<String> = told
        .map(|name| format!("'{}'", String::from_utf8_lossy(name)))
        .collect();
    let more = match lacking.len() {
        0..=TOLD => String::new(),
        n => format!(" and {} more", thousands((n - TOLD) as u64)),
    };
    let near = near(&String::from_utf8_lossy(first), known);
    bail!(Failure::key(format!(
        "Of {} in --genes, {} not in every input: {}{more}{near}; --missing-genes fill keeps them, as 0 in X and layers",
        count(of as u64, "gene"),
        match lacking.len() {
            1 => "1 is".to_owned(),
            n => format!("{} are", thousands(n as u64)),
        },
        told.join(", ")
    )))
}

/// The values of a column as text, `None` where one is missing.
fn texts(var: &Obs, name: &str) -> Result<Vec<Option<String>>> {
    let column = var.column(name)?;
    let values = match &column.kind {
        ColumnKind::Categorical { categories, .. } => {
            let categories = categories.read_all()?.cast(&Dtype::String)?;
            let codes = column.codes(0..column.rows())?;
            let text = |code: u64| {
                let at = usize::try_from(code).ok()?;
                (at < categories.data.len()).then(|| categories.data.get(at).to_vec())
            };
            return codes.into_iter().map(|code| as_text(text(code))).collect();
        }
        _ => column.read_all()?.cast(&Dtype::String)?,
    };
    let Data::Text(strings) = &values.data else {
        bail!("It is no text");
    };
    let text =
        |(at, text): (usize, &[u8])| as_text((!values.is_missing(at)).then(|| text.to_vec()));
    strings.iter().enumerate().map(text).collect()
}

fn as_text(bytes: Option<Vec<u8>>) -> Result<Option<String>> {
    Ok(bytes.map(String::from_utf8).transpose()?)
}
