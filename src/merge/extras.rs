//! Attributes that AnnData does not define, such as a unit: the result has those that the inputs agree on.
//!
//! Every element of an input is visited, down to columns and parts such as `X/indices`, with attributes alone. Of each
//! attribute the first value is held, and how many inputs have the same. What the inputs do not agree on is named in a
//! warning at the end.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tracing::warn;

use super::input::Input;
use super::{folder_of, is_merged, named};
use crate::anndata::columns;
use crate::anndata::encoding::{LABEL, extras};
use crate::store::spec::{Attr, Attrs};
use crate::store::{Group, Node};

#[derive(Default)]
/// The attributes of all inputs, by element.
pub struct Extras {
    /// By path, the elements of the inputs.
    elements: BTreeMap<String, Tally>,
    /// Attributes that the result does not have, and those that it has of one input.
    lost: Vec<String>,
    of_one: Vec<String>,
}

#[derive(Default)]
struct Tally {
    /// Inputs that have it.
    holders: usize,
    /// By name what the first input has, and how many have the same.
    attrs: BTreeMap<String, (Attr, usize)>,
}

impl Extras {
    /// Notes those of an input. No value of an array is read.
    pub fn add(&mut self, input: &Input) -> Result<()> {
        let root = &input.root;
        self.note("", &root.attrs()?);
        // What lies in uns comes from one input, whole.
        if let Some(uns) = root.get("uns")? {
            self.note("uns", &uns.attrs()?);
        }
        let names = root.names()?;
        for name in names.iter().filter(|name| is_merged(name)) {
            self.walk(root, name, &folder_of(name))
                .with_context(|| format!("Read '{name}'"))?;
        }
        Ok(())
    }

    fn walk(&mut self, parent: &Group, name: &str, to: &str) -> Result<()> {
        let Some(node) = parent.get(name)? else {
            return Ok(());
        };
        let group = match node {
            Node::Group(group) => group,
            Node::Array(array) => {
                let names = array.attr_names()?;
                // Most arrays have no others, and names alone cost less to read than values.
                let attrs = if names.iter().all(|name| LABEL.contains(&name.as_str())) {
                    Attrs::default()
                } else {
                    array.attrs()?
                };
                self.note(to, &attrs);
                return Ok(());
            }
        };
        let attrs = group.attrs()?;
        self.note(to, &attrs);
        let names = match attrs.text("encoding-type") {
            Some("dataframe") => columns::columns(&group)?,
            _ => group.names()?,
        };
        let mut names = names.iter();
        names.try_for_each(|name| self.walk(&group, name, &format!("{to}/{name}")))
    }

    fn note(&mut self, path: &str, attrs: &Attrs) {
        let element = self.elements.entry(path.into()).or_default();
        element.holders += 1;
        for (name, value) in extras(attrs).iter() {
            let known = element.attrs.entry(name.into());
            let (first, like) = known.or_insert_with(|| (value.clone(), 0));
            *like += usize::from(first == value);
        }
    }

    /// Forgets an element that the result does not take from the inputs.
    pub fn forget(&mut self, path: &str) {
        let below = format!("{path}/");
        self.elements
            .retain(|p, _| p != path && !p.starts_with(&below));
    }

    /// Gives an element what all inputs that have it agree on; what is lost of it is named by [`Extras::write`]. For
    /// elements that are made by whoever calls this; the element is forgotten here.
    pub fn give(&mut self, path: &str, has: &mut Attrs) {
        if let Some(element) = self.elements.remove(path) {
            let kept = self.agreed(path, element, has);
            kept.iter()
                .for_each(|(name, value)| has.set(name, value.clone()));
        }
    }

    /// Gives the elements of the result what all inputs that have them agree on, and names the rest in warnings.
    pub fn write(mut self, out: &Group) -> Result<()> {
        for (path, element) in std::mem::take(&mut self.elements) {
            if element.attrs.is_empty() {
                continue;
            }
            let has = match path.as_str() {
                "" => out.attrs()?,
                _ => match out.get(&path)? {
                    Some(node) => node.attrs()?,
                    None => continue,
                },
            };
            let kept = self.agreed(&path, element, &has);
            if kept != Attrs::default() {
                out.set_attrs(&path, &kept)
                    .with_context(|| format!("Write attributes of '{path}'"))?;
            }
        }
        if !self.lost.is_empty() {
            warn!(
                "Attributes that not all inputs have alike are not carried over: {}",
                named(&self.lost)
            );
        }
        if !self.of_one.is_empty() {
            warn!(
                "Attributes that not all inputs have alike are those of the first that has the element: {}",
                named(&self.of_one)
            );
        }
        Ok(())
    }

    /// What an element that has the attributes `has` gets beside them.
    fn agreed(&mut self, path: &str, element: Tally, has: &Attrs) -> Attrs {
        let (mut kept, own) = (Attrs::default(), extras(has));
        for (name, (value, like)) in element.attrs {
            if own.get(&name).is_none() && has.get(&name).is_some() {
                // Of the format, for what this has become.
                continue;
            }
            // What is copied whole has those of one input.
            match (like == element.holders, has.get(&name)) {
                (true, Some(_)) => {}
                (true, None) => kept.set(&name, value),
                (false, Some(_)) => self.of_one.push(format!("/{path}@{name}")),
                (false, None) => self.lost.push(format!("/{path}@{name}")),
            }
        }
        kept
    }
}
