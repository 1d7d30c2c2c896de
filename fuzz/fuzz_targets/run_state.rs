#![no_main]

perk_fuzz::fuzz!("run-state");
