//! What this machine can and cannot do, each line with its reason and remedy.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::capture::{self, Rung};
use crate::display::survey::{self, CardSurvey};
use crate::render::Gpu;

/// How a finding bears on the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// The session runs, with something less.
    Less,
    /// The session cannot run.
    Missing,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it bears on the session.
    pub verdict: Verdict,
    /// What was found, and why that matters.
    pub reason: String,
    /// What to do about it; nothing where it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn good(what: &'static str, reason: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Good, reason: reason.into(), remedy: None }
    }

    fn less(what: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Less, reason: reason.into(), remedy: Some(remedy.into()) }
    }

    fn missing(what: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Missing, reason: reason.into(), remedy: Some(remedy.into()) }
    }
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Whether the session can run on this machine's display.
    session: bool,
    findings: Vec<Finding>,
}

impl Findings {
    /// Whether the session can run on this machine's display.
    pub fn session_can_run(&self) -> bool {
        self.session
    }
}

/// Looks at the machine; changes nothing.
pub fn examine() -> Findings {
    let mut findings = vec![kernel()];
    findings.extend(ladder());
    findings.extend([reads(), threads(), permission(), vulkan()]);
    findings.extend(cards(survey::cards()));
    findings.extend([seat(), runtime_directory(), terminal()]);
    Findings { session: findings.iter().all(|finding| finding.verdict != Verdict::Missing), findings }
}

fn kernel() -> Finding {
    match Rung::probe() {
        Ok(Rung::WpAsync) => {
            Finding::good("capture", "wp-async: every written page is seen, nothing waits for us")
        }
        Ok(rung) => Finding::less(
            "capture",
            format!("{rung} is the best that this kernel has; lost are {}", rung.lost()),
            "boot Linux 6.7 or later with userfaultfd",
        ),
        Err(error) => {
            Finding::missing("capture", error.to_string(), "boot Linux 6.7 or later with userfaultfd")
        }
    }
}

/// The rungs below the best one: what `--rung` can ask for.
fn ladder() -> impl Iterator<Item = Finding> {
    Rung::LADDER.into_iter().skip(1).map(|rung| match rung.try_out() {
        Ok(()) => Finding::good("capture", format!("{rung}: there, for `--rung`")),
        Err(error) => Finding::less(
            "capture",
            format!("{rung} is not there: {error}"),
            "nothing, while a better one is",
        ),
    })
}

fn reads() -> Finding {
    match capture::reads() {
        Ok(()) => {
            Finding::less("reads", "the kernel could follow reads; this version shows writes only", "nothing")
        }
        Err(reason) => Finding::less(
            "reads",
            format!("{reason}: only writes are shown"),
            "nothing: newer kernels will have it",
        ),
    }
}

fn threads() -> Finding {
    match capture::may_sample_threads() {
        Ok(()) => Finding::good("threads", "perf events are permitted: windows say which thread wrote"),
        Err(reason) => Finding::less(
            "threads",
            format!("who writes is not known: {reason}"),
            "grant CAP_PERFMON, or run as root",
        ),
    }
}

fn permission() -> Finding {
    const WHAT: &str = "attaching";
    if capture::may_trace_anyone() {
        return Finding::good(WHAT, "CAP_SYS_PTRACE: any process may be watched");
    }
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim() {
        "" | "0" => Finding::less(
            WHAT,
            "without CAP_SYS_PTRACE only your own processes may be watched",
            "run as root to watch others (`sudo memory-glass …`)",
        ),
        scope => Finding::less(
            WHAT,
            format!(
                "without CAP_SYS_PTRACE, and with Yama's ptrace_scope {scope}, no running process may be watched"
            ),
            "run as root, or `sudo sysctl kernel.yama.ptrace_scope=0` for your own processes",
        ),
    }
}

fn vulkan() -> Finding {
    const WHAT: &str = "vulkan";
    match Gpu::new().map(|gpu| gpu.describe()) {
        Err(error) => Finding::missing(WHAT, error.to_string(), "apt install mesa-vulkan-drivers"),
        Ok(gpu) if gpu.dma_buf_import => Finding::good(WHAT, gpu.to_string()),
        Ok(gpu) => Finding::less(
            WHAT,
            format!("{gpu}; so the map is copied and composited, it cannot have a plane of its own"),
            "use a driver with VK_EXT_external_memory_dma_buf (Mesa 25 or later has it in software too)",
        ),
    }
}

fn cards(cards: Vec<(std::path::PathBuf, std::io::Result<CardSurvey>)>) -> Vec<Finding> {
    const WHAT: &str = "display";
    if cards.is_empty() {
        return vec![Finding::missing(
            WHAT,
            "no DRM device: the session has no screen to own",
            "load a display driver (`ls /dev/dri` should list card0); `memory-glass session --backend headless` and \
             `memory-glass snapshot` run without one",
        )];
    }
    let usable = |card: &CardSurvey| card.atomic && card.connected > 0;
    let any_usable = cards.iter().any(|(_, card)| card.as_ref().is_ok_and(usable));
    // One card that works is enough; what the others lack is then only less.
    let short = if any_usable { Finding::less } else { Finding::missing };
    cards
        .into_iter()
        .map(|(node, card)| match card {
            Err(error) => short(
                WHAT,
                format!("{} cannot be opened: {error}", node.display()),
                "log in on the seat, or join the groups video and render".to_owned(),
            ),
            Ok(card) => {
                let name = format!("{} ({})", node.display(), card.driver);
                if !card.atomic {
                    let reason = format!("{name} has no atomic mode setting, which planes need");
                    short(WHAT, reason, "use another card or driver".to_owned())
                } else if card.connected == 0 {
                    short(WHAT, format!("{name} has no screen on it"), "connect one".to_owned())
                } else if card.overlay_planes == 0 {
                    let reason = format!(
                        "{name}: {} connected, no overlay plane, the map is composited",
                        card.connected
                    );
                    Finding::less(WHAT, reason, "nothing: it only costs a copy a frame")
                } else {
                    let planes = card.overlay_planes;
                    Finding::good(
                        WHAT,
                        format!("{name}: {} connected, {planes} overlay planes", card.connected),
                    )
                }
            }
        })
        .collect()
}

fn seat() -> Finding {
    match survey::seat_manager() {
        Some(manager) => Finding::good("seat", format!("{manager} manages it")),
        None => Finding::missing(
            "seat",
            "neither logind nor seatd runs: nobody hands out the screen and the keyboard",
            "`systemctl start seatd`, or log in on a machine with systemd-logind",
        ),
    }
}

fn runtime_directory() -> Finding {
    const WHAT: &str = "wayland";
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if Path::new(&directory).is_dir() => {
            Finding::good(WHAT, format!("sockets go to {}", directory.display()))
        }
        Some(directory) => Finding::missing(
            WHAT,
            format!("XDG_RUNTIME_DIR is {}, which is no directory", directory.display()),
            "create it with mode 0700, yours alone",
        ),
        None => Finding::missing(
            WHAT,
            "XDG_RUNTIME_DIR is not set: Wayland programs could not find the session",
            "log in through PAM (a TTY does), or set it to a directory of yours with mode 0700",
        ),
    }
}

fn terminal() -> Finding {
    let wanted =
        std::env::var("TERMINAL").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "foot".into());
    let on_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join(&wanted).is_file());
    if on_path || Path::new(&wanted).is_file() {
        Finding::good("terminal", format!("Super+Return opens {wanted}"))
    } else {
        Finding::less(
            "terminal",
            format!("{wanted} is not installed: Super+Return opens nothing"),
            "apt install foot, or set TERMINAL",
        )
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { what, verdict, reason, remedy } in &self.findings {
            let mark = match verdict {
                Verdict::Good => "good",
                Verdict::Less => "less",
                Verdict::Missing => "MISSING",
            };
            writeln!(f, "{mark:<8} {what:<10} {reason}")?;
            if let Some(remedy) = remedy {
                writeln!(f, "{:19} → {remedy}", "")?;
            }
        }
        if self.session {
            writeln!(f, "The session can run: `memory-glass` on a TTY.")
        } else {
            writeln!(f, "The session cannot run here; what is MISSING says why.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(
        atomic: bool,
        connected: usize,
        overlay_planes: usize,
    ) -> (std::path::PathBuf, std::io::Result<CardSurvey>) {
        let node = std::path::PathBuf::from("/dev/dri/card0");
        (node.clone(), Ok(CardSurvey { node, driver: "vkms".into(), atomic, connected, overlay_planes }))
    }

    #[test]
    fn one_usable_card_is_enough() {
        let verdicts =
            |cards_there| cards(cards_there).iter().map(|finding| finding.verdict).collect::<Vec<_>>();
        assert_eq!(verdicts(vec![]), [Verdict::Missing]);
        assert_eq!(verdicts(vec![card(false, 1, 1)]), [Verdict::Missing]);
        assert_eq!(verdicts(vec![card(true, 0, 1)]), [Verdict::Missing]);
        assert_eq!(verdicts(vec![card(true, 1, 0)]), [Verdict::Less]);
        assert_eq!(verdicts(vec![card(true, 1, 2), card(false, 1, 0)]), [Verdict::Good, Verdict::Less]);
    }

    #[test]
    fn what_is_not_good_has_a_remedy() {
        let findings = examine();
        assert!(!findings.findings.is_empty());
        for finding in &findings.findings {
            assert_eq!(finding.verdict == Verdict::Good, finding.remedy.is_none(), "{finding:?}");
        }
    }
}
