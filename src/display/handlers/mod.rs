//! The Wayland protocols: one small file for each group. What they decide is in `shell.rs`, `input.rs` and the backends.

mod compositor;
mod dmabuf;
mod output;
mod seat;
mod security_context;
mod selection;
mod small;
mod virtual_pointer;
mod xdg_shell;

use smithay::input::SeatState;
use smithay::reexports::wayland_server::DisplayHandle;
use smithay::reexports::wayland_server::backend::GlobalId;
use smithay::wayland::compositor::CompositorState;
use smithay::wayland::cursor_shape::CursorShapeManagerState;
use smithay::wayland::dmabuf::DmabufState;
use smithay::wayland::fractional_scale::FractionalScaleManagerState;
use smithay::wayland::output::OutputManagerState;
use smithay::wayland::presentation::PresentationState;
use smithay::wayland::security_context::SecurityContextState;
use smithay::wayland::selection::data_device::DataDeviceState;
use smithay::wayland::selection::primary_selection::PrimarySelectionState;
use smithay::wayland::shell::xdg::XdgShellState;
use smithay::wayland::shell::xdg::decoration::XdgDecorationState;
use smithay::wayland::shm::ShmState;
use smithay::wayland::single_pixel_buffer::SinglePixelBufferState;
use smithay::wayland::viewporter::ViewporterState;

use super::Compositor;
use super::clients::is_unconfined;

/// The state of every protocol; the globals live as long as this.
pub(crate) struct Protocols {
    pub(crate) compositor: CompositorState,
    pub(crate) shm: ShmState,
    pub(crate) dmabuf: DmabufState,
    pub(crate) xdg_shell: XdgShellState,
    pub(crate) seat: SeatState<Compositor>,
    pub(crate) data_device: DataDeviceState,
    pub(crate) primary_selection: PrimarySelectionState,
    _xdg_decoration: XdgDecorationState,
    _output_manager: OutputManagerState,
    _viewporter: ViewporterState,
    _presentation: PresentationState,
    _cursor_shape: CursorShapeManagerState,
    _fractional_scale: FractionalScaleManagerState,
    _single_pixel_buffer: SinglePixelBufferState,
    _security_context: SecurityContextState,
    _virtual_pointer: GlobalId,
}

impl Protocols {
    pub(crate) fn new(display: &DisplayHandle, seat: SeatState<Compositor>) -> Self {
        // CLOCK_MONOTONIC, the clock of the page flips.
        let clock = smithay::reexports::rustix::time::ClockId::Monotonic as u32;
        Self {
            compositor: CompositorState::new::<Compositor>(display),
            shm: ShmState::new::<Compositor>(display, []),
            dmabuf: DmabufState::new(),
            xdg_shell: XdgShellState::new::<Compositor>(display),
            seat,
            data_device: DataDeviceState::new::<Compositor>(display),
            primary_selection: PrimarySelectionState::new::<Compositor>(display),
            _xdg_decoration: XdgDecorationState::new::<Compositor>(display),
            _output_manager: OutputManagerState::new_with_xdg_output::<Compositor>(display),
            _viewporter: ViewporterState::new::<Compositor>(display),
            _presentation: PresentationState::new::<Compositor>(display, clock),
            _cursor_shape: CursorShapeManagerState::new::<Compositor>(display),
            _fractional_scale: FractionalScaleManagerState::new::<Compositor>(display),
            _single_pixel_buffer: SinglePixelBufferState::new::<Compositor>(display),
            // A sandbox within a sandbox would be a way out of the outer one.
            _security_context: SecurityContextState::new::<Compositor, _>(display, is_unconfined),
            _virtual_pointer: virtual_pointer::global(display),
        }
    }
}
