//! Whether the caller may do what install does, by IAM's own simulator: it asks without doing anything.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::types::{
    ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType,
};

use super::{Check, Verdict};
use crate::cloud::Fault;
use crate::policy::{Question, Task, questions};
use crate::session::{Reading, Session, surveyed};

const NAME: &str = "permissions";

/// How many actions are named in one line.
const NAMED: usize = 8;

/// What the simulator said of one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Denied,
    /// Not by what it was told; a policy asks for something it was not told.
    Unclear,
    Allowed,
}

impl Session {
    pub(super) async fn rights(&self, reading: &Reading) -> Result<Check, Fault> {
        let principal = match caller(&self.identity.arn) {
            Caller::Root => {
                let seen = "the account's root user may do everything";
                return Ok(Check::pass(NAME, seen));
            }
            Caller::User(arn) => arn.to_owned(),
            Caller::Role(name) => match self.role(name).await {
                Ok(arn) => arn,
                Err(fault) => return unless_refused(fault),
            },
            Caller::Other => return Ok(cannot_ask("IAM's simulator knows users and roles only")),
        };
        let mut site = self.site.clone();
        site.site.account = self.identity.account.parse().ok();
        let used: BTreeSet<&str> = reading
            .blueprint
            .iter()
            .map(|(_, resource)| resource.info().kind.as_str())
            .collect();
        let kinds = crate::kinds::registry::all().filter(|k| used.contains(k.kind.as_str()));
        let mut all: BTreeMap<&'static str, Word> = BTreeMap::new();
        for question in questions(&[Task::Install], kinds, surveyed(&site), &site) {
            let results = match self.simulate(&principal, &question).await {
                Ok(results) => results,
                Err(fault) => return unless_refused(fault),
            };
            for action in question.actions {
                let word = results
                    .iter()
                    .filter(|result| result.eval_action_name() == action)
                    .map(word)
                    .max()
                    .unwrap_or(Word::Unclear);
                // It may be asked twice: allowed on either is allowed.
                let known = all.entry(action).or_insert(word);
                *known = word.max(*known);
            }
        }
        Ok(said(&principal, &all))
    }

    async fn simulate(
        &self,
        principal: &str,
        question: &Question,
    ) -> Result<Vec<EvaluationResult>, Fault> {
        let actions: Vec<String> = question.actions.iter().map(|a| (*a).to_owned()).collect();
        self.cx
            .read("iam:SimulatePrincipalPolicy", || {
                self.cx
                    .aws()
                    .iam
                    .simulate_principal_policy()
                    .policy_source_arn(principal)
                    .set_action_names(Some(actions.clone()))
                    .resource_arns(&question.resource)
                    .set_context_entries(Some(question.context.iter().map(entry).collect()))
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await
    }

    /// The ARN of a role, which the ARN of its sessions does not hold: it leaves out the role's path.
    async fn role(&self, name: &str) -> Result<String, Fault> {
        let call = || self.cx.aws().iam.get_role().role_name(name).send();
        let answer = self.cx.read("iam:GetRole", call).await?;
        let role = answer.role().map(|role| role.arn().to_owned());
        role.ok_or_else(|| Fault::internal("iam:GetRole answered without a role"))
    }
}

/// Who calls, as the simulator would be asked about them.
#[derive(Debug, PartialEq, Eq)]
enum Caller<'a> {
    Root,
    User(&'a str),
    /// In a session of this role.
    Role(&'a str),
    Other,
}

fn caller(arn: &str) -> Caller<'_> {
    let what = arn.splitn(6, ':').nth(5).unwrap_or_default();
    match what.split_once('/') {
        None if what == "root" => Caller::Root,
        Some(("user", _)) => Caller::User(arn),
        Some(("assumed-role", session)) => {
            Caller::Role(session.split('/').next().unwrap_or_default())
        }
        _ => Caller::Other,
    }
}

fn entry((key, value): (&String, &String)) -> ContextEntry {
    let kind = match value.as_str() {
        "true" | "false" => ContextKeyTypeEnum::Boolean,
        _ => ContextKeyTypeEnum::String,
    };
    ContextEntry::builder()
        .context_key_name(key)
        .context_key_values(value)
        .context_key_type(kind)
        .build()
}

fn word(result: &EvaluationResult) -> Word {
    match result.eval_decision() {
        PolicyEvaluationDecisionType::Allowed => Word::Allowed,
        PolicyEvaluationDecisionType::ImplicitDeny
            if !result.missing_context_values().is_empty() =>
        {
            Word::Unclear
        }
        _ => Word::Denied,
    }
}

fn said(principal: &str, all: &BTreeMap<&'static str, Word>) -> Check {
    let which = |wanted: Word| {
        let of = all.iter().filter(move |(_, word)| **word == wanted);
        of.map(|(action, _)| *action).collect::<Vec<_>>()
    };
    let (denied, unclear) = (which(Word::Denied), which(Word::Unclear));
    let help = "attach the policies that `gantry policy` prints to whoever runs gantry";
    if !denied.is_empty() {
        let seen = format!(
            "{} of the {} actions of install are not allowed to {principal}: {}",
            denied.len(),
            all.len(),
            few(&denied)
        );
        return Check::new(NAME, Verdict::Fail, seen, help);
    }
    if !unclear.is_empty() {
        let seen = format!(
            "whether {principal} may do this depends on what its policies ask besides: {}",
            few(&unclear)
        );
        return Check::new(NAME, Verdict::Warn, seen, help);
    }
    let seen = format!("{principal} may do the {} actions of install", all.len());
    Check::pass(NAME, seen)
}

fn few(actions: &[&str]) -> String {
    let named = actions[..actions.len().min(NAMED)].join(", ");
    match actions.len() - actions.len().min(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Who may not ask can still install.
fn unless_refused(fault: Fault) -> Result<Check, Fault> {
    match fault {
        Fault::Denied { .. } | Fault::Rejected { .. } | Fault::Unknown { .. } => {
            Ok(cannot_ask(&fault.to_string()))
        }
        other => Err(other),
    }
}

fn cannot_ask(why: &str) -> Check {
    Check::new(
        NAME,
        Verdict::Warn,
        format!("could not be asked for: {why}"),
        "a right that is missing is named by install where it is met; run it again once it is granted",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_apart() {
        let of = |what: &str| format!("arn:aws:{what}");
        assert_eq!(caller(&of("iam::123456789012:root")), Caller::Root);
        let user = of("iam::123456789012:user/people/ann");
        assert_eq!(caller(&user), Caller::User(&user));
        assert_eq!(
            caller(&of("sts::123456789012:assumed-role/Admin/ann@example.com")),
            Caller::Role("Admin")
        );
        assert_eq!(
            caller(&of("sts::123456789012:federated-user/ann")),
            Caller::Other
        );
    }

    #[test]
    fn many_actions_are_counted() {
        let all = ["a"; NAMED + 2];
        assert!(few(&all).ends_with(" and 2 more"), "{}", few(&all));
        assert_eq!(few(&["a", "b"]), "a, b");
    }
}
