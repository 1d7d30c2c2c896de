//! Peak memory of this process.

use nix::sys::resource::{UsageWho, getrusage};

/// The most memory this process has held so far, in bytes; `None` where the system does not say.
pub fn peak_bytes() -> Option<u64> {
    let peak = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
    // Linux counts kibibytes, macOS bytes.
    Some(if cfg!(target_os = "macos") { peak } else { peak * 1024 })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_has_held_between_a_megabyte_and_a_terabyte() {
        let peak = super::peak_bytes().unwrap();
        assert!((1 << 20..1 << 40).contains(&peak), "{peak}");
    }
}
