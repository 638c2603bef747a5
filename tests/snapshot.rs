//! `memory-glass snapshot` and the other commands as a person calls them: what they print, write and refuse.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use memory_glass::map::{AddressLayout, HilbertCapability, HilbertSkilling, LayoutFile};
use memory_glass::sensing::DensityMap;
use memory_glass::system::exercise::Announcement;
use ndarray_npy::ReadNpyExt;
use serde_json::Value;

fn glass() -> Command {
    Command::new(env!("CARGO_BIN_EXE_memory-glass"))
}

/// A program that is killed with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> (Running, BufReader<std::process::ChildStdout>) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the target starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    (Running(child), stdout)
}

fn start_exercise(pattern: &str, mib: u32) -> (Running, Announcement) {
    let (running, mut stdout) =
        start(glass().args(["exercise", "--pattern", pattern, "--mib", &mib.to_string()]));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("it announces itself");
    (running, serde_json::from_str(&line).expect("in JSON"))
}

/// What a snapshot gave.
struct Snapshot {
    report: Value,
    density: DensityMap,
    layout: LayoutFile,
    line: AddressLayout,
}

/// Every page in every window, so that the map is what the target does.
const EXACT: &[&str] = &["--exact"];

fn snapshot(pid: u32, seconds: &str, order: Option<u32>, how: &[&str]) -> Snapshot {
    let directory = tempfile::tempdir().unwrap();
    let (density, layout) = (directory.path().join("d.npy"), directory.path().join("l.json"));
    let mut command = glass();
    command.args(["snapshot", &pid.to_string(), "--seconds", seconds, "--json"]).args(how);
    command.arg("--density").arg(&density).arg("--layout").arg(&layout);
    if let Some(order) = order {
        command.args(["--order", &order.to_string()]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().count(), 1, "exactly one object: {stdout}");
    let layout: LayoutFile = serde_json::from_reader(File::open(layout).unwrap()).unwrap();
    Snapshot {
        report: serde_json::from_str(&stdout).unwrap(),
        density: DensityMap::read_npy(File::open(density).unwrap()).unwrap(),
        line: AddressLayout::from_file(&layout),
        layout,
    }
}

impl Snapshot {
    /// For every cell whose pages all belong to the exercise: the numbers of these pages in it, and the
    /// cell's density.
    fn cells(&self, exercise: &Announcement) -> Vec<(Vec<u64>, f32)> {
        let curve = HilbertSkilling::new(self.layout.order);
        assert_eq!(self.density.dim(), (curve.size() as usize, curve.size() as usize));
        let mut cells = Vec::new();
        for d in 0..curve.cells() {
            let pages: Option<Vec<u64>> = self
                .line
                .pages_of_cell(d, curve.cells())
                .expect("the line is not empty")
                .map(|place| {
                    let address = self.line.address_of(place)?;
                    let inside = (exercise.start..exercise.end).contains(&address);
                    inside.then(|| (address - exercise.start) / self.layout.page_size)
                })
                .collect();
            if let Some(pages) = pages {
                let (x, y) = curve.d2xy(d);
                cells.push((pages, self.density[[y as usize, x as usize]]));
            }
        }
        cells
    }
}

/// Every cell is as hot as the share of its pages that `written` names, all the time.
fn assert_cells(cells: &[(Vec<u64>, f32)], written: impl Fn(u64) -> bool) {
    let mut hot = 0;
    for (pages, density) in cells {
        let share = pages.iter().filter(|page| written(**page)).count() as f32 / pages.len() as f32;
        if share == 0.0 {
            assert_eq!(*density, 0.0, "pages {pages:?} were never written");
        } else {
            // On a busy machine the target may miss a window; the windows it wrote in outweigh that.
            assert!(
                (0.5 * share..=share + 1e-5).contains(density),
                "pages {pages:?}: {density}, written {share}"
            );
            hot += 1;
        }
    }
    assert!(hot > 0, "nothing is hot");
}

const MIB: u32 = 64;
const PAGES: u64 = MIB as u64 * 256;

#[test]
fn a_block_is_hot_and_nothing_else() {
    let (_running, exercise) = start_exercise("block", MIB);
    for order in [None, Some(5), Some(9)] {
        let shot = snapshot(exercise.pid, "2", order, EXACT);
        let cells = shot.cells(&exercise);
        assert!(cells.len() as u32 > HilbertSkilling::new(shot.layout.order).cells() * 9 / 10);
        assert_cells(&cells, |page| (PAGES / 4..PAGES / 2).contains(&page));
    }
}

#[test]
fn a_stride_is_hot_and_nothing_between() {
    let (_running, exercise) = start_exercise("stride", MIB);
    let shot = snapshot(exercise.pid, "2", Some(8), EXACT);
    assert_cells(&shot.cells(&exercise), |page| page % 16 == 0);
}

#[test]
fn a_moving_front_leaves_a_trail_that_fades() {
    let (_running, exercise) = start_exercise("front", MIB);
    let shot = snapshot(exercise.pid, "4", Some(7), EXACT);
    let cells = shot.cells(&exercise);
    // The brightest cell is near the head; behind it the trail gets darker, and what lies before it was left
    // long ago.
    let head = (0..cells.len()).max_by(|a, b| cells[*a].1.total_cmp(&cells[*b].1)).unwrap();
    let lap = cells.len();
    let behind = |steps: usize| cells[(head + lap - steps % lap) % lap].1;
    // A lap takes five seconds, so a tenth of it two half-lives. A page may have been hit in one window or in
    // two, so it is the mean over such a stretch that must fall.
    let mean = |tenth: usize| {
        (tenth * lap / 10..(tenth + 1) * lap / 10).map(behind).sum::<f32>() / (lap / 10) as f32
    };
    let trail: Vec<f32> = (0..5).map(mean).collect();
    assert!(
        trail.windows(2).all(|pair| pair[1] < 0.7 * pair[0]) && trail[0] > 0.05,
        "the trail fades: {trail:?}"
    );
    assert_eq!(behind(lap * 4 / 5), 0.0, "four seconds ago is forgotten");
}

#[test]
fn a_program_that_ran_before_is_watched_and_still_right_after() {
    let program = "
import sys
data = bytearray(8 << 20)
total = 0
print('ready', flush=True)
for line in sys.stdin:
    for i in range(0, len(data), 4096):
        data[i] = (data[i] + 1) & 255
    total += 1
    if line == 'end\\n':
        break
print(sum(data), total * 2048, flush=True)
";
    let (mut running, mut stdout) = start(Command::new("python3").args(["-c", program]));
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let mut stdin = running.0.stdin.take().unwrap();
    let pid = running.0.id();
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        for _ in 0..150 {
            stdin.write_all(b"again\n").unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        stdin.write_all(b"end\n").unwrap();
    });
    let shot = snapshot(pid, "2", None, &[]);
    writer.join().unwrap();
    line.clear();
    stdout.read_line(&mut line).unwrap();
    let (sum, expected) = line.trim().split_once(' ').unwrap();
    assert_eq!(sum, expected, "the target's own arithmetic");
    assert!(running.0.wait().unwrap().success());
    assert!(shot.report["fault_rate"].as_f64().unwrap() > 2048.0, "{}", shot.report);
}

#[test]
fn the_report_has_the_promised_fields() {
    let (_running, exercise) = start_exercise("idle", 4);
    let Snapshot { report, layout, .. } = snapshot(exercise.pid, "0.5", None, EXACT);
    assert_eq!(report["pid"], exercise.pid);
    assert_eq!(report["comm"], "memory-glass");
    assert_eq!(report["rung"], "wp-async");
    assert_eq!(report["reconstruction_accuracy"], 1.0);
    assert_eq!(report["hilbert_order"], layout.order);
    assert_eq!(report["pages"], layout.pages);
    for number in [
        "windows",
        "fault_rate",
        "active_threads",
        "sampling_rate",
        "overhead_percent",
        "memory_overhead_mb",
        "armed_share",
    ] {
        assert!(report[number].is_number(), "{number}: {}", report[number]);
    }
    // Of a target that does next to nothing, nobody knows.
    let factor = report.get("slow_down_factor").expect("it is said");
    assert!(factor.is_null() || factor.as_f64() >= Some(1.0), "{factor}");
    assert!(report["lost"].as_array().unwrap().iter().all(|lost| lost["reason"].is_string()));
    for flag in ["memory_avalanche_detected", "phase_transition_detected"] {
        assert!(report[flag].is_boolean(), "{flag}: {}", report[flag]);
    }
    let placed: u64 =
        layout.regions.iter().map(|region| (region.end - region.start) / layout.page_size).sum();
    assert_eq!(placed, layout.pages);
}

#[test]
fn a_picture_is_drawn() {
    let (_running, exercise) = start_exercise("block", 4);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("map.png");
    let target = exercise.pid.to_string();
    let output = glass()
        .args(["snapshot", &target, "--seconds", "0.5", "--size", "320x200", "-o"])
        .arg(&path)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let reader = png::Decoder::new(BufReader::new(File::open(&path).unwrap())).read_info().unwrap();
    assert_eq!((reader.info().width, reader.info().height), (320, 200));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains(path.to_str().unwrap()),
        "it says where the picture is"
    );
}

/// The command fails with this status and one line that holds `words`, and prints nothing on stdout.
fn assert_refused(output: &Output, status: i32, words: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{message}");
    assert!(output.stdout.is_empty());
    if status == 1 {
        assert_eq!(message.trim_end().lines().count(), 1, "one line: {message}");
    }
    for word in words {
        assert!(message.contains(word), "no \"{word}\" in: {message}");
    }
}

#[test]
fn what_cannot_be_watched_is_refused_with_a_remedy() {
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let dead = glass().args(["snapshot", &gone.id().to_string()]).output().unwrap();
    assert_refused(&dead, 1, &["there is no process", "ps -e"]);

    let nobody = glass().args(["snapshot", "no-such-program-anywhere"]).output().unwrap();
    assert_refused(&nobody, 1, &["no process is named", "ps -e"]);

    let exe = env!("CARGO_BIN_EXE_memory-glass");
    let ourselves = Command::new("sh").args(["-c", &format!("exec '{exe}' snapshot $$")]).output().unwrap();
    assert_refused(&ourselves, 1, &["memory-glass itself", "choose another"]);
}

#[test]
fn a_process_of_another_user_is_refused_without_roots_word() {
    let (running, _stdout) = start(Command::new("sleep").arg("60"));
    let mut command = glass();
    let target = if nix::unistd::geteuid().is_root() {
        // The binary must be reachable for nobody; the temporary copy is.
        let directory = tempfile::tempdir().unwrap().keep();
        let copy = directory.join("memory-glass");
        std::fs::copy(env!("CARGO_BIN_EXE_memory-glass"), &copy).unwrap();
        open_to_all(&directory);
        command = Command::new(&copy);
        command.uid(65_534).gid(65_534);
        running.0.id()
    } else {
        1
    };
    let output = command.args(["snapshot", &target.to_string()]).output().unwrap();
    assert_refused(&output, 1, &["may not be watched by user", "memory-glass-broker.socket"]);
    std::fs::remove_dir_all(Path::new(command.get_program()).parent().unwrap()).unwrap_or_default();
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn without_vulkan_or_a_display_the_remedy_is_named() {
    let (_running, exercise) = start_exercise("idle", 1);
    let target = exercise.pid.to_string();
    let no_vulkan = glass()
        .args(["snapshot", &target, "--seconds", "0.2", "-o", "/dev/null"])
        .env("VK_ICD_FILENAMES", "/nonexistent.json")
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .output()
        .unwrap();
    assert_refused(&no_vulkan, 1, &["Vulkan", "mesa-vulkan-drivers"]);

    // With a display there, this would take it.
    if !Path::new("/dev/dri").exists() {
        let no_display =
            glass().args(["session", "--backend", "tty"]).env_remove("DISPLAY").output().unwrap();
        assert_eq!(no_display.status.code(), Some(1));
        let message = String::from_utf8_lossy(&no_display.stderr);
        let last = message.lines().last().unwrap();
        assert!(last.starts_with("memory-glass: ") && last.contains("--backend headless"), "{message}");
    }
    // A desktop that is not there.
    let desktop = glass().arg("session").env("WAYLAND_DISPLAY", "wayland-77").output().unwrap();
    assert_eq!(desktop.status.code(), Some(1));
    let message = String::from_utf8_lossy(&desktop.stderr);
    let last = message.trim_end().lines().last().unwrap();
    assert!(last.contains("no window on this desktop") && last.contains("Ctrl+Alt+F3"), "{message}");
}

/// A thread is there; it is only not what is asked for.
#[test]
fn a_thread_is_no_process_that_is_missing() {
    let own = std::process::id();
    let tasks = std::fs::read_dir("/proc/self/task").expect("there is one").flatten();
    let mut threads = tasks.filter_map(|task| task.file_name().to_str()?.parse::<u32>().ok());
    // The test runs on one of its own.
    let thread = threads.find(|thread| *thread != own).expect("there is another");
    let output =
        glass().args(["snapshot", &thread.to_string(), "--seconds", "0.2"]).output().expect("it runs");
    assert_refused(&output, 1, &[&format!("{thread} is a thread of process {own}")]);
}

#[test]
fn a_time_shorter_than_a_window_is_one_window() {
    let (_target, announced) = start_exercise("block", 8);
    // However late a busy machine comes to it.
    let short = ["--window-ms", "20000", "--seconds", "0.001", "--json"];
    let output = glass().args(["snapshot", &announced.pid.to_string()]).args(short).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["windows"], 1);
    let folder = tempfile::tempdir().expect("a folder");
    let recording = folder.path().join("short.mgr");
    let mut record = glass();
    record.args(["record", &announced.pid.to_string()]).args(short).arg("-o").arg(&recording);
    let report: Value = serde_json::from_slice(&record.output().expect("it runs").stdout).expect("JSON");
    assert_eq!(report["windows"], 1);
    // A recording is no process that is missing, wherever one begins in it.
    for words in [["--from", "1000"], ["--seconds", "0.0001"]] {
        let output = glass().arg("snapshot").arg("--replay").arg(&recording).args(words).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || said.contains("--from"), "{said}");
        assert!(!said.contains("no process"), "{said}");
    }
}

/// A disk that is full, as far as the writer can tell: no file may be larger than a few kilobytes.
#[test]
fn of_a_file_that_cannot_be_written_whole_nothing_stays() {
    let (target, announced) = start_exercise("block", 8);
    let folder = tempfile::tempdir().expect("a folder");
    // From a recording: attaching writes files, too.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let recording = elsewhere.path().join("block.mgr");
    let recorded = glass()
        .args(["record", &announced.pid.to_string(), "--seconds", "0.5", "-o"])
        .arg(&recording)
        .output()
        .expect("it runs");
    assert!(recorded.status.success(), "{}", String::from_utf8_lossy(&recorded.stderr));
    drop(target);
    for (option, name) in [("-o", "map.png"), ("--density", "map.npy"), ("--layout", "map.json")] {
        let file = folder.path().join(name);
        for before in [None, Some("before")] {
            if let Some(before) = before {
                std::fs::write(&file, before).expect("written");
            }
            // One block of 512 bytes, or of 1024: as the shell has it.
            let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
            let output = Command::new("sh")
                .args(["-c", script, env!("CARGO_BIN_EXE_memory-glass"), "snapshot", "--replay"])
                .arg(&recording)
                .args(["--order", "8", option])
                .arg(&file)
                .output()
                .expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if name == "map.json" && output.status.success() {
                // A layout may be short enough.
                std::fs::remove_file(&file).expect("it was written");
                continue;
            }
            assert_eq!(output.status.code(), Some(1), "{name}: {said}");
            assert!(said.contains(name), "{said}");
            let left: Vec<_> = std::fs::read_dir(folder.path()).expect("there").flatten().collect();
            assert_eq!(left.len(), usize::from(before.is_some()), "{left:?}");
            assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), before, "{name}");
            let _ = std::fs::remove_file(&file);
        }
    }
}

#[test]
fn wrong_usage_ends_with_two() {
    for wrong in [
        &["snapshot"][..],
        &["snapshot", "1", "--order", "13"],
        &["snapshot", "1", "--seconds", "-1"],
        &["no-such"],
    ] {
        assert_refused(&glass().args(wrong).output().unwrap(), 2, &["--help"]);
    }
}

#[test]
fn a_recording_can_be_looked_at_in_every_mode() {
    let folder = tempfile::tempdir().expect("a folder");
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces/cascade.mgr");
    let draw = |name: &str, options: &[&str]| {
        let file = folder.path().join(name);
        let mut command = glass();
        command.args(["snapshot", "--seconds", "12", "--size", "320x240", "--replay"]).arg(&recording);
        let output = command.args(options).arg("-o").arg(&file).output().expect("it runs");
        assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(&file).expect("the picture")
    };
    let all: [&[&str]; 8] = [
        &[],
        &["--mode", "kinetic"],
        &["--mode", "phase"],
        &["--mode", "avalanche"],
        &["--mode", "time-series"],
        &["--mode", "volume"],
        &["--scale", "logarithmic"],
        &["--glow"],
    ];
    let pictures: Vec<Vec<u8>> = all.iter().map(|options| draw("map.png", options)).collect();
    for (at, picture) in pictures.iter().enumerate() {
        assert!(!pictures[..at].contains(picture), "{:?} shows what another does", all[at]);
    }
    assert_eq!(draw("again.png", all[3]), pictures[3], "a recording is the same each time");
}
