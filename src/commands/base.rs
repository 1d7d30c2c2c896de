//! A small base with its tokenizer, from generated text.

use std::path::Path;

use crate::{
    checkpoint::write_file,
    config::BaseRecipe,
    error::{Error, Result},
    tasks::corpus::{Corpus, Piece},
    text::{Tokenizer, word_level},
};

use super::{PretrainObserver, WeightedToken, pretrain, pretrain_start};

/// End token of a word-level tokenizer. It is named, for the folder may hold an older base's settings.
const END: &str = "<eos>";

/// Makes the base that `recipe` describes, in folder `dir`: tokenizer, weights, and the recipe beside them.
///
/// Files of the same names are replaced, others stay.
///
/// # Errors
/// A folder that cannot be written; a loss that is not finite; what `observer` returns.
pub fn make_base(recipe: &BaseRecipe, dir: &Path, observer: &mut dyn PretrainObserver) -> Result<()> {
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
    let start = pretrain_start(&config, vocab_size, &recipe.run.device.open()?.device)?;
    let decoder = pretrain(&start, &config, &documents, end, observer)?;
    decoder.save(dir, end)?;
    let (path, text) = (dir.join("recipe.toml"), recipe.to_toml()?);
    write_file(&path, |out| out.write_all(text.as_bytes()).map_err(|source| Error::io(&path, source)))
}
