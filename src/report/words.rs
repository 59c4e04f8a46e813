//! Numbers in sentences: thousands separated, and the noun in the number that goes with it.

/// `1,234,567`
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 cell`, `1,400 cells`, `2 passes`, `3 categories`: a regular English noun with its number.
pub fn count(n: u64, noun: &str) -> String {
    let number = thousands(n);
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("{number} {noun}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) if noun.ends_with('s') => format!("{number} {noun}es"),
        (_, None) => format!("{number} {noun}s"),
    }
}

/// The same with a verb, given for one and for many: `1 cell has`, `1,400 cells have`.
pub fn clause(n: u64, noun: &str, verbs: (&str, &str)) -> String {
    let verb = if n == 1 { verbs.0 } else { verbs.1 };
    format!("{} {verb}", count(n, noun))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_345, "12,345"),
            (1_234_567, "1,234,567"),
        ];
        for (n, text) in cases {
            assert_eq!(thousands(n), text);
        }
        assert_eq!(thousands(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn nouns_go_with_their_number() {
        assert_eq!(count(1, "cell"), "1 cell");
        assert_eq!(count(0, "cell"), "0 cells");
        assert_eq!(count(1400, "cell"), "1,400 cells");
        assert_eq!(count(2, "pass"), "2 passes");
        assert_eq!(count(1, "category"), "1 category");
        assert_eq!(clause(1, "cell", ("has", "have")), "1 cell has");
        assert_eq!(clause(2000, "cell", ("has", "have")), "2,000 cells have");
        assert_eq!(count(3, "category"), "3 categories");
    }
}
