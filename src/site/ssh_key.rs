//! A public key of SSH, as one line of `authorized_keys`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::text::{Complaint, text_type};

/// The kinds that OpenSSH takes without being asked to lower its guard.
const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];

text_type!(
    /// A public key of SSH, as in a file that ends in `.pub`: its kind, the key, and whose it is.
    SshPublicKey, "ssh-public-key", "a public key of SSH",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAswVXqfxOkOM1h9osfsETZbgKXK7xQ5XoOozfIXPGGG", check
);

impl SshPublicKey {
    /// The key itself, without the words about it.
    pub fn body(&self) -> &str {
        self.as_str().split_whitespace().nth(1).unwrap_or_default()
    }
}

const HELP: &str =
    "write the one line of the file that ends in `.pub`, for example `~/.ssh/id_ed25519.pub`";

fn check(text: &str) -> Result<(), Complaint> {
    let no = |why: &str| Err(Complaint::new(why, HELP));
    if text.contains("PRIVATE KEY") {
        return Err(Complaint::new(
            "it is a private key, which belongs to one person and into no file but theirs",
            format!("make another pair, because this one was shown, and {HELP}"),
        ));
    }
    if text.chars().any(char::is_control) {
        return no("it is more than one line");
    }
    let mut words = text.split_whitespace();
    let (Some(kind), Some(body)) = (words.next(), words.next()) else {
        return no("a kind and a key are expected");
    };
    if !KINDS.contains(&kind) {
        return no("it begins with no kind of key that OpenSSH takes");
    }
    // The key says its kind itself, in front.
    let Ok(bytes) = BASE64_STANDARD.decode(body) else {
        return no("its second word is no key in base64");
    };
    let told = bytes.split_first_chunk::<4>().and_then(|(length, rest)| {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        rest.split_at_checked(length)
    });
    match told {
        Some((told, rest)) if told == kind.as_bytes() && !rest.is_empty() => Ok(()),
        _ => no("the key is cut short, or of another kind than it says"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAswVXqfxOkOM1h9osfsETZbgKXK7xQ5XoOozfIXPGGG";

    #[test]
    fn lines_of_public_files() {
        let key: SshPublicKey = format!("{KEY} ada@example.com").parse().unwrap();
        assert!(KEY.ends_with(key.body()));
        assert!(KEY.parse::<SshPublicKey>().is_ok());
    }

    #[test]
    fn what_is_none() {
        let cut = &KEY[..KEY.len() - 48];
        let other = KEY.replace("ssh-ed25519 ", "ssh-rsa ");
        let options = format!("command=\"sh\" {KEY}");
        let lines = format!("{KEY}\n{KEY}");
        for (text, why) in [
            ("", "expected"),
            ("ssh-ed25519", "expected"),
            ("ssh-dss AAAA", "no kind"),
            ("ssh-ed25519 ?", "base64"),
            (cut, "cut short"),
            (&other, "another kind"),
            (&options, "no kind"),
            (&lines, "one line"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
        ] {
            let complaint = text.parse::<SshPublicKey>().unwrap_err();
            assert!(complaint.why.contains(why), "{text}: {}", complaint.why);
        }
    }
}
