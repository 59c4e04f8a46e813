//! Sessions of one part of a run, and of the one that finishes it.
//!
//! A part of slice ends with a record such as `{"starts": [0, 3, 5], "outputs": [{"name": "p_shard_0.h5ad", "cells":
//! 10, "sha256": null, "label": [null, []]}, ...]}`, in the hidden folder where its outputs wait. `starts` is the same
//! in all parts. A part of a merge ends with `{}`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use super::Session;
use crate::output::digest::Digests;
use crate::output::manifest::Label;
use crate::output::run_parts::{RunPart, RunParts};

impl Session<'_> {
    /// Says that this is `part` of a run, where the outputs of each part begin at `starts`: it stages and writes only its
    /// own.
    pub fn take_part(&mut self, part: RunPart, starts: &[usize]) {
        self.part = Some((part, part.outputs(starts)));
    }

    /// Says that this writes the buckets of `part`, at these paths.
    pub fn take_buckets(&mut self, part: RunPart, paths: Vec<PathBuf>) -> Result<()> {
        self.part = Some((part, 0..paths.len()));
        self.labels.clear();
        self.name(paths)
    }

    /// Where the outputs are until they are published.
    pub fn now(&self) -> &[PathBuf] {
        &self.staged
    }

    /// Ends a part: its outputs stay staged. `cells` has the cells of each, `end` what else is noted. Nothing in a dry run.
    pub fn end_part(self, mut end: Value, cells: &[u64]) -> Result<()> {
        let (Some((_, own)), false) = (self.part, self.options.dry_run) else {
            return Ok(());
        };
        // Where a part was given --manifest the digests are in its record, and --finish need not read the outputs.
        let digests = self.digests.map_or(Ok(HashMap::new()), Digests::finish)?;
        let written = self.outputs.written().map(|(_, now)| now);
        let outputs = written.zip(cells).zip(own).map(|((now, cells), output)| {
            json!({
                "name": now.file_name().map(|name| name.to_string_lossy()),
                "cells": cells,
                "sha256": digests.get(now),
                "label": self.labels.get(output).map(Label::json),
            })
        });
        end["outputs"] = outputs.collect::<Vec<_>>().into();
        self.outputs.end_part(&end)
    }

    /// Removes the folders of these parts as soon as the outputs stand in their places.
    pub fn remove_parts(&mut self, parts: &RunParts) -> Result<()> {
        self.outputs.remove_parts(parts)
    }

    /// Says that this is `part` of a run that writes the one output at `path`.
    pub fn take_portion(&mut self, path: &Path, part: RunPart) -> Result<()> {
        self.part = Some((part, 0..1));
        if !self.options.dry_run {
            self.outputs.resume_part(path, part)?;
        }
        Ok(())
    }

    /// Ends such a part: what it has written stays staged. Nothing in a dry run.
    pub fn end_portion(self) -> Result<()> {
        if self.options.dry_run {
            return Ok(());
        }
        self.outputs.end_part(&json!({}))
    }

    /// Takes over what all parts have written of the one output.
    pub fn take_portions(&mut self, parts: &RunParts) -> Result<()> {
        self.portions = self.outputs.take_portions(parts)?;
        Ok(())
    }

    /// Takes over the outputs of all parts of a run, as if it had written them.
    pub fn take_parts(&mut self, parts: &RunParts) -> Result<()> {
        self.outputs.take(parts)?;
        let told = parts.outputs();
        let label = |output: &Value| output.get("label").and_then(Label::of_json);
        let written = self.outputs.written();
        self.named = written.map(|(shown, _)| shown.to_owned()).collect();
        self.label(
            told.iter()
                .map(|output| label(output).unwrap_or_default())
                .collect(),
        );
        let digests = self
            .outputs
            .written()
            .zip(&told)
            .filter_map(|((_, now), output)| {
                Some((now.to_owned(), output.get("sha256")?.as_str()?.to_owned()))
            });
        self.known = digests.collect::<HashMap<_, _>>();
        self.begin_manifest()?;
        if self.manifest.is_some() {
            // Of parts that knew of no manifest.
            let digests = Digests::new();
            let written = self.outputs.written().map(|(_, now)| now);
            let unknown = written.filter(|now| !self.known.contains_key(*now));
            unknown.for_each(|now| digests.begin(now));
            self.digests = Some(digests);
        }
        Ok(())
    }
}
