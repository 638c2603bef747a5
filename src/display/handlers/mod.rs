//! The Wayland protocols: one small file for each group. What they decide is in the modules above this one.

mod activation;
mod commit_timing;
mod compositor;
mod constraints;
mod dmabuf;
mod foreign;
mod idle;
mod layer_shell;
mod numbers;
mod output;
mod seat;
mod security_context;
mod selection;
mod session_lock;
mod shm;
mod shortcuts;
mod small;
mod subsurface;
mod surface_objects;
mod text;
mod toplevel_list;
mod virtual_keyboard;
mod virtual_pointer;
mod xdg_objects;
mod xdg_shell;

use calloop::LoopHandle;
use smithay::input::SeatState;
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_toplevel::WmCapabilities;
use smithay::reexports::wayland_protocols_misc::server_decoration::server::org_kde_kwin_server_decoration_manager::Mode as KdeMode;
use smithay::reexports::wayland_server::DisplayHandle;
use smithay::reexports::wayland_server::backend::GlobalId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::alpha_modifier::AlphaModifierState;
use smithay::wayland::commit_timing::CommitTimingManagerState;
use smithay::wayland::compositor::CompositorState;
use smithay::wayland::content_type::ContentTypeState;
use smithay::wayland::cursor_shape::CursorShapeManagerState;
use smithay::wayland::dmabuf::DmabufState;
use smithay::wayland::drm_syncobj::DrmSyncobjState;
use smithay::wayland::fifo::FifoManagerState;
use smithay::wayland::foreign_toplevel_list::ForeignToplevelListState;
use smithay::wayland::fractional_scale::FractionalScaleManagerState;
use smithay::wayland::idle_inhibit::IdleInhibitManagerState;
use smithay::wayland::idle_notify::IdleNotifierState;
use smithay::wayland::input_method::InputMethodManagerState;
use smithay::wayland::keyboard_shortcuts_inhibit::KeyboardShortcutsInhibitState;
use smithay::wayland::output::OutputManagerState;
use smithay::wayland::pointer_constraints::PointerConstraintsState;
use smithay::wayland::pointer_gestures::PointerGesturesState;
use smithay::wayland::presentation::PresentationState;
use smithay::wayland::security_context::SecurityContextState;
use smithay::wayland::relative_pointer::RelativePointerManagerState;
use smithay::wayland::selection::data_device::DataDeviceState;
use smithay::wayland::selection::primary_selection::PrimarySelectionState;
use smithay::wayland::selection::{ext_data_control, wlr_data_control};
use smithay::wayland::session_lock::SessionLockManagerState;
use smithay::wayland::shell::kde::decoration::KdeDecorationState;
use smithay::wayland::shell::wlr_layer::WlrLayerShellState;
use smithay::wayland::shell::xdg::XdgShellState;
use smithay::wayland::shell::xdg::decoration::XdgDecorationState;
use smithay::wayland::shell::xdg::dialog::XdgDialogState;
use smithay::wayland::shm::ShmState;
use smithay::wayland::single_pixel_buffer::SinglePixelBufferState;
use smithay::wayland::tablet_manager::TabletManagerState;
use smithay::wayland::text_input::TextInputManagerState;
use smithay::wayland::viewporter::ViewporterState;
use smithay::wayland::xwayland_shell::XWaylandShellState;
use smithay::wayland::virtual_keyboard::VirtualKeyboardManagerState;
use smithay::wayland::xdg_activation::XdgActivationState;

use self::foreign::Foreign;
use super::Compositor;
use super::clients::is_unconfined;

/// The state of every protocol; the globals live as long as this.
pub(crate) struct Protocols {
    pub(crate) compositor: CompositorState,
    pub(crate) shm: ShmState,
    pub(crate) dmabuf: DmabufState,
    /// Only where the card can tell by an event that a point in time is reached.
    pub(crate) drm_syncobj: Option<DrmSyncobjState>,
    pub(crate) xdg_shell: XdgShellState,
    pub(crate) layer_shell: WlrLayerShellState,
    pub(crate) session_lock: SessionLockManagerState,
    pub(crate) seat: SeatState<Compositor>,
    pub(crate) data_device: DataDeviceState,
    pub(crate) primary_selection: PrimarySelectionState,
    pub(crate) wlr_data_control: wlr_data_control::DataControlState,
    pub(crate) ext_data_control: ext_data_control::DataControlState,
    pub(crate) activation: XdgActivationState,
    pub(crate) idle_notifier: IdleNotifierState<Compositor>,
    pub(crate) idle_inhibitors: Vec<WlSurface>,
    pub(crate) toplevel_list: ForeignToplevelListState,
    pub(crate) shortcuts_inhibit: KeyboardShortcutsInhibitState,
    pub(crate) kde_decoration: KdeDecorationState,
    pub(crate) xdg_foreign: Foreign,
    pub(crate) xwayland_shell: XWaylandShellState,
    _globals: Globals,
}

/// Those that only have to be there.
struct Globals {
    _xdg_decoration: XdgDecorationState,
    _xdg_dialog: XdgDialogState,
    _output_manager: OutputManagerState,
    _viewporter: ViewporterState,
    _presentation: PresentationState,
    _cursor_shape: CursorShapeManagerState,
    _fifo: FifoManagerState,
    _commit_timing: CommitTimingManagerState,
    _fractional_scale: FractionalScaleManagerState,
    _single_pixel_buffer: SinglePixelBufferState,
    _security_context: SecurityContextState,
    _virtual_pointer: GlobalId,
    _alpha_modifier: AlphaModifierState,
    _content_type: ContentTypeState,
    _idle_inhibit: IdleInhibitManagerState,
    _text_input: TextInputManagerState,
    _input_method: InputMethodManagerState,
    _virtual_keyboard: VirtualKeyboardManagerState,
    _relative_pointer: RelativePointerManagerState,
    _pointer_constraints: PointerConstraintsState,
    _pointer_gestures: PointerGesturesState,
    _tablet: TabletManagerState,
}

impl Protocols {
    pub(crate) fn new(
        display: &DisplayHandle,
        handle: &LoopHandle<'static, Compositor>,
        seat: SeatState<Compositor>,
    ) -> Self {
        let primary_selection = PrimarySelectionState::new::<Compositor>(display);
        let primary = Some(&primary_selection);
        Self {
            compositor: CompositorState::new_v6::<Compositor>(display),
            shm: ShmState::new::<Compositor>(display, []),
            dmabuf: DmabufState::new(),
            drm_syncobj: None,
            // A tile is as large as it gets and is not put aside, so that clients need not offer it.
            xdg_shell: XdgShellState::new_with_capabilities::<Compositor>(
                display,
                [WmCapabilities::Fullscreen],
            ),
            layer_shell: WlrLayerShellState::new_with_filter::<Compositor, _>(display, is_unconfined),
            session_lock: SessionLockManagerState::new::<Compositor, _>(display, is_unconfined),
            seat,
            data_device: DataDeviceState::new::<Compositor>(display),
            wlr_data_control: wlr_data_control::DataControlState::new::<Compositor, _>(
                display,
                primary,
                is_unconfined,
            ),
            ext_data_control: ext_data_control::DataControlState::new::<Compositor, _>(
                display,
                primary,
                is_unconfined,
            ),
            primary_selection,
            activation: XdgActivationState::new::<Compositor>(display),
            idle_notifier: IdleNotifierState::new(display, handle.clone()),
            idle_inhibitors: Vec::new(),
            toplevel_list: ForeignToplevelListState::new_with_filter::<Compositor>(display, is_unconfined),
            shortcuts_inhibit: KeyboardShortcutsInhibitState::new::<Compositor>(display),
            kde_decoration: KdeDecorationState::new::<Compositor>(display, KdeMode::Server),
            xdg_foreign: Foreign::new(display),
            xwayland_shell: XWaylandShellState::new::<Compositor>(display),
            _globals: Globals::new(display),
        }
    }
}

impl Globals {
    fn new(display: &DisplayHandle) -> Self {
        // CLOCK_MONOTONIC, the clock of the page flips.
        let clock = smithay::reexports::rustix::time::ClockId::Monotonic as u32;
        Self {
            _xdg_decoration: XdgDecorationState::new::<Compositor>(display),
            _xdg_dialog: XdgDialogState::new::<Compositor>(display),
            _output_manager: OutputManagerState::new_with_xdg_output::<Compositor>(display),
            _viewporter: ViewporterState::new::<Compositor>(display),
            _presentation: PresentationState::new::<Compositor>(display, clock),
            _cursor_shape: CursorShapeManagerState::new::<Compositor>(display),
            _fifo: FifoManagerState::new::<Compositor>(display),
            _commit_timing: CommitTimingManagerState::new::<Compositor>(display),
            _fractional_scale: FractionalScaleManagerState::new::<Compositor>(display),
            _single_pixel_buffer: SinglePixelBufferState::new::<Compositor>(display),
            // A sandbox within a sandbox would be a way out of the outer one.
            _security_context: SecurityContextState::new::<Compositor, _>(display, is_unconfined),
            _virtual_pointer: virtual_pointer::global(display),
            _alpha_modifier: AlphaModifierState::new::<Compositor>(display),
            _content_type: ContentTypeState::new::<Compositor>(display),
            _idle_inhibit: IdleInhibitManagerState::new::<Compositor>(display),
            _text_input: TextInputManagerState::new::<Compositor>(display),
            _input_method: InputMethodManagerState::new::<Compositor, _>(display, is_unconfined),
            _virtual_keyboard: VirtualKeyboardManagerState::new::<Compositor, _>(display, is_unconfined),
            _relative_pointer: RelativePointerManagerState::new::<Compositor>(display),
            _pointer_constraints: PointerConstraintsState::new::<Compositor>(display),
            _pointer_gestures: PointerGesturesState::new::<Compositor>(display),
            _tablet: TabletManagerState::new::<Compositor>(display),
        }
    }
}
