//! The attach broker, as a service and as a part of a session. Needs root, to be several users.

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod crowds;
mod harness;
mod links;
mod rights;
mod service;
