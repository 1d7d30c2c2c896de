//! A finished picture, as SVG and as PNG.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{Options, Tree, fontdb},
};

use crate::{
    checkpoint::write_file,
    error::{Error, Result},
    panics::caught,
};

use super::canvas::Canvas;

/// Pixels of the PNG for each unit of the SVG.
const SCALE: u32 = 2;

/// A finished picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    svg: String,
    width: u32,
    height: u32,
}

impl Picture {
    pub(super) fn of(canvas: Canvas) -> Self {
        let (width, height) = canvas.size();
        Self { svg: canvas.finish(), width, height }
    }

    /// The SVG document.
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// The same as a PNG file, twice as large in pixels as the SVG in its units.
    ///
    /// # Errors
    /// A picture that is too large to be held.
    pub fn png(&self) -> Result<Vec<u8>> {
        // What compresses the pixels panics where it gets no memory.
        let drawn = caught(|| self.drawn()).unwrap_or_else(Err);
        drawn.map_err(|reason| Error::Invalid(format!("the picture cannot be drawn: {reason}")))
    }

    fn drawn(&self) -> std::result::Result<Vec<u8>, String> {
        let options =
            Options { fontdb: fonts(), font_family: "DejaVu Sans".to_owned(), ..Options::default() };
        let tree = Tree::from_str(&self.svg, &options).map_err(|fault| fault.to_string())?;
        let size = (self.width.saturating_mul(SCALE), self.height.saturating_mul(SCALE));
        let mut pixels = Pixmap::new(size.0, size.1)
            .ok_or_else(|| format!("{} × {} pixels are too many", size.0, size.1))?;
        resvg::render(&tree, Transform::from_scale(SCALE as f32, SCALE as f32), &mut pixels.as_mut());
        pixels.encode_png().map_err(|fault| fault.to_string())
    }

    /// Writes `NAME.svg` and `NAME.png` to a folder that is there, and returns their paths.
    ///
    /// # Errors
    /// As [`png`](Self::png), or a file that cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<[PathBuf; 2]> {
        let paths = ["svg", "png"].map(|kind| folder.join(format!("{name}.{kind}")));
        let contents = [self.svg.as_bytes(), &self.png()?];
        for (path, bytes) in paths.iter().zip(contents) {
            write_file(path, |out| out.write_all(bytes).map_err(|fault| Error::io(path, fault)))?;
        }
        Ok(paths)
    }
}

/// The embedded font, regular and bold; those of the system are not asked.
fn fonts() -> Arc<fontdb::Database> {
    static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    let load = || {
        let mut fonts = fontdb::Database::new();
        for font in [dejavu::sans::regular(), dejavu::sans::bold()] {
            fonts.load_font_source(fontdb::Source::Binary(Arc::new(font)));
        }
        Arc::new(fonts)
    };
    FONTS.get_or_init(load).clone()
}
