//! Looks at what a running compositor really scans out, from outside.
//!
//! ```text
//! kms-probe planes CARD                    one JSON line: which plane shows which framebuffer where
//! kms-probe watch CARD SECONDS             one JSON line: every framebuffer each plane showed meanwhile
//! kms-probe scanout PID CARD DIR [OUTPUT]  DIR/primary.png and so on of each plane's framebuffer, DIR/screen.png of what the
//!                                          display controller makes of them; fails unless they agree pixel by pixel.
//!                                          Of the first output, or of the connector of this name
//! kms-probe memory PID CARD                one JSON line: the dma-buf of the overlay plane's framebuffer by its inode, and how often
//!                                          the process has it open and mapped
//! kms-probe handles PID CARD               how many buffers of the card the process has handles of
//! kms-probe join IMAGE IMAGE RESULT        one picture beside the other
//! kms-probe same IMAGE IMAGE               how many pixels differ; fails unless none does
//! kms-probe map IMAGE X,Y,WxH  LAYOUT ANNOUNCEMENT  whether the part of IMAGE shows a block exercise on its map
//! kms-probe colour IMAGE RRGGBB X,Y,WxH    how much of that part of IMAGE has that colour, percent
//! ```
//!
//! `scanout` needs the writeback connector and the master's rights: it takes a duplicate of the compositor's own file
//! description (pidfd_getfd(2)) while that is stopped, moves the CRTC to the writeback connector for one frame, and back.
#![allow(unsafe_code, missing_docs)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use drm::buffer::Buffer as _;
use drm::control::atomic::AtomicModeReq;
use drm::control::{
    AtomicCommitFlags, Device as ControlDevice, PlaneType, ResourceHandle, connector, crtc, framebuffer,
    property,
};
use drm::{ClientCapability, Device as _};
use memory_glass::map::LayoutFile;
use memory_glass::render::Image;
use memory_glass::system::exercise::Announcement;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["planes", card] => println!("{}", serde_json::to_string(&Card::open(card)?.planes()?)?),
        ["watch", card, seconds] => {
            let seen = Card::open(card)?.watch(Duration::from_secs_f64(seconds.parse()?))?;
            println!("{}", serde_json::to_string(&seen)?);
        }
        ["scanout", pid, card, directory] => scanout(pid.parse()?, card, Path::new(directory), None)?,
        ["scanout", pid, card, directory, output] => {
            scanout(pid.parse()?, card, Path::new(directory), Some(output))?;
        }
        ["memory", pid, card] => println!("{}", memory(pid.parse()?, card)?),
        ["handles", pid, card] => println!("{}", steal(pid.parse()?, card)?.handles()),
        ["join", left, right, result] => join(&read_png(left)?, &read_png(right)?).write_png(result)?,
        ["same", one, other] => {
            let (one, other) = (read_png(one)?, read_png(other)?);
            let wrong = one.pixels.iter().zip(&other.pixels).filter(|(a, b)| a != b).count();
            println!("{wrong}");
            if wrong > 0 || (one.width, one.height) != (other.width, other.height) {
                return Err("the pictures differ".into());
            }
        }
        ["map", image, part, layout, announcement] => {
            map::check(&read_png(image)?, part.parse()?, layout, announcement)?;
        }
        ["colour", image, colour, part] => {
            let share = share_of_colour(&read_png(image)?, u32::from_str_radix(colour, 16)?, part.parse()?);
            println!("{share:.3}");
        }
        _ => return Err("usage: kms-probe planes|watch|scanout|memory|handles|join|same|map|colour …".into()),
    }
    Ok(())
}

struct Card(File);
impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
impl drm::Device for Card {}
impl ControlDevice for Card {}

/// A plane in use.
#[derive(Debug, Clone, Serialize)]
struct Shown {
    plane: u32,
    kind: &'static str,
    /// The connector of its CRTC.
    output: String,
    crtc: u32,
    framebuffer: u32,
    width: u32,
    height: u32,
    format: String,
    /// Where on the CRTC, and how large there.
    x: i64,
    y: i64,
    w: u64,
    h: u64,
    /// DRM_MODE_ROTATE_* and DRM_MODE_REFLECT_*.
    rotation: u64,
}

impl Card {
    /// A file description of our own: reading needs no master.
    fn open(path: &str) -> Outcome<Card> {
        let card = Card(File::options().read(true).write(true).open(path)?);
        card.set_client_capability(ClientCapability::UniversalPlanes, true)?;
        card.set_client_capability(ClientCapability::Atomic, true)?;
        // A card without one refuses; `scanout` says so when it looks for the connector.
        let _ = card.set_client_capability(ClientCapability::WritebackConnectors, true);
        Ok(card)
    }

    fn properties(&self, object: impl ResourceHandle) -> Outcome<HashMap<String, (property::Handle, u64)>> {
        let values = self.get_properties(object)?;
        let mut properties = HashMap::new();
        for (handle, value) in &values {
            let name = self.get_property(*handle)?.name().to_string_lossy().into_owned();
            properties.insert(name, (*handle, *value));
        }
        Ok(properties)
    }

    /// The connectors in use by the numbers of their CRTCs.
    fn outputs(&self) -> Outcome<HashMap<u32, String>> {
        let mut outputs = HashMap::new();
        for handle in self.resource_handles()?.connectors() {
            let info = self.get_connector(*handle, false)?;
            let crtc = self.properties(*handle)?["CRTC_ID"].1 as u32;
            if info.interface() != connector::Interface::Writeback && crtc != 0 {
                outputs.insert(crtc, format!("{}-{}", info.interface().as_str(), info.interface_id()));
            }
        }
        Ok(outputs)
    }

    fn planes(&self) -> Outcome<Vec<Shown>> {
        let outputs = self.outputs()?;
        let mut shown = Vec::new();
        for handle in self.plane_handles()? {
            let info = self.get_plane(handle)?;
            let (Some(crtc), Some(framebuffer)) = (info.crtc(), info.framebuffer()) else { continue };
            let properties = self.properties(handle)?;
            // A framebuffer may go between the two questions; the plane shows another by then.
            let Ok(buffer) = self.get_planar_framebuffer(framebuffer) else { continue };
            let (width, height) = buffer.size();
            shown.push(Shown {
                plane: handle.into(),
                kind: kind(properties["type"].1),
                output: outputs.get(&crtc.into()).cloned().unwrap_or_default(),
                crtc: crtc.into(),
                framebuffer: framebuffer.into(),
                width,
                height,
                format: buffer.pixel_format().to_string(),
                x: properties["CRTC_X"].1 as i64,
                y: properties["CRTC_Y"].1 as i64,
                w: properties["CRTC_W"].1,
                h: properties["CRTC_H"].1,
                rotation: properties.get("rotation").map_or(1, |(_, value)| *value),
            });
            self.close_handles(&buffer);
        }
        Ok(shown)
    }

    fn watch(&self, time: Duration) -> Outcome<BTreeMap<&'static str, BTreeSet<u32>>> {
        let mut seen: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let started = Instant::now();
        while started.elapsed() < time {
            for shown in self.planes()? {
                seen.entry(shown.kind).or_default().insert(shown.framebuffer);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(seen)
    }

    /// Asking for a framebuffer makes a new handle of its memory each time.
    fn close_handles(&self, buffer: &framebuffer::PlanarInfo) {
        for handle in buffer.buffers().into_iter().flatten().collect::<HashSetOfHandles>() {
            let _ = self.close_buffer(handle);
        }
    }

    /// How many GEM handles this file description has. The kernel gives the lowest free number, and keeps no count that one could
    /// read: each is tried with a small framebuffer.
    fn handles(&self) -> usize {
        const MOST: u32 = 1 << 14;
        let there = |number: &u32| {
            let Some(handle) = drm::control::from_u32(*number) else { return false };
            match self.add_framebuffer(&Corner(handle), 24, 32) {
                Ok(framebuffer) => self.destroy_framebuffer(framebuffer).is_ok(),
                // A buffer that cannot be shown is there, too.
                Err(error) => error.raw_os_error() != Some(nix::libc::ENOENT),
            }
        };
        (1..=MOST).filter(there).count()
    }

    /// A framebuffer's memory. One that was exported before is the same dma-buf again.
    fn dma_buf(&self, shown: &Shown) -> Outcome<(OwnedFd, framebuffer::PlanarInfo)> {
        let handle: framebuffer::Handle =
            drm::control::from_u32(shown.framebuffer).ok_or("no framebuffer")?;
        let buffer = self.get_planar_framebuffer(handle)?;
        let memory = buffer.buffers()[0].ok_or("the framebuffer's memory is hidden from us: not root?")?;
        let dma_buf = self.buffer_to_prime_fd(memory, drm::CLOEXEC)?;
        self.close_handles(&buffer);
        Ok((dma_buf, buffer))
    }

    /// The pixels of a framebuffer, read through its dma-buf.
    fn pixels(&self, shown: &Shown) -> Outcome<Image> {
        let (dma_buf, buffer) = self.dma_buf(shown)?;
        let (pitch, offset) = (buffer.pitches()[0] as usize, buffer.offsets()[0] as usize);
        let length = offset + pitch * shown.height as usize;
        // SAFETY: a fresh read-only mapping of `length` bytes of a dma-buf, unmapped below; nothing refers to it after.
        let pixels = unsafe {
            use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
            let size = length.try_into()?;
            let map = mmap(None, size, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &dma_buf, 0)?;
            let bytes = std::slice::from_raw_parts(map.as_ptr().cast::<u8>(), length);
            let pixels = rows(&bytes[offset..], pitch, shown.width, shown.height);
            munmap(map, length)?;
            pixels
        };
        Ok(Image { width: shown.width, height: shown.height, pixels })
    }
}

/// Some pixels of a buffer. Of fewer, no card makes a framebuffer.
struct Corner(drm::buffer::Handle);
impl drm::buffer::Buffer for Corner {
    fn size(&self) -> (u32, u32) {
        (16, 16)
    }
    fn format(&self) -> drm::buffer::DrmFourcc {
        drm::buffer::DrmFourcc::Xrgb8888
    }
    fn pitch(&self) -> u32 {
        64
    }
    fn handle(&self) -> drm::buffer::Handle {
        self.0
    }
}

type HashSetOfHandles = std::collections::HashSet<drm::buffer::Handle>;

fn kind(value: u64) -> &'static str {
    match value {
        value if value == PlaneType::Primary as u64 => "primary",
        value if value == PlaneType::Cursor as u64 => "cursor",
        _ => "overlay",
    }
}

fn rows(bytes: &[u8], pitch: usize, width: u32, height: u32) -> Vec<u32> {
    (0..height as usize)
        .flat_map(|y| bytes[y * pitch..][..width as usize * 4].chunks_exact(4))
        .map(|pixel| u32::from_le_bytes([pixel[0], pixel[1], pixel[2], pixel[3]]))
        .collect()
}

/// A process that is stopped until this is dropped.
struct Stopped(Pid);
impl Stopped {
    fn stop(pid: i32) -> Outcome<Stopped> {
        kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
        // The frame that it had handed in is shown by then.
        std::thread::sleep(Duration::from_millis(500));
        Ok(Stopped(Pid::from_raw(pid)))
    }
}
impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// The compositor's own file description of the card.
fn steal(pid: i32, card: &str) -> Outcome<Card> {
    let wanted = std::fs::canonicalize(card)?;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        if std::fs::read_link(entry.path()).is_ok_and(|link| link == wanted) {
            let number: i32 = entry.file_name().to_string_lossy().parse()?;
            // SAFETY: two system calls on plain numbers; each result is checked and owned at once.
            let (pidfd, file) = unsafe {
                let pidfd = nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0);
                let pidfd = OwnedFd::from_raw_fd(nix::errno::Errno::result(pidfd)? as i32);
                let file = nix::libc::syscall(nix::libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0);
                (pidfd, OwnedFd::from_raw_fd(nix::errno::Errno::result(file)? as i32))
            };
            drop(pidfd);
            return Ok(Card(file.into()));
        }
    }
    Err(format!("process {pid} does not have {card} open").into())
}

/// What of the overlay plane's memory the process has: descriptors, and mappings, which are Vulkan's where the driver is a program.
fn memory(pid: i32, path: &str) -> Outcome<serde_json::Value> {
    let card = Card::open(path)?;
    let planes = card.planes()?;
    let shown = planes.iter().find(|shown| shown.kind == "overlay").ok_or("no overlay plane is in use")?;
    let (dma_buf, _) = card.dma_buf(shown)?;
    let inode = nix::sys::stat::fstat(&dma_buf)?.st_ino;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    // "7f0000000000-7f0000001000 rw-s 00000000 00:0d 1234   /dmabuf:"
    let is_ours = |line: &&str| {
        line.contains("/dmabuf") && line.split_ascii_whitespace().nth(4) == Some(&inode.to_string())
    };
    let mapped = maps.lines().filter(is_ours).count();
    // The files of the process, as it has them: fdinfo knows the inode of each.
    let of_ours = |entry: std::io::Result<std::fs::DirEntry>| {
        let info = std::fs::read_to_string(entry.ok()?.path()).ok()?;
        let ino = info.lines().find_map(|line| line.strip_prefix("ino:"))?;
        (ino.trim() == inode.to_string() && info.contains("exp_name")).then_some(())
    };
    let open = std::fs::read_dir(format!("/proc/{pid}/fdinfo"))?.filter_map(of_ours).count();
    Ok(serde_json::json!({
        "plane": shown.plane, "framebuffer": shown.framebuffer, "inode": inode, "mapped": mapped, "open": open,
        "width": shown.width, "height": shown.height,
    }))
}

fn scanout(pid: i32, path: &str, directory: &Path, output: Option<&str>) -> Outcome<()> {
    std::fs::create_dir_all(directory)?;
    let card = Card::open(path)?;
    let master = steal(pid, path)?;
    let stopped = Stopped::stop(pid)?;
    let mut planes = card.planes()?;
    planes.sort_by_key(|shown| ["primary", "overlay", "cursor"].iter().position(|kind| *kind == shown.kind));
    let meant =
        |shown: &&Shown| shown.kind == "primary" && output.is_none_or(|output| shown.output == output);
    let crtc = planes.iter().find(meant).ok_or("no primary plane is in use")?.crtc;
    planes.retain(|shown| shown.crtc == crtc);
    let images = planes.iter().map(|shown| card.pixels(shown)).collect::<Outcome<Vec<_>>>()?;
    let screen = writeback(&card, &master, drm::control::from_u32(crtc).ok_or("no CRTC")?)?;
    drop(stopped);

    let mut expected = Image { pixels: vec![0; screen.pixels.len()], ..screen };
    for (shown, image) in planes.iter().zip(&images) {
        image.write_png(directory.join(format!("{}.png", shown.kind)))?;
        lay(&mut expected, image, shown);
    }
    screen.write_png(directory.join("screen.png"))?;
    let wrong =
        expected.pixels.iter().zip(&screen.pixels).filter(|(a, b)| (*a ^ *b) & 0xff_ffff != 0).count();
    println!("{}", serde_json::json!({ "planes": planes, "pixels": screen.pixels.len(), "wrong": wrong }));
    if wrong == 0 {
        Ok(())
    } else {
        Err(format!("{wrong} pixels on the screen are not those of the planes").into())
    }
}

/// Where the display controller puts a pixel of a plane that it turns: first reflected, then turned counter-clockwise.
fn turned(x: u32, y: u32, width: u32, height: u32, rotation: u64) -> (u32, u32) {
    let x = if rotation & 16 != 0 { width - 1 - x } else { x };
    let y = if rotation & 32 != 0 { height - 1 - y } else { y };
    match rotation & 15 {
        2 => (y, width - 1 - x),
        4 => (width - 1 - x, height - 1 - y),
        8 => (height - 1 - y, x),
        _ => (x, y),
    }
}

/// Lays a plane's picture over the screen, as the display controller does; no plane here is scaled.
fn lay(screen: &mut Image, image: &Image, shown: &Shown) {
    for y in 0..image.height {
        for x in 0..image.width {
            let (to_x, to_y) = turned(x, y, image.width, image.height, shown.rotation);
            let (at_x, at_y) = (i64::from(to_x) + shown.x, i64::from(to_y) + shown.y);
            let inside =
                (0..i64::from(screen.width)).contains(&at_x) && (0..i64::from(screen.height)).contains(&at_y);
            if !inside {
                continue;
            }
            let over = image.pixels[(y * image.width + x) as usize];
            let under = &mut screen.pixels[at_y as usize * screen.width as usize + at_x as usize];
            let alpha = if shown.format.starts_with('A') { over >> 24 } else { 255 };
            *under = match alpha {
                255 => over | 0xff00_0000,
                0 => *under,
                // Premultiplied, rounded as vkms does it.
                _ => (0..3).fold(0xff00_0000, |pixel, channel| {
                    let of = |value: u32| value >> (8 * channel) & 0xff;
                    let mixed = (of(over) * 255 + of(*under) * (255 - alpha)).div_ceil(255);
                    pixel | mixed.min(255) << (8 * channel)
                }),
            };
        }
    }
}

/// What the CRTC scans out, through its writeback connector.
fn writeback(card: &Card, master: &Card, crtc: crtc::Handle) -> Outcome<Image> {
    let resources = card.resource_handles()?;
    let mut display = None;
    let mut writer = None;
    for handle in resources.connectors() {
        let info = card.get_connector(*handle, false)?;
        let properties = card.properties(*handle)?;
        if info.interface() == connector::Interface::Writeback {
            let reaches = info.encoders().iter().any(|encoder| {
                card.get_encoder(*encoder)
                    .is_ok_and(|encoder| resources.filter_crtcs(encoder.possible_crtcs()).contains(&crtc))
            });
            if reaches {
                writer = Some((*handle, properties));
            }
        } else if properties["CRTC_ID"].1 == u64::from(u32::from(crtc)) {
            display = Some((*handle, properties));
        }
    }
    let (display, display_properties) = display.ok_or("no connector shows this CRTC")?;
    let (writer, writer_properties) = writer.ok_or("no writeback connector reaches this CRTC")?;
    let (width, height) = card.get_crtc(crtc)?.mode().ok_or("the CRTC is off")?.size();
    let (width, height) = (u32::from(width), u32::from(height));

    let mut buffer = card.create_dumb_buffer((width, height), drm::buffer::DrmFourcc::Xrgb8888, 32)?;
    let framebuffer = card.add_framebuffer(&buffer, 24, 32)?;
    let mut fence = -1i32;
    // The two connectors may not share the CRTC (encoders that cannot be cloned): it is moved, and moved back.
    let mut request = AtomicModeReq::new();
    request.add_property(display, display_properties["CRTC_ID"].0, property::Value::CRTC(None));
    request.add_property(writer, writer_properties["CRTC_ID"].0, property::Value::CRTC(Some(crtc)));
    request.add_property(
        writer,
        writer_properties["WRITEBACK_FB_ID"].0,
        property::Value::Framebuffer(Some(framebuffer)),
    );
    let fence_at = std::ptr::from_mut(&mut fence) as u64;
    request.add_property(
        writer,
        writer_properties["WRITEBACK_OUT_FENCE_PTR"].0,
        property::Value::UnsignedRange(fence_at),
    );
    master.atomic_commit(AtomicCommitFlags::ALLOW_MODESET, request)?;
    // SAFETY: the kernel wrote the number of a fence that is ours into `fence` when the commit succeeded.
    let fence = unsafe { OwnedFd::from_raw_fd(fence) };
    let ready = poll(&mut [PollFd::new(fence.as_fd(), PollFlags::POLLIN)], PollTimeout::from(5000u16))?;

    let mut back = AtomicModeReq::new();
    back.add_property(writer, writer_properties["CRTC_ID"].0, property::Value::CRTC(None));
    back.add_property(display, display_properties["CRTC_ID"].0, property::Value::CRTC(Some(crtc)));
    master.atomic_commit(AtomicCommitFlags::ALLOW_MODESET, back)?;
    if ready == 0 {
        return Err("the writeback did not complete within 5 s".into());
    }
    let pitch = buffer.pitch() as usize;
    let pixels = rows(&card.map_dumb_buffer(&mut buffer)?, pitch, width, height);
    card.destroy_framebuffer(framebuffer)?;
    card.destroy_dumb_buffer(buffer)?;
    Ok(Image { width, height, pixels })
}

/// A part of a picture: "X,Y,WxH".
#[derive(Debug, Clone, Copy)]
struct Part {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl std::str::FromStr for Part {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Vec<u32> = text.split([',', 'x']).filter_map(|number| number.parse().ok()).collect();
        match numbers[..] {
            [x, y, width, height] => Ok(Part { x, y, width, height }),
            _ => Err(format!("\"{text}\" is not X,Y,WxH")),
        }
    }
}

fn read_png(path: &str) -> Outcome<Image> {
    let mut decoder = png::Decoder::new(std::io::BufReader::new(File::open(path)?));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info()?;
    let mut bytes = vec![0; reader.output_buffer_size().ok_or("the picture is too large")?];
    let info = reader.next_frame(&mut bytes)?;
    let pixels = bytes[..info.buffer_size()]
        .chunks_exact(info.color_type.samples())
        .map(|pixel| 0xff00_0000 | u32::from(pixel[0]) << 16 | u32::from(pixel[1]) << 8 | u32::from(pixel[2]))
        .collect();
    Ok(Image { width: info.width, height: info.height, pixels })
}

/// One picture beside the other, tops aligned.
fn join(left: &Image, right: &Image) -> Image {
    let (width, height) = (left.width + right.width, left.height.max(right.height));
    let pixel = |x: u32, y: u32| {
        let (image, x) = if x < left.width { (left, x) } else { (right, x - left.width) };
        if y < image.height { image.pixels[(y * image.width + x) as usize] } else { 0xff00_0000 }
    };
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| pixel(x, y))).collect();
    Image { width, height, pixels }
}

fn share_of_colour(image: &Image, colour: u32, part: Part) -> f64 {
    let inside = (part.y..part.y + part.height)
        .flat_map(|y| (part.x..part.x + part.width).map(move |x| (x, y)))
        .filter(|(x, y)| *x < image.width && *y < image.height);
    let equal =
        inside.filter(|(x, y)| image.pixels[(y * image.width + x) as usize] & 0xff_ffff == colour).count();
    100.0 * equal as f64 / (f64::from(part.width) * f64::from(part.height))
}

/// Whether a picture shows what an exercise writes.
mod map {
    use memory_glass::map::{AddressLayout, HilbertCapability as _, HilbertSkilling};
    use memory_glass::render::{ColorPalette, PictureLayout};

    use super::{Announcement, Image, LayoutFile, Outcome, Part};

    const PALETTE: ColorPalette = ColorPalette::Inferno;
    /// From this palette index on a cell is hot: half of its windows. In the lab a target may not run for a window or two.
    const HOT: usize = 128;

    /// Fails unless in that `part` of `image` every cell of the exercise's second quarter is hot, and every other cell of the
    /// exercise cold.
    pub fn check(image: &Image, part: Part, layout: &str, announcement: &str) -> Outcome<()> {
        let file: LayoutFile = serde_json::from_reader(std::fs::File::open(layout)?)?;
        let exercise: Announcement = serde_json::from_reader(std::fs::File::open(announcement)?)?;
        let line = AddressLayout::from_file(&file);
        let curve = HilbertSkilling::try_new(file.order)?;
        let square = PictureLayout::new(part.width, part.height, file.order)?.map;
        let quarter = (exercise.end - exercise.start) / 4;
        let hot_block = exercise.start + quarter..exercise.start + 2 * quarter;
        let (mut hot, mut cold) = (0, 0);
        for d in 0..curve.cells() {
            let addresses: Vec<_> = line
                .pages_of_cell(d, curve.cells())
                .into_iter()
                .flatten()
                .map(|page| line.address_of(page))
                .collect();
            let all =
                |inside: &dyn Fn(u64) -> bool| addresses.iter().all(|address| address.is_some_and(inside));
            if !all(&|address| (exercise.start..exercise.end).contains(&address)) {
                continue;
            }
            let (x, y) = curve.d2xy(d);
            let middle = |cell: u32, from: u32, side: u32| from + (2 * cell + 1) * side / (2 * curve.size());
            let (x, y) =
                (part.x + middle(x, square.x, square.width), part.y + middle(y, square.y, square.height));
            let pixel = image.pixels[(y * image.width + x) as usize] & 0xff_ffff;
            let shown = PALETTE.colors().iter().position(|colour| *colour == pixel);
            let wrong = |expected: &str| {
                format!("cell {d} at {x},{y} should be {expected} and is {pixel:06x} ({shown:?})")
            };
            if all(&|address| hot_block.contains(&address)) {
                hot += 1;
                shown.filter(|index| *index >= HOT).ok_or_else(|| wrong("hot"))?;
            } else if all(&|address| !hot_block.contains(&address)) {
                cold += 1;
                shown.filter(|index| *index == 0).ok_or_else(|| wrong("cold"))?;
            }
        }
        println!("{}", serde_json::json!({ "hot": hot, "cold": cold }));
        // Three quarters are cold, one is hot; a map of something else would not be near that.
        if hot > 0 && cold > 2 * hot {
            Ok(())
        } else {
            Err(format!("{hot} hot and {cold} cold cells: too few").into())
        }
    }
}
