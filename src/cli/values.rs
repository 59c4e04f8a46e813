//! Values of options as people type them: `10k`, `1e4` and `10_000` are 10000, and 8 where bytes are meant is asked about.

use std::str::FromStr;

use crate::resources::parse_size;

/// A whole number of 1 or more.
pub fn positive<N: FromStr>(text: &str) -> Result<N, &'static str> {
    let digits = whole(text).map(|n| n.to_string());
    let digits = digits.unwrap_or_else(|| text.to_owned());
    digits
        .parse()
        .map_err(|_| "give a whole number of 1 or more, as 10000, 10k or 1e4")
}

/// A whole number, where 0 means none at all.
pub fn most_categories(text: &str) -> Result<u64, &'static str> {
    match whole(text) {
        Some(0) => Ok(u64::MAX),
        Some(most) => Ok(most),
        None => Err("give a whole number, or 0 for no limit"),
    }
}

/// The number that some digits mean, parted by `_` or by `,` into thousands, with a factor k or M, or a power of ten.
fn whole(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, power) = match text.char_indices().last()? {
        (end, 'k' | 'K') => (&text[..end], 3),
        (end, 'm' | 'M') => (&text[..end], 6),
        _ => match text.split_once(['e', 'E']) {
            Some((digits, power)) => (digits, power.trim_start_matches('+').parse().ok()?),
            None => (text, 0),
        },
    };
    let (digits, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let decimals = decimals.trim_end_matches('0');
    let power = u32::checked_sub(power, decimals.len().try_into().ok()?)?;
    let digits = unparted(digits)? + decimals;
    let digits: u64 = digits.parse().ok().filter(|_| is_digits(&digits))?;
    digits.checked_mul(10u64.checked_pow(power)?)
}

/// Digits without what parts them.
fn unparted(digits: &str) -> Option<String> {
    let parts: Vec<&str> = digits.split(['_', ',']).collect();
    let thousands = |part: &&str| part.len() == 3;
    let is_sound = parts.iter().all(|part| is_digits(part))
        && (!digits.contains(',') || parts[1..].iter().all(thousands));
    is_sound.then(|| parts.concat())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Bytes; a number that must be meant in a unit is asked about.
pub fn size(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text).map_err(|e| e.to_string())?;
    if is_digits(text) && bytes < 1024 {
        return Err(asked(bytes, "GB"));
    }
    Ok(bytes)
}

/// Bytes of memory: nobody means kilobytes.
pub fn memory(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if is_digits(text) && bytes < 1_000_000 {
        return Err(asked(bytes, "MB"));
    }
    Ok(bytes)
}

fn asked(bytes: u64, unit: &str) -> String {
    format!("that is {bytes} bytes; did you mean {bytes}{unit}?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_type_them() {
        for text in [
            "10000", "10k", "10K", "1e4", "1E+4", "10_000", "10,000", "0.01M", "1.00e4", " 10000 ",
            "010000",
        ] {
            assert_eq!(positive::<u64>(text), Ok(10_000), "{text}");
        }
        assert_eq!(positive::<u64>("2.5k"), Ok(2500));
        assert_eq!(most_categories("0"), Ok(u64::MAX));
        assert_eq!(most_categories("50k"), Ok(50_000));
    }

    #[test]
    fn what_is_no_whole_number_is_refused() {
        for text in [
            "",
            "k",
            "ten",
            "-5",
            "1.5",
            "1e-3",
            "1.23456k",
            "10kk",
            "1e99",
            "10,00",
            "1,0000",
            "_1",
            "1__0",
            "１",
            "1e",
            ".",
            "1.k.",
            "99999999999999999999",
            "+ 5",
            "0.5",
        ] {
            assert!(positive::<u64>(text).is_err(), "{text}");
        }
        assert!(positive::<std::num::NonZeroU64>("0").is_err());
    }

    #[test]
    fn bytes_that_must_be_meant_in_a_unit_are_asked_about() {
        assert_eq!(
            memory("8").unwrap_err(),
            "that is 8 bytes; did you mean 8GB?"
        );
        assert_eq!(
            memory("4096").unwrap_err(),
            "that is 4096 bytes; did you mean 4096MB?"
        );
        assert_eq!(size("2").unwrap_err(), "that is 2 bytes; did you mean 2GB?");
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("8B"), Ok(8));
        assert_eq!(memory("8GB"), Ok(8_000_000_000));
        assert_eq!(memory("8000000000"), Ok(8_000_000_000));
    }
}
