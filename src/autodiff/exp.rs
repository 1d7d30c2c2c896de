//! eˣ for `f32` without branches or table, so that the compiler vectorises loops over it.

/// eˣ = 2ᵏ·eʳ with k = round(x / ln 2), |r| ≤ ln 2 / 2, and eʳ by its Taylor polynomial of degree 7
/// (remainder below 6·10⁻⁹ there). Underflows to zero, overflows to infinity, keeps NaN.
#[inline(always)]
pub(super) fn exp_f32(x: f32) -> f32 {
    // ln 2 in two parts: k times the first is exact, so r loses no digits.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding this number rounds to an integer, whose bits stand in the low mantissa.
    const ROUND: f32 = 12_582_912.0;
    // `max` and `min` would swallow NaN; comparisons keep it.
    let clamped = if x > 128.0 { 128.0 } else { x };
    let clamped = if clamped < -104.0 { -104.0 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (clamped - k * LN2_HIGH) - k * LN2_LOW;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    // 2ᵏ in two factors: k reaches from -150 to 185, one exponent field does not.
    let bits = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = bits >> 1;
    let pow2 = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    p * pow2(half) * pow2(bits.wrapping_sub(half))
}

#[cfg(test)]
mod tests {
    use super::exp_f32;

    #[test]
    fn agrees_with_the_f64_exponential_over_the_whole_range() {
        let mut worst = 0f64;
        for i in -870_000..887_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp_f32(x)) - exact).abs() / exact);
        }
        assert!(worst < 2.5e-7, "{worst:e}");
    }

    #[test]
    fn ends_at_zero_infinity_and_nan() {
        assert_eq!(exp_f32(-1e30), 0.0);
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_f32(1e30), f32::INFINITY);
        assert_eq!(exp_f32(0.0), 1.0);
        assert!(exp_f32(f32::NAN).is_nan());
    }
}
