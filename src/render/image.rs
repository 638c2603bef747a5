//! A finished picture in ordinary memory.

use std::path::Path;

use super::RenderError;
use crate::whole_file::WholeFile;

/// A finished picture in ordinary memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// `0xffRRGGBB`, row after row from the top, no padding.
    pub pixels: Vec<u32>,
}

impl std::fmt::Debug for Image {
    // Millions of numbers help nobody in a failed assertion.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}×{})", self.width, self.height)
    }
}

impl Image {
    /// Saves the picture as an 8-bit sRGB PNG.
    pub fn write_png(&self, path: impl AsRef<Path>) -> Result<(), RenderError> {
        self.write(path.as_ref(), false)
    }

    /// As [`Self::write_png`], for nobody's eyes but its owner's.
    pub fn write_private_png(&self, path: impl AsRef<Path>) -> Result<(), RenderError> {
        self.write(path.as_ref(), true)
    }

    fn write(&self, path: &Path, private: bool) -> Result<(), RenderError> {
        self.encode_png(path, private)
            .map_err(|error| RenderError::Png { path: path.to_owned(), reason: error.to_string() })
    }

    fn encode_png(&self, path: &Path, private: bool) -> Result<(), png::EncodingError> {
        // No half of a picture stays where the disk is full.
        let file = WholeFile::begin(path)?;
        let mut file = std::io::BufWriter::new(if private { file.for_its_owner() } else { file });
        let mut encoder = png::Encoder::new(&mut file, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
        let mut writer = encoder.write_header()?;
        let bytes: Vec<u8> = self
            .pixels
            .iter()
            .flat_map(|&pixel| [(pixel >> 16) as u8, (pixel >> 8) as u8, pixel as u8])
            .collect();
        writer.write_image_data(&bytes)?;
        writer.finish()?;
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.keep()?;
        Ok(())
    }
}
