#![no_main]

perk_fuzz::fuzz!("generation-config");
