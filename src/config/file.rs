//! What a configuration file holds: the one that was asked for, or the usual one, which need not be there.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, SecurityConfig, place, security};

/// What it holds; none where there is none. One that is there and cannot be read is an error, a link that
/// leads nowhere, too.
fn bytes(path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error)
            if is_missing(&error) && fs::symlink_metadata(path).is_err_and(|error| is_missing(&error)) =>
        {
            Ok(None)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied && is_of_others(path) => Ok(None),
        Err(error) => {
            let reason = format!("it cannot be read: {error}");
            Err(ConfigError { path: path.to_owned(), place: None, reason })
        }
    }
}

/// The same as text.
pub(super) fn utf8<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str, ConfigError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        ConfigError {
            path: path.to_owned(),
            place: Some(place(&before, before.len())),
            reason: "this is not UTF-8: save the file as that".into(),
        }
    })
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether it is the usual one of another user, whose `$HOME` was left to us: what they have written is not
/// about us.
fn is_of_others(path: &Path) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    let folder = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    Config::usual_path().as_deref() == Some(path)
        && folder
            .or_else(std::env::home_dir)
            .is_some_and(|folder| fs::metadata(folder).map_or(true, |found| found.uid() != own))
}

impl Config {
    /// What the file holds; none where there is no such file.
    ///
    /// # Errors
    ///
    /// There is one, and it cannot be read.
    pub fn bytes_of(path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
        bytes(path)
    }

    /// What a file that holds this says under `[security]`, whatever else is wrong in it.
    ///
    /// # Errors
    ///
    /// It cannot be understood. Then nothing may be done that depends on it: the default may be looser.
    pub fn security(bytes: &[u8], path: &Path) -> Result<SecurityConfig, ConfigError> {
        security::parse(utf8(bytes, path)?, path)
    }

    /// What the file that was asked for, or the usual one, says under `[security]`.
    ///
    /// # Errors
    ///
    /// It cannot be read or understood, or was asked for and is not there.
    pub fn security_of(asked_for: Option<&Path>) -> Result<SecurityConfig, ConfigError> {
        let Some(path) = asked_for.map(Path::to_owned).or_else(Self::usual_path) else {
            return Ok(SecurityConfig::default());
        };
        match bytes(&path)? {
            Some(bytes) => Self::security(&bytes, &path),
            None if asked_for.is_some() => {
                Err(ConfigError { path, place: None, reason: "there is no such file".into() })
            }
            None => Ok(SecurityConfig::default()),
        }
    }
}
