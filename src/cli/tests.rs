use std::path::PathBuf;

use clap::{CommandFactory, error::ErrorKind};

use super::*;
use crate::codec::compression::Compression;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

fn slice(line: &str) -> SliceArgs {
    match parse(line).unwrap().command {
        Command::Slice(args) => args,
        other => panic!("parsed as {other:?}"),
    }
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_the_python_tools() {
    let args = slice("annslicer slice a.h5ad out/p");
    assert_eq!(args.order.cells_per_shard(), 10_000);
    assert!(!args.order.shuffle && args.order.seed.is_none());
    assert_eq!(args.output.compression, None);
    let Command::Merge(args) = parse("annslicer merge o.h5ad a b*").unwrap().command else {
        panic!("parsed as slice");
    };
    assert_eq!(args.join, Join::Outer);
    assert_eq!(args.inputs, [PathBuf::from("a"), PathBuf::from("b*")]);
}

#[test]
fn long_options_may_be_shortened_and_stand_anywhere() {
    let args = slice("annslicer slice --comp gzip a.h5ad --shuf p --mem=1.5GB -j4 --si 7");
    assert_eq!(args.output.compression, Some(Compression::Gzip(1)));
    assert_eq!(args.machine.memory_limit, Some(1_500_000_000));
    assert_eq!(args.machine.jobs.unwrap().get(), 4);
    assert_eq!(args.order.cells_per_shard(), 7);
    assert!(args.order.shuffle);
    assert!(parse("annslicer slice a p --s 7").is_err(), "ambiguous");
}

#[test]
fn options_that_have_no_effect_are_dropped() {
    let mut args = slice("annslicer slice a p --obs-column c --size 7 --shuffle --seed 1");
    args.drop_unused();
    assert!(!args.order.shuffle && args.order.seed.is_none() && args.order.size.is_none());
    let mut args = slice("annslicer slice a p --csv-file t.csv --always-include x --seed 1");
    args.drop_unused();
    assert!(args.by.table.csv_file.is_none() && args.by.always_include.is_empty());
    assert!(args.order.seed.is_none());
}

#[test]
fn debug_and_quiet_stand_before_or_after_the_subcommand() {
    for line in [
        "annslicer --debug -q slice a p",
        "annslicer slice a p --deb --quiet",
    ] {
        let messages = parse(line).unwrap().messages;
        assert!(messages.debug && messages.quiet);
    }
}

#[test]
fn bad_values_are_usage_errors_on_one_line_that_name_the_option() {
    let cases = [
        ("--size 0", "whole number of 1 or more"),
        ("--size -5", "invalid value '-5' for '--size <N>'"),
        ("--size ten", "whole number"),
        ("--jobs 0", "'--jobs <N>'"),
        ("-j -2", "'-2'"),
        ("--shuffle --seed -1", "'--seed <N>'"),
        ("--compression zstd", "gzip:1 to gzip:9, and lzf"),
        ("--memory-limit -4GB", "'-4GB'"),
        ("--memory-limit lots", "'--memory-limit <SIZE>'"),
        ("--sise 3", "--size"),
    ];
    for (options, expected) in cases {
        let error = parse(&format!("annslicer slice a p {options}")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let line = one_line(&error);
        assert!(line.contains(expected), "{options}: {line}");
        assert!(!line.contains('\n') && !line.contains("Usage"), "{line}");
    }
}

#[test]
fn keys_follow_the_inputs() {
    let keys = |line: &str| match parse(line).unwrap().command {
        Command::Merge(args) => (args.inputs.len(), args.sources.keys),
        other => panic!("parsed as {other:?}"),
    };
    for line in [
        "annslicer merge o a b --label l --keys x y",
        "annslicer merge --keys x y --index-unique - -- o a b",
        "annslicer merge o --keys x --keys y --label l a b",
        "annslicer merge o a b --keys x y --label l",
    ] {
        assert_eq!(keys(line), (2, vec!["x".into(), "y".into()]), "{line}");
    }
    for (line, said) in [
        ("annslicer merge o --label l --keys a b", "<INPUT>"),
        ("annslicer merge o a --keys x", "--label"),
        ("annslicer merge o a --label=", "--label"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(one_line(&error).contains(said), "{}", one_line(&error));
    }
}

#[test]
fn what_is_missing_is_named() {
    let line = one_line(&parse("annslicer merge out.h5ad").unwrap_err());
    assert!(line.contains("<INPUT>"), "{line}");
    let line = one_line(&parse("annslicer merge o a --join left").unwrap_err());
    assert!(line.contains("inner, outer"), "{line}");
}

#[test]
fn the_manual_has_a_page_for_each_subcommand() {
    let manual = String::from_utf8(man().unwrap()).unwrap();
    for page in ["annslicer", "annslicer-slice", "annslicer-info"] {
        assert!(manual.contains(&format!(".TH {page} 1")), "{page}");
    }
    assert!(manual.contains("natural"), "options of merge");
}

#[test]
fn scripts_complete_options_of_subcommands() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = String::from_utf8(completions(shell)).unwrap();
        assert!(script.contains("natural-sort"), "{shell}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    let version = parse("annslicer --version").unwrap_err();
    assert_eq!(version.kind(), ErrorKind::DisplayVersion);
    let help = parse("annslicer slice --help").unwrap_err();
    assert_eq!(help.exit_code(), 0);
    assert!(help.to_string().contains("EXAMPLES"));
}
