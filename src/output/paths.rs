//! Where an output goes: its name, its place through links, and what it may not replace.

use std::{
    ffi::OsString,
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

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

pub fn dataset_path(collection: &Path, i: usize) -> PathBuf {
    collection.join(format!("dataset_{i}"))
}

/// Where the output goes that is written at `aside`, or in it: beside the hidden folder that holds it.
pub fn place_of(aside: &Path) -> PathBuf {
    let is_staging = |folder: &&Path| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with('.') && name.contains("annslicer-")
    };
    let staging = aside.ancestors().skip(1).find(is_staging);
    let staging = staging.or(aside.parent()).unwrap_or(Path::new(""));
    let within = aside.strip_prefix(staging).unwrap_or(aside);
    staging.parent().unwrap_or(Path::new("")).join(within)
}

/// `path` without links and dots. What does not exist yet has no links.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let full = std::path::absolute(path).with_context(|| format!("Path {}", path.display()))?;
    let mut real = PathBuf::new();
    for part in full.components() {
        match part {
            Component::ParentDir => drop(real.pop()),
            part => real.push(part),
        }
        real = real.canonicalize().unwrap_or(real);
    }
    Ok(real)
}

/// Refuses to replace what is no output of an earlier run, nor like one.
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

/// Refuses an output that is one of the inputs, lies inside one (a Zarr store is a folder) or has
/// one inside it, by whatever path, link or mount each is reached.
pub fn refuse_overlap(output: &Path, inputs: &[PathBuf]) -> Result<()> {
    let real_output = resolve(output)?;
    for input in inputs {
        let real_input = resolve(input)?;
        let (out, input) = (output.display(), input.display());
        if same(&real_output, &real_input) {
            bail!("Output {out} is the input {input}; choose another output");
        }
        if inside(&real_output, &real_input) {
            bail!("Output {out} lies inside the input {input}; choose another output");
        }
        if inside(&real_input, &real_output) {
            bail!("Input {input} lies inside the output {out}, which would be replaced");
        }
    }
    Ok(())
}

/// Whether two paths lead to one place, or one to a place inside the other.
pub fn overlap(a: &Path, b: &Path) -> Result<bool> {
    let (a, b) = (resolve(a)?, resolve(b)?);
    Ok(same(&a, &b) || inside(&a, &b) || inside(&b, &a))
}

fn inside(path: &Path, folder: &Path) -> bool {
    path.ancestors().any(|above| same(above, folder))
}

fn same(a: &Path, b: &Path) -> bool {
    let identity = |path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    a == b || identity(a).is_some_and(|file| identity(b) == Some(file))
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
            let error = refuse_overlap(&at(output), &inputs)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("is the input") && error.contains("a.h5ad"),
                "{error}"
            );
        }
        refuse_overlap(&at("c.h5ad"), &inputs).unwrap();
        refuse_overlap(&at("new/c.h5ad"), &inputs).unwrap();
    }

    #[test]
    fn stores_and_outputs_inside_one_another_are_refused() {
        let dir = folder(&["a.zarr/X/0", "b.zarr/c.h5ad"]);
        let at = |name: &str| dir.path().join(name);
        let within = refuse_overlap(&at("a.zarr/obs/out.h5ad"), &[at("a.zarr")]).unwrap_err();
        assert!(within.to_string().contains("lies inside the input"));
        let around = refuse_overlap(&at("b.zarr"), &[at("b.zarr/c.h5ad")]).unwrap_err();
        assert!(around.to_string().contains("would be replaced"));
        refuse_overlap(&at("a.zarr2"), &[at("a.zarr")]).unwrap();
    }
}
