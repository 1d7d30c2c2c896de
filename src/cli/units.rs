//! Numbers with their units, for people.

pub use perk::report::{duration, gigabytes};
