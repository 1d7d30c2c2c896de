//! `perk data`.

use std::process::ExitCode;

use perk::{
    Error, Result,
    commands::data::{Data, EpisodePreview, SequencePreview},
    config::Config,
    tasks::Split,
};

use super::{
    args::{Data as Args, DataAction, Episodes},
    hub_env::hub_settings,
    terminal,
};

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.action {
        DataAction::Preview { episodes, episode, count, tokens, json } => {
            let data = open(episodes)?;
            let end = data.len().map_or(u64::MAX, |len| if episodes.held_out { len } else { u64::MAX });
            // One that is not there is an error; fewer than wanted behind it are not.
            for index in *episode..episode.saturating_add(*count).min(end).max(episode.saturating_add(1)) {
                show(&data.preview(index)?, *tokens, *json)?;
            }
        }
        DataAction::Make { episodes, count, out } => {
            let data = open(episodes)?;
            if let Some(len) = data.len().filter(|len| episodes.held_out && len < count) {
                let reason =
                    format!("there are {len} held-out episodes, not {count}: ask for fewer (--count)");
                return Err(Error::Invalid(reason));
            }
            data.write(*count, out)?;
            show(&data.preview(0)?, false, false)?;
            terminal::print(&out.display().to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open(episodes: &Episodes) -> Result<Data> {
    let config = Config::load(&episodes.config, &episodes.overrides)?;
    let split = if episodes.held_out { Split::HeldOut } else { Split::Train };
    Data::open(&config, split, episodes.multiple, &hub_settings())
}

fn show(episode: &EpisodePreview, tokens: bool, json: bool) -> Result<()> {
    if json {
        let line = serde_json::to_string(episode);
        return terminal::print_json(
            &line.map_err(|fault| Error::Invalid(format!("the episode is no JSON: {fault}")))?,
        );
    }
    let (segments, queries) = (episode.segments.len(), episode.queries.len());
    terminal::print(&format!(
        "{}: {} tokens of context in {segments} segments, {queries} questions; what is only read stands in [ ]",
        episode.name, episode.context_tokens
    ))?;
    for (number, segment) in episode.segments.iter().enumerate() {
        terminal::print(&sequence(&format!("segment {}", number + 1), segment, tokens))?;
    }
    for (number, query) in episode.queries.iter().enumerate() {
        terminal::print(&sequence(&format!("question {}", number + 1), query, tokens))?;
    }
    Ok(())
}

fn sequence(name: &str, sequence: &SequencePreview, tokens: bool) -> String {
    let predicted = sequence.tokens.iter().filter(|token| token.weight > 0.0).count();
    let head = format!("\n{name}: {} tokens, {predicted} predicted\n", sequence.tokens.len());
    if !tokens {
        return format!("{head}[{}]{}", sequence.read, sequence.predicted);
    }
    let token = |token: &perk::commands::data::TokenPreview| {
        format!("{:>8}  {:<6}  {}", token.id, token.weight, token.piece)
    };
    head + &sequence.tokens.iter().map(token).collect::<Vec<_>>().join("\n")
}
