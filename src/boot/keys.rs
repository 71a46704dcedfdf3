//! Where things lie in the config bucket. Each role has a folder, and reads no other.

use crate::blueprint::{Role, config_prefix};

/// The boot program, by its hash; an object of that key never changes.
pub fn boot_key(role: Role, sha256: &str) -> String {
    format!("{}boot/{sha256}.sh", config_prefix(role))
}

/// A bundle, by its hash; an object of that key never changes.
pub fn bundle_key(role: Role, sha256: &str) -> String {
    format!("{}bundles/{sha256}.tar.gz", config_prefix(role))
}

/// The pointer of a node (`rails` for the whole group): the one object that changes.
pub fn pointer_key(role: Role, node: &str) -> String {
    format!("{}nodes/{node}.json", config_prefix(role))
}

/// What became of a boot; `name` from [`report_name`].
pub fn report_key(role: Role, name: &str) -> String {
    format!("{}reports/{name}.json", config_prefix(role))
}

/// Under what name a machine reports: a fixed node its own, one of the Rails group with its instance's id.
pub fn report_name(role: Role, node: &str, instance: &str) -> String {
    match role {
        Role::Rails => format!("{node}-{instance}"),
        _ => node.to_owned(),
    }
}

/// Below what prefix the nodes of a role write, and nowhere else.
pub fn reports_prefix(role: Role) -> String {
    format!("{}reports/", config_prefix(role))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_the_boot_program_knows_them() {
        insta::assert_snapshot!(
            [
                boot_key(Role::Box, "0f"),
                bundle_key(Role::Gitaly, "0f"),
                pointer_key(Role::Gitaly, "gitaly-1"),
                report_key(Role::Gitaly, &report_name(Role::Gitaly, "gitaly-1", "i-0abc")),
                report_key(Role::Rails, &report_name(Role::Rails, "rails", "i-0abc")),
            ]
            .join("\n"),
            @r"
        box/boot/0f.sh
        gitaly/bundles/0f.tar.gz
        gitaly/nodes/gitaly-1.json
        gitaly/reports/gitaly-1.json
        rails/reports/rails-i-0abc.json
        "
        );
        assert!(
            report_key(Role::Rails, "rails-i-0abc").starts_with(&reports_prefix(Role::Rails)),
            "nodes may write there"
        );
    }
}
