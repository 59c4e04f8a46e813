//! NaN and infinities as bare words in JSON, as zarr-python writes them in attributes, though JSON has no such words.
//!
//! Within the program each is a text that no writer has a reason to store: [`read`] makes it of the word, and [`write`]
//! the word of it.

/// A noncharacter of Unicode, "for internal use", before the word.
const MARK: &str = "\u{fdd0}";
const WORDS: [(&str, f64); 3] = [
    ("NaN", f64::NAN),
    ("Infinity", f64::INFINITY),
    ("-Infinity", f64::NEG_INFINITY),
];

/// The text that stands for a number which JSON does not have.
pub fn of(value: f64) -> Option<String> {
    let same = |of: f64| of == value || of.is_nan() && value.is_nan();
    let (word, _) = WORDS.iter().find(|(_, of)| same(*of))?;
    Some(format!("{MARK}{word}"))
}

/// The word that a text stands for.
pub fn word(text: &str) -> Option<&str> {
    text.strip_prefix(MARK)
}

/// The number that a text stands for.
pub fn number(text: &str) -> Option<f64> {
    let word = word(text)?;
    let (_, number) = WORDS.iter().find(|(of, _)| *of == word)?;
    Some(*number)
}

/// JSON, with a text for each word.
pub fn read(json: Vec<u8>) -> Vec<u8> {
    let has = |word: &str| json.windows(word.len()).any(|at| at == word.as_bytes());
    if !has("NaN") && !has("Infinity") {
        return json;
    }
    let (mut out, mut at, mut in_text) = (Vec::with_capacity(json.len()), 0, false);
    while at < json.len() {
        let rest = &json[at..];
        let word = WORDS
            .iter()
            .find(|(word, _)| !in_text && rest.starts_with(word.as_bytes()));
        if let Some((word, _)) = word {
            out.extend_from_slice(format!("\"{MARK}{word}\"").as_bytes());
            at += word.len();
            continue;
        }
        let len = if in_text && rest[0] == b'\\' { 2 } else { 1 };
        in_text ^= rest[0] == b'"';
        out.extend_from_slice(&rest[..len.min(rest.len())]);
        at += len;
    }
    out
}

/// JSON, with the words for their texts.
pub fn write(json: String) -> String {
    if !json.contains(MARK) {
        return json;
    }
    WORDS.iter().fold(json, |json, (word, _)| {
        json.replace(&format!("\"{MARK}{word}\""), word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        for json in [
            r#"{"a": NaN, "b": [1.5, -Infinity, Infinity], "NaN": "a NaN \" NaN", "c": {"d": [NaN]}}"#,
            r#"["Infinity", "\\", NaN]"#,
            r#"{"a": 1}"#,
        ] {
            let read = String::from_utf8(read(json.as_bytes().to_vec())).unwrap();
            serde_json::from_str::<serde_json::Value>(&read).unwrap();
            assert_eq!(write(read), json);
        }
        assert_eq!(
            number(&of(f64::NEG_INFINITY).unwrap()),
            Some(f64::NEG_INFINITY)
        );
        assert!(number(&of(f64::NAN).unwrap()).unwrap().is_nan());
        assert_eq!((number("NaN"), of(1.0)), (None, None));
    }
}
