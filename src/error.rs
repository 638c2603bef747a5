//! The one error that crosses the crate's boundary.
//!
//! Each layer has a typed error of its own (`capture::CaptureError`, `render::RenderError`, `display::DisplayError`), which
//! says what failed, on what, and what the person can do. They convert into the variants below, which are what the
//! specification promises to callers.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What every public entry point of the crate returns.
pub type Result<T, E = GlassRamError> = std::result::Result<T, E>;

/// Why memory.glass could not do what it was asked for. One line each: what failed, on what, and the remedy.
#[derive(Debug, Clone, PartialEq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum GlassRamError {
    /// The running kernel lacks something that came with a later version.
    #[error("this needs Linux {required}, the running kernel is {detected}: boot a newer kernel")]
    KernelVersionTooOld {
        /// The first version that would do, e.g. "6.7".
        required: String,
        /// What `uname -r` says.
        detected: String,
    },

    /// The kernel, the driver or the target does not allow it; the text says which and what to do.
    #[error("{feature}")]
    FeatureNotSupported {
        /// What is missing, on what, and the remedy.
        feature: String,
    },

    /// No process has this number.
    #[error("there is no process {pid}: list the running ones with `ps -e` and try again")]
    ProcessNotFound {
        /// The number that was asked for.
        pid: u32,
    },

    /// The process exists, but the kernel does not let us look into it.
    #[error(
        "process {pid} may not be attached to: run as its user with CAP_SYS_PTRACE, or as root (`sudo memory-glass …`)"
    )]
    PermissionDenied {
        /// The process that was asked for.
        pid: u32,
    },

    /// A step of the capture set-up failed.
    #[error(
        "{operation} failed: {} (errno {errno}); `memory-glass doctor` says what this machine allows",
        nix::errno::Errno::from_raw(*errno).desc()
    )]
    UffdError {
        /// The step, with what it was done to.
        operation: String,
        /// The kernel's answer.
        errno: i32,
    },

    /// No buffer that both the GPU and the display controller can use.
    #[error(
        "no dma-buf for the map: {reason}; the map can still be composited (`--placement` and `memory-glass doctor`)"
    )]
    DmaBufAllocationFailed {
        /// What refused, and why.
        reason: String,
    },

    /// The density map could not be reconstructed well enough.
    #[error(
        "the density map could not be reconstructed (accuracy {accuracy:.3}): sample more pages, or lay the map on a line that \
         holds them"
    )]
    ReconstructionFailed {
        /// The accuracy that was reached, 0..1.
        accuracy: f32,
    },

    /// Rendering or showing the map failed; the text says where and what to do.
    #[error("{reason}")]
    VisualizationFailed {
        /// What failed, on what, and the remedy.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_line_that_says_what_and_what_to_do() {
        let all = [
            GlassRamError::KernelVersionTooOld { required: "6.7".into(), detected: "5.4.0".into() },
            GlassRamError::FeatureNotSupported { feature: "no WP_ASYNC: boot Linux 6.7 or later".into() },
            GlassRamError::ProcessNotFound { pid: 7 },
            GlassRamError::PermissionDenied { pid: 7 },
            GlassRamError::UffdError { operation: "UFFDIO_API on process 7".into(), errno: 22 },
            GlassRamError::DmaBufAllocationFailed { reason: "no GBM device".into() },
            GlassRamError::ReconstructionFailed { accuracy: 0.5 },
            GlassRamError::VisualizationFailed {
                reason: "no Vulkan device: install mesa-vulkan-drivers".into(),
            },
        ];
        insta::assert_snapshot!(all.map(|error| error.to_string()).join("\n"));
    }
}
