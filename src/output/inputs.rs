//! Which files a run reads, and in which order.
//!
//! `s_1`, `s_10`, `s_2` is the order of code points, which is that of the Python tool; `s_1`, `s_2`, `s_10` is that of
//! numbers. Where the two differ it is noted, and whoever typed the pattern is warned.

use std::{
    cmp::Ordering,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use super::wildcards;
use crate::report::failure::NoFile;
use crate::report::near::and_more;
use crate::store;

/// The inputs of a merge, in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Inputs {
    pub paths: Vec<PathBuf>,
    /// The patterns, and lists as a shell makes them of a pattern, whose files come in another order than that of the
    /// numbers in their names.
    pub orders_differ: Vec<String>,
    /// Whether a list was put in the order of numbers.
    pub reordered: bool,
}

/// Turns paths and glob patterns into paths. One that exists as typed is itself; the matches of
/// a pattern come in code-point order as from Python's `sorted(glob.glob(..))`, or, if `natural`,
/// with numbers compared as numbers. So does a list that is in code-point order: a shell has made it of a pattern.
///
/// # Errors
/// Paths that are missing, a pattern that matches nothing or cannot be read.
pub fn expand_inputs(args: &[PathBuf], natural: bool) -> Result<Inputs> {
    let mut missing = vec![];
    let mut inputs = Inputs {
        paths: Vec::new(),
        orders_differ: Vec::new(),
        reordered: false,
    };
    let mut list = vec![];
    for arg in args {
        match (store::may_be_there(arg), wildcards::is_pattern(arg)) {
            (true, _) => list.push(arg.clone()),
            (false, false) => missing.push(store::missing(arg)),
            (false, true) => {
                inputs.add_list(std::mem::take(&mut list), natural);
                match matches(arg)? {
                    found if found.is_empty() => missing.push(no_match(arg)),
                    found => inputs.add(arg, found, natural),
                }
            }
        }
    }
    inputs.add_list(list, natural);
    none_missing(missing, args.len())?;
    Ok(inputs)
}

/// An error that names the inputs that are not there, of so many.
fn none_missing(mut missing: Vec<NoFile>, all: usize) -> Result<()> {
    /// Those that are named.
    const NAMED: usize = 5;
    if missing.len() > 1 {
        let names = missing.iter().take(NAMED);
        let names: Vec<_> = names.map(|no| no.file.display().to_string()).collect();
        let more = and_more(missing.len() - names.len());
        missing[0].said = format!(
            "{} of {all} inputs do not exist: {}{more}",
            missing.len(),
            names.join(", ")
        );
    }
    missing.into_iter().next().map_or(Ok(()), |no| bail!(no))
}

fn no_match(pattern: &Path) -> NoFile {
    NoFile {
        said: format!("Pattern {} matches no file", pattern.display()),
        file: pattern.to_owned(),
    }
}

/// An error where words that stand side by side, some of which are no files, are one together: a path with blanks that was
/// not quoted. `output` is what was typed behind them.
pub fn refuse_unquoted(args: &[PathBuf], output: Option<&Path>) -> Result<()> {
    /// The most words of a path.
    const WORDS: usize = 6;
    let is_missing = |word: &PathBuf| !store::may_be_there(word);
    let missing: Vec<bool> = args.iter().map(is_missing).collect();
    let words: Vec<&Path> = args.iter().map(PathBuf::as_path).chain(output).collect();
    for start in 0..args.len() {
        for end in start + 2..=words.len().min(start + WORDS) {
            let Some(first) = (start..end.min(args.len())).find(|&at| missing[at]) else {
                continue;
            };
            let names: Vec<&OsStr> = words[start..end]
                .iter()
                .map(|word| word.as_os_str())
                .collect();
            let path = PathBuf::from(names.join(OsStr::new(" ")));
            if path.exists() {
                let (word, path) = (args[first].display(), path.display());
                bail!(NoFile {
                    said: format!("{word} does not exist; did you mean '{path}'? quote it"),
                    file: args[first].clone(),
                });
            }
        }
    }
    Ok(())
}

/// Turns patterns into paths, numbers compared as numbers, and a collection of annbatch into its datasets; keeps the rest,
/// whether it exists or not.
///
/// # Errors
/// A pattern that matches nothing or cannot be read, a path with blanks that was not quoted.
pub fn expand_patterns(args: &[PathBuf]) -> Result<Vec<PathBuf>> {
    refuse_unquoted(args, None)?;
    let mut paths = vec![];
    for arg in args {
        if wildcards::is_pattern(arg) && !store::may_be_there(arg) {
            let found = matches(arg)?;
            ensure!(!found.is_empty(), no_match(arg));
            paths.extend(by_number(&found));
        } else {
            paths.push(arg.clone());
        }
    }
    let files = paths.into_iter().flat_map(|path| {
        let datasets = store::datasets(&path);
        if datasets.is_empty() {
            vec![path]
        } else {
            by_number(&datasets)
        }
    });
    Ok(files.collect())
}

impl Inputs {
    /// Adds the files of a pattern.
    fn add(&mut self, pattern: &Path, found: Vec<PathBuf>, natural: bool) {
        let by_number = by_number(&found);
        if natural {
            self.paths.extend(by_number);
            return;
        }
        if by_number != found {
            self.orders_differ.push(pattern.display().to_string());
        }
        self.paths.extend(found);
    }

    /// Adds files that were listed. A list in another order than that of code points was put so by hand, and stays.
    fn add_list(&mut self, list: Vec<PathBuf>, natural: bool) {
        let is_of_shell = list
            .windows(2)
            .all(|pair| bytes(&pair[0]) < bytes(&pair[1]));
        let by_number = by_number(&list);
        match (
            list.first().zip(list.last()),
            is_of_shell && by_number != list,
        ) {
            (Some(_), true) if natural => {
                self.reordered = true;
                self.paths.extend(by_number);
                return;
            }
            (Some((first, last)), true) => {
                let list = format!("the list from {} to {}", first.display(), last.display());
                self.orders_differ.push(list);
            }
            _ => {}
        }
        self.paths.extend(list);
    }
}

/// The same paths, with numbers in them compared as numbers.
fn by_number(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut sorted = paths.to_vec();
    sorted.sort_by(|a, b| natural_order(bytes(a), bytes(b)));
    sorted
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>> {
    let shown = pattern.display();
    let mut found = wildcards::matches(pattern).with_context(|| {
        format!("Input {shown} neither exists nor is a pattern that can be read")
    })?;
    // A path's own order goes by components; Python sorts its text.
    found.sort_by(|a: &PathBuf, b| bytes(a).cmp(bytes(b)));
    Ok(found)
}

/// In UTF-8 the order of bytes is that of code points.
fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// The order of bytes, but runs of digits by their value.
fn natural_order(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        let ((x, rest_a), (y, rest_b)) = (number(a), number(b));
        if x.is_empty() || y.is_empty() {
            match (a.split_first(), b.split_first()) {
                (Some((x, rest_a)), Some((y, rest_b))) if x == y => (a, b) = (rest_a, rest_b),
                (x, y) => return x.map(|x| x.0).cmp(&y.map(|y| y.0)),
            }
            continue;
        }
        let (x, y) = (significant(x), significant(y));
        // Of numbers without zeros in front the longer one is larger, whatever their size.
        match (x.len(), x).cmp(&(y.len(), y)) {
            Ordering::Equal => (a, b) = (rest_a, rest_b),
            unequal => return unequal,
        }
    }
}

/// The digits that `text` starts with, and the rest.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

fn significant(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    digits.split_at(zeros).1
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

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

    fn names(dir: &Path, pattern: &str, natural: bool) -> Vec<String> {
        let inputs = expand_inputs(&[dir.join(pattern)], natural).unwrap();
        let relative = |path: &PathBuf| path.strip_prefix(dir).unwrap().display().to_string();
        inputs.paths.iter().map(relative).collect()
    }

    #[test]
    fn patterns_come_in_the_order_of_their_text_or_their_numbers() {
        let dir = folder(&["s_2", "s_10", "s_1", ".s_3", "t_1", "d/s_4", "S_5"]);
        assert_eq!(names(dir.path(), "s_*", false), ["s_1", "s_10", "s_2"]);
        assert_eq!(names(dir.path(), "s_*", true), ["s_1", "s_2", "s_10"]);
        assert_eq!(names(dir.path(), "s_[0-9]", false), ["s_1", "s_2"]);
    }

    #[test]
    fn text_order_is_not_that_of_components() {
        let dir = folder(&["a/x", "a-b/x"]);
        assert_eq!(names(dir.path(), "*/x", false), ["a-b/x", "a/x"]);
    }

    #[test]
    fn a_path_that_exists_wins_over_its_pattern_and_order_of_arguments_is_kept() {
        let dir = folder(&["s[1]", "s1", "b", "a"]);
        assert_eq!(names(dir.path(), "s[1]", false), ["s[1]"]);
        let args = ["b", "a", "b"].map(|name| dir.path().join(name));
        assert_eq!(expand_inputs(&args, true).unwrap().paths, args);
    }

    #[test]
    fn patterns_whose_orders_differ_are_named() {
        let dir = folder(&["s_2", "s_10", "t_1", "t_2", "u.h5ad", "u1.h5ad", "u-1.h5ad"]);
        let args = ["s_*", "t_*", "u*"].map(|name| dir.path().join(name));
        let inputs = expand_inputs(&args, false).unwrap();
        assert_eq!(inputs.orders_differ, [args[0].to_str().unwrap()]);
        let inputs = expand_inputs(&args, true).unwrap();
        assert!(inputs.orders_differ.is_empty());
    }

    #[test]
    fn a_list_that_a_shell_made_is_a_pattern_and_any_other_stays() {
        let dir = folder(&["s_1", "s_2", "s_10"]);
        let list = |names: [&str; 3]| names.map(|name| dir.path().join(name));
        let of_shell = list(["s_1", "s_10", "s_2"]);
        let inputs = expand_inputs(&of_shell, false).unwrap();
        assert_eq!(
            (&inputs.paths[..], inputs.orders_differ.len()),
            (&of_shell[..], 1)
        );
        let inputs = expand_inputs(&of_shell, true).unwrap();
        assert_eq!(inputs.paths, list(["s_1", "s_2", "s_10"]));
        assert!(inputs.reordered && inputs.orders_differ.is_empty());
        for typed in [list(["s_10", "s_1", "s_2"]), list(["s_1", "s_2", "s_10"])] {
            for natural in [false, true] {
                let inputs = expand_inputs(&typed, natural).unwrap();
                assert_eq!(inputs.paths, typed);
                assert!(!inputs.reordered && inputs.orders_differ.is_empty());
            }
        }
    }

    #[test]
    fn what_is_not_there_is_an_error_that_names_it() {
        let dir = folder(&[]);
        for (name, said) in [
            ("a.h5ad", "does not exist"),
            ("a*", "matches no file"),
            ("a[", "a["),
        ] {
            for typed in [vec![], vec![dir.path().to_owned()]] {
                let typed = [typed, vec![dir.path().join(name)]].concat();
                let error = expand_inputs(&typed, false).unwrap_err();
                assert!(error.to_string().contains(said), "{error}");
                assert!(error.to_string().contains(name));
            }
        }
        let typed = ["a", "b*", ".", "c", "d", "e", "f"].map(|name| dir.path().join(name));
        let error = expand_inputs(&typed, false).unwrap_err().to_string();
        assert!(error.starts_with("6 of 7 inputs do not exist: "), "{error}");
        assert!(error.ends_with("/e and 1 more"), "{error}");
    }

    #[test]
    fn a_path_with_blanks_that_was_not_quoted_is_recognised() {
        let dir = folder(&["my file.h5ad", "a b c", "a"]);
        let at = |name: &str| dir.path().join(name);
        let file = PathBuf::from("file.h5ad");
        let said = |typed: &[PathBuf], output: Option<&Path>| {
            let refused = refuse_unquoted(typed, output);
            refused.map_err(|e| e.to_string().replace(&at("").display().to_string(), ""))
        };
        let told = "my does not exist; did you mean 'my file.h5ad'? quote it";
        assert_eq!(said(&[at("my"), file.clone()], None).unwrap_err(), told);
        assert_eq!(said(&[at("my")], Some(&file)).unwrap_err(), told);
        let error = said(&[at("a"), "b".into(), "c".into()], None).unwrap_err();
        assert_eq!(error, "b does not exist; did you mean 'a b c'? quote it");
        said(&[at("a"), "b".into()], None).unwrap();
        said(&[at("a")], Some(Path::new("b c"))).unwrap();
    }

    #[test]
    fn natural_order_goes_by_value_at_any_length() {
        let sorted = [
            "a",
            "a1",
            "a01b",
            "a2",
            "a10",
            "a99999999999999999999998",
            "a99999999999999999999999",
            "b",
        ];
        for pair in sorted.windows(2) {
            let order = natural_order(pair[0].as_bytes(), pair[1].as_bytes());
            assert_eq!(order, Ordering::Less, "{pair:?}");
        }
        assert_eq!(natural_order(b"a01", b"a1"), Ordering::Equal);
    }

    const NAME: &str = "[a-c_.]{0,2}[0-9]{3}[a-c_.]{0,2}";

    proptest! {
        #[test]
        fn natural_order_of_equally_wide_numbers_is_text_order(a in NAME, b in NAME) {
            prop_assert_eq!(natural_order(a.as_bytes(), b.as_bytes()), a.cmp(&b));
        }

        #[test]
        fn natural_order_is_an_order(mut names in prop::collection::vec("[a0-2_]{0,5}", 3)) {
            names.sort_by(|a, b| natural_order(a.as_bytes(), b.as_bytes()));
            let order = |i: usize, j: usize| natural_order(names[i].as_bytes(), names[j].as_bytes());
            prop_assert_ne!(order(0, 2), Ordering::Greater);
            prop_assert_eq!(order(0, 1), order(1, 0).reverse());
        }
    }
}
