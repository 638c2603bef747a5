//! A compositor and its clients in one process and one thread, each turn of theirs by hand: what a client was
//! told is known to the event, and no time passes that a test does not wait for.

#![allow(dead_code, unsafe_code)]

pub mod bare;
mod capture;
mod events;

use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use calloop::EventLoop;
use memory_glass::display::{BackendKind, Compositor, CompositorConfig, Placement};
use memory_glass::render::{Image, RenderWorker};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use wayland_client::backend::ObjectId;
use wayland_client::globals::{GlobalList, registry_queue_init};
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_output::WlOutput;
use wayland_client::protocol::wl_pointer::WlPointer;
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, EventQueue, Proxy, QueueHandle};
use wayland_protocols::ext::session_lock::v1::client::ext_session_lock_surface_v1::ExtSessionLockSurfaceV1;
use wayland_protocols::ext::session_lock::v1::client::ext_session_lock_v1::ExtSessionLockV1;
use wayland_protocols::wp::single_pixel_buffer::v1::client::wp_single_pixel_buffer_manager_v1::WpSinglePixelBufferManagerV1;
use wayland_protocols::wp::viewporter::client::wp_viewport::WpViewport;
use wayland_protocols::wp::viewporter::client::wp_viewporter::WpViewporter;
use wayland_protocols::xdg::shell::client::xdg_popup::XdgPopup;
use wayland_protocols::xdg::shell::client::xdg_positioner::{Anchor, ConstraintAdjustment, Gravity};
use wayland_protocols::xdg::shell::client::xdg_surface::XdgSurface;
use wayland_protocols::xdg::shell::client::xdg_toplevel::XdgToplevel;
use wayland_protocols::xdg::shell::client::xdg_wm_base::XdgWmBase;
use wayland_protocols_wlr::layer_shell::v1::client::zwlr_layer_shell_v1::{Layer, ZwlrLayerShellV1};
use wayland_protocols_wlr::layer_shell::v1::client::zwlr_layer_surface_v1::ZwlrLayerSurfaceV1;

pub use events::{Heard, Said};

pub const LEFT_BUTTON: u32 = 0x110;
pub const RED: u32 = 0xffc0_2020;
pub const GREEN: u32 = 0xff20_c020;
pub const BLUE: u32 = 0xff20_20c0;
pub const WHITE: u32 = 0xffff_ffff;

/// The compositor, and the programs in it.
pub struct Bench {
    event_loop: EventLoop<'static, Compositor>,
    pub compositor: Compositor,
    programs: Vec<Program>,
}

/// A client.
pub struct Program {
    connection: Connection,
    queue: EventQueue<Heard>,
    pub handle: QueueHandle<Heard>,
    pub heard: Heard,
    pub globals: GlobalList,
    compositor: WlCompositor,
    pixels: WpSinglePixelBufferManagerV1,
    viewporter: WpViewporter,
    shell: XdgWmBase,
    pub seat: WlSeat,
    pub pointer: WlPointer,
    pub output: WlOutput,
}

/// A surface of one colour, as large as it is told to be.
pub struct Panel {
    pub surface: WlSurface,
    viewport: WpViewport,
    buffer: WlBuffer,
    pub size: Mutex<(i32, i32)>,
}

impl Panel {
    pub fn draw(&self) {
        let (w, h) = *self.size.lock().expect("its size");
        self.viewport.set_destination(w, h);
        self.surface.attach(Some(&self.buffer), 0, 0);
        self.surface.damage_buffer(0, 0, i32::MAX, i32::MAX);
        self.surface.commit();
    }

    pub fn id(&self) -> ObjectId {
        self.surface.id()
    }
}

pub struct Window {
    pub panel: Arc<Panel>,
    pub xdg: XdgSurface,
    pub toplevel: XdgToplevel,
}

pub struct Popup {
    pub panel: Arc<Panel>,
    pub xdg: XdgSurface,
    pub popup: XdgPopup,
}

pub struct LayerPanel {
    pub panel: Arc<Panel>,
    pub layer: ZwlrLayerSurfaceV1,
}

fn runtime_directory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let name = format!("memory-glass-tests-{}", nix::unistd::getuid());
        let directory = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.expect("a directory for sockets");
        // SAFETY: every test comes through here before it starts a thread or reads the environment.
        unsafe {
            std::env::set_var("XDG_RUNTIME_DIR", directory);
            std::env::remove_var("WAYLAND_DISPLAY");
        }
    });
}

impl Bench {
    /// A screen of 900 × 600 without a map.
    pub fn new() -> Self {
        Self::with_map(None)
    }

    /// The same with a map in this place; needs a Vulkan device.
    pub fn with_map(map: Option<Placement>) -> Self {
        runtime_directory();
        let mut event_loop = EventLoop::try_new().expect("an event loop");
        let worker = map.map(|_| RenderWorker::spawn().expect("a Vulkan device (mesa-vulkan-drivers)"));
        let config = CompositorConfig {
            headless_size: (900, 600),
            placement: map.unwrap_or_default(),
            ..CompositorConfig::new(BackendKind::Headless)
        };
        let mut compositor = Compositor::new(config, &mut event_loop, worker).expect("a headless compositor");
        compositor.puppet().plug_in();
        Self { event_loop, compositor, programs: Vec::new() }
    }

    /// A client comes in. Returns its number.
    pub fn program(&mut self) -> usize {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        self.compositor.puppet().connect(theirs).expect("let in");
        let connection = Connection::from_socket(ours).expect("a connection");
        // The registry is read with a blocking exchange, for which the compositor must run meanwhile.
        let asking = std::thread::spawn({
            let connection = connection.clone();
            move || registry_queue_init::<Heard>(&connection).expect("the globals")
        });
        while !asking.is_finished() {
            self.serve();
        }
        let (globals, queue) = asking.join().expect("the globals");
        let handle = queue.handle();
        let seat: WlSeat = globals.bind(&handle, 1..=7, ()).expect("a seat");
        let pointer = seat.get_pointer(&handle, ());
        let _keyboard = seat.get_keyboard(&handle, ());
        let _touch = seat.get_touch(&handle, ());
        self.programs.push(Program {
            compositor: globals.bind(&handle, 4..=6, ()).expect("a compositor"),
            pixels: globals.bind(&handle, 1..=1, ()).expect("single pixels"),
            viewporter: globals.bind(&handle, 1..=1, ()).expect("a viewporter"),
            shell: globals.bind(&handle, 3..=6, ()).expect("xdg-shell"),
            output: globals.bind(&handle, 1..=4, ()).expect("an output"),
            seat,
            pointer,
            connection,
            queue,
            handle,
            heard: Heard::default(),
            globals,
        });
        self.programs.len() - 1
    }

    /// The program dies; what it had is gone with it.
    pub fn kill(&mut self, program: usize) {
        // The number stays taken by a program that never says anything.
        let (ours, _nobody) = UnixStream::pair().expect("a pair of sockets");
        let dead = Connection::from_socket(ours).expect("a connection");
        let queue = dead.new_event_queue();
        let program = &mut self.programs[program];
        program.handle = queue.handle();
        program.queue = queue;
        let old = std::mem::replace(&mut program.connection, dead);
        let socket = old.backend().poll_fd().try_clone_to_owned().expect("its socket");
        UnixStream::from(socket).shutdown(std::net::Shutdown::Both).expect("shut down");
    }

    fn serve(&mut self) {
        self.event_loop
            .dispatch(Some(Duration::from_millis(1)), &mut self.compositor)
            .expect("the loop runs");
    }

    /// Everybody has one turn.
    pub fn turn(&mut self) {
        for program in &mut self.programs {
            // One that was disconnected is noticed when it is read.
            let _disconnected = program.queue.flush();
        }
        self.serve();
        for program in &mut self.programs {
            program.read();
        }
    }

    /// Until everything that was asked has been answered.
    pub fn settle(&mut self) {
        for _ in 0..8 {
            self.turn();
        }
    }

    /// Turns until this holds. The time limit is only there to end a test that hangs.
    pub fn until<T>(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(value) = condition(self) {
                return value;
            }
            if Instant::now() >= deadline {
                let heard: Vec<_> = self.programs.iter().map(|program| &program.heard.said).collect();
                panic!("{what} did not happen; the clients heard {heard:#?}");
            }
            self.turn();
        }
    }

    /// Until this program has heard this.
    pub fn until_said(&mut self, program: usize, said: &Said) {
        self.until(&format!("{said:?}"), |bench| bench[program].heard.said.contains(said).then_some(()));
    }

    /// Until the screen has this colour here.
    pub fn until_colour(&mut self, what: &str, x: i32, y: i32, colour: u32) {
        self.until(what, |bench| (at(&bench.screen(), x, y) == colour).then_some(()));
    }

    pub fn screen(&mut self) -> Image {
        self.compositor.screenshot(None).expect("a screenshot")
    }

    pub fn move_to(&mut self, x: f64, y: f64) {
        self.compositor.puppet().move_to(x, y);
        self.settle();
    }

    pub fn click(&mut self, x: f64, y: f64) {
        self.compositor.puppet().move_to(x, y);
        self.compositor.puppet().button(LEFT_BUTTON, true);
        self.compositor.puppet().button(LEFT_BUTTON, false);
        self.settle();
    }

    /// Presses and leaves it pressed; returns the serial that the client was given.
    pub fn press(&mut self, program: usize, x: f64, y: f64) -> u32 {
        self.compositor.puppet().move_to(x, y);
        self[program].heard.said.clear();
        self.compositor.puppet().button(LEFT_BUTTON, true);
        self.until_said(program, &Said::Button(LEFT_BUTTON, true));
        self[program].heard.serial
    }

    pub fn release(&mut self) {
        self.compositor.puppet().button(LEFT_BUTTON, false);
        self.settle();
    }

    pub fn key(&mut self, code: u32) {
        self.compositor.puppet().key(code, true);
        self.compositor.puppet().key(code, false);
        self.settle();
    }

    /// A window of this colour that takes whatever size it is given, and is shown.
    pub fn window(&mut self, program: usize, colour: u32) -> Window {
        let before = self.compositor.windows().len();
        let window = self[program].window(colour);
        self.until("the window is shown", |bench| {
            (bench.compositor.windows().len() == before + 1).then_some(())
        });
        self.settle();
        window
    }

    /// A menu at the corner of this window, 100 × 80, that holds pointer and keyboard.
    pub fn menu(&mut self, program: usize, parent: &XdgSurface, at: (i32, i32), serial: u32) -> Popup {
        let popup = self[program].popup(parent, at, (100, 80), WHITE);
        let seat = self[program].seat.clone();
        popup.popup.grab(&seat, serial);
        popup.panel.surface.commit();
        self.settle();
        popup
    }
}

impl std::ops::Index<usize> for Bench {
    type Output = Program;

    fn index(&self, program: usize) -> &Program {
        &self.programs[program]
    }
}

impl std::ops::IndexMut<usize> for Bench {
    fn index_mut(&mut self, program: usize) -> &mut Program {
        &mut self.programs[program]
    }
}

impl Program {
    fn read(&mut self) {
        loop {
            if self.queue.dispatch_pending(&mut self.heard).is_err() {
                return;
            }
            let Some(guard) = self.queue.prepare_read() else { continue };
            let fd = guard.connection_fd();
            let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
            let readable = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0);
            if !readable || guard.read().is_err() {
                // What a read that has failed left behind is still to be dispatched.
                let _disconnected = self.queue.dispatch_pending(&mut self.heard);
                return;
            }
        }
    }

    /// What it has done wrong: the interface, and the protocol's code for it.
    pub fn error(&self) -> Option<(String, u32)> {
        self.connection.protocol_error().map(|error| (error.object_interface, error.code))
    }

    /// Binds a global in this version.
    pub fn bind<I>(&self, version: u32) -> I
    where
        I: Proxy + 'static,
        Heard: wayland_client::Dispatch<I, ()>,
    {
        self.globals.bind(&self.handle, version..=version, ()).expect("the global")
    }

    /// Whether there is a global of this interface.
    pub fn sees(&self, interface: &str) -> bool {
        self.globals.contents().with_list(|list| list.iter().any(|global| global.interface == interface))
    }

    pub fn panel(&self, size: (i32, i32), colour: u32) -> Arc<Panel> {
        let surface = self.compositor.create_surface(&self.handle, ());
        let viewport = self.viewporter.get_viewport(&surface, &self.handle, ());
        let channel = |shift: u32| ((colour >> shift) & 0xff) * 0x0101_0101;
        let buffer = self.pixels.create_u32_rgba_buffer(
            channel(16),
            channel(8),
            channel(0),
            channel(24),
            &self.handle,
            (),
        );
        Arc::new(Panel { surface, viewport, buffer, size: Mutex::new(size) })
    }

    /// A window that is not waited for.
    pub fn window(&self, colour: u32) -> Window {
        let panel = self.panel((200, 150), colour);
        let xdg = self.shell.get_xdg_surface(&panel.surface, &self.handle, panel.clone());
        let toplevel = xdg.get_toplevel(&self.handle, panel.clone());
        panel.surface.commit();
        Window { panel, xdg, toplevel }
    }

    /// Below and right of this point of its parent, not committed yet.
    pub fn popup(&self, parent: &XdgSurface, at: (i32, i32), size: (i32, i32), colour: u32) -> Popup {
        let (panel, xdg, positioner) = self.popup_parts(at, size, colour);
        let popup = xdg.get_popup(Some(parent), &positioner, &self.handle, panel.clone());
        positioner.destroy();
        Popup { panel, xdg, popup }
    }

    /// The same for a layer surface.
    pub fn layer_popup(&self, parent: &ZwlrLayerSurfaceV1, at: (i32, i32), size: (i32, i32)) -> Popup {
        let (panel, xdg, positioner) = self.popup_parts(at, size, WHITE);
        let popup = xdg.get_popup(None, &positioner, &self.handle, panel.clone());
        positioner.destroy();
        parent.get_popup(&popup);
        panel.surface.commit();
        Popup { panel, xdg, popup }
    }

    fn popup_parts(
        &self,
        at: (i32, i32),
        size: (i32, i32),
        colour: u32,
    ) -> (Arc<Panel>, XdgSurface, wayland_protocols::xdg::shell::client::xdg_positioner::XdgPositioner) {
        let panel = self.panel(size, colour);
        let xdg = self.shell.get_xdg_surface(&panel.surface, &self.handle, panel.clone());
        let positioner = self.shell.create_positioner(&self.handle, ());
        positioner.set_size(size.0, size.1);
        positioner.set_anchor_rect(at.0, at.1, 1, 1);
        positioner.set_anchor(Anchor::TopLeft);
        positioner.set_gravity(Gravity::BottomRight);
        positioner.set_constraint_adjustment(ConstraintAdjustment::SlideX | ConstraintAdjustment::SlideY);
        (panel, xdg, positioner)
    }

    /// A layer surface; what it wants is to be said before `panel.surface.commit()`.
    pub fn layer(&self, layer: Layer, colour: u32) -> LayerPanel {
        let shell: ZwlrLayerShellV1 = self.bind(4);
        let panel = self.panel((1, 1), colour);
        let layer =
            shell.get_layer_surface(&panel.surface, None, layer, "test".into(), &self.handle, panel.clone());
        LayerPanel { panel, layer }
    }

    /// What the locked screen shows.
    pub fn lock_panel(&self, lock: &ExtSessionLockV1, colour: u32) -> (Arc<Panel>, ExtSessionLockSurfaceV1) {
        let panel = self.panel((1, 1), colour);
        let surface = lock.get_lock_surface(&panel.surface, &self.output, &self.handle, panel.clone());
        (panel, surface)
    }
}

pub fn at(image: &Image, x: i32, y: i32) -> u32 {
    image.pixels[(y * image.width as i32 + x) as usize]
}
