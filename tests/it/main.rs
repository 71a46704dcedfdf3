//! One binary of integration tests, so that it links once.

// Tests may be blunt, and their helpers too: a panic there is the message.
#![allow(
    clippy::unwrap_used,
    clippy::default_trait_access,
    clippy::items_after_statements,
    clippy::large_stack_arrays
)]

mod blueprint;
mod boot;
mod budget;
mod by_hand;
mod cli;
mod cli_errors;
mod conformance;
mod crash;
mod docs;
mod facts;
mod faults;
mod kinds_compute;
mod kinds_data;
mod kinds_edge;
mod kinds_net;
mod kinds_store;
mod lifecycle;
mod moto;
mod moto_gaps;
mod nodes;
mod over_http;
mod policy;
mod probe;
mod profiles;
mod render;
mod site;
mod ssh;
mod stage;
mod support;
