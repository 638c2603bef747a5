//! What wlcs calls: the structures of `wlcs/display_server.h`, `pointer.h` and `touch.h` (package wlcs), in the versions named here.

use std::ffi::{c_char, c_int, c_void};

use super::Server;

#[repr(C)]
pub struct Extension {
    name: *const c_char,
    version: u32,
}

#[repr(C)]
pub struct Descriptor {
    version: u32,
    count: usize,
    extensions: *const Extension,
}

// SAFETY: they are never written, and what they point to lives as long as the program.
unsafe impl Sync for Extension {}
// SAFETY: as above.
unsafe impl Sync for Descriptor {}

macro_rules! extensions {
    ($($name:literal $version:literal),+ $(,)?) => {
        &[$(Extension { name: concat!($name, "\0").as_ptr().cast(), version: $version }),+]
    };
}

/// wlcs skips the tests of what is not among these.
static EXTENSIONS: &[Extension] = extensions![
    "wl_compositor" 6,
    "wl_subcompositor" 1,
    "wl_data_device_manager" 3,
    "wl_seat" 9,
    "wl_output" 4,
    "xdg_wm_base" 6,
    "zxdg_output_manager_v1" 3,
    "zwlr_layer_shell_v1" 4,
    "zwp_pointer_constraints_v1" 1,
    "zwp_relative_pointer_manager_v1" 1,
    "zwp_primary_selection_device_manager_v1" 1,
    "zwp_text_input_manager_v3" 1,
    "zwp_input_method_manager_v2" 1,
    "zwlr_virtual_pointer_manager_v1" 2,
];

static DESCRIPTOR: Descriptor =
    Descriptor { version: 1, count: EXTENSIONS.len(), extensions: EXTENSIONS.as_ptr() };

#[repr(C)]
pub struct DisplayServer {
    version: u32,
    start: unsafe extern "C" fn(*mut DisplayServer),
    stop: unsafe extern "C" fn(*mut DisplayServer),
    create_client_socket: unsafe extern "C" fn(*mut DisplayServer) -> c_int,
    position_window_absolute:
        unsafe extern "C" fn(*mut DisplayServer, *mut c_void, *mut c_void, c_int, c_int),
    create_pointer: unsafe extern "C" fn(*mut DisplayServer) -> *mut Pointer,
    create_touch: unsafe extern "C" fn(*mut DisplayServer) -> *mut Touch,
    get_descriptor: unsafe extern "C" fn(*const DisplayServer) -> *const Descriptor,
    start_on_this_thread: Option<unsafe extern "C" fn(*mut DisplayServer, *mut c_void)>,
    // What wlcs does not know of.
    server: Server,
}

#[repr(C)]
pub struct Pointer {
    version: u32,
    move_absolute: unsafe extern "C" fn(*mut Pointer, i32, i32),
    move_relative: unsafe extern "C" fn(*mut Pointer, i32, i32),
    button_up: unsafe extern "C" fn(*mut Pointer, c_int),
    button_down: unsafe extern "C" fn(*mut Pointer, c_int),
    destroy: unsafe extern "C" fn(*mut Pointer),
    server: *mut DisplayServer,
}

#[repr(C)]
pub struct Touch {
    version: u32,
    // The header says wl_fixed_t; what comes are pixels.
    touch_down: unsafe extern "C" fn(*mut Touch, i32, i32),
    touch_move: unsafe extern "C" fn(*mut Touch, i32, i32),
    touch_up: unsafe extern "C" fn(*mut Touch),
    destroy: unsafe extern "C" fn(*mut Touch),
    server: *mut DisplayServer,
    finger: u32,
}

#[repr(C)]
pub struct Integration {
    version: u32,
    create_server: unsafe extern "C" fn(c_int, *mut *const c_char) -> *mut DisplayServer,
    destroy_server: unsafe extern "C" fn(*mut DisplayServer),
}

/// The symbol that wlcs looks for.
#[unsafe(no_mangle)]
pub static wlcs_server_integration: Integration = Integration { version: 1, create_server, destroy_server };

// wlcs is linked with libwayland-client, and we are loaded into it.
unsafe extern "C" {
    fn wl_display_get_fd(display: *mut c_void) -> c_int;
    fn wl_proxy_get_id(proxy: *mut c_void) -> u32;
}

/// A number with 8 binary places.
fn fixed(value: i32) -> f64 {
    f64::from(value) / 256.0
}

unsafe extern "C" fn create_server(_: c_int, _: *mut *const c_char) -> *mut DisplayServer {
    Box::into_raw(Box::new(DisplayServer {
        version: 3,
        start,
        stop,
        create_client_socket,
        position_window_absolute,
        create_pointer,
        create_touch,
        get_descriptor,
        start_on_this_thread: None,
        server: Server::new(),
    }))
}

unsafe extern "C" fn destroy_server(server: *mut DisplayServer) {
    // SAFETY: it is from `create_server`, and wlcs does not use it any more.
    drop(unsafe { Box::from_raw(server) });
}

/// # Safety
/// wlcs passes what `create_server` gave it, one call at a time, until it has it destroyed.
unsafe fn of<'a>(server: *mut DisplayServer) -> &'a mut Server {
    // SAFETY: see above.
    unsafe { &mut (*server).server }
}

unsafe extern "C" fn start(server: *mut DisplayServer) {
    // SAFETY: called by wlcs with its server.
    unsafe { of(server) }.start();
}

unsafe extern "C" fn stop(server: *mut DisplayServer) {
    // SAFETY: called by wlcs with its server.
    unsafe { of(server) }.stop();
}

unsafe extern "C" fn create_client_socket(server: *mut DisplayServer) -> c_int {
    // SAFETY: called by wlcs with its server.
    unsafe { of(server) }.connect()
}

unsafe extern "C" fn position_window_absolute(
    server: *mut DisplayServer,
    display: *mut c_void,
    surface: *mut c_void,
    x: c_int,
    y: c_int,
) {
    // SAFETY: wlcs passes a live wl_display and a live wl_surface of it.
    let (socket, surface) = unsafe { (wl_display_get_fd(display), wl_proxy_get_id(surface)) };
    // SAFETY: called by wlcs with its server.
    unsafe { of(server) }.place(socket, surface, x, y);
}

unsafe extern "C" fn get_descriptor(_: *const DisplayServer) -> *const Descriptor {
    &raw const DESCRIPTOR
}

unsafe extern "C" fn create_pointer(server: *mut DisplayServer) -> *mut Pointer {
    Box::into_raw(Box::new(Pointer {
        version: 1,
        move_absolute,
        move_relative,
        button_up,
        button_down,
        destroy: destroy_pointer,
        server,
    }))
}

unsafe extern "C" fn move_absolute(pointer: *mut Pointer, x: i32, y: i32) {
    // SAFETY: the pointer is from `create_pointer`, and its server outlives it.
    let server = unsafe { of((*pointer).server) };
    server.order(move |compositor, _| compositor.puppet().move_to(fixed(x), fixed(y)));
}

unsafe extern "C" fn move_relative(pointer: *mut Pointer, dx: i32, dy: i32) {
    // SAFETY: as in `move_absolute`.
    let server = unsafe { of((*pointer).server) };
    server.order(move |compositor, _| compositor.puppet().move_by(fixed(dx), fixed(dy)));
}

unsafe extern "C" fn button_up(pointer: *mut Pointer, button: c_int) {
    // SAFETY: as in `move_absolute`.
    let server = unsafe { of((*pointer).server) };
    server.order(move |compositor, _| compositor.puppet().button(button.cast_unsigned(), false));
}

unsafe extern "C" fn button_down(pointer: *mut Pointer, button: c_int) {
    // SAFETY: as in `move_absolute`.
    let server = unsafe { of((*pointer).server) };
    server.order(move |compositor, _| compositor.puppet().button(button.cast_unsigned(), true));
}

unsafe extern "C" fn destroy_pointer(pointer: *mut Pointer) {
    // SAFETY: it is from `create_pointer`, and wlcs does not use it any more.
    drop(unsafe { Box::from_raw(pointer) });
}

unsafe extern "C" fn create_touch(server: *mut DisplayServer) -> *mut Touch {
    use std::sync::atomic::{AtomicU32, Ordering};
    static FINGERS: AtomicU32 = AtomicU32::new(0);
    let finger = FINGERS.fetch_add(1, Ordering::Relaxed);
    Box::into_raw(Box::new(Touch {
        version: 1,
        touch_down,
        touch_move,
        touch_up,
        destroy: destroy_touch,
        server,
        finger,
    }))
}

unsafe extern "C" fn touch_down(touch: *mut Touch, x: i32, y: i32) {
    // SAFETY: the touch is from `create_touch`, and its server outlives it.
    let (server, finger) = unsafe { (of((*touch).server), (*touch).finger) };
    server.order(move |compositor, _| compositor.puppet().touch_down(finger, x.into(), y.into()));
}

unsafe extern "C" fn touch_move(touch: *mut Touch, x: i32, y: i32) {
    // SAFETY: as in `touch_down`.
    let (server, finger) = unsafe { (of((*touch).server), (*touch).finger) };
    server.order(move |compositor, _| compositor.puppet().touch_move(finger, x.into(), y.into()));
}

unsafe extern "C" fn touch_up(touch: *mut Touch) {
    // SAFETY: as in `touch_down`.
    let (server, finger) = unsafe { (of((*touch).server), (*touch).finger) };
    server.order(move |compositor, _| compositor.puppet().touch_up(finger));
}

unsafe extern "C" fn destroy_touch(touch: *mut Touch) {
    // SAFETY: it is from `create_touch`, and wlcs does not use it any more.
    drop(unsafe { Box::from_raw(touch) });
}
