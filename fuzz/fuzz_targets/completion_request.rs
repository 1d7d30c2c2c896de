#![no_main]

perk_fuzz::fuzz!("completion-request");
