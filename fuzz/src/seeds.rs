//! Writes the valid files of every target to `corpus/`, where cargo-fuzz looks for what to begin with.

use std::fs;
use std::path::Path;

use perk_fuzz::targets::all;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in all() {
        let folder = corpus.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(folder.join(format!("valid-{number}")), seed)?;
        }
    }
    Ok(())
}
