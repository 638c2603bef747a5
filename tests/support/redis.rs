//! A redis-server that keeps nothing on disk.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// It ends when this is dropped.
pub struct Redis {
    server: Child,
    /// Its socket.
    pub socket: String,
    _directory: TempDir,
}

impl Redis {
    /// Waits until it answers.
    pub fn start() -> Redis {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("socket").to_string_lossy().into_owned();
        let server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", &socket])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        while !directory.path().join("socket").exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Redis { server, socket, _directory: directory }
    }

    pub fn pid(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
