//! gantry: a self-hosted GitLab on AWS, sized, secured, backed up and restorable.
//!
//! The map of the house. Data flows one way, and each stage knows nothing of the one after it:
//!
//! ```text
//! gantry.toml + profiles/ha-3k.toml
//!    Site + Profile ─► Blueprint ─► Plan ─► Apply ─► Inventory
//!                         ▲           ▲       │
//!                      kinds/      Survey  Journal
//! ```

pub mod blueprint;
pub mod clock;
pub mod cloud;
pub mod kinds;
pub mod names;
pub mod profile;
pub mod resource;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod secret;
pub mod site;
pub mod text;
