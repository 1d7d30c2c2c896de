//! Inner loop, meta-gradient and outer loop (PERK, section 3).
