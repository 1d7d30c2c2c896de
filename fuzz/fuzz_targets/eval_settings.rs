#![no_main]

perk_fuzz::fuzz!("eval-settings");
