#![no_main]

perk_fuzz::fuzz!("hub-cache");
