//! What the display part of this machine is, asked without taking it over.
//!
//! Nothing here needs to be the DRM master or to have a session: `doctor` calls it while another compositor may be
//! running.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use drm::control::{Device as ControlDevice, PlaneType, connector};
use drm::{ClientCapability, Device as _};
use serde::Serialize;

/// One graphics card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CardSurvey {
    /// Its device node.
    pub node: PathBuf,
    /// The kernel driver's name.
    pub driver: String,
    /// Whether it can change planes and modes in one step, which the session needs.
    pub atomic: bool,
    /// Connectors with a screen on them.
    pub connected: usize,
    /// Planes that the map could be on.
    pub overlay_planes: usize,
}

struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
impl drm::Device for Card {}
impl ControlDevice for Card {}

/// Every card, or what kept us from asking it.
pub fn cards() -> Vec<(PathBuf, io::Result<CardSurvey>)> {
    let mut nodes: Vec<PathBuf> = std::fs::read_dir("/dev/dri")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("card"))
        .map(|entry| entry.path())
        .collect();
    nodes.sort();
    nodes.into_iter().map(|node| (node.clone(), survey(&node))).collect()
}

fn survey(node: &Path) -> io::Result<CardSurvey> {
    let card = Card(File::options().read(true).write(true).open(node)?);
    let driver = card.get_driver()?.name().to_string_lossy().into_owned();
    // Overlay and primary planes are listed only to those who know of them.
    card.set_client_capability(ClientCapability::UniversalPlanes, true)?;
    let atomic = card.set_client_capability(ClientCapability::Atomic, true).is_ok();
    let resources = card.resource_handles()?;
    let connected = resources
        .connectors()
        .iter()
        .filter_map(|handle| card.get_connector(*handle, false).ok())
        .filter(|connector| connector.state() == connector::State::Connected)
        .count();
    let overlay_planes =
        card.plane_handles()?.into_iter().filter(|plane| is_overlay(&card, *plane).unwrap_or(false)).count();
    Ok(CardSurvey { node: node.to_owned(), driver, atomic, connected, overlay_planes })
}

fn is_overlay(card: &Card, plane: drm::control::plane::Handle) -> io::Result<bool> {
    for (property, value) in &card.get_properties(plane)? {
        if card.get_property(*property)?.name().to_bytes() == b"type" {
            return Ok(*value == PlaneType::Overlay as u64);
        }
    }
    Ok(false)
}

/// Who could give us a seat: logind or seatd, whichever answers; `None` when neither runs.
pub fn seat_manager() -> Option<&'static str> {
    // What libseat itself looks at (`libseat/backend`): seatd's socket, and the seat that logind made.
    if Path::new("/run/seatd.sock").exists() || std::env::var_os("SEATD_SOCK").is_some() {
        Some("seatd")
    } else if Path::new("/run/systemd/seats/seat0").exists() {
        Some("logind")
    } else {
        None
    }
}
