#![no_main]

perk_fuzz::fuzz!("chat-request");
