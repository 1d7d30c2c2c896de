//! Range checks that name the key they are about.

use crate::error::Fault;

/// Gathers the faults of one block.
#[derive(Debug)]
pub struct Checker<'a> {
    block: &'static str,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Checker<'a> {
    /// Checks keys of `block`; faults are added to `faults`.
    pub fn new(block: &'static str, faults: &'a mut Vec<Fault>) -> Self {
        Self { block, faults }
    }

    /// `reason` is reported for `key` unless `holds`.
    pub fn require(&mut self, holds: bool, key: &str, reason: impl Into<String>) {
        if !holds {
            self.faults.push(Fault {
                line: None,
                key: format!("{}.{key}", self.block),
                reason: reason.into(),
            });
        }
    }

    /// Most that [`count`](Self::count) takes: larger numbers are slips of the pen, and their products would
    /// not fit a machine word.
    pub const MOST: usize = 1 << 24;

    /// A count that must not be zero.
    pub fn count(&mut self, key: &str, value: usize) {
        self.range(key, value, 1, Self::MOST);
    }

    /// A count from `low` to `high`.
    pub fn range(&mut self, key: &str, value: usize, low: usize, high: usize) {
        let within = (low..=high).contains(&value);
        self.require(within, key, format!("must be from {low} to {high}, found {value}"));
    }

    /// A part of a whole.
    pub fn fraction(&mut self, key: &str, value: f64) {
        let within = (0.0..=1.0).contains(&value);
        self.require(within, key, format!("must be from 0 to 1, found {value}"));
    }

    /// A finite number above zero.
    pub fn positive(&mut self, key: &str, value: f64) {
        self.require(value > 0.0 && value.is_finite(), key, format!("must be above 0, found {value}"));
    }

    /// A finite number, zero or above.
    pub fn not_negative(&mut self, key: &str, value: f64) {
        self.require(value >= 0.0 && value.is_finite(), key, format!("must be 0 or more, found {value}"));
    }

    /// A decay rate: from 0 up to, but not, 1.
    pub fn decay(&mut self, key: &str, value: f64) {
        self.require(
            (0.0..1.0).contains(&value),
            key,
            format!("must be at least 0 and below 1, found {value}"),
        );
    }
}
