//! What of a file is shown, as if it held nothing else: nodes may be hidden, and a node may stand in the place of another.
//!
//! Only paths are told apart here, those that a reader asks for; [`super::Group`] goes by it. What is hidden is never
//! opened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::spec::Attrs;

/// Which nodes of a file are shown, and where.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    hidden: BTreeSet<String>,
    /// Where a node is, by the path where it is shown.
    moved: BTreeMap<String, Place>,
}

/// Where a node is in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub path: String,
    /// Where it is text with a mask, as what it is read.
    pub plain: Option<PlainText>,
}

/// A nullable string array as an array of strings.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainText {
    /// The path of its mask.
    pub mask: String,
    /// What is read where a text is missing.
    pub missing: String,
    /// Its attributes.
    pub attrs: Attrs,
}

impl From<&str> for Place {
    fn from(path: &str) -> Place {
        Place {
            path: path.into(),
            plain: None,
        }
    }
}

/// What is shown for a path.
#[derive(Debug, PartialEq)]
pub(super) enum Seen {
    Nothing,
    /// What the group itself has there.
    Own,
    Moved(Place),
}

impl Shown {
    pub fn is_all(&self) -> bool {
        self.hidden.is_empty() && self.moved.is_empty()
    }

    /// Hides the node at `path`, with all below it.
    pub fn hide(&mut self, path: &str) {
        self.hidden.insert(path.into());
    }

    /// No longer hides the node at `path`.
    pub fn show(&mut self, path: &str) {
        self.hidden.remove(path);
    }

    /// Shows what is at `place` at `path`, whatever is there.
    pub fn put(&mut self, path: &str, place: Place) {
        self.moved.insert(path.into(), place);
    }

    fn see(&self, path: &str) -> Seen {
        let ends = path.match_indices('/').map(|(end, _)| end);
        let mut seen = Seen::Own;
        for end in ends.chain([path.len()]) {
            let (above, below) = path.split_at(end);
            if self.hidden.contains(above) {
                return Seen::Nothing;
            }
            if let Some(Place { path, plain }) = self.moved.get(above) {
                let (path, plain) = (path.clone() + below, plain.clone());
                seen = Seen::Moved(Place { path, plain });
            }
        }
        seen
    }

    /// Whether something below `path` is not shown as it is in the file.
    fn changes_below(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        let hidden = self.hidden.range(folder.clone()..).next();
        let moved = self.moved.range(folder.clone()..).next();
        let first = [hidden, moved.map(|(path, _)| path)].into_iter().flatten();
        first.into_iter().any(|known| known.starts_with(&folder))
    }
}

/// What is shown of one group.
#[derive(Clone)]
pub(super) struct View {
    /// The path that the group is asked for by.
    at: String,
    shown: Arc<Shown>,
}

impl View {
    /// That of the root.
    pub fn of(shown: Shown) -> View {
        View {
            at: String::new(),
            shown: Arc::new(shown),
        }
    }

    /// That of the group at `path` below.
    pub fn below(&self, path: &str) -> View {
        View {
            at: self.told(path),
            shown: self.shown.clone(),
        }
    }

    fn told(&self, path: &str) -> String {
        match (self.at.as_str(), path) {
            ("", _) => path.into(),
            (at, "") => at.into(),
            (at, path) => format!("{at}/{path}"),
        }
    }

    pub fn see(&self, path: &str) -> Seen {
        self.shown.see(&self.told(path))
    }

    pub fn changes_below(&self, path: &str) -> bool {
        self.shown.changes_below(&self.told(path))
    }

    /// The names that are shown, sorted, where the group has these of its own.
    pub fn names(&self, own: Vec<String>) -> Vec<String> {
        let shown = |name: &String| self.see(name) != Seen::Nothing;
        let mut names: BTreeSet<String> = own.into_iter().filter(shown).collect();
        names.extend(self.shown.moved.keys().filter_map(|path| {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            (parent == self.at).then(|| name.into())
        }));
        names.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_takes_what_is_below_with_it() {
        let mut shown = Shown::default();
        shown.hide("obs/a");
        shown.hide("uns");
        let view = View::of(shown);
        for (path, seen) in [
            ("uns", Seen::Nothing),
            ("uns/a/b", Seen::Nothing),
            ("unspoken", Seen::Own),
            ("obs", Seen::Own),
            ("obs/a/codes", Seen::Nothing),
            ("obs/ab", Seen::Own),
        ] {
            assert_eq!(view.see(path), seen, "{path}");
        }
        let obs = view.below("obs");
        assert_eq!(obs.names(vec!["b".into(), "a".into()]), ["b"]);
        assert_eq!(obs.see("a"), Seen::Nothing);
        assert!(view.changes_below("obs") && !view.changes_below("obs/a"));
        assert!(!view.changes_below("uns") && !view.changes_below("ob"));
    }

    #[test]
    fn a_node_stands_in_the_place_of_another() {
        let place = |path: &str| Place::from(path);
        let mut shown = Shown::default();
        shown.put("X", place("layers/counts"));
        shown.put("layers/old", place("X"));
        shown.hide("layers/counts");
        let view = View::of(shown);
        assert_eq!(view.see("X/data"), Seen::Moved(place("layers/counts/data")));
        let layers = view.below("layers");
        assert_eq!(layers.see("old"), Seen::Moved(place("X")));
        assert_eq!(layers.names(vec!["counts".into()]), ["old"]);
        assert_eq!(view.names(vec!["layers".into()]), ["X", "layers"]);
        assert!(view.changes_below("layers") && !view.changes_below("X"));
    }
}
