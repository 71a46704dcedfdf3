//! One binary of integration tests, so that it links once.

mod kinds_compute;
mod kinds_data;
mod kinds_edge;
mod kinds_net;
mod kinds_store;
mod profiles;
mod site;
mod stage;
