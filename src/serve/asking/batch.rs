//! A batch: requests of one model, answered side by side.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::row::Row;
use super::{Fault, Request, Said};
use crate::error::Result;
use crate::model::generate_many;
use crate::serve::Shared;
use crate::serve::models::Missing;

/// Most tokens that prompts and answers of one pass may fill in the cache of keys and values: 400 MB in f32 at the shapes of
/// Qwen2.5-0.5B. A longer request is answered alone.
const BATCH_TOKENS: usize = 16_384;

/// Answers `requests`, which are of one model; every client is told an end or a fault.
pub fn answer(shared: &Shared, requests: &[Request]) {
    let respondent = match shared.models.get(&requests[0].model) {
        Ok(respondent) => respondent,
        Err(missing) => {
            let fault = match missing {
                Missing::Unknown => Fault::UnknownModel,
                Missing::Unusable(reason) => Fault::UnusableModel(reason),
            };
            return requests.iter().for_each(|request| request.say(Said::Fault(fault.clone())));
        }
    };
    let mut rows = VecDeque::with_capacity(requests.len());
    for request in requests {
        match Row::new(request, &respondent, shared.limits.answer_tokens) {
            Ok(row) => rows.push_back(row),
            Err(fault) => request.say(Said::Fault(fault)),
        }
    }
    while let Some(first) = rows.pop_front() {
        let mut longest = first.most_tokens();
        let mut together = vec![first];
        while let Some(next) = rows.front() {
            longest = longest.max(next.most_tokens());
            if longest * (together.len() + 1) > BATCH_TOKENS {
                break;
            }
            together.extend(rows.pop_front());
        }
        if let Err(fault) = pass(&respondent, &together) {
            let fault = Fault::Internal(fault.to_string());
            together.iter().for_each(|row| row.fail(fault.clone()));
        }
    }
}

/// Answers rows that fit into the memory together.
fn pass(respondent: &crate::commands::Respondent, rows: &[Row<'_>]) -> Result<()> {
    let form = respondent.form();
    let mut written: Vec<_> = rows.iter().map(|row| row.begin(respondent, &form)).collect();
    let prompts: Vec<_> = rows.iter().map(|row| (row.prompt.as_slice(), &row.decoding)).collect();
    let adapter = respondent.adapter.as_ref().map(|adapter| adapter.parts());
    let generations = generate_many(&respondent.decoder, adapter, &prompts, &mut |row, token| {
        Ok::<ControlFlow<()>, _>(written[row].push(token))
    })?;
    written.into_iter().zip(&generations).for_each(|(written, generation)| written.end(generation));
    Ok(())
}
