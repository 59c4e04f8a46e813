//! Usage errors, each on one line that says what to type instead.

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
        ErrorKind::UnknownArgument => unknown(error, &program, command),
        ErrorKind::MissingRequiredArgument => missing(error, command),
        _ => None,
    };
    format!("{}; see {help}", said.unwrap_or_else(|| first_lines(error)))
}

/// The subcommand that was typed.
fn typed<'c>(program: &'c Command, args: &[OsString]) -> Option<&'c Command> {
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

/// An option that the subcommand does not have: one that is like it, or the subcommands that have it.
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

/// The name of an option of which `typed` may be a start that is taken for it.
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
fn missing(error: &clap::Error, command: Option<&Command>) -> Option<String> {
    let name = command?.get_name();
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
    if needed.iter().any(|one| one.starts_with("--")) {
        return Some(said);
    }
    Some(format!("{said}: annslicer {name} {}", places(command?)))
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

fn text_of(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}
