//! The keeper: who holds the userfaultfd of a target that is watched asynchronously.
//!
//! A userfaultfd is more than the right to watch: with it one can put bytes of one's choice into the target
//! (`UFFDIO_COPY`) and let its threads wait for ever (synchronous protection). So nobody who watches has one.
//! Each attachment starts one small process that does, and that knows three things only: to put ranges of
//! that target under asynchronous write protection, to let go of them, and to say whether the target has a
//! userfaultfd of its own.
//!
//! **In**: messages of [`wire`], over a socket pair. **Out**: answers of the same kind. **Called by**
//! `attach`, which hands the descriptor over and has a [`Keeper`] instead, the way to the process. The socket
//! may be sent to who asked for the attachment; the other descriptors of an attachment can scan and arm, and
//! neither read nor write what is in memory.
//!
//! ```text
//!  attach ──start──► starter ──► keeper        a copy of us without our memory, our files, our rights
//!                    (ends)      │ serve       one message after another
//!  monitor ◄──client / wire────► │ let_go      when the client is gone: pieces, so that the target never waits long
//!                                │ restore     then huge pages that the watch has split
//!                                ▼ end         or at once when the target ends
//! ```
//!
//! # Who dies when
//!
//! The keeper is a child of who started it, who takes note of its end ([`reap`]); when that one ends, init
//! does.
//!
//! The keeper outlives its client, however that ends: the end of the socket is what it waits for. It ends by
//! itself. When it is killed, the kernel closes the userfaultfd: in the asynchronous mode nobody waits for
//! anything, so the target runs on, unwatched; what is lost are huge pages that would have been put together
//! again. The client notices at its next window
//! ([`CaptureError::KeeperDied`](super::CaptureError::KeeperDied)). A target that ends ends its keeper.
//!
//! # What it is
//!
//! It is made by clone(2) as the attach helper is, of a program that may have many threads, so what runs in
//! it calls nothing but the kernel ([`raw`]) and has all its memory from before ([`memory`]). It unmaps
//! whatever else it has inherited: what the client frees is not kept alive in here. It has no descriptor but
//! five, none of the client's rights but those that rebuilding huge pages and reading the list of the
//! target's descriptors take, cannot be looked into, and a seccomp filter ([`filter`]) ties it to these
//! descriptors and the requests of its tasks.

#![allow(unsafe_code)]

mod client;
mod filter;
mod kernel;
mod let_go;
mod list;
mod memory;
mod own;
mod raw;
mod reap;
mod restore;
mod serve;
mod start;
mod wire;

pub(super) use client::Keeper;
pub(super) use filter::IOCTLS;
pub(super) use reap::look_in;
pub(super) use start::{another_is_there, start};
