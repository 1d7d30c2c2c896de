#![no_main]

perk_fuzz::fuzz!("babi");
