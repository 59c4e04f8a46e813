use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, error::ErrorKind};

use super::joining::Join;
use super::shell::{completions, man};
use super::*;
use crate::codec::compression::Compression;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(as_meant(line.split(' ').map(OsString::from).collect()))
}

fn said(line: &str) -> String {
    let args: Vec<_> = line.split(' ').map(Into::into).collect();
    usage::one_line(&parse(line).unwrap_err(), &args)
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
    assert_eq!(args.join.join, Join::Outer);
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
    let dropped = |line: &str| {
        let mut args = slice(line);
        deal::drop_unused(&mut args.order, &mut args.by, &args.split);
        args
    };
    let args = dropped("annslicer slice a p --obs-column c --size 7 --shuffle --seed 1 --pad 3");
    assert!(!args.order.shuffle && args.order.seed.is_none() && args.order.size.is_none());
    assert!(args.order.pad.is_none());
    let within = "annslicer slice a p --obs-column c --size 7 --shuffle --seed 1 --size-within";
    let args = dropped(within);
    assert!(args.order.shuffle && args.order.seed.is_some() && args.order.size.is_some());
    let args = dropped("annslicer slice a p --split a=1.0 --seed 1 --csv-file t --sort-by x");
    assert!(args.order.seed.is_some() && args.by.table.csv_file.is_some());
    let args = dropped("annslicer slice a p --csv-file t.csv --always-include x --seed 1");
    assert!(args.by.table.csv_file.is_none() && args.by.always_include.is_empty());
    assert!(args.order.seed.is_none());
}

#[test]
fn columns_stand_before_or_after_the_paths() {
    let slice = |line: &str| {
        let typed: Vec<_> = line.split(' ').map(Into::into).collect();
        match parse_from(&typed).map(|cli| cli.command) {
            Ok(Command::Slice(args)) => args,
            other => panic!("{line}: {other:?}"),
        }
    };
    for line in [
        "annslicer slice a p --obs-column x y --sort-by z",
        "annslicer slice a p --obs-column x --obs-column y --sort-by=z",
        "annslicer slice --sort-by z a p --obs-column=x --obs-column=y",
        "annslicer slice --obs-column=x --obs y --sort-by z --shuffle a p",
    ] {
        let args = slice(line);
        let columns: Vec<&str> = args.by.obs_column.iter().map(String::as_str).collect();
        assert_eq!(columns, ["x", "y"], "{line}");
        assert_eq!(args.order.sort_by, ["z"], "{line}");
        assert_eq!(
            (args.input, args.prefix),
            ("a".into(), "p".into()),
            "{line}"
        );
    }
    assert_eq!(
        slice("annslicer slice a --obs-column x p").by.obs_column,
        ["x"]
    );
    let typed: Vec<_> = "annslicer slice --obs-column x a"
        .split(' ')
        .map(Into::into)
        .collect();
    let error = parse_from(&typed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
}

#[test]
fn options_that_do_not_go_together_are_usage_errors() {
    for (options, told) in [
        (
            "--split a=0.5",
            "the parts are 50% of all cells; give one of them * for the rest",
        ),
        ("--split a=1.2", "1.2 is more than all cells"),
        ("--split 0.8", "give parts as train=0.8,val=0.1,test=0.1"),
        (
            "--split a=1.0 --split-by x --stratify y",
            "cannot be used with '--stratify <COLUMN>'",
        ),
        (
            "--split a=1.0 --split-column y",
            "cannot be used with '--split-column <COLUMN>'",
        ),
        ("--split-by x", "slice needs --split;"),
        ("--stratify x", "slice needs --split;"),
        ("--split-label x", "slice needs --split;"),
        ("--size-within", "slice needs --obs-column;"),
        (
            "--obs-column x --shards 3",
            "cannot be used with '--shards <N>'",
        ),
        (
            "--obs-column x y --always-include v",
            "--always-include goes with one --obs-column",
        ),
        (
            "--obs-column x --always-include v --size-within",
            "--size-within",
        ),
        ("--obs-column x --always-include v --split a=1.0", "--split"),
        ("--pad 0", "a number of digits from 1 to 20"),
        ("--pad 3 --names n", "cannot be used with"),
    ] {
        let line = format!("annslicer slice a p {options}");
        let typed: Vec<_> = line.split(' ').map(Into::into).collect();
        let error = parse_from(&typed).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let told_here = usage::one_line(&error, &typed);
        assert!(told_here.contains(told), "{options}: {told_here}");
    }
    for (options, told) in [
        ("--sample 1.5", "1.5 is more than all cells"),
        ("--sample *", "give a fraction as 0.1, a percentage as 10%"),
        ("--sample 0", "that is no cell"),
        ("--per-value 5", "filter needs --stratify;"),
        (
            "--stratify x --where y",
            "filter needs --sample or --per-value;",
        ),
        (
            "--sample 5 --per-value 5 --stratify x",
            "cannot be used with",
        ),
        ("--split a=1.0", "filter has no option --split, slice has"),
    ] {
        let line = said(&format!("annslicer filter a b {options}"));
        assert!(line.contains(told), "{options}: {line}");
    }
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
        (
            "--size ten",
            "whole number of 1 or more, as 10000, 10k or 1e4",
        ),
        ("--jobs 0", "'--jobs <N>'"),
        ("-j -2", "'-2'"),
        ("--shuffle --seed -1", "'--seed <N>'"),
        ("--compression lz5", "gzip:1 to gzip:9, and lzf"),
        ("--memory-limit -4GB", "'-4GB'"),
        ("--memory-limit lots", "'--memory-limit <SIZE>'"),
        ("--memory-limit 8", "that is 8 bytes; did you mean 8GB?"),
        ("--memory-limit 4096", "did you mean 4096MB?"),
        ("--max-bytes 2", "did you mean 2GB?"),
        (
            "--sise 3",
            "slice has no option --sise; did you mean --size?",
        ),
        ("--cells c.txt", "slice has no option --cells, filter has"),
        ("--where x", "slice has no option --where, filter has"),
        ("--verbosely", "slice has no option --verbosely"),
        ("-x", "slice has no option -x"),
    ];
    for (options, expected) in cases {
        let typed = format!("annslicer slice a p {options}");
        assert_eq!(parse(&typed).unwrap_err().exit_code(), 2);
        let line = said(&typed);
        assert!(line.contains(expected), "{options}: {line}");
        assert!(line.ends_with("; see annslicer slice --help"), "{line}");
        for unwanted in ["\n", "Usage", "as a value"] {
            assert!(!line.contains(unwanted), "{line}");
        }
    }
}

#[test]
fn an_option_before_its_subcommand_is_told_to_come_after_it() {
    for (line, told) in [
        (
            "annslicer --size 4 slice a p",
            "--size is an option of slice, and comes after it: annslicer slice INPUT... PREFIX --size N; see annslicer slice --help",
        ),
        (
            "annslicer --quiet --shuf slice a p",
            "--shuf is an option of slice, and comes after it: annslicer slice INPUT... PREFIX --shuf;",
        ),
        (
            "annslicer -j4 merge o a",
            "-j is an option of merge, and comes after it: annslicer merge OUTPUT INPUT... -j N;",
        ),
        (
            "annslicer --where x slice a p",
            "slice has no option --where, filter has",
        ),
    ] {
        let said = said(line);
        assert!(said.starts_with(told), "{line}: {said}");
    }
}

#[test]
fn keys_follow_the_inputs() {
    let keys = |line: &str| match parse(line).unwrap().command {
        Command::Merge(args) => (args.inputs.len(), args.join.labels.keys),
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
    for (line, part) in [
        ("annslicer merge o --label l --keys a b", "<INPUT>"),
        (
            "annslicer merge o a --keys x",
            "merge needs --label or --index-unique;",
        ),
        ("annslicer merge o a --label=", "--label"),
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2);
        assert!(said(line).contains(part), "{}", said(line));
    }
}

#[test]
fn what_is_missing_is_named() {
    for (line, expected) in [
        (
            "annslicer merge out.h5ad",
            "merge needs <INPUT>...: annslicer merge OUTPUT INPUT...; see",
        ),
        (
            "annslicer slice a.h5ad",
            "slice needs <PREFIX>: annslicer slice INPUT... PREFIX; see",
        ),
        (
            "annslicer filter a b --genes g --invert",
            "filter needs --obs-column or --cells or --where; see",
        ),
        (
            "annslicer filter a b --where x --missing-ok",
            "filter needs --cells; see",
        ),
        ("annslicer merge o a --join left", "inner, outer"),
        ("annslicer cut a b", "see annslicer --help"),
    ] {
        assert!(said(line).contains(expected), "{line}: {}", said(line));
    }
}

/// What argparse of the Python tool takes as an option's start, as no other of the subcommand has it.
#[test]
fn what_was_an_unambiguous_start_of_an_option_still_is() {
    const OPTIONS: [(&str, &str, &[&str]); 3] = [
        (
            "slice",
            "a p",
            &[
                "size=1",
                "shuffle",
                "seed=1",
                "jobs=1",
                "memory-limit=1GB",
                "tmpdir=t",
                "compression=gzip",
                "obs-column=c",
                "csv-file=f",
                "join-column=j",
                "always-include=v",
                "help",
            ],
        ),
        ("merge", "o a", &["join=inner", "help"]),
        (
            "filter",
            "a o",
            &[
                "obs-column=c",
                "csv-file=f",
                "join-column=j",
                "compression=gzip",
                "help",
            ],
        ),
    ];
    for (command, places, options) in OPTIONS {
        for option in options.iter().filter(|option| **option != "help") {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let shared = |start: &str| options.iter().filter(|o| o.starts_with(start)).count();
            for end in (1..=name.len()).filter(|end| shared(&name[..*end]) == 1) {
                let partners = match (command, name) {
                    (_, "csv-file") | ("slice", "always-include") => "--obs-column=c",
                    (_, "join-column") => "--obs-column=c --csv-file=f",
                    ("filter", "compression") => "--obs-column=c",
                    _ => "",
                };
                let typed = match value {
                    "" => format!("--{}", &name[..end]),
                    _ => format!("--{}={value}", &name[..end]),
                };
                let line = format!("annslicer {command} {places} {typed} {partners}");
                let words = as_meant(line.split_whitespace().map(OsString::from).collect());
                let matches = Cli::command().try_get_matches_from(words);
                let matches = matches.unwrap_or_else(|e| panic!("{line}: {e}"));
                let matches = matches.subcommand().unwrap().1;
                let source = matches.value_source(&name.replace('-', "_"));
                assert_eq!(
                    source,
                    Some(clap::parser::ValueSource::CommandLine),
                    "{line}"
                );
            }
        }
    }
}

#[test]
fn the_manual_has_a_page_for_each_subcommand() {
    let pages = man().unwrap();
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    for command in Cli::command().get_subcommands() {
        let name = format!("annslicer-{}.1", command.get_name());
        assert!(names.contains(&name.as_str()), "{name}: {names:?}");
    }
    assert_eq!(names[0], "annslicer.1");
    let merge = pages.iter().find(|(name, _)| name == "annslicer-merge.1");
    let merge = String::from_utf8(merge.unwrap().1.clone()).unwrap();
    assert!(merge.contains(".TH annslicer-merge 1") && merge.contains("natural"));
}

#[test]
fn scripts_complete_options_of_subcommands() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = String::from_utf8(completions(shell)).unwrap();
        assert!(script.contains("natural-sort"), "{shell}");
        assert!(script.contains("lzf") && script.contains("h5ad"), "{shell}");
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
