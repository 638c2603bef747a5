//! Windows as parents of other programs' windows (xdg-foreign). Smithay's own waits for itself for ever when
//! a window becomes its own ancestor.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use smithay::reexports::wayland_protocols::xdg::foreign::zv2::server::zxdg_exported_v2::{
    self, ZxdgExportedV2,
};
use smithay::reexports::wayland_protocols::xdg::foreign::zv2::server::zxdg_exporter_v2::{
    self, ZxdgExporterV2,
};
use smithay::reexports::wayland_protocols::xdg::foreign::zv2::server::zxdg_imported_v2::{
    self, ZxdgImportedV2,
};
use smithay::reexports::wayland_protocols::xdg::foreign::zv2::server::zxdg_importer_v2::{
    self, ZxdgImporterV2,
};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource,
};
use smithay::utils::IsAlive;
use smithay::wayland::compositor::with_states;
use smithay::wayland::shell::xdg::XdgToplevelSurfaceData;
use smithay::wayland::shell::{is_toplevel_equivalent, is_valid_parent};

use crate::display::Compositor;
use crate::display::limits;

/// What is exported, by the word for it.
pub(crate) struct Foreign {
    exports: HashMap<String, Export>,
    /// Words made so far, and the secret that the next ones follow from.
    words: u64,
    secret: RandomState,
}

struct Export {
    surface: WlSurface,
    /// Each with the windows that have it as their parent by that.
    imports: HashMap<ZxdgImportedV2, HashSet<WlSurface>>,
}

/// The word for what it is an export or an import of.
pub(crate) struct Word(String);

impl Foreign {
    pub(super) fn new(display: &DisplayHandle) -> Self {
        display.create_global::<Compositor, ZxdgExporterV2, _>(1, ());
        display.create_global::<Compositor, ZxdgImporterV2, _>(1, ());
        Self { exports: HashMap::new(), words: 0, secret: RandomState::new() }
    }

    /// Whoever has the word may use the window: it cannot be guessed, being a keyed hash.
    fn new_word(&mut self) -> String {
        self.words += 1;
        let half = |side: u8| self.secret.hash_one((self.words, side));
        format!("{:016x}{:016x}", half(0), half(1))
    }
}

impl GlobalDispatch<ZxdgExporterV2, ()> for Compositor {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        exporter: New<ZxdgExporterV2>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        init.init(exporter, ());
    }
}

impl GlobalDispatch<ZxdgImporterV2, ()> for Compositor {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        importer: New<ZxdgImporterV2>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        init.init(importer, ());
    }
}

impl Dispatch<ZxdgExporterV2, ()> for Compositor {
    fn request(
        compositor: &mut Self,
        _: &Client,
        exporter: &ZxdgExporterV2,
        request: zxdg_exporter_v2::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        let zxdg_exporter_v2::Request::ExportToplevel { id, surface } = request else { return };
        if !is_toplevel_equivalent(&surface) {
            let error = zxdg_exporter_v2::Error::InvalidSurface;
            return exporter.post_error(error, "only a toplevel can be exported");
        }
        let foreign = &mut compositor.desk.protocols.xdg_foreign;
        let word = foreign.new_word();
        let export = Export { surface, imports: HashMap::new() };
        foreign.exports.insert(word.clone(), export);
        init.init(id, Word(word.clone())).handle(word);
    }
}

impl Dispatch<ZxdgExportedV2, Word> for Compositor {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &ZxdgExportedV2,
        _: zxdg_exported_v2::Request,
        _: &Word,
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        // There is only its end.
    }

    fn destroyed(compositor: &mut Self, _: ClientId, _: &ZxdgExportedV2, word: &Word) {
        if let Some(export) = compositor.desk.protocols.xdg_foreign.exports.remove(&word.0) {
            for import in export.imports.keys() {
                import.destroyed();
            }
            compositor.part(&export.surface, export.imports.values().flatten());
        }
    }
}

impl Dispatch<ZxdgImporterV2, ()> for Compositor {
    fn request(
        compositor: &mut Self,
        _: &Client,
        _: &ZxdgImporterV2,
        request: zxdg_importer_v2::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        let zxdg_importer_v2::Request::ImportToplevel { id, handle } = request else { return };
        let import = init.init(id, Word(handle.clone()));
        match compositor.desk.protocols.xdg_foreign.exports.get_mut(&handle) {
            Some(export) => {
                export.imports.insert(import, HashSet::new());
            }
            None => import.destroyed(),
        }
    }
}

impl Dispatch<ZxdgImportedV2, Word> for Compositor {
    fn request(
        compositor: &mut Self,
        _: &Client,
        import: &ZxdgImportedV2,
        request: zxdg_imported_v2::Request,
        word: &Word,
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        let zxdg_imported_v2::Request::SetParentOf { surface: child } = request else { return };
        // What is exported no more has been said to be gone.
        let Some(export) = compositor.desk.protocols.xdg_foreign.exports.get_mut(&word.0) else { return };
        let parent = export.surface.clone();
        if !is_toplevel_equivalent(&child) || !is_valid_parent(&child, &parent) {
            let error = zxdg_imported_v2::Error::InvalidSurface;
            return import.post_error(error, "no toplevel, or one that the parent belongs to itself");
        }
        let children = export.imports.entry(import.clone()).or_default();
        if children.len() > limits::SURFACES {
            children.retain(IsAlive::alive);
        }
        children.insert(child.clone());
        if set_parent(&child, Some(parent), |_| true) {
            compositor.desk.arrange_soon(false);
        }
    }

    fn destroyed(compositor: &mut Self, _: ClientId, import: &ZxdgImportedV2, word: &Word) {
        let Some(export) = compositor.desk.protocols.xdg_foreign.exports.get_mut(&word.0) else { return };
        let (parent, children) = (export.surface.clone(), export.imports.remove(import));
        compositor.part(&parent, children.iter().flatten());
    }
}

impl Compositor {
    /// What had this parent by an import has none.
    fn part<'a>(&mut self, parent: &WlSurface, children: impl Iterator<Item = &'a WlSurface>) {
        let mut parted = false;
        for child in children {
            parted |= set_parent(child, None, |old| old == Some(parent));
        }
        if parted {
            self.desk.arrange_soon(false);
        }
    }
}

/// Sets the parent of a toplevel that has one of which this holds. Returns whether it is another one now.
fn set_parent(
    child: &WlSurface,
    parent: Option<WlSurface>,
    holds: impl FnOnce(Option<&WlSurface>) -> bool,
) -> bool {
    with_states(child, |states| {
        let data = states.data_map.get::<XdgToplevelSurfaceData>();
        let Some(mut data) = data.and_then(|data| data.lock().ok()) else { return false };
        let changes = holds(data.parent.as_ref()) && data.parent != parent;
        if changes {
            data.parent = parent;
        }
        changes
    })
}
