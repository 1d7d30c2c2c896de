//! Numbers with their units, for people.

/// `211 MB`, `2.97 GB`, `8.1 kB`.
pub fn gigabytes(bytes: u64) -> String {
    let megabytes = bytes as f64 / 1e6;
    match megabytes {
        m if m < 1.0 => format!("{:.1} kB", m * 1e3),
        m if m < 1000.0 => format!("{m:.0} MB"),
        m => format!("{:.2} GB", m / 1e3),
    }
}

/// `850 ms`, `12.3 s`, `4:05 min`.
pub fn duration(secs: f64) -> String {
    match secs {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 100.0 => format!("{s:.1} s"),
        s => format!("{}:{:02} min", s as u64 / 60, s as u64 % 60),
    }
}

/// Three digits: `0.00123` is `1.23e-3`, `17287.831` is `1.73e4`, `3.2821` is `3.28`.
pub fn three_digits(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if !size.is_finite() => number.to_string(),
        size if !(0.01..9999.5).contains(&size) => format!("{number:.2e}"),
        size if size < 1.0 => format!("{number:.3}"),
        size if size < 9.995 => format!("{number:.2}"),
        size if size < 99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_say_how_large_a_number_is() {
        let numbers = [0.0, 0.000_123, 0.0051, 3.2821, -42.04, 100.4, 9_999.6, 17_287.831, f64::NAN];
        let expected = ["0", "1.23e-4", "5.10e-3", "3.28", "-42.0", "100", "1.00e4", "1.73e4", "NaN"];
        assert_eq!(numbers.map(three_digits), expected);
    }

    #[test]
    fn sizes_and_times_have_few_digits() {
        assert_eq!([500, 211_400_000, 2_971_000_000].map(gigabytes), ["0.5 kB", "211 MB", "2.97 GB"]);
        assert_eq!([0.0501, 12.34, 245.4].map(duration), ["50 ms", "12.3 s", "4:05 min"]);
    }
}
