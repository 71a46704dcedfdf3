//! The profile files: embedded, or from a directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use miette::{Diagnostic, NamedSource, SourceSpan};
use thiserror::Error;

use super::{Availability, Profile, ProfileName};

static EMBEDDED: LazyLock<Profiles> = LazyLock::new(|| {
    let files = [
        include_str!("../../profiles/single-box.toml"),
        include_str!("../../profiles/poc-2k.toml"),
        include_str!("../../profiles/ha-3k.toml"),
        include_str!("../../profiles/ha-5k.toml"),
        include_str!("../../profiles/ha-10k.toml"),
        include_str!("../../profiles/ha-25k.toml"),
        include_str!("../../profiles/ha-50k.toml"),
    ];
    let read = |(name, text): (ProfileName, &str)| {
        (
            name,
            parse(&format!("{name}.toml"), text).expect("the embedded profiles are read by a test"),
        )
    };
    Profiles {
        sizes: ProfileName::ALL.into_iter().zip(files).map(read).collect(),
    }
});

/// All seven sizes, from the smallest to the largest.
pub fn all() -> impl Iterator<Item = &'static Profile> {
    EMBEDDED.all()
}

/// One size, as embedded.
pub fn get(name: ProfileName) -> &'static Profile {
    EMBEDDED.get(name)
}

/// The embedded sizes with those of a directory in their place. See [`Profiles::load_dir`].
pub fn load_dir(dir: &Path) -> Result<Profiles, ProfileError> {
    Profiles::load_dir(dir)
}

/// The seven sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profiles {
    sizes: BTreeMap<ProfileName, Profile>,
}

impl Profiles {
    /// The sizes gantry was built with.
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }

    /// The embedded sizes, each replaced by `NAME.toml` of the directory where there is one.
    ///
    /// Fails when the directory cannot be read, when a file in it is named after no profile, or when one does
    /// not read as a profile: with its place.
    pub fn load_dir(dir: &Path) -> Result<Self, ProfileError> {
        let unreadable = |source| ProfileError::Read {
            path: dir.to_owned(),
            source,
        };
        let mut profiles = Self::embedded().clone();
        let mut paths = std::fs::read_dir(dir)
            .map_err(unreadable)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        paths.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        });
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(|source| ProfileError::Read {
                path: path.clone(),
                source,
            })?;
            let profile = parse(&path.display().to_string(), &text)?;
            if path
                .file_stem()
                .is_none_or(|stem| stem != profile.name.as_str())
            {
                return Err(ProfileError::Misnamed {
                    path,
                    name: profile.name,
                });
            }
            profiles.sizes.insert(profile.name, profile);
        }
        Ok(profiles)
    }

    pub fn all(&self) -> impl Iterator<Item = &Profile> {
        self.sizes.values()
    }

    /// Every set holds every name.
    pub fn get(&self, name: ProfileName) -> &Profile {
        self.sizes
            .get(&name)
            .expect("a set begins with all seven embedded profiles")
    }
}

/// A profile file that cannot be used.
#[derive(Debug, Error, Diagnostic)]
pub enum ProfileError {
    #[error("cannot read {}", path.display())]
    #[diagnostic(help(
        "name a directory of profile files that you may read, or leave the option out to use the embedded ones"
    ))]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },

    #[error("{name} is not a profile")]
    #[diagnostic(help(
        "the files in profiles/ of the source show every key; `gantry profiles show` prints them"
    ))]
    Parse {
        name: String,
        message: String,
        #[source_code]
        code: Arc<NamedSource<String>>,
        #[label("{message}")]
        span: Option<SourceSpan>,
    },

    #[error("{name} contradicts itself: {message}")]
    #[diagnostic(help("correct the number in the file"))]
    Contradiction { name: String, message: String },

    #[error("{} holds the profile `{name}`", path.display())]
    #[diagnostic(help("rename the file to `{name}.toml`, or correct `name` in it"))]
    Misnamed { path: PathBuf, name: ProfileName },
}

fn parse(name: &str, text: &str) -> Result<Profile, ProfileError> {
    let profile: Profile = toml::from_str(text).map_err(|error| ProfileError::Parse {
        name: name.to_owned(),
        message: error.message().to_owned(),
        code: Arc::new(NamedSource::new(name, text.to_owned()).with_language("toml")),
        span: error.span().map(SourceSpan::from),
    })?;
    match contradiction(&profile) {
        Some(message) => Err(ProfileError::Contradiction {
            name: name.to_owned(),
            message,
        }),
        None => Ok(profile),
    }
}

/// What must hold for any size, whoever wrote it.
fn contradiction(profile: &Profile) -> Option<String> {
    if profile.single_box.is_some() != (profile.ha == Availability::None) {
        return Some("a profile without availability is one box, and a box has none".to_owned());
    }
    if profile.single_box.is_none()
        && (profile.rails.is_none()
            || profile.sidekiq.is_none()
            || profile.gitaly.is_none()
            || profile.database.is_none()
            || profile.caches.is_empty())
    {
        return Some("rails, sidekiq, gitaly, database and caches belong together".to_owned());
    }
    if let Some(rails) = &profile.rails
        && !(rails.min <= rails.desired && rails.desired <= rails.max)
    {
        return Some(format!(
            "rails counts must rise: min {}, desired {}, max {}",
            rails.min, rails.desired, rails.max
        ));
    }
    if profile.praefect.is_some() != (profile.ha == Availability::Full)
        || profile.praefect.is_some() != profile.praefect_database.is_some()
    {
        return Some("praefect, its database and `ha = \"full\"` belong together".to_owned());
    }
    if profile
        .praefect
        .as_ref()
        .is_some_and(|group| group.count < 3 || group.count % 2 == 0)
    {
        return Some("praefect needs an odd count of 3 or more".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_files_read_and_are_in_order() {
        let names: Vec<_> = all().map(|profile| profile.name).collect();
        assert_eq!(names, ProfileName::ALL);
        assert!(
            all()
                .zip(all().skip(1))
                .all(|(small, large)| small.users < large.users)
        );
    }

    #[test]
    fn a_directory_replaces_one_size() {
        let dir = tempfile::tempdir().unwrap();
        let text = include_str!("../../profiles/ha-3k.toml").replace("desired = 3", "desired = 4");
        std::fs::write(dir.path().join("ha-3k.toml"), text).unwrap();
        let profiles = load_dir(dir.path()).unwrap();
        assert_eq!(
            profiles
                .get(ProfileName::Ha3k)
                .rails
                .as_ref()
                .unwrap()
                .desired,
            4
        );
        assert_eq!(profiles.get(ProfileName::Ha5k), get(ProfileName::Ha5k));
    }

    #[test]
    fn a_broken_file_names_its_place() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("ha-3k.toml"),
            include_str!("../../profiles/ha-3k.toml").replace("zones = 3", "zones = \"three\""),
        )
        .unwrap();
        let Err(ProfileError::Parse {
            span: Some(_),
            message,
            ..
        }) = load_dir(dir.path())
        else {
            panic!("a text is no number of zones")
        };
        assert!(message.contains("three"), "{message}");
        std::fs::write(
            dir.path().join("ha-3k.toml"),
            include_str!("../../profiles/ha-5k.toml"),
        )
        .unwrap();
        assert!(matches!(
            load_dir(dir.path()),
            Err(ProfileError::Misnamed { .. })
        ));
    }
}
