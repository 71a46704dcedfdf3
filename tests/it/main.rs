//! One binary of integration tests, so that it links once.

mod blueprint;
mod cli;
mod cli_errors;
mod conformance;
mod crash;
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
mod policy;
mod profiles;
mod site;
mod stage;
mod support;
