//! The ten programs that the default session is tried on: real ones as their packages have them, and patterns
//! that are hard to watch.

use std::io::{ErrorKind, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::redis::Redis;
use crate::support::{self, Target};

/// A running target and the work that it can be made to do.
pub struct Load {
    pub pid: u32,
    pub work: Box<dyn FnMut()>,
    /// Kept so that they end with the load.
    _kept: Option<Box<dyn std::any::Any>>,
}

/// A child that ends with it.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One of the programs.
pub struct Loaded {
    pub name: &'static str,
    /// Processors that it and who gives it work keep busy.
    pub threads: usize,
    /// It ends with its work, so that each run is a process of its own.
    pub once: bool,
    /// Starts it; or says why it cannot be.
    pub start: fn() -> Result<Load, String>,
}

pub const PROGRAMS: [Loaded; 10] = [
    Loaded { name: "redis", threads: 2, once: false, start: || redis(&["-n", "60000"]) },
    Loaded { name: "pipelined", threads: 2, once: false, start: || redis(&["-n", "300000", "-P", "16"]) },
    Loaded { name: "sqlite", threads: 1, once: false, start: sqlite },
    Loaded { name: "python", threads: 1, once: false, start: python },
    Loaded { name: "node", threads: 1, once: false, start: node },
    Loaded { name: "java", threads: 2, once: false, start: java },
    Loaded { name: "gcc", threads: 1, once: true, start: gcc },
    Loaded { name: "stencil", threads: 4, once: false, start: || Ok(own("stencil", 128, 24)) },
    Loaded { name: "random", threads: 1, once: false, start: || Ok(own("rmw", 256, 20_000_000)) },
    Loaded { name: "zipf", threads: 1, once: false, start: || Ok(own("zipf", 256, 4_000_000)) },
];

fn own(name: &str, mib: usize, amount: usize) -> Load {
    let mut target = Target::start(&format!("load {name} {mib} {amount}"));
    target.line();
    asked(target, "go".into())
}

/// A target that does its work for a line, and says when it is done.
fn asked(mut target: Target, work: String) -> Load {
    let pid = target.pid();
    let work = Box::new(move || {
        target.say(&work);
        assert_eq!(target.line(), "done");
    });
    Load { pid, work, _kept: None }
}

/// Whether this program can be started at all.
fn is_there(program: &str, question: &str) -> Result<(), String> {
    let asked = Command::new(program).arg(question).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match asked {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{program} {question}` ends with {status}")),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(format!("{program} is not installed")),
        Err(error) => Err(format!("{program} cannot be started: {error}")),
    }
}

fn fed(command: &mut Command, ready: &str, work: &str) -> Load {
    let mut target = Target::start_quietly(command);
    target.say(ready);
    assert_eq!(target.line(), "ready");
    asked(target, work.into())
}

/// A server of 100,000 keys of 1,000 bytes, which are set at random.
pub fn redis(how: &'static [&'static str]) -> Result<Load, String> {
    is_there("redis-server", "--version")?;
    is_there("redis-benchmark", "--version")?;
    let server = Redis::start();
    let (pid, socket) = (server.pid(), server.socket.clone());
    let benchmark = move |how: &[&str]| {
        let done = Command::new("redis-benchmark")
            .args(["-s", &socket, "-t", "set", "-r", "100000", "-d", "1000", "-q"])
            .args(how)
            .stdout(Stdio::null())
            .status();
        assert!(done.expect("it has just said its version").success());
    };
    benchmark(&["-n", "500000", "-P", "16"]);
    Ok(Load { pid, work: Box::new(move || benchmark(how)), _kept: Some(Box::new(server)) })
}

fn sqlite() -> Result<Load, String> {
    is_there("sqlite3", "--version")?;
    let ready = "create table t(a integer primary key, b text, c integer);\n\
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) \
        insert into t select i, hex(randomblob(200)), i % 1000 from n;\n\
        create index x on t(c);\n.print ready";
    let work = "update t set c = (c * 7 + a) % 1000 where a % 3 = 0;\n\
        update t set b = b || 'x' where c < 150;\nupdate t set b = rtrim(b, 'x') where c < 150;\n.print done";
    Ok(fed(Command::new("sqlite3").arg(":memory:"), ready, work))
}

fn python() -> Result<Load, String> {
    is_there("python3", "--version")?;
    let program = "
import sys
table, rows = {}, [0] * 2000000
print('ready', flush=True)
for line in sys.stdin:
    if line.strip() != 'work': continue
    for i in range(600000):
        table[i % 100000] = [i] * 8
        rows[(i * 4099) % len(rows)] = i
    print('done', flush=True)
";
    Ok(fed(Command::new("python3").args(["-c", program]), "", "work"))
}

fn node() -> Result<Load, String> {
    is_there("node", "--version")?;
    let program = "
const table = new Map(), rows = new Float64Array(8 << 20).fill(1);
console.log('ready');
require('readline').createInterface({ input: process.stdin }).on('line', line => {
    if (line.trim() !== 'work') return;
    for (let i = 0; i < 1000000; i++) {
        table.set(i % 100000, { at: i, row: [i, i + 1] });
        rows[(i * 4099) % rows.length] += i;
    }
    console.log('done');
});
";
    Ok(fed(Command::new("node").args(["-e", program]), "", "work"))
}

/// With the collector that it has by default where there are processors for it.
fn java() -> Result<Load, String> {
    is_there("java", "-version")?;
    is_there("javac", "-version")?;
    let program = "
import java.io.*;
import java.util.*;
public class Work {
    public static void main(String[] words) throws IOException {
        HashMap<Integer, int[]> table = new HashMap<>();
        long[] rows = new long[8 << 20];
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        System.out.println(\"ready\");
        for (String line; (line = in.readLine()) != null;) {
            if (!line.trim().equals(\"work\")) continue;
            for (int i = 0; i < 3000000; i++) {
                table.put(i % 100000, new int[] { i, i + 1, i + 2, i + 3 });
                rows[(int) ((i * 4099L) % rows.length)] += i;
            }
            System.out.println(\"done\");
        }
    }
}
";
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("Work.java"), program).expect("written");
    let compiled = Command::new("javac").arg("Work.java").current_dir(directory.path()).status();
    assert!(compiled.is_ok_and(|status| status.success()), "the program is right");
    let mut command = Command::new("java");
    command.args(["-XX:+UseG1GC", "-Xms256m", "-Xmx256m", "-cp"]).arg(directory.path()).arg("Work");
    // Its class is loaded when it is ready.
    Ok(fed(&mut command, "", "work"))
}

/// The compiler proper, which waits for its source and ends with it.
fn gcc() -> Result<Load, String> {
    is_there("gcc", "--version")?;
    let path = Command::new("gcc").arg("-print-prog-name=cc1").output().expect("it was there").stdout;
    let path = String::from_utf8(path).expect("a path");
    let mut child = Command::new(path.trim())
        .args(["-quiet", "-O1", "-", "-o", "/dev/null"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", path.trim()))?;
    let mut input = child.stdin.take();
    let pid = child.id();
    // It is done when it is a zombie, whose time can still be read.
    let work = Box::new(move || {
        if let Some(mut input) = input.take() {
            input.write_all(source().as_bytes()).expect("it reads");
        }
        while !support::status(pid, "State").starts_with('Z') {
            std::thread::sleep(Duration::from_micros(500));
        }
    });
    Ok(Load { pid, work, _kept: Some(Box::new(Kept(child))) })
}

fn source() -> String {
    let mut text = String::from("typedef struct { int a, b; double c; } s;\n");
    for n in 0..3000 {
        let (mask, length) = (n % 63 + 1, n % 17 + 3);
        text += &format!(
            "static int f{n}(s *p, int n) {{ int r = 0; for (int i = 0; i < n; i++) {{ \
             r += p[i].a * {n} + p[i].b; if (r & {mask}) p[i].c += r / 3.0; else p[i].b ^= r; }} \
             return r; }}\n\
             int g{n}(s *p) {{ return f{n}(p, {length}) + {n}; }}\n"
        );
    }
    text
}
