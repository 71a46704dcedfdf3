//! A drill: a recovery point restored onto a site made for it, looked at, and taken away again, whatever happens.
//!
//! The site of a drill is a whole one, in a network of its own that no visitor may enter: the same profile, the point's
//! version and edition, another name, no alarms, no backups of its own. Its GitLab is silent: no mail, no webhooks, no
//! mirrors. The proof, with the times that everything took, is signed and kept on the point. Everything that a drill
//! makes carries `gantry:drill` with the name of the site it is a drill of, and nothing without it is ever removed.
//!
//! A drill measures time. One that was cut off measures nothing, so it is not taken up: what it left is removed, and the
//! next begins anew. Why it is done so: `docs/design/0014-drills.md`.

mod aside;
mod book;
mod proof;
mod site;

pub use self::book::{
    Afterwards, Ask, Came, Drill, MACHINES, REMOVAL, RESTORE, SITE, Settled, Surroundings, VERB,
    clean, go, note, settle, verdict,
};
pub use self::proof::{Proof, Recorded};
pub use self::site::{own, site_of, suits};
