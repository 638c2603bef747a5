//! A picture of an output: its scene drawn once more, into memory.

use smithay::backend::allocator::Fourcc;
use smithay::backend::renderer::damage::OutputDamageTracker;
use smithay::backend::renderer::{ExportMem, ImportAll, ImportDma, ImportMem, Offscreen, Renderer, Texture};
use smithay::output::Output;
use smithay::utils::{Rectangle, Size};

use crate::display::DisplayError;
use crate::display::desk::Desk;
use crate::display::error::chain;
use crate::display::scene::{self, BACKDROP};
use crate::render::Image;

/// Draws the output into a `Target` of this renderer and reads it back.
pub(super) fn take<R, Target>(
    desk: &mut Desk,
    renderer: &mut R,
    output: &Output,
) -> Result<Image, DisplayError>
where
    R: Renderer + ImportAll + ImportMem + ImportDma + ExportMem + Offscreen<Target>,
    R::TextureId: Texture + Clone + Send + 'static,
    R::Error: Send + Sync + 'static,
{
    let failed = |reason: String| DisplayError::Render { output: output.name(), reason };
    let size = output.current_mode().ok_or(DisplayError::NoOutput)?.size;
    let scene = scene::build(desk, renderer, output, false);
    let buffer_size = Size::from((size.w, size.h));
    let mut target =
        renderer.create_buffer(Fourcc::Xrgb8888, buffer_size).map_err(|error| failed(chain(&error)))?;
    let mut framebuffer = renderer.bind(&mut target).map_err(|error| failed(chain(&error)))?;
    let mut tracker = OutputDamageTracker::from_output(output);
    tracker
        .render_output(renderer, &mut framebuffer, 0, &scene.elements, BACKDROP)
        .map_err(|error| failed(chain(&error)))?
        .sync
        .wait()
        .map_err(|error| failed(chain(&error)))?;
    let mapping = renderer
        .copy_framebuffer(&framebuffer, Rectangle::from_size(buffer_size), Fourcc::Xrgb8888)
        .map_err(|error| failed(chain(&error)))?;
    let bytes = renderer.map_texture(&mapping).map_err(|error| failed(chain(&error)))?;
    let pixels =
        bytes.chunks_exact(4).map(|pixel| u32::from_le_bytes([pixel[0], pixel[1], pixel[2], 0xff])).collect();
    Ok(Image { width: size.w.unsigned_abs(), height: size.h.unsigned_abs(), pixels })
}
