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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_few_digits() {
        assert_eq!([500, 211_400_000, 2_971_000_000].map(gigabytes), ["0.5 kB", "211 MB", "2.97 GB"]);
        assert_eq!([0.0501, 12.34, 245.4].map(duration), ["50 ms", "12.3 s", "4:05 min"]);
    }
}
