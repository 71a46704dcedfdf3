//! One binary of integration tests, so that it links once.

// Tests may be blunt, and their helpers too: a panic there is the message.
#![allow(
    clippy::unwrap_used,
    clippy::default_trait_access,
    clippy::items_after_statements,
    clippy::large_stack_arrays
)]

mod backup_cloud;
mod blueprint;
mod boot;
mod budget;
mod by_hand;
mod cli;
mod cli_backup;
mod cli_drill;
mod cli_errors;
mod cli_files;
mod cli_restore;
mod conformance;
mod corruption;
mod crash;
mod cycle;
mod docs;
mod doubles;
mod drill;
mod drill_crash;
mod facts;
mod faults;
mod git;
mod kinds_backup;
mod kinds_compute;
mod kinds_data;
mod kinds_edge;
mod kinds_net;
mod kinds_store;
mod lifecycle;
mod machines;
mod moto;
mod moto_gaps;
mod nodes;
mod order;
mod over_http;
mod points;
mod policy;
mod postgres;
mod preflight;
mod probe;
mod profiles;
mod prune;
mod refusals;
mod render;
mod restore;
mod restore_crash;
mod schedule;
mod site;
mod snapshots_left;
mod ssh;
mod stage;
mod support;
mod taking;
mod taking_crash;
mod transfer;
