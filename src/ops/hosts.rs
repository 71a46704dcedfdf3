//! The machines of a site, for procedures.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::OpsFault;
use crate::blueprint::Role;
use crate::boot::Report;
use crate::shell::Shell;

/// Who opens the way to a node. SSH through the bastion for people; played hosts in tests and in the sandbox.
pub trait Hosts: Send + Sync {
    /// Every machine that can be reached, by name, with its role. Those of the Rails group are called
    /// `rails-<instance>`.
    fn nodes(&self) -> Vec<(String, Role)>;

    /// The way to one of them.
    fn shell(&self, node: &str) -> Result<Arc<dyn Shell>, OpsFault>;

    /// Told of each report of a machine as it is read: its address and its host keys are in it.
    fn heard(&self, _name: &str, _role: Role, _report: &Report) -> Result<(), OpsFault> {
        Ok(())
    }

    /// The machines of a role, in the order of their names.
    fn of_role(&self, role: Role) -> Vec<String> {
        let of_role = self.nodes().into_iter().filter(|(_, is)| *is == role);
        let mut names: Vec<_> = of_role.map(|(name, _)| name).collect();
        names.sort();
        names
    }
}

/// Hosts that somebody plays.
#[derive(Default, Clone)]
pub struct Played(BTreeMap<String, (Role, Arc<dyn Shell>)>);

impl Played {
    #[must_use]
    pub fn with(mut self, role: Role, shell: Arc<dyn Shell>) -> Self {
        self.0.insert(shell.host().to_owned(), (role, shell));
        self
    }
}

impl Hosts for Played {
    fn nodes(&self) -> Vec<(String, Role)> {
        let nodes = self.0.iter().map(|(name, (role, _))| (name.clone(), *role));
        nodes.collect()
    }

    fn shell(&self, node: &str) -> Result<Arc<dyn Shell>, OpsFault> {
        match self.0.get(node) {
            Some((_, shell)) => Ok(shell.clone()),
            None => Err(OpsFault::refused(
                format!("there is no node `{node}`"),
                format!(
                    "there are {}",
                    self.0.keys().cloned().collect::<Vec<_>>().join(", ")
                ),
                "",
            )),
        }
    }
}
