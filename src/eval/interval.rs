//! Confidence intervals of shares, and of means over runs.

/// The normal distribution's 97.5% quantile.
pub(super) const Z: f64 = 1.959_963_984_540_054;

/// 95% confidence interval of the share `right / asked`, low and high, 0 to 1; all of it where nothing was
/// asked. `right` may be a fraction, as of a mean of scores from 0 to 1, for which it is an upper bound.
///
/// (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)   Wilson 1927; method 3 of Newcombe 1998
///
/// It stays within 0 and 1 and has a width where p is 0 or 1, unlike p ± z √(p(1 − p)/n).
pub fn wilson(right: f64, asked: usize) -> (f64, f64) {
    if asked == 0 {
        return (0.0, 1.0);
    }
    let n = asked as f64;
    let p = (right / n).clamp(0.0, 1.0);
    let z2 = Z * Z / n;
    let centre = (p + z2 / 2.0) / (1.0 + z2);
    let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n)).sqrt() / (1.0 + z2);
    // Rounding must not leave the share out where it is 0 or 1.
    ((centre - half).max(0.0).min(p), (centre + half).max(p).min(1.0))
}

/// The 97.5% quantiles of Student's t for 1 to 30 degrees of freedom.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// Mean of some runs' scores and half of its 95% confidence interval; infinite for one run.
///
/// t √(Σ(x − x̄)² / (n − 1) / n), Student 1908
pub fn mean_of_runs(scores: &[f64]) -> (f64, f64) {
    let n = scores.len();
    let mean = scores.iter().sum::<f64>() / n.max(1) as f64;
    if n < 2 {
        return (mean, f64::INFINITY);
    }
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    let quantile = T.get(n - 2).copied().unwrap_or(Z);
    (mean, quantile * (variance / n as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_of_runs_has_students_interval() {
        // Variance 4 of three runs: 4.303 · 2 / √3.
        let (mean, half) = mean_of_runs(&[1.0, 3.0, 5.0]);
        assert!((mean - 3.0).abs() < 1e-12 && (half - 4.303 * 2.0 / 3.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(mean_of_runs(&[0.5; 4]), (0.5, 0.0));
        assert_eq!(mean_of_runs(&[0.5]), (0.5, f64::INFINITY));
        // Behind the table, the normal distribution's.
        let many: Vec<f64> = (0..100).map(|run| f64::from(run % 2)).collect();
        assert!((mean_of_runs(&many).1 - Z * (25.0_f64 / 99.0 / 100.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn the_interval_agrees_with_newcombes_table() {
        // Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        for (right, asked, low, high) in [
            (81.0, 263, 0.2553, 0.3662),
            (15.0, 148, 0.0624, 0.1605),
            (0.0, 20, 0.0, 0.1611),
            (1.0, 29, 0.0061, 0.1718),
        ] {
            let found = wilson(right, asked);
            assert!(
                (found.0 - low).abs() < 5e-5 && (found.1 - high).abs() < 5e-5,
                "{right}/{asked}: {found:?}"
            );
        }
    }

    #[test]
    fn the_interval_agrees_with_a_case_worked_by_hand() {
        // p = 1/2, n = 4, z² = 3.841459: centre 1/2, half = z √(1/16 + z²/64) / (1 + z²/4) = 0.349955.
        let (low, high) = wilson(2.0, 4);
        assert!((low - 0.150_04).abs() < 1e-5 && (high - 0.849_96).abs() < 1e-5, "{low} {high}");
    }

    #[test]
    fn the_interval_is_mirrored_holds_the_share_and_never_leaves_0_to_1() {
        for asked in [1, 2, 7, 100, 1000] {
            for right in 0..=asked {
                let (low, high) = wilson(right as f64, asked);
                let mirrored = wilson((asked - right) as f64, asked);
                let share = right as f64 / asked as f64;
                assert!((low - (1.0 - mirrored.1)).abs() < 1e-12);
                assert!(0.0 <= low && low <= share && share <= high && high <= 1.0, "{right}/{asked}");
            }
        }
        assert_eq!(wilson(0.0, 0), (0.0, 1.0));
    }
}
