//! Draws what the token weights of a checkpoint pick out of a held-out context, as an SVG picture.
//!
//! `weights CHECKPOINT MULTIPLE EPISODE FILE`: each token of the context, of MULTIPLE times the trained length, stands on
//! a ground that is as dark as its weight is large, before the first inner step. Segments begin on new lines.

use std::fmt::Write;

use perk::{
    commands::{InnerStart, Setup},
    model::HubSettings,
    tasks::{self, Split},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Most characters of a line.
const COLUMNS: usize = 110;
/// Width of a character and height of a line, in pixels.
const CHARACTER: (f64, f64) = (7.3, 18.0);

/// A token with its weight.
struct Shaded {
    text: String,
    weight: f64,
}

fn drawn(segments: &[Vec<Shaded>]) -> Result<String, std::fmt::Error> {
    let most = segments.iter().flatten().map(|token| token.weight).fold(0.0, f64::max);
    let (mut body, mut line) = (String::new(), 0);
    for segment in segments {
        let mut column = 0;
        for Shaded { text, weight } in segment {
            let length = text.chars().count();
            if column + length > COLUMNS {
                (line, column) = (line + 1, 0);
            }
            let (x, y) = (8.0 + column as f64 * CHARACTER.0, 8.0 + f64::from(line) * CHARACTER.1);
            let width = length as f64 * CHARACTER.0;
            let shade = weight / most;
            if shade > 0.004 {
                writeln!(
                    body,
                    r##"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="16" rx="3" fill="#d9480f" fill-opacity="{shade:.2}"/>"##
                )?;
            }
            let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
            writeln!(body, r#"<text x="{x:.1}" y="{:.1}">{escaped}</text>"#, y + 12.0)?;
            column += length + 1;
        }
        line += 1;
    }
    let (width, height) = (16.0 + COLUMNS as f64 * CHARACTER.0, 16.0 + f64::from(line) * CHARACTER.1);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"monospace\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    ))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, multiple, index, file] = arguments.as_slice() else {
        return Err("usage: weights CHECKPOINT MULTIPLE EPISODE FILE".into());
    };
    let (multiple, index) = (multiple.parse()?, index.parse()?);
    let start = InnerStart::open(checkpoint.as_ref())?;
    let setup = Setup::open(&start.config, &HubSettings::default())?;
    let params = start.params(&setup)?;
    let (config, tokenizer) = (&setup.config, &setup.tokenizer);
    let source = tasks::open(&config.data, tokenizer, Split::HeldOut, multiple, config.run.seed)?;
    let encoded =
        setup.encoder.encode(&source.episode(index)?, index, Split::HeldOut, config.outer.objective)?;
    let context = setup.learner.inner_loss(&encoded.segments)?;
    let mut weights = setup.learner.token_losses(&params, &context, &params.adapter)?.into_iter();
    let mut segments = vec![];
    for segment in &encoded.segments {
        let (read, predicted) = segment.tokens.split_at(segment.loss_from);
        let mut shaded = vec![Shaded { text: tokenizer.decode_all(read)?, weight: 0.0 }];
        for (&id, token) in predicted.iter().zip(weights.by_ref()) {
            shaded
                .push(Shaded { text: tokenizer.decode_all(&[id])?.trim().to_owned(), weight: token.weight });
        }
        segments.push(shaded);
    }
    std::fs::write(file, drawn(&segments)?)?;
    let all = || segments.iter().flatten();
    let most = all().map(|token| token.weight).fold(0.0, f64::max);
    let sum: f64 = all().map(|token| token.weight).sum();
    let above = all().filter(|token| token.weight > most / 100.0).count();
    println!(
        "{} tokens, weights of {sum:.1} in all, {most:.1} at most, {above} above a hundredth of that",
        all().count()
    );
    Ok(())
}
