//! A recovery point: one id, one signed manifest, and the parts that it names.
//!
//! The manifest is written last and never overwritten: without it there is no point, however much was saved. What
//! happens to a point afterwards (verified, pinned, drilled, being dropped) are objects beside it. Layout in the
//! backup bucket, below `points/<id>/`:
//!
//! ```text
//! manifest.json            the manifest in its signed envelope
//! parts/<part>.jsonl.gz    what is in a part that has too many members for the manifest
//! marks/…                  what was found out or decided later
//! ```

mod hex;
mod manifest;
mod marks;
pub mod seal;
mod sign;
mod store;

pub use self::manifest::{
    By, Chain, DiskImage, Edition, Engines, FORMAT, Gitlab, Manifest, ObjectIndex, Outcome, Part,
    PartName, PointId, Purpose, Rank, RegionCopy, Sealed, SiteOf, Way,
};
pub(in crate::ops) use self::marks::says_dropping;
pub use self::marks::{Drilled, Dropping, Health, Mark, Marks, Pin, Verified};
pub use self::sign::{Kind, SIGNING_KEY, SignError, Signer, Trusted};
pub use self::store::{Condition, Listed, Points, Standing, manifest_key};
