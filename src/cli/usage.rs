//! Usage errors, each on one line that says what to type instead.
//!
//! clap says what is wrong in several lines, with the whole usage. Of three kinds of errors more can be said than it
//! knows: an option before its subcommand, an option of another name, and a place that is missing because an option
//! took the word. For all others its first lines are put together.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};

use super::Cli;

/// A usage error on one line, for the arguments that it is about.
pub fn one_line(error: &clap::Error, args: &[OsString]) -> String {
    let mut program = Cli::command();
    program.build();
    let command = typed(&program, args);
    let help = match command {
        Some(command) => format!("annslicer {} --help", command.get_name()),
        None => "annslicer --help".to_owned(),
    };
    let said = match error.kind() {
        ErrorKind::UnknownArgument => {
            early(error, command, args).or_else(|| unknown(error, &program, command))
        }
        ErrorKind::MissingRequiredArgument => missing(error, command, args),
        _ => None,
    };
    format!("{}; see {help}", said.unwrap_or_else(|| first_lines(error)))
}

/// The subcommand that was typed.
pub fn typed<'c>(program: &'c Command, args: &[OsString]) -> Option<&'c Command> {
    let mut words = args.iter().skip(1).filter_map(|arg| arg.to_str());
    words.find_map(|word| program.find_subcommand(word))
}

/// What clap says, without its summary of the usage and its tips to type values that look like options.
fn first_lines(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraphs = text.trim_start_matches("error: ").split("\n\n");
    let said = paragraphs.map(|lines| lines.split_whitespace().collect::<Vec<_>>().join(" "));
    let said = said.take_while(|said| !said.starts_with("Usage:") && !said.starts_with("For more"));
    let said: Vec<_> = said
        .filter(|said| !said.contains("as a value, use"))
        .collect();
    said.join("; ")
}

/// An option of the subcommand that was typed before it. `annslicer --size 5 slice a.h5ad p`.
fn early(error: &clap::Error, command: Option<&Command>, args: &[OsString]) -> Option<String> {
    let (command, typed) = (command?, text_of(error, ContextKind::InvalidArg)?);
    let name = command.get_name();
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let option = words
        .iter()
        .position(|word| word.starts_with(typed.as_str()))?;
    let is_before = option < words.iter().position(|word| *word == name)?;
    let is_own = |arg: &&clap::Arg| match typed.strip_prefix("--") {
        Some(long) => arg.get_long().is_some_and(|own| own.starts_with(long)),
        None => arg
            .get_short()
            .is_some_and(|own| typed == format!("-{own}")),
    };
    let own = command.get_arguments().find(is_own).filter(|_| is_before)?;
    let places = places(command);
    let value = own.get_action().takes_values();
    let value = own
        .get_value_names()
        .filter(|_| value)
        .and_then(|names| names.first());
    let value = value.map_or(String::new(), |value| format!(" {value}"));
    Some(format!(
        "{typed} is an option of {name}, and comes after it: annslicer {name} {places} {typed}{value}"
    ))
}

/// What an option is called in Python and elsewhere, and what it is called here.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("shard-size", "size"),
    ("chunk-size", "size"),
    ("n-shards", "shards"),
    ("random-state", "seed"),
    ("layer", "x-from"),
    ("batch-key", "label"),
    ("n-jobs", "jobs"),
    ("threads", "jobs"),
    ("memory", "memory-limit"),
    ("force", "overwrite"),
];

/// An option that the subcommand does not have: what else it is called, one that is like it, or the subcommands that have
/// it.
fn unknown(error: &clap::Error, program: &Command, command: Option<&Command>) -> Option<String> {
    let typed = text_of(error, ContextKind::InvalidArg)?;
    let name = command.map_or("annslicer", Command::get_name);
    let Some(long) = typed.strip_prefix("--") else {
        return Some(match typed.strip_prefix('-') {
            Some(_) => format!("{name} has no option {typed}"),
            None => format!("{name} takes no further argument, such as '{typed}'"),
        });
    };
    let said = format!("{name} has no option --{long}");
    let has = |command: &&Command| {
        let mut longs = command.get_arguments().filter_map(|arg| arg.get_long());
        longs.any(|option| option == long)
    };
    let here = OTHER_NAMES
        .iter()
        .find(|(other, _)| *other == long.replace('_', "-"));
    let options = command.into_iter().flat_map(Command::get_arguments);
    let mut longs = options.filter_map(|arg| arg.get_long());
    if let Some((_, option)) = here.filter(|(_, option)| longs.any(|long| long == *option)) {
        return Some(format!("{said}; did you mean --{option}?"));
    }
    let others = program.get_subcommands().filter(has);
    let others: Vec<&str> = others.map(Command::get_name).collect();
    Some(
        match (text_of(error, ContextKind::SuggestedArg), others.as_slice()) {
            (_, [_, ..]) => format!("{said}, {} has", others.join(" and ")),
            (Some(like), []) => format!("{said}; did you mean {}?", in_full(command, &like)),
            (None, []) => said,
        },
    )
}

/// The name of an option of which `typed` may be a start that is taken for it. clap may suggest an alias such as
/// `--siz`, which is not in the help.
fn in_full(command: Option<&Command>, typed: &str) -> String {
    let start = typed.trim_start_matches('-');
    let options = command.into_iter().flat_map(Command::get_arguments);
    let mut meant = options.filter(|arg| {
        let starts = arg.get_all_aliases().unwrap_or_default();
        starts.contains(&start)
    });
    match meant.find_map(|arg| arg.get_long()) {
        Some(long) => format!("--{long}"),
        None => typed.to_owned(),
    }
}

/// Arguments that are missing, and the order that they come in where they are not options.
fn missing(error: &clap::Error, command: Option<&Command>, args: &[OsString]) -> Option<String> {
    let command = command?;
    let name = command.get_name();
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let options = |one: &String| {
        let words = one.split([' ', '<', '>', '|']);
        let options: Vec<&str> = words.filter(|word| word.starts_with("--")).collect();
        if options.is_empty() {
            one.clone()
        } else {
            options.join(" or ")
        }
    };
    let needed = missing.iter().map(options).collect::<Vec<_>>();
    let said = format!("{name} needs {}", needed.join(" and "));
    let is_option = |one: &String| one.starts_with("--");
    let places = places(command);
    Some(match taking_all(command, args) {
        Some((option, value)) if !needed.iter().all(is_option) => format!(
            "{said}: --{option} takes all that follows it; give it last, as in annslicer {name} {places} --{option} \
             {value}..."
        ),
        _ if needed.iter().any(is_option) => said,
        _ => format!("{said}: annslicer {name} {places}"),
    })
}

/// The option of several values that was typed before two words or more, which may have been meant for other places; and
/// what its values are called. In `merge --keys a b out.h5ad in.h5ad` all four are keys.
fn taking_all<'c>(command: &'c Command, args: &[OsString]) -> Option<(&'c str, &'c str)> {
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let mut options = command.get_arguments().filter_map(|arg| {
        let long = arg.get_long()?;
        let takes_several = arg.get_num_args().is_some_and(|n| n.max_values() > 1);
        let value = arg.get_value_names()?.first()?;
        takes_several.then_some((long, value.as_str()))
    });
    options.find(|(long, _)| {
        let at = words
            .iter()
            .position(|word| word.strip_prefix("--") == Some(*long));
        let after = at.map_or(&[][..], |at| &words[at + 1..]);
        after
            .iter()
            .take_while(|word| !word.starts_with('-'))
            .count()
            > 1
    })
}

/// The arguments that are no options, as in `INPUT PREFIX`.
fn places(command: &Command) -> String {
    let shown = command.get_positionals().filter(|arg| !arg.is_hide_set());
    let places = shown.filter_map(|arg| {
        let value = arg.get_value_names()?.first()?;
        let more = arg.get_num_args().is_some_and(|n| n.max_values() > 1);
        Some(format!("{value}{}", if more { "..." } else { "" }))
    });
    places.collect::<Vec<_>>().join(" ")
}

/// What clap notes of an error: the first text of that kind.
fn text_of(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}
