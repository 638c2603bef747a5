//! Clients that mean harm, or are broken: whatever one does, it ends neither the session nor keeps others
//! from being answered.

mod wayland;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::memfd::{MFdFlags, memfd_create};
use wayland::bare::{Bare, Flood, Word, message};
use wayland::{Bench, RED};

use Word::{Number, Signed};

const NO_MEMORY: u32 = 2;

/// Bare clients and what they need first.
struct Hostile {
    bench: Bench,
    bare: Bare,
    compositor: u32,
    subcompositor: u32,
    shell: u32,
}

impl Hostile {
    fn new() -> Self {
        let mut bench = Bench::new();
        let mut bare = Bare::new(&mut bench);
        let compositor = bare.bind(&mut bench, "wl_compositor", 6);
        let subcompositor = bare.bind(&mut bench, "wl_subcompositor", 1);
        let shell = bare.bind(&mut bench, "xdg_wm_base", 3);
        Self { bench, bare, compositor, subcompositor, shell }
    }

    fn send(&mut self, object: u32, request: u16, words: &[Word<'_>]) {
        self.bare.send(&mut self.bench, object, request, words);
    }

    fn bind(&mut self, interface: &str) -> u32 {
        self.bare.bind(&mut self.bench, interface, 1)
    }

    /// A request that makes an object and has no more to say.
    fn make(&mut self, object: u32, request: u16, words: &[Word<'_>]) -> u32 {
        let id = self.bare.id();
        let words: Vec<Word<'_>> = std::iter::once(Number(id)).chain(words.iter().copied()).collect();
        self.send(object, request, &words);
        id
    }

    fn round_trip(&mut self) -> bool {
        self.bare.round_trip(&mut self.bench)
    }

    fn surface(&mut self) -> u32 {
        let compositor = self.compositor;
        self.make(compositor, 0, &[])
    }

    fn commit(&mut self, surface: u32) {
        self.send(surface, 6, &[]);
    }

    fn subsurface(&mut self, child: u32, parent: u32) -> u32 {
        let subcompositor = self.subcompositor;
        self.make(subcompositor, 1, &[Number(child), Number(parent)])
    }

    /// A toplevel that is configured: its surface, its xdg-surface and itself.
    fn toplevel(&mut self) -> (u32, u32, u32) {
        let (surface, shell) = (self.surface(), self.shell);
        let xdg = self.make(shell, 2, &[Number(surface)]);
        let toplevel = self.make(xdg, 1, &[]);
        self.commit(surface);
        assert!(self.round_trip());
        let serial = self.bare.last(xdg, 0).expect("configured");
        self.send(xdg, 4, &[Number(serial)]);
        (surface, xdg, toplevel)
    }

    /// A popup on this: its xdg-surface and itself.
    fn popup(&mut self, parent: u32) -> (u32, u32) {
        let (surface, shell) = (self.surface(), self.shell);
        let xdg = self.make(shell, 2, &[Number(surface)]);
        let popup = self.popup_of(xdg, parent);
        self.commit(surface);
        (xdg, popup)
    }

    fn popup_of(&mut self, xdg: u32, parent: u32) -> u32 {
        let shell = self.shell;
        let positioner = self.make(shell, 1, &[]);
        self.send(positioner, 1, &[Signed(9), Signed(9)]);
        self.send(positioner, 2, &[Signed(0), Signed(0), Signed(1), Signed(1)]);
        self.make(xdg, 2, &[Number(parent), Number(positioner)])
    }

    /// A buffer of 4 × 4 pixels.
    fn buffer(&mut self) -> u32 {
        let shm = self.bind("wl_shm");
        let pool = self.make(shm, 0, &[Word::File(memory(&[0x40; 64]).as_fd()), Signed(64)]);
        self.make(pool, 0, &[Signed(0), Signed(4), Signed(4), Signed(16), Number(1)])
    }

    fn show(&mut self, surface: u32, buffer: u32) {
        self.send(surface, 1, &[Number(buffer), Signed(0), Signed(0)]);
        self.commit(surface);
    }

    /// Somebody else comes, has a window, and sees it.
    fn others_are_answered(&mut self) {
        let other = self.bench.program();
        self.bench.window(other, RED);
    }

    /// It was told this before it was disconnected; nobody else has noticed.
    #[track_caller]
    fn was_told(&mut self, code: u32) {
        assert!(!self.round_trip(), "it is connected still");
        let told = self.bare.told.clone().expect("an error");
        assert_eq!(told.code, code, "{told:?}");
        self.others_are_answered();
    }
}

fn memory(bytes: &[u8]) -> OwnedFd {
    let mut file = File::from(memfd_create("test", MFdFlags::MFD_CLOEXEC).expect("a memfd"));
    file.write_all(bytes).expect("written");
    file.into()
}

const KEYMAP: &str = r#"xkb_keymap {
    xkb_keycodes { minimum = 8; maximum = 255; <A> = 38; };
    xkb_types { type "ONE_LEVEL" { modifiers = none; map[none] = Level1; level_name[Level1] = "Any"; }; };
    xkb_compatibility { };
    xkb_symbols { key <A> { [ a ] }; };
};"#;

fn virtual_keyboard(hostile: &mut Hostile) -> u32 {
    let seat = hostile.bind("wl_seat");
    let manager = hostile.bind("zwp_virtual_keyboard_manager_v1");
    let keyboard = hostile.bare.id();
    hostile.send(manager, 0, &[Number(seat), Number(keyboard)]);
    keyboard
}

#[test]
fn a_keymap_is_not_what_its_client_says_it_is() {
    let (reader, _writer) = nix::unistd::pipe().expect("a pipe");
    let including = KEYMAP.replace("xkb_compatibility { };", r#"xkb_compatibility { include "complete" };"#);
    let faulty: [(&str, OwnedFd, u32); 6] = [
        ("shorter than it says", memory(b""), 1 << 20),
        ("empty", memory(b""), 0),
        ("larger than any", memory(b""), u32::MAX),
        ("a pipe", reader, 100),
        ("no keymap", memory(&[0xff; 100]), 100),
        ("one that includes files", memory(including.as_bytes()), including.len() as u32),
    ];
    for (what, file, size) in faulty {
        let mut hostile = Hostile::new();
        let keyboard = virtual_keyboard(&mut hostile);
        hostile.send(keyboard, 0, &[Number(1), Word::File(file.as_fd()), Number(size)]);
        assert!(hostile.round_trip(), "{what}: a mistake, no crime");
        // It has no keymap, which the protocol has an error for.
        hostile.send(keyboard, 1, &[Number(0), Number(30), Number(1)]);
        hostile.was_told(0);
    }
    let mut hostile = Hostile::new();
    let keyboard = virtual_keyboard(&mut hostile);
    let file = memory(KEYMAP.as_bytes());
    hostile.send(keyboard, 0, &[Number(1), Word::File(file.as_fd()), Number(KEYMAP.len() as u32)]);
    hostile.send(keyboard, 1, &[Number(0), Number(30), Number(1)]);
    assert!(hostile.round_trip(), "{:?}", hostile.bare.told);
}

#[test]
fn memory_that_is_shared_is_of_a_size_and_answers_by_itself() {
    for size in [0, -1, i32::MIN] {
        let mut hostile = Hostile::new();
        let shm = hostile.bind("wl_shm");
        let pool = hostile.make(shm, 0, &[Word::File(memory(&[0; 64]).as_fd()), Signed(64)]);
        hostile.send(pool, 2, &[Signed(size)]);
        hostile.was_told(2);
    }
    let mut hostile = Hostile::new();
    let shm = hostile.bind("wl_shm");
    let file = File::open("/proc/self/maps").expect("opened");
    hostile.make(shm, 0, &[Word::File(file.as_fd()), Signed(64)]);
    hostile.was_told(2);
}

fn exported(hostile: &mut Hostile, surface: u32) -> u32 {
    let exporter = hostile.bind("zxdg_exporter_v2");
    let export = hostile.make(exporter, 1, &[Number(surface)]);
    assert!(hostile.round_trip());
    let word = hostile.bare.text(export, 0).expect("a word for it");
    let importer = hostile.bind("zxdg_importer_v2");
    let import = hostile.bare.id();
    hostile.send(importer, 1, &[Number(import), Word::Text(&word)]);
    import
}

#[test]
fn a_window_does_not_become_its_own_ancestor() {
    let mut hostile = Hostile::new();
    let (surface, _, _) = hostile.toplevel();
    let import = exported(&mut hostile, surface);
    hostile.send(import, 1, &[Number(surface)]);
    hostile.was_told(0);

    // Through another window.
    let mut hostile = Hostile::new();
    let (one, _, toplevel) = hostile.toplevel();
    let (two, _, child) = hostile.toplevel();
    hostile.send(child, 1, &[Number(toplevel)]);
    let import = exported(&mut hostile, two);
    hostile.send(import, 1, &[Number(one)]);
    hostile.was_told(0);
}

#[test]
fn a_window_belongs_to_another_programs_window_until_that_is_withdrawn() {
    let mut hostile = Hostile::new();
    let buffer = hostile.buffer();
    let (one, _, _) = hostile.toplevel();
    let (two, _, _) = hostile.toplevel();
    hostile.show(one, buffer);
    hostile.show(two, buffer);
    let import = exported(&mut hostile, one);
    hostile.send(import, 1, &[Number(two)]);
    assert!(hostile.round_trip());
    let floating = |hostile: &Hostile| -> Vec<bool> {
        hostile.bench.compositor.windows().iter().map(|window| window.floating).collect()
    };
    assert_eq!(floating(&hostile), [false, true], "a dialog floats");
    hostile.send(import, 0, &[]);
    assert!(hostile.round_trip());
    assert_eq!(floating(&hostile), [false, false]);
}

#[test]
fn subsurfaces_as_deep_as_a_client_likes() {
    for from_below in [true, false] {
        let mut hostile = Hostile::new();
        let buffer = hostile.buffer();
        let (root, _, _) = hostile.toplevel();
        hostile.show(root, buffer);
        let surfaces: Vec<u32> = std::iter::once(root).chain((0..3000).map(|_| hostile.surface())).collect();
        let mut pairs: Vec<(u32, u32)> = surfaces.windows(2).map(|pair| (pair[1], pair[0])).collect();
        if from_below {
            pairs.reverse();
        }
        for (child, parent) in pairs {
            hostile.subsurface(child, parent);
            hostile.show(child, buffer);
        }
        hostile.commit(root);
        assert!(hostile.round_trip(), "{:?}", hostile.bare.told);
        hostile.others_are_answered();
    }
}

#[test]
fn a_client_has_so_many_surfaces_and_rectangles_and_no_more() {
    let mut hostile = Hostile::new();
    for _ in 0..30_000 {
        hostile.surface();
    }
    hostile.was_told(NO_MEMORY);

    let mut hostile = Hostile::new();
    let compositor = hostile.compositor;
    let region = hostile.make(compositor, 1, &[]);
    for at in 0..30_000 {
        hostile.send(region, 1, &[Signed(at), Signed(at), Signed(1), Signed(1)]);
    }
    hostile.was_told(NO_MEMORY);

    // Those that are gone do not count.
    let mut hostile = Hostile::new();
    for _ in 0..10_000 {
        let surface = hostile.surface();
        hostile.send(surface, 0, &[]);
    }
    assert!(hostile.round_trip(), "{:?}", hostile.bare.told);
}

#[test]
fn damage_in_many_pieces_is_one() {
    let mut hostile = Hostile::new();
    let buffer = hostile.buffer();
    let (surface, _, _) = hostile.toplevel();
    hostile.show(surface, buffer);
    for at in 0..50_000 {
        hostile.send(surface, 2, &[Signed(at % 700), Signed(at / 100), Signed(1), Signed(1)]);
    }
    hostile.show(surface, buffer);
    assert!(hostile.round_trip(), "{:?}", hostile.bare.told);
    hostile.others_are_answered();
}

#[test]
fn popups_hang_on_something_and_not_too_deep() {
    let mut hostile = Hostile::new();
    let (_, xdg, _) = hostile.toplevel();
    let mut popups = vec![(xdg, 0)];
    for _ in 0..500 {
        let parent = popups[popups.len() - 1].0;
        popups.push(hostile.popup(parent));
    }
    assert!(hostile.round_trip(), "{:?}", hostile.bare.told);
    assert_eq!(hostile.bare.count(popups[20].1, 1), 0, "as deep as programs nest them");
    assert_eq!(hostile.bare.count(popups[400].1, 1), 1, "beyond it is done with at once");
    hostile.others_are_answered();

    // On itself.
    let mut hostile = Hostile::new();
    let (surface, shell) = (hostile.surface(), hostile.shell);
    let xdg = hostile.make(shell, 2, &[Number(surface)]);
    hostile.popup_of(xdg, xdg);
    assert!(!hostile.round_trip());
    hostile.others_are_answered();
}

#[test]
fn many_windows_close_at_once() {
    for chain in [false, true] {
        let mut hostile = Hostile::new();
        let buffer = hostile.buffer();
        let mut before = None;
        let mut made = Vec::new();
        for _ in 0..150 {
            let (surface, xdg, toplevel) = hostile.toplevel();
            if let Some(parent) = before.replace(toplevel).filter(|_| chain) {
                hostile.send(toplevel, 1, &[Number(parent)]);
            }
            hostile.show(surface, buffer);
            made.push((surface, xdg, toplevel));
        }
        assert!(hostile.round_trip());
        assert_eq!(hostile.bench.compositor.windows().len(), 150);
        // One by one in one breath, and what is left with the program.
        for (surface, xdg, toplevel) in made.drain(..75) {
            for object in [toplevel, xdg, surface] {
                hostile.send(object, 0, &[]);
            }
        }
        assert!(hostile.round_trip(), "{:?}", hostile.bare.told);
        assert_eq!(hostile.bench.compositor.windows().len(), 75);
        hostile.bare = Bare::new(&mut hostile.bench);
        hostile.others_are_answered();
        assert_eq!(hostile.bench.compositor.windows().len(), 1);
        let id = hostile.bench.compositor.windows()[0].id;
        assert_eq!(hostile.bench.compositor.focused_window(), Some(id), "who is left has the keyboard");
    }
}

#[test]
fn a_text_field_of_a_kind_that_nobody_knows() {
    let mut hostile = Hostile::new();
    let buffer = hostile.buffer();
    let seat = hostile.bind("wl_seat");
    let methods = hostile.bind("zwp_input_method_manager_v2");
    let method = hostile.bare.id();
    hostile.send(methods, 0, &[Number(seat), Number(method)]);
    let fields = hostile.bind("zwp_text_input_manager_v3");
    let field = hostile.make(fields, 1, &[Number(seat)]);
    let (surface, _, _) = hostile.toplevel();
    hostile.show(surface, buffer);
    assert!(hostile.round_trip());
    assert!(hostile.bare.count(field, 0) > 0, "it has the keyboard");
    hostile.send(field, 1, &[]);
    hostile.send(field, 4, &[Number(77)]);
    hostile.send(field, 5, &[Number(u32::MAX), Number(u32::MAX)]);
    hostile.send(field, 7, &[]);
    assert!(hostile.round_trip(), "{:?}", hostile.bare.told);
    hostile.others_are_answered();
}

#[test]
fn a_client_that_does_not_listen_is_let_go_of() {
    let mut hostile = Hostile::new();
    let display = 1;
    for _ in 0..200_000 {
        let callback = hostile.bare.id();
        hostile.bare.send_deaf(&mut hostile.bench, display, 0, &[Number(callback)]);
    }
    assert!(!hostile.round_trip(), "nobody keeps what it was told for ever");
    hostile.others_are_answered();
}

#[test]
fn commits_that_wait_are_so_many_and_no_more() {
    let mut hostile = Hostile::new();
    let timing = hostile.bind("wp_commit_timing_manager_v1");
    let (surface, _, _) = shown(&mut hostile);
    let timer = hostile.make(timing, 1, &[Number(surface)]);
    for _ in 0..10_000 {
        // The end of time.
        hostile.send(timer, 0, &[Number(u32::MAX >> 1), Number(0), Number(0)]);
        hostile.commit(surface);
    }
    hostile.was_told(NO_MEMORY);

    // Those that were shown, and those of surfaces that are gone, do not count.
    let mut hostile = Hostile::new();
    let timing = hostile.bind("wp_commit_timing_manager_v1");
    let (surface, _, _) = shown(&mut hostile);
    for _ in 0..20 {
        let other = hostile.surface();
        let timer = hostile.make(timing, 1, &[Number(other)]);
        for _ in 0..100 {
            hostile.send(timer, 0, &[Number(u32::MAX >> 1), Number(0), Number(0)]);
            hostile.commit(other);
            hostile.commit(surface);
        }
        hostile.send(timer, 1, &[]);
        hostile.send(other, 0, &[]);
    }
    assert!(hostile.round_trip(), "{:?}", hostile.bare.told);
}

#[test]
fn objects_of_whatever_kind_are_so_many_and_no_more() {
    // Positioners, regions, bound globals.
    let kinds: [fn(&mut Hostile); 3] = [
        |hostile| {
            let shell = hostile.shell;
            hostile.make(shell, 1, &[]);
        },
        |hostile| {
            let compositor = hostile.compositor;
            hostile.make(compositor, 1, &[]);
        },
        |hostile| {
            hostile.bind("wl_subcompositor");
        },
    ];
    for kind in kinds {
        let mut hostile = Hostile::new();
        for _ in 0..120_000 {
            kind(&mut hostile);
        }
        hostile.was_told(NO_MEMORY);
    }
}

#[test]
fn what_is_shown_of_shared_memory_is_so_much_and_no_more() {
    // A file with nothing in it: what it costs is the renderer's copy.
    const SIDE: i32 = 8192;
    let length = 4 * SIDE * SIDE;
    let file = File::from(memory(b""));
    file.set_len(length as u64).expect("a hole");
    let mut hostile = Hostile::new();
    let shm = hostile.bind("wl_shm");
    let pool = hostile.make(shm, 0, &[Word::File(file.as_fd()), Signed(length)]);
    let words = [Signed(0), Signed(SIDE), Signed(SIDE), Signed(4 * SIDE), Number(1)];
    let buffer = hostile.make(pool, 0, &words);
    // One after the other is one at a time.
    for _ in 0..10 {
        let surface = hostile.surface();
        hostile.show(surface, buffer);
        hostile.send(surface, 0, &[]);
    }
    assert!(hostile.round_trip(), "{:?}", hostile.bare.told);
    for _ in 0..10 {
        let surface = hostile.surface();
        hostile.show(surface, buffer);
    }
    hostile.was_told(NO_MEMORY);
}

/// Numbers at the ends of what the wire can say.
const ENDS: [i32; 4] = [i32::MIN, -1, 1, i32::MAX];

#[test]
fn places_and_sizes_at_the_ends_of_all_numbers() {
    for one in ENDS {
        for other in ENDS {
            let (one, other) = (Signed(one), Signed(other));
            // Of a window: what it is without its shadows, and what it may be.
            attempt(|hostile, (surface, xdg, toplevel), buffer| {
                hostile.send(xdg, 3, &[one, one, other, other]);
                hostile.show(surface, buffer);
                hostile.send(toplevel, 7, &[other, other]);
                hostile.send(toplevel, 8, &[other, one]);
                hostile.show(surface, buffer);
            });
            // Of what a client draws: its corner, what has changed of it, what of it takes a pointer.
            attempt(|hostile, (surface, _, _), buffer| {
                let compositor = hostile.compositor;
                let region = hostile.make(compositor, 1, &[]);
                hostile.send(region, 1, &[one, one, other, other]);
                hostile.send(region, 2, &[other, one, one, other]);
                hostile.send(surface, 4, &[Number(region)]);
                hostile.send(surface, 5, &[Number(region)]);
                hostile.send(surface, 2, &[one, one, other, other]);
                hostile.send(surface, 9, &[other, other, one, one]);
                hostile.send(surface, 10, &[one, other]);
                hostile.show(surface, buffer);
            });
            // Of a part of it, and how it is scaled.
            attempt(|hostile, (surface, _, _), buffer| {
                let child = hostile.surface();
                let subsurface = hostile.subsurface(child, surface);
                hostile.send(subsurface, 1, &[one, other]);
                hostile.show(child, buffer);
                hostile.show(surface, buffer);
                assert!(hostile.round_trip() || hostile.bare.told.is_some());
                let viewporter = hostile.bind("wp_viewporter");
                let viewport = hostile.make(viewporter, 1, &[Number(child)]);
                hostile.send(viewport, 2, &[one, other]);
                hostile.show(child, buffer);
                hostile.show(surface, buffer);
            });
            attempt(|hostile, (surface, _, _), buffer| {
                hostile.send(surface, 8, &[one]);
                hostile.show(surface, buffer);
            });
            // Of a bar.
            attempt(|hostile, _, _| {
                let shell = hostile.bind("zwlr_layer_shell_v1");
                let (surface, layer) = (hostile.surface(), hostile.bare.id());
                let words = [Number(layer), Number(surface), Number(0), Number(2), Word::Text("bar")];
                hostile.send(shell, 0, &words);
                hostile.send(layer, 0, &[one, other]);
                hostile.send(layer, 1, &[Number(15)]);
                hostile.send(layer, 2, &[other]);
                hostile.send(layer, 3, &[one, other, one, other]);
                hostile.commit(surface);
            });
            // Of a menu.
            attempt(|hostile, (_, xdg, _), _| {
                let shell = hostile.shell;
                let positioner = hostile.make(shell, 1, &[]);
                hostile.send(positioner, 1, &[other, other]);
                hostile.send(positioner, 2, &[one, one, other, other]);
                hostile.send(positioner, 3, &[Number(8)]);
                hostile.send(positioner, 4, &[Number(8)]);
                hostile.send(positioner, 5, &[Number(63)]);
                hostile.send(positioner, 6, &[one, other]);
                let menu = hostile.surface();
                let xdg_menu = hostile.make(shell, 2, &[Number(menu)]);
                hostile.make(xdg_menu, 2, &[Number(xdg), Number(positioner)]);
                hostile.commit(menu);
            });
        }
    }
}

/// It does this with a window of its own, and may be told that this is an error.
fn attempt(act: impl FnOnce(&mut Hostile, (u32, u32, u32), u32)) {
    let mut hostile = Hostile::new();
    let buffer = hostile.buffer();
    let window = hostile.toplevel();
    hostile.show(window.0, buffer);
    assert!(hostile.round_trip());
    act(&mut hostile, window, buffer);
    let _told = hostile.round_trip();
    hostile.others_are_answered();
}

/// Others are answered while it goes on, and when it has ended.
fn others_are_answered_beside(mut hostile: Hostile, flood: Flood) {
    for _ in 0..3 {
        hostile.others_are_answered();
    }
    assert!(flood.end(), "it went on until they were answered, and was not cut off either");
    hostile.bench.until("it is gone, and the others are there", |bench| {
        (bench.compositor.windows().len() == 3).then_some(())
    });
    hostile.others_are_answered();
}

/// Others are answered while it asks this without pause: what `asks` returns after it has made what it needs.
fn flooded_by(asks: impl FnOnce(&mut Hostile) -> Vec<u8>) {
    let mut hostile = Hostile::new();
    let words = asks(&mut hostile);
    // As much as a program sends at once.
    let words = words.repeat((1 << 14) / words.len() + 1);
    let flood = hostile.bare.flood(words, None);
    others_are_answered_beside(hostile, flood);
}

/// A window that is shown, and a buffer.
fn shown(hostile: &mut Hostile) -> (u32, u32, u32) {
    let buffer = hostile.buffer();
    let (surface, _, toplevel) = hostile.toplevel();
    hostile.show(surface, buffer);
    assert!(hostile.round_trip());
    (surface, toplevel, buffer)
}

#[test]
fn a_flood_of_questions() {
    flooded_by(|hostile| {
        let callback = hostile.bare.id();
        message(1, 0, &[Number(callback)])
    });
}

#[test]
fn a_flood_of_commits() {
    flooded_by(|hostile| {
        let (surface, _, _) = shown(hostile);
        message(surface, 6, &[])
    });
}

#[test]
fn a_flood_of_pictures() {
    flooded_by(|hostile| {
        let (surface, _, buffer) = shown(hostile);
        let attach = message(surface, 1, &[Number(buffer), Signed(0), Signed(0)]);
        let damage = message(surface, 2, &[Signed(0), Signed(0), Signed(4), Signed(4)]);
        [attach, damage, message(surface, 6, &[])].concat()
    });
}

#[test]
fn a_flood_of_titles() {
    flooded_by(|hostile| {
        let (_, toplevel, _) = shown(hostile);
        message(toplevel, 2, &[Word::Text(&"x".repeat(4000))])
    });
}

#[test]
fn a_flood_of_objects_that_come_and_go() {
    // Surfaces, regions, positioners; each is destroyed by its first request.
    for (shell, request) in [(false, 0), (false, 1), (true, 1)] {
        flooded_by(|hostile| {
            let maker = if shell { hostile.shell } else { hostile.compositor };
            let made = hostile.bare.id();
            [message(maker, request, &[Number(made)]), message(made, 0, &[])].concat()
        });
    }
}

#[test]
fn a_flood_of_memory_that_is_shared() {
    let mut hostile = Hostile::new();
    let shm = hostile.bind("wl_shm");
    let pool = hostile.bare.id();
    let words = [message(shm, 0, &[Number(pool), Signed(64)]), message(pool, 1, &[])].concat();
    let flood = hostile.bare.flood(words, Some(memory(&[0; 64])));
    others_are_answered_beside(hostile, flood);
}
