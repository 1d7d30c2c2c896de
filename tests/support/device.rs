//! The device that numerical tests run on.

use candle_core::Device;
use perk::device::DeviceName;

/// The CPU, or what the environment variable `PERK_TEST_DEVICE` names.
pub fn under_test() -> Device {
    let name = std::env::var("PERK_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    name.parse::<DeviceName>().unwrap().open().unwrap().device
}
