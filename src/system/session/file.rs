//! The configuration file: read at the start, and again whenever somebody has saved it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use calloop::generic::Generic;
use calloop::{Interest, LoopHandle, Mode, PostAction};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tracing::{debug, warn};

use crate::config::{Config, ConfigError, SecurityConfig};
use crate::display::Compositor;

/// The file and what it said last.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: Option<PathBuf>,
    /// All of it, text or not.
    bytes: Option<Vec<u8>>,
}

impl ConfigFile {
    /// The file that was asked for, or the usual one.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        // Watching a directory needs a whole path.
        let path = path.map(|path| std::path::absolute(&path).unwrap_or(path)).or_else(Config::usual_path);
        Self { path, bytes: None }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What the file says now. One that is not there says nothing when it never did.
    pub(super) fn read(&mut self) -> Result<Config, ConfigError> {
        let Some(path) = &self.path else { return Ok(Config::default()) };
        let Some(bytes) = Config::bytes_of(path)? else {
            if self.bytes.is_none() {
                return Ok(Config::default());
            }
            return Err(ConfigError { path: path.clone(), place: None, reason: "it is gone".into() });
        };
        let config = Config::parse_bytes(&bytes, path);
        self.bytes = Some(bytes);
        config
    }

    /// What a file that is wrong otherwise says under `[security]`.
    pub(super) fn security(&self) -> Option<Result<SecurityConfig, ConfigError>> {
        Some(Config::security(self.bytes.as_deref()?, self.path.as_deref()?))
    }

    /// Whether the file says something else than when it was read last.
    pub(super) fn changed(&self) -> bool {
        let now = self.path.as_ref().and_then(|path| fs::read(path).ok());
        now.is_some() && now != self.bytes
    }
}

/// Calls `saved` whenever the file has changed. Without that, `memory-glass msg reload` still works.
pub(super) fn watch(
    handle: &LoopHandle<'static, Compositor>,
    path: &Path,
    mut saved: impl FnMut(&mut Compositor) + 'static,
) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let inotify =
        Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(|error| text(&error))?;
    let mut places = Places { path: path.to_owned(), watched: HashMap::new() };
    places.refresh(&inotify);
    let source = Generic::new(inotify, Interest::READ, Mode::Level);
    handle
        .insert_source(source, move |_, inotify, compositor| {
            let events = match inotify.read_events() {
                Ok(events) => events,
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(PostAction::Continue),
                Err(error) => {
                    warn!(%error, "the configuration is no longer watched");
                    return Ok(PostAction::Remove);
                }
            };
            // A file that somebody is still writing is not read: only what is closed, moved there, or a new
            // link.
            let finished = events.iter().any(|event| {
                event.mask.intersects(AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO)
                    || (event.mask.contains(AddWatchFlags::IN_CREATE) && places.is_link())
            });
            let moved = places.refresh(inotify);
            if finished || moved {
                saved(compositor);
            }
            Ok(PostAction::Continue)
        })
        .map(drop)
        .map_err(|error| text(&error))
}

/// The directories to watch: editors replace a file, so it is never the file itself.
struct Places {
    path: PathBuf,
    watched: HashMap<PathBuf, WatchDescriptor>,
}

impl Places {
    fn is_link(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.is_symlink())
    }

    /// The directory that the file is in, or the nearest above it that exists; where links lead; and where
    /// each link is, on the way to the file and on the ways that these links take: turning one is a change,
    /// too.
    fn wanted(&self) -> Vec<PathBuf> {
        let nearest = self.path.ancestors().skip(1).find(|path| path.is_dir());
        let real = fs::canonicalize(&self.path).ok().and_then(|path| path.parent().map(Path::to_owned));
        nearest.map(Path::to_owned).into_iter().chain(real).chain(places_of_links(&self.path)).collect()
    }

    /// Watches what is there now. Returns whether that is something else than before.
    fn refresh(&mut self, inotify: &Inotify) -> bool {
        // What is made between looking and watching tells nobody: it is looked at again until nothing is new.
        const TRIES: usize = 8;
        let mut changed = false;
        for _ in 0..TRIES {
            if !self.watch_what_is_there(inotify) {
                break;
            }
            changed = true;
        }
        changed
    }

    fn watch_what_is_there(&mut self, inotify: &Inotify) -> bool {
        let wanted = self.wanted();
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        self.watched.retain(|path, watch| {
            let stays = wanted.contains(path);
            if !stays {
                // One that is deleted is no longer watched anyway.
                let _ = inotify.rm_watch(*watch);
            }
            stays
        });
        let mut changed = false;
        for path in wanted {
            // A directory that was replaced by another of its name gets a new number here.
            match inotify.add_watch(&path, flags) {
                Ok(watch) => changed |= self.watched.insert(path, watch) != Some(watch),
                Err(error) => debug!(%error, path = %path.display(), "not watched"),
            }
        }
        changed
    }
}

/// The directories of all links that are followed from the root to `path`.
fn places_of_links(path: &Path) -> Vec<PathBuf> {
    /// As many as the kernel follows.
    const MOST: usize = 40;
    let steps = |path: &Path| -> Vec<PathBuf> {
        path.components().rev().map(|component| PathBuf::from(component.as_os_str())).collect()
    };
    let (mut at, mut left, mut places) = (PathBuf::new(), steps(path), Vec::new());
    while let Some(step) = left.pop() {
        if step.as_os_str() == ".." {
            at.pop();
            continue;
        }
        // A step that is "/" begins anew.
        let next = at.join(step);
        match fs::read_link(&next) {
            Ok(target) if places.len() < MOST => {
                places.push(at.clone());
                left.extend(steps(&target));
            }
            _ => at = next,
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_link_on_the_way_has_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(folder.path()).expect("there");
        for name in ["store/one", "home/dots"] {
            fs::create_dir_all(root.join(name)).expect("made");
        }
        fs::write(root.join("store/one/config.toml"), "").expect("written");
        symlink("one", root.join("store/current")).expect("linked");
        symlink("../../store/current", root.join("home/dots/glass")).expect("linked");
        symlink(root.join("home/dots"), root.join("config")).expect("linked");
        let file = root.join("config/glass/config.toml");
        let places = places_of_links(&file);
        assert_eq!(places, [root.clone(), root.join("home/dots"), root.join("store")]);
        assert_eq!(places_of_links(&root.join("store/one/config.toml")), Vec::<PathBuf>::new());
        symlink("round", root.join("round")).expect("linked");
        assert_eq!(places_of_links(&root.join("round/x")).len(), 40);
    }
}
