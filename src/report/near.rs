//! Names in messages: what a misspelt one may have meant.

/// What `name` may have meant, as the end of a sentence; all of them where there are few.
///
/// `; there are 'counts', 'spliced'` where all are named, `; similar is 'counts'` where only those that are alike are,
/// and nothing where none is. Upper and lower case are the same.
pub fn near<S: AsRef<str>>(name: &str, known: &[S]) -> String {
    const MOST: usize = 5;
    let lower = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = known
        .iter()
        .map(|k| {
            let k = k.as_ref();
            (strsim::jaro_winkler(&lower, &k.to_lowercase()), k)
        })
        .filter(|(score, _)| *score > 0.75 || known.len() <= MOST)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let names: Vec<String> = scored
        .iter()
        .take(MOST)
        .map(|(_, k)| format!("'{}'", cut(k)))
        .collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    match (names.is_empty(), known.len() <= MOST) {
        (true, _) => String::new(),
        (false, true) => format!("; there {verb} {}", names.join(", ")),
        (false, false) => format!("; similar {verb} {}", names.join(", ")),
    }
}

/// A text of a file as a message quotes it: its beginning, where it is long.
pub fn cut(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// The first few of `names` in quotes, and how many more there are.
pub fn listed<'a>(names: impl Iterator<Item = &'a str>, count: usize) -> String {
    const MOST: usize = 10;
    let shown = names.take(MOST).map(|name| format!("'{}'", cut(name)));
    let shown: Vec<String> = shown.collect();
    shown.join(", ") + &and_more(count.saturating_sub(shown.len()))
}

/// The end of a list of which so many are not shown.
pub fn and_more(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_matches_are_sorted_and_few() {
        let known = [
            "total_counts",
            "n_genes",
            "cell_type",
            "Cell_Types",
            "batch",
            "x",
        ];
        let said = near("celltype", &known);
        assert!(
            said.starts_with("; similar are 'cell_type', 'Cell_Types'"),
            "{said}"
        );
        assert!(!said.contains("batch"));
        assert_eq!(near("zzz", &known), "");
        assert_eq!(near("b", &["a", "b"]), "; there are 'b', 'a'");
    }
}
