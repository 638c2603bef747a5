//! What a frame is made of, front to back.

use smithay::backend::renderer::element::memory::MemoryRenderBufferRenderElement;
use smithay::backend::renderer::element::surface::WaylandSurfaceRenderElement;
use smithay::backend::renderer::element::{Element, Id, Kind, RenderElement, UnderlyingStorage};
use smithay::backend::renderer::utils::{Buffer, CommitCounter, DamageSet, OpaqueRegions};
use smithay::backend::renderer::{Frame, ImportAll, ImportMem, Renderer, RendererSuper};
use smithay::render_elements;
use smithay::utils::{Buffer as BufferCoords, Physical, Point, Rectangle, Scale, Size, Transform};

render_elements! {
    /// One thing on an output.
    pub(crate) SceneElement<R> where R: ImportAll + ImportMem;
    /// The map in a buffer that a plane may take.
    Map=MapElement<<R as RendererSuper>::TextureId>,
    /// The map or the pointer, uploaded.
    Memory=MemoryRenderBufferRenderElement<R>,
    /// A client's surface.
    Client=Composited<WaylandSurfaceRenderElement<R>>,
    /// A client's pointer image.
    Pointer=WaylandSurfaceRenderElement<R>,
}

/// The map: a buffer for the plane, and the same as a texture for when no plane takes it.
#[derive(Debug)]
pub(crate) struct MapElement<T> {
    pub(crate) id: Id,
    pub(crate) commit: CommitCounter,
    /// `None` keeps it off the planes.
    pub(crate) buffer: Option<Buffer>,
    pub(crate) texture: T,
    pub(crate) geometry: Rectangle<i32, Physical>,
    pub(crate) size: Size<i32, BufferCoords>,
    /// How much of it is to be seen over what lies below, 0 to 1.
    pub(crate) opacity: f32,
}

impl<T> Element for MapElement<T> {
    fn id(&self) -> &Id {
        &self.id
    }

    fn current_commit(&self) -> CommitCounter {
        self.commit
    }

    fn src(&self) -> Rectangle<f64, BufferCoords> {
        Rectangle::from_size(self.size).to_f64()
    }

    fn geometry(&self, _scale: Scale<f64>) -> Rectangle<i32, Physical> {
        self.geometry
    }

    fn opaque_regions(&self, _scale: Scale<f64>) -> OpaqueRegions<i32, Physical> {
        if self.opacity < 1.0 {
            return OpaqueRegions::default();
        }
        OpaqueRegions::from_slice(&[Rectangle::from_size(self.geometry.size)])
    }

    fn alpha(&self) -> f32 {
        self.opacity
    }
}

impl<R: Renderer> RenderElement<R> for MapElement<R::TextureId>
where
    R::TextureId: 'static,
{
    fn draw(
        &self,
        frame: &mut R::Frame<'_, '_>,
        src: Rectangle<f64, BufferCoords>,
        dst: Rectangle<i32, Physical>,
        damage: &[Rectangle<i32, Physical>],
        opaque_regions: &[Rectangle<i32, Physical>],
    ) -> Result<(), R::Error> {
        frame.render_texture_from_to(
            &self.texture,
            src,
            dst,
            damage,
            opaque_regions,
            Transform::Normal,
            self.opacity,
        )
    }

    fn underlying_storage(&self, _renderer: &mut R) -> Option<UnderlyingStorage<'_>> {
        self.buffer.as_ref().map(UnderlyingStorage::Wayland)
    }
}

/// An element that never goes onto a plane: clients must not take the one that the map needs.
#[derive(Debug)]
pub(crate) struct Composited<E>(pub(crate) E);

impl<E: Element> Element for Composited<E> {
    fn id(&self) -> &Id {
        self.0.id()
    }

    fn current_commit(&self) -> CommitCounter {
        self.0.current_commit()
    }

    fn location(&self, scale: Scale<f64>) -> Point<i32, Physical> {
        self.0.location(scale)
    }

    fn src(&self) -> Rectangle<f64, BufferCoords> {
        self.0.src()
    }

    fn transform(&self) -> Transform {
        self.0.transform()
    }

    fn geometry(&self, scale: Scale<f64>) -> Rectangle<i32, Physical> {
        self.0.geometry(scale)
    }

    fn damage_since(&self, scale: Scale<f64>, commit: Option<CommitCounter>) -> DamageSet<i32, Physical> {
        self.0.damage_since(scale, commit)
    }

    fn opaque_regions(&self, scale: Scale<f64>) -> OpaqueRegions<i32, Physical> {
        self.0.opaque_regions(scale)
    }

    fn alpha(&self) -> f32 {
        self.0.alpha()
    }

    fn kind(&self) -> Kind {
        self.0.kind()
    }
}

impl<R: Renderer, E: RenderElement<R>> RenderElement<R> for Composited<E> {
    fn draw(
        &self,
        frame: &mut R::Frame<'_, '_>,
        src: Rectangle<f64, BufferCoords>,
        dst: Rectangle<i32, Physical>,
        damage: &[Rectangle<i32, Physical>],
        opaque_regions: &[Rectangle<i32, Physical>],
    ) -> Result<(), R::Error> {
        self.0.draw(frame, src, dst, damage, opaque_regions)
    }
}
