//! Encodes a context and asks it, again and again in one process, and says what the process holds meanwhile: a
//! checking aid, see `scripts/torture.sh`.
//!
//! `cycles CHECKPOINT CONTEXT STORE COUNT QUESTION` prints a line of cycle, resident bytes and open files at ten
//! moments, evenly spread. It fails where a later one holds more open files than the first, or over a tenth and four
//! megabytes more memory than the second; the first comes before the allocator has found its size.

use std::path::Path;

use perk::{
    commands::{
        InnerStart,
        ask::{Access, Memory},
        encode::{Changes, Destination, encode},
    },
    model::{Decoding, HubSettings, Sampling},
    ranks::alone,
    tasks::Context,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much more memory is no growth.
const SLACK_BYTES: u64 = 4 << 20;

/// What the process holds.
struct Held {
    bytes: u64,
    files: usize,
}

fn held() -> std::io::Result<Held> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let resident = pages.split(' ').nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    Ok(Held { bytes: resident * 4096, files: std::fs::read_dir("/proc/self/fd")?.count() })
}

fn cycle(checkpoint: &Path, context: &Context, store: &Path, question: &str) -> perk::Result<String> {
    let hub = HubSettings::default();
    let start = InnerStart::open(checkpoint)?;
    let to = Destination { out: Some(store.join("cycle")), store: store.to_owned(), force: true };
    let encoded = encode(&start, &Changes::default(), context, &to, &hub, &alone(), &mut |_| Ok(()))?;
    let memory = Memory::open(encoded.stored, None, Changes::default().compute, &hub)?;
    let decoding = Decoding { stops: memory.stops().to_vec(), max_new_tokens: 4, sampling: Sampling::Greedy };
    Ok(memory.answerer(Access::Adapter)?.ask(question, &decoding, &mut |_| Ok(()))?.answer)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, path, store, count, question] = arguments.as_slice() else {
        return Err("usage: cycles CHECKPOINT CONTEXT STORE COUNT QUESTION".into());
    };
    perk::memory::keep_freed_pages();
    let (mut context, count) = (Context::default(), count.parse::<usize>()?);
    context.add_file(Path::new(path), None)?;
    let (mut moments, mut answers) = (Vec::new(), Vec::new());
    for done in 1..=count {
        answers.push(cycle(Path::new(checkpoint), &context, Path::new(store), question)?);
        answers.dedup();
        if done * 10 % count < 10 {
            let now = held()?;
            println!("{done} {} {}", now.bytes, now.files);
            moments.push(now);
        }
    }
    if answers.len() != 1 {
        return Err(format!("one question had several answers: {answers:?}").into());
    }
    let (Some(first), Some(warm)) = (moments.first(), moments.get(1)) else { return Ok(()) };
    let most = moments.iter().skip(1).map(|held| held.bytes).max().unwrap_or(0);
    if moments.iter().any(|held| held.files > first.files) {
        return Err("open files have grown".into());
    }
    if most > warm.bytes + warm.bytes / 10 + SLACK_BYTES {
        return Err(format!("memory has grown from {} to {most} bytes", warm.bytes).into());
    }
    Ok(())
}
