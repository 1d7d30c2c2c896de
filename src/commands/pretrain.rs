//! `perk pretrain`: a small base with its tokenizer, from generated text.

use std::path::Path;

use crate::{
    checkpoint::{Lock, recover, write_file, write_folder},
    config::BaseRecipe,
    error::{Error, Result},
    model::{CONFIG_FILE, GENERATION_CONFIG_FILE, WEIGHTS_FILE},
    pretrain::{Corpus, Piece, PretrainObserver, WeightedToken, pretrain, start},
    text::{TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, Tokenizer, word_level},
};

/// End token of a word-level tokenizer. It is named, for the folder may hold an older base's settings.
const END: &str = "<eos>";

/// Name of the recipe beside the base that it made.
const RECIPE_FILE: &str = "recipe.toml";

/// Makes the base that `recipe` describes, in folder `dir`: tokenizer, weights, and the recipe beside them.
///
/// A base that was made so before is replaced as a whole, in the end; other files stay.
///
/// # Errors
/// A folder with a base that was not made here, that another process writes, or that cannot be written; a loss that
/// is not finite; what `observer` returns.
pub fn make_base(recipe: &BaseRecipe, dir: &Path, observer: &mut dyn PretrainObserver) -> Result<()> {
    let _lock = Lock::take(dir)?;
    require_own(dir)?;
    write_folder(dir, |new| fill(recipe, new, observer))
}

/// Refuses to replace files that perk pretrain did not write.
fn require_own(dir: &Path) -> Result<()> {
    recover(dir)?;
    let files = [CONFIG_FILE, GENERATION_CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE, TOKENIZER_CONFIG_FILE];
    let is_there = |name: &&&str| dir.join(name).symlink_metadata().is_ok();
    match files.iter().find(is_there) {
        Some(name) if !dir.join(RECIPE_FILE).is_file() => {
            let reason = format!(
                "holds {name} and no {RECIPE_FILE}, so it is no base of perk pretrain, and is not replaced: name \
                 another folder with --out"
            );
            Err(Error::file(dir, reason))
        }
        _ => Ok(()),
    }
}

fn fill(recipe: &BaseRecipe, dir: &Path, observer: &mut dyn PretrainObserver) -> Result<()> {
    let corpus = Corpus::new(recipe.corpus.clone(), recipe.train.seed)?;
    word_level::save(dir, corpus.lexicon_texts())?;
    let tokenizer = Tokenizer::from_folder(dir, Some(END))?;
    let documents = |index| -> Result<Vec<WeightedToken>> {
        let mut document = Vec::new();
        for piece in corpus.pieces(index)? {
            let weight = match piece {
                Piece::Text(_) => 1.0,
                Piece::Answer(_) => recipe.train.answer_weight,
            };
            // At word level a text's tokens are those of its parts.
            let tokens = tokenizer.encode(piece.text())?.into_iter();
            document.extend(tokens.map(|token| WeightedToken { token, weight }));
        }
        Ok(document)
    };
    let (end, vocab_size) = (tokenizer.end_id(), tokenizer.vocab_size());
    let config = recipe.pretraining();
    let start = start(&config, vocab_size, &recipe.run.device.open()?.device)?;
    let decoder = pretrain(&start, &config, &documents, end, observer)?;
    decoder.save(dir, end)?;
    let (path, text) = (dir.join(RECIPE_FILE), recipe.to_toml()?);
    write_file(&path, |out| out.write_all(text.as_bytes()).map_err(|source| Error::io(&path, source)))
}
