//! `perk pretrain`: a tokenizer and a small base on generated documents, written as a model folder.

use std::path::Path;

use super::pretrain::{PretrainObserver, pretrain};
use crate::Result;
use crate::config::PretrainConfig;
use crate::model::Decoder;
use crate::tasks::corpus::Corpus;
use crate::text::{Tokenizer, word_level};

/// Makes a word-level tokenizer of everything the generators can say, trains a base on their documents, and
/// writes both to `folder`. A pure function of the configuration.
///
/// # Errors
/// A configuration with faults, a folder that cannot be written, or a loss that is not a number.
pub fn make_base(
    config: &PretrainConfig,
    folder: &Path,
    observer: &mut dyn PretrainObserver,
) -> Result<Decoder> {
    let corpus = Corpus::new(config.corpus.clone(), config.train.seed)?;
    word_level::save(folder, corpus.lexicon_texts())?;
    let tokenizer = Tokenizer::from_folder(folder, None)?;
    let documents = |index| tokenizer.encode(&corpus.document(index)?);
    let base = pretrain(config, &documents, tokenizer.end_id(), tokenizer.vocab_size(), observer)?;
    base.save(folder, tokenizer.end_id())?;
    Ok(base)
}
