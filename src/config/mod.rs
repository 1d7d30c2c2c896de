//! One TOML file: blocks, defaults, overrides and every fault at once.
