//! A context token by token, as the inner loop reads it.

use serde::Serialize;

/// A context, segment by segment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// The segments, in order.
    pub segments: Vec<SegmentReading>,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SegmentReading {
    /// What is only read: `doc_3:`.
    pub prefix: String,
    /// What is predicted.
    pub tokens: Vec<TokenReading>,
    /// The losses before every inner step, and after the last.
    pub losses: Vec<SegmentLoss>,
}

/// The losses of a segment under one adapter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SegmentLoss {
    /// Σ ω · loss over its tokens, in nats: its part in the inner loss.
    pub weighted: f64,
    /// The plain loss, in nats a token.
    pub cross_entropy: f64,
}

/// A predicted token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenReading {
    /// What it adds to the text; nothing where it is a part of a character that a later token completes.
    pub text: String,
    /// What it counts in the inner loss, ω.
    pub weight: BeforeAfter,
    /// Its plain next-token loss, in nats.
    pub loss: BeforeAfter,
}

/// A number before the first inner step and after the last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BeforeAfter {
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
}

impl BeforeAfter {
    /// The larger of both.
    pub fn most(self) -> f64 {
        self.before.max(self.after)
    }
}

impl SegmentReading {
    /// What its tokens count before the first step, all together.
    pub fn weight(&self) -> f64 {
        self.tokens.iter().map(|token| token.weight.before).sum()
    }
}

impl Reading {
    /// All predicted tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &TokenReading> {
        self.segments.iter().flat_map(|segment| &segment.tokens)
    }

    /// The largest weight and the largest loss of a token, before or after.
    pub fn most(&self) -> (f64, f64) {
        let most = |of: fn(&TokenReading) -> BeforeAfter| {
            self.tokens().map(|token| of(token).most()).fold(0.0, f64::max)
        };
        (most(|token| token.weight), most(|token| token.loss))
    }

    /// The segments to show where there is room for so many tokens, in order: all, or those that count most, but at least
    /// one.
    pub fn shown(&self, most_tokens: usize) -> Vec<usize> {
        let mut by_weight: Vec<usize> = (0..self.segments.len()).collect();
        by_weight.sort_by(|a, b| self.segments[*b].weight().total_cmp(&self.segments[*a].weight()));
        let mut left = most_tokens;
        let mut chosen: Vec<usize> = vec![];
        for index in by_weight {
            let tokens = self.segments[index].tokens.len();
            if tokens <= left || chosen.is_empty() {
                left = left.saturating_sub(tokens);
                chosen.push(index);
            }
        }
        chosen.sort_unstable();
        chosen
    }

    /// The tokens that count most before the first step, as segment and token, the heaviest first.
    pub fn heaviest(&self, count: usize) -> Vec<(usize, usize)> {
        let places = self.segments.iter().enumerate();
        let mut places: Vec<(usize, usize)> = places
            .flat_map(|(nth, segment)| (0..segment.tokens.len()).map(move |token| (nth, token)))
            .collect();
        let weight = |&(segment, token): &(usize, usize)| self.segments[segment].tokens[token].weight.before;
        places.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
        places.truncate(count);
        places
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A context whose segments have tokens of these weights; every token loses 2 nats, and half a nat in the end.
    pub(crate) fn reading(segments: &[&[f64]]) -> Reading {
        let token = |(nth, weight): (usize, &f64)| TokenReading {
            text: format!(" t{nth}"),
            weight: BeforeAfter { before: *weight, after: 0.5 * weight },
            loss: BeforeAfter { before: 2.0, after: 0.5 },
        };
        let segment = |(nth, weights): (usize, &&[f64])| SegmentReading {
            prefix: format!("doc_{nth}:"),
            tokens: weights.iter().enumerate().map(token).collect(),
            losses: [(2.0, 1.0), (0.5, 0.5)]
                .map(|(loss, part)| SegmentLoss {
                    weighted: loss * part * weights.iter().sum::<f64>(),
                    cross_entropy: loss,
                })
                .to_vec(),
        };
        Reading { segments: segments.iter().enumerate().map(segment).collect() }
    }

    #[test]
    fn where_there_is_no_room_for_all_the_segments_that_count_most_are_shown_in_order() {
        let reading = reading(&[&[0.1, 0.1], &[3.0, 0.0], &[0.2, 0.3], &[1.0]]);
        assert_eq!(reading.shown(100), [0, 1, 2, 3]);
        assert_eq!(reading.shown(5), [1, 2, 3]);
        assert_eq!(reading.shown(3), [1, 3]);
        assert_eq!(reading.shown(0), [1]);
        assert_eq!(reading.heaviest(3), [(1, 0), (3, 0), (2, 1)]);
        assert_eq!(reading.most(), (3.0, 2.0));
    }
}
