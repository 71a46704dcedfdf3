//! From a site and what is known of the world to every file of every node.
//!
//! [`Fleet`] says which machines there are and what they connect to; [`render`] writes their files. Both are pure:
//! the same arguments give the same files, byte for byte. No secret is in any file: `gitlab.rb` reads
//! [`SECRETS_PATH`], which a node fills for itself, and [`secrets_of`] says with what.
//!
//! What GitLab's own settings are called is in [`crate::gitlab_rb`], and how a value becomes Ruby in [`ruby`].

mod capacity;
mod fleet;
mod page;
mod render;
pub mod ruby;
mod scrape;

pub use self::capacity::Capacity;
pub use self::fleet::{Buckets, DataVolume, Endpoint, Fleet, Host, Place, PublicFront};
pub use self::render::{
    LICENSE_PATH, LOGIN, NodeFile, NodeFiles, RDS_BUNDLE_PATH, REDIRECT_PATH, RenderError,
    SECRETS_PATH, SecretNeed, TEMPLATES, admin_keys, render, secrets_of,
};
