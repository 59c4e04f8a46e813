//! What helps a shell: completions and the manual.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;
use tracing::info;

use super::Cli;
use crate::report::words::count;

pub const COMPLETIONS_EXAMPLES: &str = "\
EXAMPLES
  mkdir -p ~/.local/share/bash-completion/completions
  annslicer completions bash > ~/.local/share/bash-completion/completions/annslicer

  mkdir -p ~/.zfunc  # and in ~/.zshrc, before compinit: fpath+=~/.zfunc
  annslicer completions zsh > ~/.zfunc/_annslicer

  mkdir -p ~/.config/fish/completions
  annslicer completions fish > ~/.config/fish/completions/annslicer.fish";

pub const MAN_EXAMPLES: &str = "\
EXAMPLES
  All pages where man finds them; then 'man annslicer-slice' works
      annslicer man --dir ~/.local/share/man/man1

  The manual as one text
      annslicer man | man -l -";

#[derive(Args, Debug)]
pub struct ManArgs {
    /// Write each page into this folder, which is made if it is missing, as annslicer-slice.1
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// What is added to the script of bash: where a file is expected, files of AnnData and folders.
const BASH_FILES: &str = r#"
_annslicer_files() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
    if [[ $cur == -* || $prev == -?* || $COMP_CWORD -lt 2 || ! " slice merge filter info check " == *" ${COMP_WORDS[1]} "* ]]; then
        _annslicer "$@"
        return
    fi
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -d -- "$cur"; compgen -f -X '!*.h5ad' -- "$cur"; compgen -f -X '!*.h5' -- "$cur")
}
complete -F _annslicer_files annslicer
"#;

/// The same of fish, where `.zarr` is a folder.
const FISH_FILES: &str = r#"
complete -c annslicer -n "__fish_seen_subcommand_from slice merge filter info check" -k -xa "(__fish_complete_suffix .h5ad)"
"#;

/// The script that completes the command line in `shell`.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "annslicer", &mut script);
    match shell {
        Shell::Bash => script.extend(BASH_FILES.as_bytes()),
        Shell::Fish => script.extend(FISH_FILES.as_bytes()),
        Shell::Zsh => {
            // Arguments that are no options end in `.zarr:_files'` by what is said of them.
            let text = String::from_utf8_lossy(&script).into_owned();
            let lines = text.lines().map(|line| {
                if line.starts_with("':") || line.starts_with("'*::") {
                    line.replace(":_files'", r#":_files -g "*.(h5ad|h5)"'"#)
                } else {
                    line.to_owned()
                }
            });
            script = (lines.collect::<Vec<_>>().join("\n") + "\n").into_bytes();
        }
        _ => {}
    }
    script
}

/// The pages of the manual in roff, each with its name: one for the program and one for each subcommand.
pub fn man() -> Result<Vec<(String, Vec<u8>)>> {
    let mut program = Cli::command();
    program.build();
    let commands = [&program].into_iter().chain(program.get_subcommands());
    let commands = commands.filter(|command| command.get_name() != "help");
    let pages = commands.map(|command| {
        let mut page = vec![];
        let man = Man::new(command.clone());
        let name = man.get_filename();
        man.render(&mut page)?;
        Ok((name, page))
    });
    pages.collect()
}

/// Prints the manual, or writes its pages where man looks for them.
pub fn write_man(args: &ManArgs) -> Result<()> {
    let pages = man()?;
    let Some(dir) = &args.dir else {
        let text: Vec<u8> = pages.into_iter().flat_map(|(_, page)| page).collect();
        return super::print(&text);
    };
    let context = || format!("Cannot write the manual into {}", dir.display());
    fs::create_dir_all(dir).with_context(context)?;
    for (name, page) in &pages {
        fs::write(dir.join(name), page).with_context(context)?;
    }
    let written = count(pages.len() as u64, "page");
    info!(
        "Wrote {written} of the manual into {}; see 'man annslicer-slice'",
        dir.display()
    );
    Ok(())
}
