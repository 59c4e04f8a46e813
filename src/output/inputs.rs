//! Which files a run reads, and in which order.

use std::{
    cmp::Ordering,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use super::pattern;
use crate::report::failure::{Failure, Kind};

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
/// A path that is missing, a pattern that matches nothing or cannot be read.
pub fn expand_inputs(args: &[PathBuf], natural: bool) -> Result<Inputs> {
    let mut inputs = Inputs {
        paths: Vec::new(),
        orders_differ: Vec::new(),
        reordered: false,
    };
    let mut list = vec![];
    for arg in args {
        let shown = arg.display();
        match (arg.exists(), pattern::is_pattern(arg)) {
            (true, _) => list.push(arg.clone()),
            // What opens it says best what is wrong with it.
            (false, false) if args.len() == 1 => list.push(arg.clone()),
            (false, false) => bail!(Failure(
                Kind::Missing,
                format!("Input {shown} does not exist")
            )),
            (false, true) => {
                inputs.add_list(std::mem::take(&mut list), natural);
                inputs.add(arg, matches(arg)?, natural);
            }
        }
    }
    inputs.add_list(list, natural);
    Ok(inputs)
}

/// Turns patterns into paths, numbers compared as numbers, and keeps the rest, whether it exists or not.
///
/// # Errors
/// A pattern that matches nothing or cannot be read.
pub fn expand_patterns(args: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut paths = vec![];
    for arg in args {
        if pattern::is_pattern(arg) && !arg.exists() {
            paths.extend(by_number(&matches(arg)?));
        } else {
            paths.push(arg.clone());
        }
    }
    Ok(paths)
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

    /// Adds files that were listed.
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
    let mut found = pattern::matches(pattern).with_context(|| {
        format!("Input {shown} neither exists nor is a pattern that can be read")
    })?;
    let none = || Failure(Kind::Missing, format!("Pattern {shown} matches no file"));
    ensure!(!found.is_empty(), none());
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
            let typed = [dir.path().to_owned(), dir.path().join(name)];
            let error = expand_inputs(&typed, false).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(error.to_string().contains(name));
        }
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
