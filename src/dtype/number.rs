//! Text that is a number and would come back from it: what may be stored as a number without loss.
//!
//! A column of text, of a CSV table or among categories that become plain values, becomes numbers only if all of its
//! texts are such: one `007`, which is a name rather than a number, and the whole column stays text.

/// An integer as it is printed: no zeros in front, no plus.
pub fn integer(text: &str) -> Option<i64> {
    text.parse().ok().filter(|v: &i64| v.to_string() == text)
}

/// A decimal number that is the nearest to a float64, in as many digits as one is printed with (17 at most), and
/// without zeros in front. NaN and infinity as Python prints them.
pub fn float(text: &str) -> Option<f64> {
    if matches!(text, "nan" | "inf" | "-inf") {
        return text.parse().ok();
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    // `007`, but neither `0` nor `0.5`.
    let padded =
        digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
    // Rust reads `+1` and `infinity` too.
    let plain = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let value: f64 = text.parse().ok().filter(|v: &f64| v.is_finite())?;
    let said = significant(text);
    // The text has the shortest digits that lead to this float, or 17 of them. Others, as those of `90071992547409931`,
    // are of a number that no float is.
    let printed = [format!("{value:e}"), format!("{value:.16e}")];
    let same = printed.iter().any(|p| significant(p) == said);
    (plain && !padded && same).then_some(value)
}

/// The digits of a number without its sign, point, exponent and outer zeros.
fn significant(text: &str) -> String {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_number_would_change_is_text() {
        for text in [
            "007", "+1", "1_000", "", " 1", "1 ", "0x10", "1,5", "True", "--1",
        ] {
            assert_eq!((integer(text), float(text)), (None, None), "{text}");
        }
        for text in [
            "90071992547409931",
            "3.14159265358979323846",
            "1e400",
            "1e-400",
        ] {
            assert_eq!(float(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_as_python_and_c_print_them() {
        let cases = [
            ("0.70218", 0.70218),
            ("1e-05", 1e-5),
            ("1.50", 1.5),
            (".5", 0.5),
            ("-0.0", -0.0),
            ("0.10000000000000001", 0.1),
            ("1E+3", 1000.0),
            ("inf", f64::INFINITY),
        ];
        for (text, value) in cases {
            assert_eq!(float(text), Some(value), "{text}");
        }
        assert!(float("nan").unwrap().is_nan());
        assert_eq!(integer("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer("9223372036854775808"), None);
    }

    proptest! {
        #[test]
        fn every_float_is_read_from_what_it_prints(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            for text in [format!("{value:?}"), format!("{value:.16e}")] {
                prop_assert_eq!(float(&text).map(f64::to_bits), Some(bits), "{}", text);
            }
        }
    }
}
