//! The command line as typed, and what it comes to: each subcommand's arguments become one resolved request.
//!
//! A drop-in for the Python tool's: long options may be shortened to any start that is not ambiguous here, or was not
//! there, and a usage error exits with 2. [`parse`] reads the line; [`Cli::resolve`] then looks at the machine and the
//! file system, once, so that a request has paths and numbers where the line has patterns, sizes and defaults. What a
//! line may say is in the doc comments of arguments, which are the text of `--help`: notes for programmers are plain
//! comments.

mod check;
mod deal;
mod elements;
mod filter;
mod info;
mod joining;
mod merge;
mod names;
mod shared;
mod shell;
mod slice;
mod usage;
mod values;

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use serde_json::Value;

use self::check::CheckArgs;
pub use self::check::CheckRequest;
pub use self::deal::{Cut, Deal, Split};
use self::filter::FilterArgs;
pub use self::filter::{FilterRequest, Sampling, WhichArgs};
use self::info::InfoArgs;
pub use self::info::InfoRequest;
pub use self::joining::JoinRequest;
use self::merge::MergeArgs;
pub use self::merge::MergeRequest;
use self::shared::MachineArgs;
pub use self::shared::{Machine, Options, TableArgs};
pub use self::shell::{ManArgs, completions, write_man};
use self::slice::SliceArgs;
pub use self::slice::{SliceRequest, Stage};
use crate::report::failure::Kind;
use crate::report::logging::{self, Format, Settings};
use crate::store;

/// Cut large AnnData files (.h5ad, .zarr) into shards and merge them, out of core
#[derive(Debug, Parser)]
#[command(version, infer_long_args = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub messages: Messages,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Debug)]
pub struct Messages {
    /// More detail, for bug reports
    #[arg(long, global = true, help_heading = "Messages")]
    pub debug: bool,

    /// Only warnings and errors: no progress, no notes
    #[arg(short, long, global = true, help_heading = "Messages")]
    pub quiet: bool,

    /// Put the time (UTC) before each message
    #[arg(long, global = true, help_heading = "Messages")]
    pub log_time: bool,

    /// The form of messages on stderr: lines of text, or JSON objects for a program that reads them
    #[arg(
        long,
        global = true,
        help_heading = "Messages",
        value_enum,
        value_name = "FORMAT",
        default_value_t
    )]
    pub error_format: Format,
}

impl Messages {
    pub fn settings(&self) -> Settings {
        Settings {
            debug: self.debug,
            quiet: self.quiet,
            time: self.log_time,
            format: self.error_format,
        }
    }
}

/// The settings for the message that a command line is wrong: of those that it gives, the form alone.
fn settings_of_usage(typed: &[OsString]) -> Settings {
    let together = typed.iter().any(|arg| arg == "--error-format=json");
    let apart = |pair: &[OsString]| pair[0] == "--error-format" && pair[1] == "json";
    let wanted = together || typed.windows(2).any(apart);
    Settings {
        format: if wanted { Format::Json } else { Format::Text },
        ..Settings::default()
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Cut a file into shards of so many cells, in order or shuffled
    ///
    /// Every element of the file comes through: X, layers, obs, var, obsm, varm, obsp, varp, uns
    /// and raw. The shards appear together, when all of them are whole.
    #[command(after_help = slice::EXAMPLES, mut_arg("join_column", |arg| arg.aliases(["j", "jo", "joi"])))]
    Slice(SliceArgs),

    /// Join files along the cells into one
    ///
    /// Genes are united or intersected, obs columns united. What cannot be carried is named in a
    /// warning.
    #[command(after_help = merge::EXAMPLES, mut_arg("join", |arg| arg.aliases(["j", "jo"])))]
    Merge(MergeArgs),

    /// Keep some of the cells, genes or elements
    ///
    /// Cells are kept by a column, an expression or a list of names; of several of these a cell must pass all. They stay in
    /// their order, and every element of the file comes through that is not left out.
    #[command(after_help = filter::EXAMPLES, mut_arg("join_column", |arg| arg.aliases(["j", "jo", "joi"])))]
    Filter(FilterArgs),

    /// Tell what files hold, and how it is stored, from their metadata alone
    ///
    /// The percentage after the filters of an element is what it takes in the file of its size in
    /// memory; text is not counted. Memory is an estimate: that of values, and
    /// 64 bytes for each text.
    #[command(after_help = info::EXAMPLES)]
    Info(InfoArgs),

    /// Tell whether files are sound: every element is looked at, and every value read
    ///
    /// A line for each finding, and one for each file. Errors break the format, or cannot be read; then the
    /// exit code is 1. Notes are what the format allows, but a reader may want to know.
    #[command(after_help = check::EXAMPLES)]
    Check(CheckArgs),

    /// Print the script that completes this command line in a shell
    #[command(after_help = shell::COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },

    /// Print or install the manual: a page for the program and one for each subcommand
    #[command(after_help = shell::MAN_EXAMPLES)]
    Man(ManArgs),
}

/// What is to be done.
pub enum Request {
    Slice(SliceRequest),
    Merge(MergeRequest),
    Filter(FilterRequest),
    Info(InfoRequest),
    Check(CheckRequest),
    Completions(Shell),
    Man(ManArgs),
}

impl Cli {
    /// Settles what the machine gives, the seed, and which files there are; warns of options without effect.
    ///
    /// # Errors
    /// A file whose name says no format, a pattern that matches nothing, options that do not go together.
    pub fn resolve(self) -> Result<(Machine, Request)> {
        let machine = self.command.machine().settle();
        let quiet = self.messages.quiet;
        let request = match self.command {
            Command::Slice(args) => Request::Slice(args.resolve(machine, quiet)?),
            Command::Merge(args) => Request::Merge(args.resolve(machine, quiet)?),
            Command::Filter(args) => Request::Filter(args.resolve(machine, quiet)?),
            Command::Info(args) => Request::Info(args.resolve(machine)?),
            Command::Check(args) => Request::Check(args.resolve(machine)?),
            Command::Completions { shell } => Request::Completions(shell),
            Command::Man(args) => Request::Man(args),
        };
        Ok((machine, request))
    }
}

impl Command {
    fn machine(&self) -> &MachineArgs {
        const DEFAULT: &MachineArgs = &MachineArgs {
            jobs: None,
            memory_limit: None,
        };
        match self {
            Command::Slice(args) => &args.machine,
            Command::Merge(args) => &args.machine,
            Command::Filter(args) => &args.machine,
            Command::Check(args) => &args.machine,
            Command::Info(_) | Command::Completions { .. } | Command::Man(_) => DEFAULT,
        }
    }
}

const CLOSED: &str = "Cannot write to stdout: it is closed";

/// Writes to stdout. A reader that has gone, as in `| head -1`, is no error.
pub fn print(text: &[u8]) -> Result<()> {
    ensure!(!store::is_stdout_closed(), "{CLOSED}");
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).context("Cannot write to stdout"),
        _ => Ok(()),
    }
}

/// The same of text for people, in which names of files and their elements do not steer the terminal.
pub fn print_text(text: &str) -> Result<()> {
    let lines: Vec<String> = text.split('\n').map(logging::one_line).collect();
    print(lines.join("\n").as_bytes())
}

/// Writes a JSON document to stdout.
pub fn print_json(value: &Value) -> Result<()> {
    print((serde_json::to_string_pretty(value)? + "\n").as_bytes())
}

/// Options that take names of columns, of which one alone may stand before a path.
const COLUMNS: [&str; 2] = ["--obs-column", "--sort-by"];

/// The command line that these arguments are. Where a path is missing, options that take several columns may have taken
/// it: then each has one, as in the Python tool.
fn parse_from(typed: &[OsString]) -> Result<Cli, clap::Error> {
    // `slice --obs-column donor in.h5ad out/p`: clap takes both paths for columns.
    let parsed = Cli::try_parse_from(typed).or_else(|e| {
        let missing = e.kind() == clap::error::ErrorKind::MissingRequiredArgument;
        let one_each = missing.then(|| Cli::try_parse_from(one_column_each(typed)));
        one_each.and_then(Result::ok).ok_or(e)
    });
    let cli = parsed?;
    let conflict = match &cli.command {
        Command::Slice(args) => deal::conflict(&args.by)
            .or_else(|| two_from_stdin([&args.names, &args.join.genes.genes])),
        Command::Filter(args) => two_from_stdin([&args.which.cells, &args.join.genes.genes]),
        _ => None,
    };
    let kind = clap::error::ErrorKind::ArgumentConflict;
    conflict.map_or(Ok(cli), |told| Err(Cli::command().error(kind, told)))
}

/// What is wrong with two lists that are both read from standard input: the second would be empty.
fn two_from_stdin(lists: [&Option<PathBuf>; 2]) -> Option<&'static str> {
    let both = lists
        .iter()
        .all(|list| list.as_deref() == Some(Path::new("-")));
    both.then_some("standard input (-) can be read once: give one of the two lists as a file")
}

/// The same arguments, the first column of each of [`COLUMNS`] joined to it: `--obs-column=donor`.
fn one_column_each(typed: &[OsString]) -> Vec<OsString> {
    let is_column = |arg: &OsString| {
        let text = arg.to_str().filter(|text| text.len() > "--".len());
        text.is_some_and(|text| COLUMNS.iter().any(|option| option.starts_with(text)))
    };
    let (mut args, mut rest) = (vec![], typed.iter());
    while let Some(arg) = rest.next() {
        let mut arg = arg.clone();
        if is_column(&arg)
            && let Some(column) = rest.next()
        {
            arg.push("=");
            arg.push(column);
        }
        args.push(arg);
    }
    args
}

/// In slice and filter `--join` was a start of `--join-column`. Beside `--csv-file` it still is, where its value is no
/// join of files.
fn as_meant(mut typed: Vec<OsString>) -> Vec<OsString> {
    let program = Cli::command();
    let command = usage::typed(&program, &typed).map(clap::Command::get_name);
    let takes_table = matches!(command, Some("slice" | "filter"));
    let is_table = |arg: &OsString| {
        let text = arg.to_string_lossy();
        let option = text.split('=').next().unwrap_or_default();
        option.starts_with("--cs") && "--csv-file".starts_with(option)
    };
    if !takes_table || !typed.iter().any(is_table) {
        return typed;
    }
    let is_join = |value: &OsString| value == "inner" || value == "outer";
    for at in 1..typed.len() {
        let next = typed.get(at + 1).is_some_and(|value| !is_join(value));
        let value = typed[at]
            .to_str()
            .and_then(|arg| arg.strip_prefix("--join="));
        match value.map(OsString::from) {
            Some(value) if !is_join(&value) => {
                let mut arg = OsString::from("--join-column=");
                arg.push(value);
                typed[at] = arg;
            }
            None if typed[at] == "--join" && next => typed[at] = "--join-column".into(),
            _ => {}
        }
    }
    typed
}

/// Reads the command line. What is no run is told here, and ends with the exit code: help and version go to stdout, a
/// usage error is one line.
pub fn parse() -> Result<Cli, ExitCode> {
    let typed = as_meant(std::env::args_os().collect());
    let e = match parse_from(&typed) {
        Ok(cli) => return Ok(cli),
        Err(e) => e,
    };
    let is_help = e.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_help || !e.use_stderr() {
        if store::is_stdout_closed() {
            logging::init(logging::Settings::default());
            logging::report_as(Kind::Io, CLOSED);
            return Err(ExitCode::FAILURE);
        }
        let printed = e.print().and_then(|()| std::io::stdout().flush());
        // A reader that has gone, as in `| head -1`, is no error.
        if let Err(e) = printed
            && e.kind() != ErrorKind::BrokenPipe
        {
            logging::init(logging::Settings::default());
            logging::report_as(Kind::Io, &format!("Cannot write to stdout: {e}"));
            return Err(ExitCode::FAILURE);
        }
    } else {
        logging::init(settings_of_usage(&typed));
        logging::report_as(Kind::Usage, &usage::one_line(&e, &typed));
    }
    Err(ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2)))
}

#[cfg(test)]
mod tests;
