//! Outputs, as clients see them.

use smithay::delegate_output;
use smithay::wayland::output::OutputHandler;

use crate::display::Compositor;

impl OutputHandler for Compositor {}

delegate_output!(Compositor);
