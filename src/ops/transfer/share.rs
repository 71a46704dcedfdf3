//! How much of what is stored is read back.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// A share of all objects: `5%`, `100%`. Which ones they are is decided by a seed, so that another week reads others
/// and the same seed reads the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Share {
    pub const ALL: Self = Self(100.0);
    pub const NONE: Self = Self(0.0);

    /// Whether the object with this key is among them.
    pub fn holds(self, seed: u64, key: &str) -> bool {
        let hash = Sha256::new()
            .chain_update(seed.to_le_bytes())
            .chain_update(key)
            .finalize();
        let place = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]);
        f64::from(place) < self.0 / 100.0 * (f64::from(u32::MAX) + 1.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.strip_suffix('%')
            .and_then(|number| number.parse::<f64>().ok())
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no share: write it like 5% or 100%"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_about_that_share_and_the_same_for_one_seed() {
        let share: Share = "5%".parse().unwrap();
        let chosen = |seed: u64| -> Vec<u32> {
            let held = |n: &u32| share.holds(seed, &format!("objects/{n}"));
            (0..20_000).filter(held).collect()
        };
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        assert!((800..1_200).contains(&chosen(3).len()));
    }

    #[test]
    fn all_is_all_and_nonsense_is_refused() {
        assert!((0..1_000).all(|n: u32| Share::ALL.holds(7, &n.to_string())));
        assert!(!(0..1_000).any(|n: u32| Share::NONE.holds(7, &n.to_string())));
        assert_eq!("100%".parse(), Ok(Share::ALL));
        for wrong in ["", "5", "%", "-1%", "101%", "NaN%"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
