//! How a generation goes on: the choice of the next token from the logits, and when to stop.

use candle_core::{D, DType, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::autodiff::largest;
use crate::{Error, Result};

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Sampling {
    /// The likeliest, the first of equals.
    #[default]
    Greedy,
    /// Drawn from softmax(logits / temperature), cut to its likeliest tokens   nucleus sampling, Holtzman et
    /// al. 2020. The same seed draws the same tokens.
    Random {
        /// Finite and above 0; below 1 it favours likely tokens.
        temperature: f64,
        /// The likeliest tokens that together have this probability are kept; in (0, 1], 1 keeps all.
        top_p: f64,
        /// Start of the random numbers.
        seed: u64,
    },
}

/// What a generation obeys.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoding {
    /// Tokens that end it.
    pub stops: Vec<u32>,
    /// Most tokens to generate, a stop token included.
    pub max_new_tokens: usize,
    /// How each token is chosen.
    pub sampling: Sampling,
}

/// Draws tokens, each by the next random numbers.
pub(super) struct Sampler {
    /// `None` takes the likeliest.
    random: Option<Nucleus>,
}

/// Draws from the likeliest tokens that together have a share of the probability.
struct Nucleus {
    temperature: f64,
    top_p: f64,
    rng: ChaCha8Rng,
}

impl Sampling {
    /// Says what is wrong with the numbers, if anything.
    ///
    /// # Errors
    /// A temperature or a nucleus that is out of range.
    pub fn check(&self) -> Result<()> {
        let Self::Random { temperature, top_p, .. } = *self else { return Ok(()) };
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::Invalid(format!(
                "the temperature must be a number above 0, not {temperature}"
            )));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Error::Invalid(format!("top-p must be above 0 and at most 1, not {top_p}")));
        }
        Ok(())
    }
}

impl Sampler {
    /// # Errors
    /// As [`Sampling::check`].
    pub fn new(sampling: Sampling) -> Result<Self> {
        sampling.check()?;
        let Sampling::Random { temperature, top_p, seed } = sampling else {
            return Ok(Self { random: None });
        };
        Ok(Self { random: Some(Nucleus { temperature, top_p, rng: ChaCha8Rng::seed_from_u64(seed) }) })
    }

    /// The next token from logits `(V)`.
    ///
    /// # Errors
    /// Logits whose largest is not a finite number.
    pub fn choose(&mut self, logits: &Tensor) -> Result<u32> {
        let (largest, place) = match largest(logits)? {
            Some((largest, place)) => (largest, Some(place)),
            None => (logits.max(D::Minus1)?.to_dtype(DType::F64)?.to_scalar::<f64>()?, None),
        };
        if !largest.is_finite() {
            return Err(Error::Invalid(format!("the largest logit is {largest}: the adapter has diverged")));
        }
        match &mut self.random {
            None => place.map_or_else(|| Ok(logits.argmax(D::Minus1)?.to_scalar::<u32>()?), Ok),
            Some(nucleus) => {
                let drawn = nucleus.draw(&logits.to_dtype(DType::F64)?.to_vec1()?, largest);
                drawn.ok_or_else(|| Error::Invalid("a logit is no number: the adapter has diverged".into()))
            }
        }
    }
}

impl Nucleus {
    /// A token, drawn by the next random number; `largest` is the largest of the logits. `None` if one of them is
    /// no number.
    fn draw(&mut self, logits: &[f64], largest: f64) -> Option<u32> {
        // A softmax does not see the shift, and without it a low temperature would overflow.
        let weights: Vec<f64> = logits.iter().map(|l| ((l - largest) / self.temperature).exp()).collect();
        let mut tokens: Vec<usize> = (0..weights.len()).collect();
        let mut sum = weights.iter().sum::<f64>();
        if sum.is_nan() {
            return None;
        }
        if self.top_p < 1.0 {
            tokens.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
            let enough = self.top_p * sum;
            let mut count = 0;
            sum = 0.0;
            while count == 0 || (count < tokens.len() && sum < enough) {
                sum += weights[tokens[count]];
                count += 1;
            }
            tokens.truncate(count);
        }
        let mut left = self.rng.random::<f64>() * sum;
        for &token in &tokens {
            left -= weights[token];
            if left < 0.0 {
                return Some(token as u32);
            }
        }
        // Rounding has left a little: the last token that could be drawn.
        tokens.into_iter().rfind(|&token| weights[token] > 0.0).map(|token| token as u32)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    const LOGITS: [f32; 6] = [0.5, 2.0, -1.0, 1.5, 2.0, 0.0];

    fn draw(count: usize, temperature: f64, top_p: f64, seed: u64) -> Vec<u32> {
        let logits = Tensor::new(&LOGITS, &Device::Cpu).unwrap();
        let mut sampler = Sampler::new(Sampling::Random { temperature, top_p, seed }).unwrap();
        (0..count).map(|_| sampler.choose(&logits).unwrap()).collect()
    }

    #[test]
    fn draws_follow_the_softmax_at_the_temperature() {
        let (drawn, temperature) = (draw(20_000, 0.7, 1.0, 5), 0.7);
        let weights = LOGITS.map(|logit| (f64::from(logit) / temperature).exp());
        for (token, weight) in weights.iter().enumerate() {
            let share = drawn.iter().filter(|&&t| t as usize == token).count() as f64 / 20_000.0;
            let expected = weight / weights.iter().sum::<f64>();
            assert!((share - expected).abs() < 0.015, "{token}: {share} {expected}");
        }
    }

    #[test]
    fn a_nucleus_keeps_the_likeliest_tokens_alone() {
        // Tokens 1 and 4 share the largest probability, 0.32 each; token 3 has 0.19.
        let kept = |top_p: f64| {
            let mut kept = draw(500, 1.0, top_p, 1);
            kept.sort_unstable();
            kept.dedup();
            kept
        };
        assert_eq!(kept(1e-9), [1]);
        assert_eq!(kept(0.6), [1, 4]);
        assert_eq!(kept(0.7), [1, 3, 4]);
        assert_eq!(kept(1.0), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn the_seed_alone_decides_the_draws() {
        assert_eq!(draw(50, 1.0, 0.9, 3), draw(50, 1.0, 0.9, 3));
        assert_ne!(draw(50, 1.0, 0.9, 3), draw(50, 1.0, 0.9, 4));
    }

    #[test]
    fn the_lowest_temperature_draws_the_likeliest_and_the_highest_draws_all() {
        assert!(draw(200, 1e-300, 1.0, 1).iter().all(|token| [1, 4].contains(token)));
        assert!((0..6).all(|token| draw(500, 1e300, 1.0, 1).contains(&token)));
    }

    #[test]
    fn temperatures_and_nuclei_out_of_range_are_named() {
        let fault = |temperature: f64, top_p: f64| {
            let made = Sampler::new(Sampling::Random { temperature, top_p, seed: 0 });
            made.err().map(|error| error.to_string()).unwrap_or_default()
        };
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(fault(temperature, 1.0).contains("temperature"), "{temperature}");
        }
        for top_p in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(fault(1.0, top_p).contains("top-p"), "{top_p}");
        }
        assert_eq!(fault(1.0, 1.0), "");
    }

    #[test]
    fn nothing_is_drawn_around_a_logit_that_is_no_number() {
        let mut nucleus = Nucleus { temperature: 1.0, top_p: 0.9, rng: ChaCha8Rng::seed_from_u64(0) };
        assert_eq!(nucleus.draw(&[0.0, f64::NAN, 1.0], 1.0), None);
        assert!(nucleus.draw(&[0.0, f64::NEG_INFINITY, 1.0], 1.0).is_some_and(|token| token != 1));
    }

    #[test]
    fn logits_that_are_not_numbers_are_refused_however_the_token_is_chosen() {
        let random = Sampling::Random { temperature: 1.0, top_p: 0.9, seed: 0 };
        for sampling in [Sampling::Greedy, random] {
            for bad in [f32::NAN, f32::INFINITY] {
                let logits = Tensor::new(&[bad; 4], &Device::Cpu).unwrap();
                let error = Sampler::new(sampling).unwrap().choose(&logits).unwrap_err().to_string();
                assert!(error.contains("diverged"), "{error}");
            }
        }
    }
}
