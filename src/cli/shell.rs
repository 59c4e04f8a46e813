//! What helps a shell: completions and the manual.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;

pub const COMPLETIONS_EXAMPLES: &str = "\
EXAMPLES
  annslicer completions bash > ~/.local/share/bash-completion/completions/annslicer
  annslicer completions zsh > ~/.zfunc/_annslicer
  annslicer completions fish > ~/.config/fish/completions/annslicer.fish";

pub const MAN_EXAMPLES: &str = "\
EXAMPLES
  annslicer man > ~/.local/share/man/man1/annslicer.1";

/// The script that completes the command line in `shell`.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "annslicer", &mut script);
    script
}

/// The manual in roff: a page for the program and one for each subcommand.
pub fn man() -> Result<Vec<u8>> {
    let mut program = Cli::command();
    program.build();
    let pages = [&program].into_iter().chain(program.get_subcommands());
    let mut manual = vec![];
    for page in pages.filter(|page| page.get_name() != "help") {
        Man::new(page.clone()).render(&mut manual)?;
    }
    Ok(manual)
}
