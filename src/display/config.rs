//! What a person can choose about the display, and how the backend is chosen without them.

use std::path::{Path, PathBuf};

use super::Placement;
use super::settings::Settings;

/// Where the pictures go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// This process owns the display: DRM/KMS on a virtual terminal.
    Tty,
    /// A window of a running desktop, Wayland or X11.
    Winit,
    /// No display at all: virtual outputs, composited in memory.
    Headless,
}

/// Whether the map may use an overlay plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlanePolicy {
    /// Wherever the card takes it, except on drivers whose overlay planes are known to show artefacts.
    #[default]
    Auto,
    /// Always composited.
    Never,
}

/// Everything the compositor is told at its start.
#[derive(Debug, Clone, PartialEq)]
pub struct CompositorConfig {
    /// Which backend.
    pub backend: BackendKind,
    /// The only cards to use; all cards of the seat when empty.
    pub cards: Vec<PathBuf>,
    /// Where the map lies at the start.
    pub placement: Placement,
    /// The Wayland socket's name; the first free `wayland-N` when `None`.
    pub socket: Option<String>,
    /// The size of a virtual output in pixels, or of the window in the desktop's units.
    pub headless_size: (i32, i32),
    /// How many virtual outputs there are.
    pub headless_outputs: u32,
    /// Whether the map may use an overlay plane.
    pub planes: PlanePolicy,
    /// Whether X11 programs are served, where Xwayland is installed.
    pub xwayland: bool,
    /// What can also be changed later.
    pub settings: Settings,
}

impl CompositorConfig {
    /// The defaults on this backend: map beside the clients.
    pub fn new(backend: BackendKind) -> Self {
        Self {
            backend,
            cards: Vec::new(),
            placement: Placement::Beside,
            socket: None,
            headless_size: (1280, 800),
            headless_outputs: 1,
            planes: PlanePolicy::Auto,
            xwayland: false,
            settings: Settings::default(),
        }
    }
}

impl BackendKind {
    /// The backend for where this process runs: inside a desktop it is `Winit`, on a VT with a card `Tty`, anywhere else
    /// `Headless`.
    pub fn detect() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let on_a_vt = set("XDG_VTNR") || std::fs::read_link("/proc/self/fd/0").is_ok_and(|path| is_vt(&path));
        let has_card = std::fs::read_dir("/dev/dri").is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("card"))
        });
        Self::choose(set, on_a_vt, has_card)
    }

    fn choose(set: impl Fn(&str) -> bool, on_a_vt: bool, has_card: bool) -> Self {
        if ["WAYLAND_DISPLAY", "WAYLAND_SOCKET", "DISPLAY"].into_iter().any(set) {
            BackendKind::Winit
        } else if on_a_vt && has_card {
            BackendKind::Tty
        } else {
            BackendKind::Headless
        }
    }
}

/// `/dev/tty1` is a virtual terminal, `/dev/ttyS0` and `/dev/pts/1` are not.
fn is_vt(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.strip_prefix("/dev/tty")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desktop_gives_a_window_and_a_vt_with_a_card_the_display() {
        assert_eq!(BackendKind::choose(|_| false, true, true), BackendKind::Tty);
        assert_eq!(BackendKind::choose(|_| false, true, false), BackendKind::Headless);
        assert_eq!(BackendKind::choose(|_| false, false, true), BackendKind::Headless);
        for variable in ["WAYLAND_DISPLAY", "WAYLAND_SOCKET", "DISPLAY"] {
            assert_eq!(BackendKind::choose(|name| name == variable, true, true), BackendKind::Winit);
        }
    }

    #[test]
    fn serial_lines_and_pseudo_terminals_are_not_virtual_terminals() {
        assert!(is_vt(Path::new("/dev/tty3")));
        for other in ["/dev/ttyS0", "/dev/pts/3", "/dev/tty", "/dev/null"] {
            assert!(!is_vt(Path::new(other)), "{other}");
        }
    }
}
