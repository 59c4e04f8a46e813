//! Values of options as people type them: `10k`, `1e4` and `10_000` are 10000, and 8 where bytes are meant is asked about.

use std::str::FromStr;

use crate::cells::shares::{ONE, Share, Shares};
use crate::cells::subsets::file_name;
use crate::limits;
use crate::output::run_parts::{PartKind, RunPart};
use crate::resources::parse_size;

/// A whole number of 1 or more.
pub fn positive<N: FromStr>(text: &str) -> Result<N, &'static str> {
    let digits = whole(text).map(|n| n.to_string());
    let digits = digits.unwrap_or_else(|| text.to_owned());
    digits
        .parse()
        .map_err(|_| "give a whole number of 1 or more, as 10000, 10k or 1e4")
}

/// A whole number, where 0 means none at all. 0 comes out as the largest number, which no column exceeds.
pub fn most_categories(text: &str) -> Result<u64, &'static str> {
    match whole(text) {
        Some(0) => Ok(u64::MAX),
        Some(most) => Ok(most),
        None => Err("give a whole number, or 0 for no limit"),
    }
}

/// The number that some digits mean, parted by `_` or by `,` into thousands, with a factor k or M, or a power of ten.
/// `1.5k` is 1500 and `1.25e1` none: it must come out whole. Behind `,` come three digits: `1,5` is not 15.
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
    // Digits behind the point count as digits before it, with a power less for each.
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

/// One part of several, as `3/8`. `PartKind::Outputs` until a stage says otherwise.
pub fn part(text: &str) -> Result<RunPart, String> {
    let numbers = text.split_once('/');
    let number = |digits: &str| digits.parse::<u64>().ok().filter(|_| is_digits(digits));
    let numbers = numbers.and_then(|(part, of)| Some((number(part)?, number(of)?)));
    match numbers {
        None => Err("give the number of a part and how many there are, as 3/8".into()),
        Some((_, of)) if of == 0 || of > limits::PARTS => {
            let most = limits::PARTS;
            Err(format!("there are 1 to {most} parts"))
        }
        Some((number, of)) if number == 0 || number > of => {
            Err(format!("parts count from 1: 1/{of} to {of}/{of}"))
        }
        Some((number, of)) => Ok(RunPart {
            number,
            of,
            kind: PartKind::Outputs,
        }),
    }
}

/// Digits of the numbers of shards: as many as a number has at the most.
pub fn padding(text: &str) -> Result<usize, &'static str> {
    let digits = whole(text).and_then(|n| usize::try_from(n).ok());
    digits
        .filter(|digits| (1..=20).contains(digits))
        .ok_or("give a number of digits from 1 to 20")
}

/// Parts with their shares: `train=0.8,val=10%,test=*`. Whether counts fit is only known with the number of cells
/// (`Weights::of`).
pub fn shares(text: &str) -> Result<Shares, String> {
    let mut parts: Vec<(String, Share)> = vec![];
    for part in text.split(',') {
        let pair = part.split_once('=').filter(|(name, _)| !name.is_empty());
        let Some((name, share)) = pair else {
            return Err(format!(
                "'{part}' is not NAME=SHARE; give parts as train=0.8,val=0.1,test=0.1"
            ));
        };
        if file_name(name) != name {
            return Err(format!(
                "'{name}' is a part of names of files; give letters, digits, _, . and -"
            ));
        }
        if parts.iter().any(|(other, _)| other == name) {
            return Err(format!("the part '{name}' is there twice"));
        }
        parts.push((
            name.to_owned(),
            part_of(share).map_err(|e| format!("{name}: {e}"))?,
        ));
    }
    check_sum(&parts)?;
    Ok(Shares(parts))
}

/// Fractions are of all cells: more is an error, and less where nothing takes the rest.
fn check_sum(parts: &[(String, Share)]) -> Result<(), String> {
    let rests = parts.iter().filter(|(_, share)| *share == Share::Rest);
    let rests = rests.count();
    let fraction = |(_, share): &(String, Share)| match share {
        Share::Fraction(part) => Some(*part),
        _ => None,
    };
    let sum: u64 = parts.iter().filter_map(fraction).sum();
    let are_fractions = parts.iter().all(|part| fraction(part).is_some());
    let percent = 100.0 * sum as f64 / ONE as f64;
    if rests > 1 {
        return Err("only one part is * for the rest".into());
    }
    if sum > ONE {
        return Err(format!(
            "the parts are {percent}% of all cells; give 100% at the most"
        ));
    }
    if are_fractions && sum < ONE {
        return Err(format!(
            "the parts are {percent}% of all cells; give one of them * for the rest"
        ));
    }
    Ok(())
}

/// So many cells: a fraction, a percentage or a number.
pub fn share(text: &str) -> Result<Share, String> {
    match part_of(text)? {
        Share::Rest => Err(NO_SHARE.into()),
        share => Ok(share),
    }
}

const NO_SHARE: &str = "give a fraction as 0.1, a percentage as 10%, or a number of cells as 5000";

/// A share as it is typed: `*`, `10%`, `0.1`; `1` and `5e3` are numbers of cells, `1.0` is all of them.
fn part_of(text: &str) -> Result<Share, String> {
    let text = text.trim();
    let is_decimal = text.contains('.') && text.ends_with(|c: char| c.is_ascii_digit());
    let fraction = match text.strip_suffix('%') {
        Some(percent) => Some(decimal(percent, 10)),
        None if is_decimal && !text.contains(['e', 'E']) => Some(decimal(text, 12)),
        None => None,
    };
    let share = match (text, fraction) {
        ("*", _) => Share::Rest,
        (_, Some(parts)) => Share::Fraction(parts.ok_or(NO_SHARE)?),
        (_, None) => Share::Count(whole(text).ok_or(NO_SHARE)?),
    };
    match share {
        Share::Fraction(0) | Share::Count(0) => Err("that is no cell".into()),
        Share::Fraction(parts) if parts > ONE => Err(format!(
            "{text} is more than all cells; a fraction is 1.0 at the most, and a number of cells has no point"
        )),
        share => Ok(share),
    }
}

/// A decimal number, as an integer when it is multiplied by a power of ten. `decimal("12.5", 10)` is 125000000000, for
/// 12.5 % of `ONE`.
fn decimal(text: &str, power: u32) -> Option<u64> {
    let (digits, decimals) = text.split_once('.').unwrap_or((text, ""));
    let all = format!("{digits}{decimals}");
    let power = power.checked_sub(decimals.len().try_into().ok()?)?;
    let number: u64 = all.parse().ok().filter(|_| is_digits(&all))?;
    number.checked_mul(10u64.checked_pow(power)?)
}

/// A question in place of an error: `--memory-limit 8` is hardly 8 bytes.
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
    fn shares_are_fractions_percentages_numbers_and_the_rest() {
        let parts = shares("train=0.75,val=12.5%,test=1k,rest=*").unwrap().0;
        let parts: Vec<_> = parts
            .iter()
            .map(|(name, share)| (name.as_str(), *share))
            .collect();
        let expected = [
            ("train", Share::Fraction(3 * ONE / 4)),
            ("val", Share::Fraction(ONE / 8)),
            ("test", Share::Count(1000)),
            ("rest", Share::Rest),
        ];
        assert_eq!(parts, expected);
        assert_eq!(share("1.0"), Ok(Share::Fraction(ONE)));
        assert_eq!(share("1"), Ok(Share::Count(1)));
        assert_eq!(share("100%"), Ok(Share::Fraction(ONE)));
        assert_eq!(share(".000000000001"), Ok(Share::Fraction(1)));
        assert_eq!(share("1.5k"), Ok(Share::Count(1500)));
        assert!(shares("a=0.1,b=0.2,c=0.7").is_ok(), "sums are exact");
    }

    #[test]
    fn what_is_no_share_is_refused_with_what_to_type() {
        for (text, told) in [
            ("train", "'train' is not NAME=SHARE"),
            ("=0.5", "not NAME=SHARE"),
            ("train=0.8,", "'' is not NAME=SHARE"),
            ("a b=1.0", "give letters"),
            ("a=0.5,a=0.5", "twice"),
            ("a=1.5", "a: 1.5 is more than all cells"),
            ("a=101%", "more than all cells"),
            ("a=0.8,b=0.3", "the parts are 110% of all cells"),
            (
                "a=0.8,b=0.1",
                "the parts are 90% of all cells; give one of them *",
            ),
            ("a=*,b=*", "only one part is *"),
            ("a=0", "that is no cell"),
            ("a=-1", "give a fraction"),
            ("a=x", "give a fraction as 0.1"),
            ("a=0.0000000000001", "give a fraction"),
            ("a=99999999999999999999%", "give a fraction"),
        ] {
            let error = shares(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
        assert!(share("*").is_err() && padding("0").is_err() && padding("21").is_err());
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
