//! `perk completions` and `perk man`: what shells and readers know of the command line.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Command, CommandFactory};
use perk::{
    Error, Result,
    checkpoint::{Lock, write_file},
};

use super::{
    args::{Cli, Completions, Man},
    terminal,
};

/// Prints what makes a shell complete the names of commands and options.
pub fn completions(args: &Completions) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "perk", &mut script);
    terminal::write(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a page for every command into a folder.
pub fn man(args: &Man) -> Result<ExitCode> {
    let _lock = Lock::take(&args.out)?;
    std::fs::create_dir_all(&args.out).map_err(|fault| Error::io(&args.out, fault))?;
    for (path, page) in pages(&args.out)? {
        write_file(&path, |out| out.write_all(&page).map_err(|fault| Error::io(&path, fault)))?;
    }
    terminal::print(&args.out.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// `perk.1`, `perk-encode.1`, `perk-data-preview.1` and all others, with what they hold.
fn pages(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    // Every command has --help; pages of its own for `help` would say nothing.
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let (mut commands, mut pages) = (vec![root], Vec::new());
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned());
        pages.push(page(folder, command)?);
    }
    pages.sort();
    Ok(pages)
}

fn page(folder: &Path, command: Command) -> Result<(PathBuf, Vec<u8>)> {
    let page = clap_mangen::Man::new(command);
    let path = folder.join(page.get_filename());
    let mut text = Vec::new();
    page.render(&mut text).map_err(|fault| Error::io(&path, fault))?;
    Ok((path, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_every_command_below_it_has_a_page() {
        let pages = pages(Path::new("man")).unwrap();
        let text = |name: &str| {
            let path = Path::new("man").join(name);
            let found = pages.iter().find(|(own, _)| *own == path);
            String::from_utf8(found.unwrap_or_else(|| panic!("no {name}")).1.clone()).unwrap()
        };
        assert!(text("perk.1").contains("perk\\-encode(1)"));
        assert!(text("perk-data-preview.1").contains("\\-\\-held\\-out"));
        assert!(text("perk-encode.1").contains("\\-\\-context"));
        assert!(!pages.iter().any(|(path, _)| path.to_string_lossy().contains("help")));
    }

    #[test]
    fn the_command_line_is_whole() {
        Cli::command().debug_assert();
    }
}
