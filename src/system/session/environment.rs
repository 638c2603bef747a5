//! The session among the person's services: they find its display, and systemd knows when it is ready.

use std::process::{Command, Stdio};

use sd_notify::NotifyState;
use tracing::{debug, warn};

use crate::capture::{rights, shortage};
use crate::display::Compositor;

/// Hands the session's variables to the person's systemd and D-Bus, so that what these start is started in the session. It is
/// waited for: units that come after ours may be started the moment that we say we are ready.
pub(super) fn export(compositor: &Compositor) {
    let own = compositor.environment();
    let fixed = [("XDG_CURRENT_DESKTOP", "memory-glass"), ("XDG_SESSION_TYPE", "wayland")];
    let variables = || own.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(fixed);
    let names: Vec<&str> = variables().map(|(name, _)| name).collect();
    for (program, arguments) in
        [("systemctl", &["--user", "import-environment"][..]), ("dbus-update-activation-environment", &[])]
    {
        let mut command = Command::new(program);
        shortage::as_before(&mut command);
        rights::keep_to_ourselves(&mut command);
        let status = command.args(arguments).args(&names).envs(variables()).stdin(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => debug!(program, "the environment is handed over"),
            Ok(status) => warn!(program, %status, "the environment is not handed over"),
            Err(error) => warn!(program, %error, "the environment is not handed over: is it installed?"),
        }
    }
}

/// Tells systemd, when it has started us.
pub(super) fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "systemd is not told");
    }
}
