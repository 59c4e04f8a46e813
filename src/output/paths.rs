//! Where an output goes: its name, its place through links, and what it may not replace.
//!
//! Paths are compared by what they lead to: through links, and by device and inode where something is there, since one
//! folder may be mounted at two places.

use std::{
    ffi::OsString,
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use super::wildcards;
use crate::store::Format;

/// The path of the shard called `name`: `{prefix}_{name}.h5ad`, or `.zarr`.
pub fn named_path(prefix: &Path, name: &str, format: Format) -> PathBuf {
    let mut path = OsString::from(prefix);
    path.push(format!("_{name}.{}", format.name()));
    path.into()
}

/// The path of the collection, and of its dataset `i`.
pub fn collection_path(prefix: &Path) -> PathBuf {
    let mut path = OsString::from(prefix);
    path.push(".zarr");
    path.into()
}

/// The path of a dataset in its collection, as annbatch calls it.
pub fn dataset_path(collection: &Path, i: usize) -> PathBuf {
    collection.join(format!("dataset_{i}"))
}

/// Where the output goes that is staged at `staged`, or in that: beside the hidden folder that holds it.
/// `d/.annslicer-7-1f.tmp/a.h5ad` goes to `d/a.h5ad`.
pub fn place_of(staged: &Path) -> PathBuf {
    let is_staging = |folder: &&Path| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with('.') && name.contains("annslicer-")
    };
    let staging = staged.ancestors().skip(1).find(is_staging);
    let staging = staging.or(staged.parent()).unwrap_or(Path::new(""));
    let within = staged.strip_prefix(staging).unwrap_or(staged);
    staging.parent().unwrap_or(Path::new("")).join(within)
}

/// `path` without links and dots. What does not exist yet has no links.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let full = std::path::absolute(path).with_context(|| format!("Path {}", path.display()))?;
    let mut real = PathBuf::new();
    for part in full.components() {
        match part {
            // Each part is resolved before the next: `link/..` is the folder above the target, not above the link.
            Component::ParentDir => drop(real.pop()),
            part => real.push(part),
        }
        real = real.canonicalize().unwrap_or(real);
    }
    Ok(real)
}

/// Refuses to replace what is no output of an earlier run, nor like one. `path` is what the user typed, for messages
/// and its ending; `place` is where that leads. A file of any kind may be replaced where it can be written, but a
/// folder only if it is a Zarr store, or empty.
pub fn check_replaceable(path: &Path, place: &Path) -> Result<()> {
    let shown = path.display();
    let stands = match fs::symlink_metadata(place) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(()); // the latter is said better where the folder is made
        }
        stands => stands.with_context(|| format!("Cannot write {shown}"))?,
    };
    if stands.is_dir() {
        ensure!(
            path.extension().is_some_and(|ext| ext == "zarr"),
            "Output {shown} is a folder"
        );
        let is_store = [".zgroup", ".zarray", ".zmetadata", "zarr.json"]
            .iter()
            .any(|file| place.join(file).exists());
        let is_empty = fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_none());
        ensure!(
            is_store || is_empty,
            "Output {shown} is a folder, and no Zarr store to replace"
        );
        return Ok(());
    }
    ensure!(
        stands.is_file(),
        "Output {shown} is neither a file nor a folder"
    );
    ensure!(
        !stands.permissions().readonly(),
        "Output {shown} is there and write-protected"
    );
    Ok(())
}

/// Refuses outputs of which one is one of the inputs, lies inside one (a Zarr store is a folder) or has
/// one inside it, by whatever path, link or mount each is reached. The inputs were typed as `typed`, patterns among them.
pub fn refuse_overlap(outputs: &[PathBuf], inputs: &[PathBuf], typed: &[PathBuf]) -> Result<()> {
    let lineages = inputs.iter().map(|input| Lineage::of(input));
    let lineages = lineages.collect::<Result<Vec<_>>>()?;
    for output in outputs {
        let (out, to) = (output.display(), Lineage::of(output)?);
        for (input, from) in inputs.iter().zip(&lineages) {
            if to.is(from) {
                bail!(is_input(output, input, typed));
            }
            let input = input.display();
            if to.is_inside(from) {
                bail!("Output {out} lies inside the input {input}; choose another output");
            }
            if from.is_inside(&to) {
                bail!("Input {input} lies inside the output {out}, which would be replaced");
            }
        }
    }
    Ok(())
}

/// Those of `paths` that are no inputs, and neither lie inside one nor have one inside.
pub fn without_inputs(paths: Vec<PathBuf>, inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if paths.is_empty() {
        return Ok(paths); // as nearly always: then no input, of which there may be thousands, is looked up
    }
    let inputs = inputs.iter().map(|input| Lineage::of(input));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let mut others = vec![];
    for path in paths {
        let place = Lineage::of(&path)?;
        if !inputs.iter().any(|input| place.overlaps(input)) {
            others.push(path);
        }
    }
    Ok(others)
}

/// What is said of an output that is an input, which a pattern may match since an earlier run wrote it.
fn is_input(output: &Path, input: &Path, typed: &[PathBuf]) -> String {
    let matches = |typed: &&PathBuf| {
        let is_pattern = wildcards::is_pattern(typed) && !typed.exists();
        is_pattern
            && wildcards::matches(typed).is_ok_and(|found| found.iter().any(|path| path == input))
    };
    let (out, shown) = (output.display(), input.display());
    match typed.iter().find(matches) {
        Some(pattern) => format!(
            "Output {out} is there, and the pattern '{}' matches it: it would be an input too; give a narrower pattern, \
             or put the output in another folder",
            pattern.display()
        ),
        None if typed.len() > 1 => format!(
            "Output {out} is the input {shown}; choose another output, in another folder where a pattern such as *.h5ad \
             matches it"
        ),
        None => format!("Output {out} is the input {shown}; choose another output"),
    }
}

/// Whether two paths lead to one place, or one to a place inside the other.
pub fn overlap(a: &Path, b: &Path) -> Result<bool> {
    Ok(Lineage::of(a)?.overlaps(&Lineage::of(b)?))
}

/// A place and the folders above it: the path of each, and which file it is where it exists.
struct Lineage {
    own: Identified,
    above: Vec<Identified>,
}

type Identified = (PathBuf, Option<(u64, u64)>);

impl Lineage {
    fn of(path: &Path) -> Result<Lineage> {
        let identified = |path: &Path| {
            let file = fs::metadata(path).ok();
            (path.to_owned(), file.map(|file| (file.dev(), file.ino())))
        };
        let real = resolve(path)?;
        Ok(Lineage {
            own: identified(&real),
            above: real.ancestors().skip(1).map(identified).collect(),
        })
    }

    fn is(&self, other: &Lineage) -> bool {
        same(&self.own, &other.own)
    }

    /// Whether both are one place, or one is inside the other.
    fn overlaps(&self, other: &Lineage) -> bool {
        self.is_inside(other) || other.is_inside(self)
    }

    /// Whether it is that place or inside it.
    fn is_inside(&self, folder: &Lineage) -> bool {
        self.is(folder) || self.above.iter().any(|above| same(above, &folder.own))
    }
}

/// Two things that exist are the same by device and inode, two that do not by path.
fn same((a, is_a): &Identified, (b, is_b): &Identified) -> bool {
    match (is_a, is_b) {
        (None, None) => a == b,
        (is_a, is_b) => is_a == is_b,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        dir
    }

    #[test]
    fn names_come_after_the_whole_prefix() {
        assert_eq!(
            named_path(Path::new("out/p.x"), "shard_10", Format::H5ad),
            Path::new("out/p.x_shard_10.h5ad")
        );
    }

    #[test]
    fn an_output_that_is_an_input_is_refused_by_every_way_to_it() {
        let dir = folder(&["a.h5ad", "b.h5ad", "d/e"]);
        let at = |name: &str| dir.path().join(name);
        fs::hard_link(at("a.h5ad"), at("hard.h5ad")).unwrap();
        symlink("a.h5ad", at("soft.h5ad")).unwrap();
        symlink(dir.path(), at("loop")).unwrap();
        let inputs = [at("b.h5ad"), at("a.h5ad")];
        for output in [
            "a.h5ad",
            "hard.h5ad",
            "soft.h5ad",
            "d/../a.h5ad",
            "./a.h5ad",
            "loop/a.h5ad",
            "not/yet/../../a.h5ad",
        ] {
            let error = refuse_overlap(&[at(output)], &inputs, &[])
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("is the input") && error.contains("a.h5ad"),
                "{error}"
            );
        }
        refuse_overlap(&[at("c.h5ad")], &inputs, &[]).unwrap();
        refuse_overlap(&[at("new/c.h5ad")], &inputs, &[]).unwrap();
        let said = |typed: &[PathBuf]| {
            let refused = refuse_overlap(&[at("./a.h5ad")], &inputs, typed);
            refused.unwrap_err().to_string()
        };
        let pattern = said(&[at("[ab].h5ad")]);
        assert!(pattern.contains("[ab].h5ad' matches it"), "{pattern}");
        assert!(said(&["a", "b", "c"].map(at)).contains("in another folder"));
    }

    #[test]
    fn stores_and_outputs_inside_one_another_are_refused() {
        let dir = folder(&["a.zarr/X/0", "b.zarr/c.h5ad"]);
        let at = |name: &str| dir.path().join(name);
        let within =
            refuse_overlap(&[at("a.zarr/obs/out.h5ad")], &[at("a.zarr")], &[]).unwrap_err();
        assert!(within.to_string().contains("lies inside the input"));
        let around = refuse_overlap(&[at("b.zarr")], &[at("b.zarr/c.h5ad")], &[]).unwrap_err();
        assert!(around.to_string().contains("would be replaced"));
        refuse_overlap(&[at("a.zarr2")], &[at("a.zarr")], &[]).unwrap();
    }
}
