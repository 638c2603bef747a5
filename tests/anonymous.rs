//! What is said of a target under other addresses: nothing tells the true ones, and the map shows the same writes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use memory_glass::map::LayoutFile;
use memory_glass::sensing::DensityMap;
use ndarray_npy::ReadNpyExt;

const GLASS: &str = env!("CARGO_BIN_EXE_memory-glass");

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn snapshot(pid: u32, extra: &[&str]) -> (LayoutFile, DensityMap) {
    let folder = tempfile::tempdir().expect("a folder");
    let (layout, density) = (folder.path().join("l.json"), folder.path().join("d.npy"));
    let mut command = Command::new(GLASS);
    command.args(["snapshot", &pid.to_string(), "--exact", "--seconds", "2", "--order", "6"]).args(extra);
    let output =
        command.arg("--layout").arg(&layout).arg("--density").arg(&density).output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let layout = serde_json::from_reader(File::open(layout).expect("written")).expect("JSON");
    (layout, DensityMap::read_npy(File::open(density).expect("written")).expect("NPY"))
}

/// Where the process really has something.
fn mappings(pid: u32) -> Vec<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    let number = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
    text.lines()
        .filter_map(|line| line.split(' ').next()?.split_once('-'))
        .map(|(start, end)| (number(start), number(end)))
        .collect()
}

#[test]
fn nothing_tells_the_true_addresses_and_the_map_is_as_bright() {
    let mut command = Command::new(GLASS);
    command
        .args(["exercise", "--pattern", "block", "--mib", "16"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut target = Running(command.spawn().expect("started"));
    let mut line = String::new();
    BufReader::new(target.0.stdout.take().expect("piped")).read_line(&mut line).expect("announced");
    let pid = target.0.id();

    let (plain, brightness) = snapshot(pid, &[]);
    let (hidden, same) = snapshot(pid, &["--anonymize"]);
    let (again, _) = snapshot(pid, &["--anonymize"]);
    let real = mappings(pid);
    let touches = |layout: &LayoutFile| {
        layout
            .regions
            .iter()
            .any(|place| real.iter().any(|(start, end)| place.start < *end && *start < place.end))
    };
    assert!(touches(&plain));
    assert!(!touches(&hidden) && !touches(&again));
    assert_eq!(hidden.pages, plain.pages);
    let starts = |layout: &LayoutFile| layout.regions.iter().map(|place| place.start).collect::<Vec<u64>>();
    assert_ne!(starts(&hidden), starts(&again), "each watch has places of its own");
    let (before, after) = (brightness.sum(), same.sum());
    assert!((after / before - 1.0).abs() < 0.1, "{before} and {after}");
}
