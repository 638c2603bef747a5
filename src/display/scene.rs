//! What is drawn of an output, front to back: the pointer, an overlay of ours, and the map among the clients' surfaces. The same
//! for every renderer.

use smithay::backend::renderer::element::Kind;
use smithay::backend::renderer::element::memory::MemoryRenderBufferRenderElement;
use smithay::backend::renderer::element::surface::{
    WaylandSurfaceRenderElement, render_elements_from_surface_tree,
};
use smithay::backend::renderer::{ImportAll, ImportDma, ImportMem, Renderer};
use smithay::input::pointer::{CursorImageAttributes, CursorImageStatus};
use smithay::output::Output;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{IsAlive, Logical, Physical, Point, Rectangle, Scale, Size};
use smithay::wayland::compositor::with_states;
use tracing::warn;

use super::desk::Desk;
use super::error::chain;
use super::map_view::Front;
use super::outputs::{POINTER_REACH, Shown};
use super::render_element::{Composited, MapElement, SceneElement};
use super::stack::Piece;

/// The backdrop where no window is.
pub(crate) const BACKDROP: [f32; 4] = [0.05, 0.05, 0.06, 1.0];

/// All that is visible on one output.
pub(crate) struct Scene<R: Renderer + ImportAll + ImportMem>
where
    R::TextureId: 'static,
{
    pub(crate) elements: Vec<SceneElement<R>>,
    /// Which of the map's buffers is among them.
    pub(crate) slot: Option<usize>,
    /// The map is among them.
    pub(crate) has_map: bool,
}

/// What a scene is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The screen; the map may go onto a plane, or not.
    Screen { planes: bool },
    /// A picture of the screen, with or without the pointer.
    Picture { pointer: bool },
}

/// Builds the scene of an output.
pub(crate) fn build<R>(desk: &mut Desk, renderer: &mut R, output: &Output, purpose: Purpose) -> Scene<R>
where
    R: Renderer + ImportAll + ImportMem + ImportDma,
    R::TextureId: Clone + Send + 'static,
    R::Error: 'static,
{
    let mut elements = Vec::new();
    let Some(shown) = desk.shown(output) else {
        return Scene { elements, slot: None, has_map: false };
    };
    let stack = desk.stack(&shown.source);
    if purpose != (Purpose::Picture { pointer: false }) {
        push_pointer(&mut elements, desk, renderer, &shown);
    }
    push_overlay(&mut elements, desk, renderer, &shown);
    push_pieces(&mut elements, &stack.above, renderer, &shown);
    let planes = purpose == (Purpose::Screen { planes: true });
    let (slot, has_map) = match stack.map {
        true => push_map(&mut elements, desk, renderer, output, planes),
        false => (None, false),
    };
    push_pieces(&mut elements, &stack.below, renderer, &shown);
    Scene { elements, slot, has_map }
}

/// What of the clients is shown, in these places.
pub(crate) fn push_pieces<R>(
    elements: &mut Vec<SceneElement<R>>,
    pieces: &[Piece],
    renderer: &mut R,
    shown: &Shown,
) where
    R: Renderer + ImportAll + ImportMem,
    R::TextureId: Clone + 'static,
{
    let scale = Scale::from(shown.scale);
    for piece in pieces {
        let at = (piece.place - shown.geometry.loc).to_physical_precise_round(scale) + shown.origin;
        let surfaces: Vec<WaylandSurfaceRenderElement<R>> =
            render_elements_from_surface_tree(renderer, &piece.surface, at, scale, 1.0, Kind::Unspecified);
        elements.extend(surfaces.into_iter().map(|surface| SceneElement::Client(Composited(surface))));
    }
}

/// The picker or the list of hotkeys, above everything but the pointer.
fn push_overlay<R>(elements: &mut Vec<SceneElement<R>>, desk: &mut Desk, renderer: &mut R, shown: &Shown)
where
    R: Renderer + ImportAll + ImportMem,
    R::TextureId: Clone + Send + 'static,
    R::Error: 'static,
{
    let Some(mut room) = desk.clients_area(&shown.source).filter(|_| !desk.lock.is_on()) else { return };
    room.loc -= shown.geometry.loc;
    let Desk { overlay, lettering, .. } = desk;
    let Some(overlay) = overlay.as_mut().filter(|overlay| overlay.output == shown.source.name()) else {
        return;
    };
    let painted = overlay.paint(lettering.get_or_insert_default(), room, shown.scale);
    let at: Point<i32, Physical> = painted.area.loc.to_physical_precise_round(shown.scale);
    let element = MemoryRenderBufferRenderElement::from_buffer(
        renderer,
        (at + shown.origin).to_f64(),
        painted.buffer,
        None,
        Some(all_of(painted.pixels)),
        Some(painted.area.size),
        Kind::Unspecified,
    );
    match element {
        Ok(element) => elements.push(SceneElement::Memory(element)),
        Err(error) => warn!(error = chain(&error), "the overlay cannot be uploaded"),
    }
}

/// The whole of a buffer of the display's pixels, for its source. Left out, that would be as many pixels as it has logical ones.
fn all_of(pixels: Size<i32, Physical>) -> Rectangle<f64, Logical> {
    // Its own scale is one.
    Rectangle::from_size((f64::from(pixels.w), f64::from(pixels.h)).into())
}

fn push_map<R>(
    elements: &mut Vec<SceneElement<R>>,
    desk: &mut Desk,
    renderer: &mut R,
    output: &Output,
    planes: bool,
) -> (Option<usize>, bool)
where
    R: Renderer + ImportAll + ImportMem + ImportDma,
    R::TextureId: Clone + Send + 'static,
    R::Error: 'static,
{
    let Desk { outputs, worker, target_ids, .. } = desk;
    let Some(map) = outputs.iter_mut().find(|state| &state.output == output).map(|state| &mut state.map)
    else {
        return (None, false);
    };
    let mut unreadable = None;
    let mut pushed = (None, false);
    match map.front() {
        None => {}
        Some((place, Front::Memory(picture))) => {
            // The buffer has the display's pixels, whatever a logical one is.
            let scale = output.current_scale().fractional_scale();
            let size = place.pixels.size.to_f64().to_logical(scale).to_i32_round();
            let element = MemoryRenderBufferRenderElement::from_buffer(
                renderer,
                place.pixels.loc.to_f64(),
                picture,
                Some(place.opacity),
                Some(all_of(place.pixels.size)),
                Some(size),
                Kind::Unspecified,
            );
            match element {
                Ok(element) => {
                    elements.push(SceneElement::Memory(element));
                    pushed = (None, true);
                }
                Err(error) => {
                    warn!(output = output.name(), error = chain(&error), "the map cannot be uploaded");
                }
            }
        }
        Some((place, Front::Dmabuf { buffer, slot })) => match renderer.import_dmabuf(&buffer.dmabuf, None) {
            Ok(texture) => {
                elements.push(SceneElement::Map(MapElement {
                    id: map.id().clone(),
                    commit: map.commit(),
                    buffer: (planes && map.may_have_plane()).then(|| buffer.buffer.clone()),
                    texture,
                    geometry: place.pixels,
                    size: Size::from((place.pixels.size.w, place.pixels.size.h)),
                    opacity: place.opacity,
                }));
                pushed = (Some(slot), true);
            }
            Err(error) => {
                unreadable = Some(format!("the renderer cannot read the map's buffer: {}", chain(&error)));
            }
        },
    }
    if let (Some(reason), Some(worker)) = (unreadable, worker.as_ref()) {
        map.give_up_ring(reason, worker, target_ids);
    }
    pushed
}

fn push_pointer<R>(elements: &mut Vec<SceneElement<R>>, desk: &mut Desk, renderer: &mut R, shown: &Shown)
where
    R: Renderer + ImportAll + ImportMem,
    R::TextureId: Clone + Send + 'static,
    R::Error: 'static,
{
    let scale = Scale::from(shown.scale);
    let (at, size) = (desk.pointer_at - shown.geometry.loc.to_f64(), shown.geometry.size);
    let reach = POINTER_REACH;
    if at.x < -reach || at.y < -reach || at.x > f64::from(size.w) + reach || at.y > f64::from(size.h) + reach
    {
        return;
    }
    // A mirror may begin elsewhere than in the display's corner.
    let at = at + shown.origin.to_f64().to_logical(scale);
    push_pointer_image(elements, desk, renderer, at, scale);
    if let Some(icon) = desk.drag_icon.as_ref().filter(|icon| icon.surface.alive()) {
        let at = (at + icon.offset.to_f64()).to_physical(scale).to_i32_round();
        let surfaces: Vec<WaylandSurfaceRenderElement<R>> =
            render_elements_from_surface_tree(renderer, &icon.surface, at, scale, 1.0, Kind::Unspecified);
        elements.extend(surfaces.into_iter().map(|surface| SceneElement::Client(Composited(surface))));
    }
}

/// The pointer's image, pointing at this point of the output.
pub(crate) fn push_pointer_image<R>(
    elements: &mut Vec<SceneElement<R>>,
    desk: &mut Desk,
    renderer: &mut R,
    at: Point<f64, Logical>,
    scale: Scale<f64>,
) where
    R: Renderer + ImportAll + ImportMem,
    R::TextureId: Clone + Send + 'static,
    R::Error: 'static,
{
    if matches!(&desk.cursor.status, CursorImageStatus::Surface(surface) if !surface.alive()) {
        desk.cursor.status = CursorImageStatus::default_named();
    }
    match &desk.cursor.status {
        CursorImageStatus::Hidden => {}
        _ if desk.cursor.resting() => {}
        CursorImageStatus::Named(icon) => {
            let icon = *icon;
            let image = desk.cursor.named(icon);
            let at: Point<f64, Physical> =
                (at - image.hot_spot.to_f64()).to_i32_round::<i32>().to_f64().to_physical(scale);
            let element = MemoryRenderBufferRenderElement::from_buffer(
                renderer,
                at,
                &image.pixels,
                None,
                None,
                None,
                Kind::Cursor,
            );
            match element {
                Ok(element) => elements.push(SceneElement::Memory(element)),
                Err(error) => warn!(error = chain(&error), "the pointer cannot be uploaded"),
            }
        }
        CursorImageStatus::Surface(surface) => {
            let at = (at - hot_spot(surface).to_f64()).to_physical(scale).to_i32_round();
            let surfaces: Vec<WaylandSurfaceRenderElement<R>> =
                render_elements_from_surface_tree(renderer, surface, at, scale, 1.0, Kind::Cursor);
            elements.extend(surfaces.into_iter().map(SceneElement::Pointer));
        }
    }
}

/// Where a client's pointer image points.
pub(crate) fn hot_spot(surface: &WlSurface) -> Point<i32, Logical> {
    with_states(surface, |states| {
        states
            .data_map
            .get::<std::sync::Mutex<CursorImageAttributes>>()
            .and_then(|attributes| attributes.lock().ok().map(|attributes| attributes.hotspot))
            .unwrap_or_default()
    })
}
