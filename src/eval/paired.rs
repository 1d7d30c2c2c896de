//! Two scores of the same questions: their difference, and whether it may be chance.

use serde::{Deserialize, Serialize};

use super::interval::Z;

/// Two lists of scores, question by question.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paired {
    /// Questions.
    pub pairs: usize,
    /// Mean of the first scores.
    pub first: f64,
    /// Mean of the second scores.
    pub second: f64,
    /// 95% confidence interval of `second - first`, low and high; of means of many questions.
    pub interval: (f64, f64),
    /// Questions on which the first is better.
    pub first_better: usize,
    /// Questions on which the second is better.
    pub second_better: usize,
    /// Probability of so unequal counts, or more so, if neither were better: the exact two-sided sign test, which for
    /// scores of 0 and 1 is McNemar's.
    pub p_value: f64,
}

impl Paired {
    /// Compares pairs of scores.
    ///
    /// d̄ ± z √(Σ(d − d̄)² / (n − 1) / n)
    pub fn of(scores: &[(f64, f64)]) -> Self {
        let pairs = scores.len();
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| scores.iter().map(of).sum::<f64>() / pairs.max(1) as f64;
        let (first, second) = (mean(&|pair| pair.0), mean(&|pair| pair.1));
        let difference = second - first;
        let squares: f64 = scores.iter().map(|(a, b)| (b - a - difference).powi(2)).sum();
        let half = match pairs {
            0 | 1 => f64::INFINITY,
            _ => Z * (squares / (pairs - 1) as f64 / pairs as f64).sqrt(),
        };
        let interval = ((difference - half).max(-1.0), (difference + half).min(1.0));
        let first_better = scores.iter().filter(|(a, b)| a > b).count();
        let second_better = scores.iter().filter(|(a, b)| a < b).count();
        let p_value = sign_test(first_better, second_better);
        Self { pairs, first, second, interval, first_better, second_better, p_value }
    }

    /// `second - first`.
    pub fn difference(&self) -> f64 {
        self.second - self.first
    }
}

/// min(1, 2 Σ_{k ≤ min(a, b)} C(n, k) 2⁻ⁿ), n = a + b
fn sign_test(a: usize, b: usize) -> f64 {
    let n = (a + b) as f64;
    let mut log_term = -n * std::f64::consts::LN_2;
    let mut tail = log_term.exp();
    for k in 1..=a.min(b) {
        log_term += ((n - k as f64 + 1.0) / k as f64).ln();
        tail += log_term.exp();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_test_agrees_with_cases_worked_by_hand() {
        assert_eq!(sign_test(0, 0), 1.0);
        assert_eq!(sign_test(3, 3), 1.0);
        // 2 (1 + 10) / 2¹⁰
        assert!((sign_test(1, 9) - 22.0 / 1024.0).abs() < 1e-12);
        assert!((sign_test(9, 1) - sign_test(1, 9)).abs() < 1e-15);
        assert!((sign_test(0, 6) - 2.0 / 64.0).abs() < 1e-12);
        assert!((sign_test(5_000, 5_000) - 1.0).abs() < 1e-9);
        assert!(sign_test(4_700, 5_300) < 1e-8);
    }

    #[test]
    fn a_pair_of_lists_is_compared_question_by_question() {
        let scores = [(1.0, 1.0), (0.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)];
        let found = Paired::of(&scores);
        assert_eq!((found.pairs, found.first_better, found.second_better), (5, 1, 2));
        assert_eq!((found.first, found.second), (0.4, 0.6));
        // Differences 0, 1, 1, -1, 0: mean 0.2, squares .04 + .64 + .64 + 1.44 + .04 = 2.8.
        let half = Z * (2.8_f64 / 4.0 / 5.0).sqrt();
        assert!(
            (found.interval.0 - (0.2 - half)).abs() < 1e-12
                && (found.interval.1 - (0.2 + half)).abs() < 1e-12
        );
        assert_eq!(found.p_value, 1.0);
    }
}
