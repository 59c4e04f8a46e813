//! Patterns over the paths of elements, as `layers/*`: `*` is any text within one name.

use std::str::FromStr;

/// A path in which `*` stands for any text within one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Pattern, &'static str> {
        let path = text.trim_matches('/');
        if path.is_empty() {
            return Err("give the path of an element, as raw, layers/* or obsm/X_umap");
        }
        Ok(Pattern(path.into()))
    }
}

impl Pattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the element with these names, from the root on, is meant. A name may have a slash in it. So `obs/a/b`
    /// means the column `a/b` of obs, and `obs/*` does too, as `*` is one name.
    pub fn matches(&self, names: &[&str]) -> bool {
        if self.0 == names.join("/") {
            return true;
        }
        let parts: Vec<&str> = self.0.split('/').collect();
        let mut pairs = parts.iter().zip(names);
        parts.len() == names.len() && pairs.all(|(part, name)| fits(part, name))
    }
}

/// Whether `name` is `pattern` with some text in place of each `*`.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(start) else {
        return false;
    };
    // The `*` takes more and more of the name, none at first.
    let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    let mut ends = ends.map(|at| &name[at..]);
    ends.any(|name| fits(rest, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_within_a_name() {
        for (pattern, names, expected) in [
            ("layers/*", &["layers", "counts"][..], true),
            ("layers/*", &["layers"], false),
            ("layers/*", &["layers", "a", "b"], false),
            ("uns/*_colors", &["uns", "leiden_colors"], true),
            ("uns/*_colors", &["uns", "_colorless"], false),
            ("uns/l*n*", &["uns", "leiden"], true),
            ("obs/*", &["obs", "a/b"], true),
            ("obs/a/b", &["obs", "a/b"], true),
            ("/obs/é*/", &["obs", "é"], true),
            ("*", &["raw"], true),
            ("*", &["raw", "X"], false),
            ("obs/[x]?", &["obs", "x1"], false),
            ("obs/[x]?", &["obs", "[x]?"], true),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(names), expected, "{pattern} {names:?}");
        }
        assert!("".parse::<Pattern>().is_err() && "/".parse::<Pattern>().is_err());
    }
}
