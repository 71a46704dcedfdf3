//! gantry: a self-hosted GitLab on AWS, sized, secured, backed up and restorable.
//!
//! The map of the house. Data flows one way, and each stage knows nothing of the one after it:
//!
//! ```text
//! gantry.toml + profiles/ha-3k.toml
//!    Site + Profile ─► Blueprint ─► Plan ─► Apply ─► Inventory ─► Node
//!                         ▲           ▲       │
//!                      kinds/      Survey  Journal
//! ```

pub mod app;
pub mod apply;
pub mod blueprint;
pub mod boot;
pub mod cli;
pub mod clock;
pub mod cloud;
pub mod engine;
pub mod exit;
pub mod facts;
pub mod gitlab_rb;
pub mod inventory;
pub mod journal;
pub mod kinds;
pub mod lines;
pub mod names;
pub mod node;
pub mod ops;
pub mod plan;
pub mod policy;
pub mod probe;
pub mod profile;
pub mod resource;
pub mod runs;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod secret;
pub mod session;
pub mod shell;
pub mod site;
pub mod text;
pub mod ui;
