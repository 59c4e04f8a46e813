//! Why files have few genes in common, where their names show it.

use std::collections::HashSet;

/// Whether so few genes are in all files that something is likely wrong: less than a tenth of the smallest file's.
pub fn is_suspicious(in_all: usize, fewest: usize) -> bool {
    in_all * 10 < fewest
}

/// What makes names of the first file differ from `others`, which it does not have.
pub fn reason(first: &[&[u8]], others: &[&[u8]]) -> Option<&'static str> {
    // Whether a change makes names equal: half of the shorter list at the least, since files differ in other genes too.
    let like = |change: fn(&[u8]) -> Vec<u8>| {
        let known: HashSet<Vec<u8>> = first.iter().map(|name| change(name)).collect();
        let found = others.iter().filter(|name| known.contains(&change(name)));
        found.count() * 2 >= others.len().min(first.len()).max(1)
    };
    if like(|name| name.to_ascii_uppercase()) {
        return Some("their names differ in upper and lower case, as between species (ACTB, Actb)");
    }
    if like(|name| without_version(name).to_vec()) {
        return Some(
            "identifiers have a version in some files (ENSG00000075624.17) and none, or another, in others",
        );
    }
    let [first, others] = [first, others].map(|names| {
        let identifiers = names.iter().filter(|name| is_identifier(name)).count();
        identifiers as f64 / names.len().max(1) as f64
    });
    // Lists may have a few names of the other kind, such as those of antibodies.
    if first.min(others) < 0.1 && first.max(others) > 0.9 {
        return Some("some files have identifiers (ENSG00000075624), others symbols (ACTB)");
    }
    None
}

/// An identifier without its version: `ENSG00000075624.17`.
fn without_version(name: &[u8]) -> &[u8] {
    let dot = name.iter().rposition(|byte| *byte == b'.');
    match dot.map(|dot| name.split_at(dot)) {
        Some((stem, version))
            if version.len() > 1 && version[1..].iter().all(u8::is_ascii_digit) =>
        {
            stem
        }
        _ => name,
    }
}

/// Whether it looks like an identifier of Ensembl (`ENSG` or `ENSMUSG` and digits) or Entrez (digits).
fn is_identifier(name: &[u8]) -> bool {
    let name = without_version(name);
    let stem = name
        .iter()
        .position(u8::is_ascii_digit)
        .unwrap_or(name.len());
    let (letters, digits) = name.split_at(stem);
    let is_ensembl = letters.starts_with(b"ENS") && letters.ends_with(b"G");
    (is_ensembl || letters.is_empty())
        && !digits.is_empty()
        && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason_of(first: &[&str], others: &[&str]) -> &'static str {
        let [first, others] = [first, others].map(|names| {
            let names = names.iter().map(|name| name.as_bytes());
            names.collect::<Vec<_>>()
        });
        reason(&first, &others).unwrap_or_default()
    }

    #[test]
    fn what_differs_in_names_is_told() {
        let (symbols, lower) = (["ACTB", "GAPDH", "CD3E"], ["Actb", "Gapdh", "Cd3e"]);
        let versions = ["ENSG01.1", "ENSG02.12", "ENSG03.2"];
        let plain = ["ENSG01", "ENSG02", "ENSG03"];
        assert!(reason_of(&symbols, &lower).contains("case"));
        assert!(reason_of(&versions, &plain).contains("version"));
        assert!(reason_of(&["ENSG01.4", "ENSG02.4", "ENSG03.1"], &versions).contains("version"));
        assert!(reason_of(&plain, &symbols).contains("symbols"));
        assert!(reason_of(&symbols, &["ENSMUSG07", "ENSMUSG08"]).contains("symbols"));
        assert_eq!(reason_of(&symbols, &["TP53", "MYC"]), "");
        assert_eq!(reason_of(&[], &[]), "");
    }

    #[test]
    fn few_in_common_are_suspicious_and_half_are_not() {
        assert!(is_suspicious(0, 1) && is_suspicious(99, 1000));
        assert!(!is_suspicious(500, 1000) && !is_suspicious(0, 0) && !is_suspicious(1, 10));
    }
}
