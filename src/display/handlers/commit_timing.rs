//! Pictures that are meant for a moment; when they are shown is decided in `moments.rs`. Smithay takes any number for a time, here it
//! has to be one.

use smithay::reexports::wayland_protocols::wp::commit_timing::v1::server::wp_commit_timer_v1::{
    self, WpCommitTimerV1,
};
use smithay::reexports::wayland_protocols::wp::commit_timing::v1::server::wp_commit_timing_manager_v1::WpCommitTimingManagerV1;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource, Weak, delegate_dispatch, delegate_global_dispatch,
};
use smithay::wayland::commit_timing::CommitTimingManagerState;

use crate::display::Compositor;

// What `delegate_commit_timing!` would write, but for the timer's own requests.
delegate_global_dispatch!(Compositor: [WpCommitTimingManagerV1: bool] => CommitTimingManagerState);
delegate_dispatch!(Compositor: [WpCommitTimingManagerV1: bool] => CommitTimingManagerState);

impl Dispatch<WpCommitTimerV1, Weak<WlSurface>> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        timer: &WpCommitTimerV1,
        request: wp_commit_timer_v1::Request,
        surface: &Weak<WlSurface>,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wp_commit_timer_v1::Request::SetTimestamp { tv_sec_hi, tv_nsec, .. } = request
            && (tv_nsec >= 1_000_000_000 || tv_sec_hi > u32::MAX >> 1)
        {
            return timer.post_error(wp_commit_timer_v1::Error::InvalidTimestamp, "this is no time");
        }
        <CommitTimingManagerState as Dispatch<_, _, Self>>::request(
            compositor, client, timer, request, surface, display, init,
        );
    }
}
