#![no_main]

perk_fuzz::fuzz!("babilong-rows");
