//! The scene of an output drawn once more: into memory, or into a client's buffer.

use std::any::Any;

use smithay::backend::allocator::dmabuf::Dmabuf;
use smithay::backend::allocator::format::FormatSet;
use smithay::backend::allocator::{Buffer as _, Fourcc};
use smithay::backend::renderer::damage::OutputDamageTracker;
use smithay::backend::renderer::{
    Bind, ExportMem, ImportAll, ImportDma, ImportMem, Offscreen, Renderer, Texture,
};
use smithay::output::Output;
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::protocol::wl_shm;
use smithay::utils::{Buffer as BufferCoords, Physical, Rectangle, Size, Transform};
use smithay::wayland::dmabuf::get_dmabuf;

use super::{What, cursor, pixels, window};
use crate::display::DisplayError;
use crate::display::desk::Desk;
use crate::display::error::chain;
use crate::display::render_element::SceneElement;
use crate::display::scene::{self, BACKDROP, Purpose};
use crate::render::Image;

/// What the picture of an output is drawn into. It is kept between two looks, so that only what changed is drawn.
pub(crate) struct Canvas<Target> {
    target: Target,
    size: Size<i32, BufferCoords>,
}

/// What was there at the last look.
#[derive(Default)]
pub(crate) struct Seen {
    tracker: Option<OutputDamageTracker>,
    /// A [`Canvas`] of the renderer that the output has.
    canvas: Option<Box<dyn Any>>,
}

/// One copy to make.
pub(crate) struct Job<'a> {
    pub(super) what: What,
    /// The part of the picture that is wanted.
    pub(super) area: Rectangle<i32, BufferCoords>,
    pub(super) buffer: &'a WlBuffer,
    pub(super) only_if_changed: bool,
    pub(super) seen: &'a mut Seen,
}

/// What has changed since the last look, in pixels of the buffer.
#[derive(Debug, Clone)]
pub(crate) struct Changed {
    pub(super) rectangles: Vec<Rectangle<i32, BufferCoords>>,
    /// How the picture is turned in the buffer.
    pub(super) transform: Transform,
}

/// Why there is no copy.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// The client's buffer is not as it was announced.
    Buffer,
    /// The renderer's word.
    Failed(String),
}

/// GPU buffers that the renderer of an output draws into.
#[derive(Debug, Clone)]
pub(crate) struct DmabufFormats {
    /// The device to allocate them on.
    pub(crate) device: u64,
    /// What they may look like.
    pub(crate) formats: FormatSet,
}

impl What {
    pub(super) fn fourcc(self) -> Fourcc {
        match self {
            What::Screen { .. } => Fourcc::Xrgb8888,
            What::Window { .. } | What::Pointer => Fourcc::Argb8888,
        }
    }

    /// The format of shared memory.
    pub(super) fn shm(self) -> wl_shm::Format {
        match self {
            What::Screen { .. } => wl_shm::Format::Xrgb8888,
            What::Window { .. } | What::Pointer => wl_shm::Format::Argb8888,
        }
    }

    fn background(self) -> [f32; 4] {
        match self {
            What::Screen { .. } => BACKDROP,
            What::Window { .. } | What::Pointer => [0.0; 4],
        }
    }
}

/// Everything that is drawn, and what it is drawn onto.
struct Drawing<R: Renderer + ImportAll + ImportMem>
where
    R::TextureId: 'static,
{
    elements: Vec<SceneElement<R>>,
    size: Size<i32, BufferCoords>,
    transform: Transform,
    tracker: OutputDamageTracker,
}

fn drawing<R>(desk: &mut Desk, renderer: &mut R, output: &Output, what: What) -> Option<Drawing<R>>
where
    R: Renderer + ImportAll + ImportMem + ImportDma,
    R::TextureId: Texture + Clone + Send + 'static,
    R::Error: 'static,
{
    match what {
        What::Screen { pointer } => {
            let size = output.current_mode()?.size;
            let scene = scene::build(desk, renderer, output, Purpose::Picture { pointer });
            Some(Drawing {
                elements: scene.elements,
                size: Size::from((size.w, size.h)),
                transform: output.current_transform(),
                tracker: OutputDamageTracker::from_output(output),
            })
        }
        What::Window { id, pointer } => {
            let scale = output.current_scale().fractional_scale();
            let size = window::size(desk, output, id)?;
            Some(Drawing {
                elements: window::elements(desk, renderer, output, id, pointer)?,
                size,
                transform: Transform::Normal,
                tracker: OutputDamageTracker::new((size.w, size.h), scale, Transform::Normal),
            })
        }
        What::Pointer => {
            let scale = output.current_scale().fractional_scale();
            let look = cursor::look(desk, output)?;
            let mut elements = Vec::new();
            let at = look.hot_spot.to_f64().to_logical(scale);
            scene::push_pointer_image(&mut elements, desk, renderer, at, scale.into());
            Some(Drawing {
                elements,
                size: look.size,
                transform: Transform::Normal,
                tracker: OutputDamageTracker::new((look.size.w, look.size.h), scale, Transform::Normal),
            })
        }
    }
}

/// Copies into the client's buffer; `None` when nothing has changed and that was the condition.
pub(crate) fn copy<R, Target>(
    desk: &mut Desk,
    renderer: &mut R,
    output: &Output,
    job: Job<'_>,
) -> Result<Option<Changed>, CopyError>
where
    R: Renderer + ImportAll + ImportMem + ImportDma + ExportMem + Offscreen<Target> + Bind<Dmabuf>,
    R::TextureId: Texture + Clone + Send + 'static,
    R::Error: Send + Sync + 'static,
    Target: 'static,
{
    let failed = |error: &(dyn std::error::Error + 'static)| CopyError::Failed(chain(error));
    let Drawing { elements, size, transform, tracker } =
        drawing(desk, renderer, output, job.what).ok_or(CopyError::Failed("nothing is shown".into()))?;
    let whole = Rectangle::from_size(size);
    if !whole.contains_rect(job.area) {
        return Err(CopyError::Buffer);
    }
    let kept = job.seen.canvas.take().and_then(|canvas| canvas.downcast::<Canvas<Target>>().ok());
    let kept = kept.filter(|canvas| canvas.size == size);
    let fresh = job.seen.tracker.is_none();
    let seen = job.seen.tracker.get_or_insert(tracker);
    let background = job.what.background();

    let damage = if let Ok(dmabuf) = get_dmabuf(job.buffer) {
        let mut dmabuf = dmabuf.clone();
        if job.area != whole || dmabuf.size() != size {
            return Err(CopyError::Buffer);
        }
        let (damage, _) =
            seen.damage_output(usize::from(!fresh), &elements).map_err(|error| failed(&error))?;
        let Some(damage) = damage.cloned().or((!job.only_if_changed).then(Vec::new)) else {
            return Ok(None);
        };
        // What the client's buffer holds is not known: all of it is drawn.
        let mut once = match job.what {
            What::Screen { .. } => OutputDamageTracker::from_output(output),
            What::Window { .. } | What::Pointer => OutputDamageTracker::new(
                (size.w, size.h),
                output.current_scale().fractional_scale(),
                transform,
            ),
        };
        let mut framebuffer = renderer.bind(&mut dmabuf).map_err(|error| failed(&error))?;
        let drawn = once
            .render_output(renderer, &mut framebuffer, 0, &elements, background)
            .map_err(|error| failed(&error))?;
        drawn.sync.wait().map_err(|error| failed(&error))?;
        damage
    } else {
        if !pixels::fits(job.buffer, job.area.size, job.what.shm()) {
            return Err(CopyError::Buffer);
        }
        let (mut canvas, age) = match kept {
            Some(canvas) => (canvas, 1),
            None => {
                let target =
                    renderer.create_buffer(job.what.fourcc(), size).map_err(|error| failed(&error))?;
                (Box::new(Canvas { target, size }), 0)
            }
        };
        let mut framebuffer = renderer.bind(&mut canvas.target).map_err(|error| failed(&error))?;
        let drawn = seen
            .render_output(renderer, &mut framebuffer, age, &elements, background)
            .map_err(|error| failed(&error))?;
        drawn.sync.wait().map_err(|error| failed(&error))?;
        let damage = drawn.damage.cloned();
        if damage.is_some() || !job.only_if_changed {
            let mapping = renderer
                .copy_framebuffer(&framebuffer, job.area, job.what.fourcc())
                .map_err(|error| failed(&error))?;
            let bytes = renderer.map_texture(&mapping).map_err(|error| failed(&error))?;
            if !pixels::fill(job.buffer, job.area.size, job.what.shm(), bytes) {
                return Err(CopyError::Buffer);
            }
        }
        drop(framebuffer);
        job.seen.canvas = Some(canvas);
        match damage.or((!job.only_if_changed).then(Vec::new)) {
            Some(damage) => damage,
            None => return Ok(None),
        }
    };
    let rectangles = in_buffer(&damage, size, transform, job.area);
    if rectangles.is_empty() && job.only_if_changed {
        return Ok(None);
    }
    Ok(Some(Changed { rectangles, transform }))
}

/// Damage of the scene as damage of this part of the buffer, in which the scene lies turned.
fn in_buffer(
    damage: &[Rectangle<i32, Physical>],
    size: Size<i32, BufferCoords>,
    transform: Transform,
    area: Rectangle<i32, BufferCoords>,
) -> Vec<Rectangle<i32, BufferCoords>> {
    let turn = transform.invert();
    let scene: Size<i32, Physical> = turn.transform_size(Size::from((size.w, size.h)));
    damage
        .iter()
        .map(|rectangle| turn.transform_rect_in(*rectangle, &scene))
        .map(|rectangle| {
            Rectangle::new(
                (rectangle.loc.x, rectangle.loc.y).into(),
                (rectangle.size.w, rectangle.size.h).into(),
            )
        })
        .filter_map(|rectangle: Rectangle<i32, BufferCoords>| rectangle.intersection(area))
        .map(|rectangle| Rectangle::new(rectangle.loc - area.loc, rectangle.size))
        .collect()
}

/// What this output shows, pointer included, in memory.
pub(crate) fn take<R, Target>(
    desk: &mut Desk,
    renderer: &mut R,
    output: &Output,
) -> Result<Image, DisplayError>
where
    R: Renderer + ImportAll + ImportMem + ImportDma + ExportMem + Offscreen<Target>,
    R::TextureId: Texture + Clone + Send + 'static,
    R::Error: Send + Sync + 'static,
{
    let failed = |error: &(dyn std::error::Error + 'static)| DisplayError::Render {
        output: output.name(),
        reason: chain(error),
    };
    let what = What::Screen { pointer: true };
    let Drawing { elements, size, mut tracker, .. } =
        drawing(desk, renderer, output, what).ok_or(DisplayError::NoOutput)?;
    let mut target = renderer.create_buffer(what.fourcc(), size).map_err(|error| failed(&error))?;
    let mut framebuffer = renderer.bind(&mut target).map_err(|error| failed(&error))?;
    tracker
        .render_output(renderer, &mut framebuffer, 0, &elements, BACKDROP)
        .map_err(|error| failed(&error))?
        .sync
        .wait()
        .map_err(|error| failed(&error))?;
    let mapping = renderer
        .copy_framebuffer(&framebuffer, Rectangle::from_size(size), what.fourcc())
        .map_err(|error| failed(&error))?;
    let bytes = renderer.map_texture(&mapping).map_err(|error| failed(&error))?;
    let pixels =
        bytes.chunks_exact(4).map(|pixel| u32::from_le_bytes([pixel[0], pixel[1], pixel[2], 0xff])).collect();
    Ok(Image { width: size.w.unsigned_abs(), height: size.h.unsigned_abs(), pixels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_in_pixels_of_the_buffer() {
        let damage = [Rectangle::<i32, Physical>::new((10, 20).into(), (30, 40).into())];
        let size = Size::from((800, 600));
        let all = Rectangle::from_size(size);
        let told = |transform, area| {
            in_buffer(&damage, size, transform, area)
                .into_iter()
                .map(|r| (r.loc.x, r.loc.y, r.size.w, r.size.h))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(Transform::Normal, all), [(10, 20, 30, 40)]);
        assert_eq!(told(Transform::_180, all), [(760, 540, 30, 40)]);
        // Only what is in the part that is wanted, counted from its corner.
        let part = Rectangle::new((20, 0).into(), (100, 30).into());
        assert_eq!(told(Transform::Normal, part), [(0, 20, 20, 10)]);
        let elsewhere = Rectangle::new((400, 300).into(), (10, 10).into());
        assert!(told(Transform::Normal, elsewhere).is_empty());
        // Turned by a quarter, the scene is 600 wide and 800 high, and every corner stays in the buffer.
        for transform in [Transform::_90, Transform::_270] {
            let [(x, y, w, h)] = told(transform, all)[..] else { panic!() };
            assert_eq!((w, h), (40, 30));
            assert!(x >= 0 && y >= 0 && x + w <= 800 && y + h <= 600);
        }
    }
}
