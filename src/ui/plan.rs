//! A plan for people.

use std::fmt::Write as _;

use owo_colors::OwoColorize;
use serde_json::Value;

use crate::plan::{Action, Plan};
use crate::resource::How;

/// One line per change, one more per field that differs; what stays is only counted.
pub fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    for change in plan
        .changes
        .iter()
        .filter(|c| c.action.changes() || c.action == Action::Retain)
    {
        let _ = write!(text, "{} {}", mark(&change.action), change.address);
        if !change.reason.is_empty() {
            let _ = write!(text, "  ({})", change.reason);
        }
        text.push('\n');
        for field in change
            .action
            .diff()
            .map(|d| d.fields.as_slice())
            .unwrap_or_default()
        {
            let how = if field.how == How::Replace {
                "  [replaces]"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "      {}: {} -> {}{how}",
                field.field,
                short(&field.have),
                short(&field.want)
            );
        }
    }
    for refused in plan.refused.iter().chain(&plan.impossible) {
        let _ = writeln!(text, "! {}: {}", refused.address, refused.why);
    }
    text.push_str(&totals_line(plan));
    text
}

/// `Plan: 92 to create, 1 to update, 3 as wanted.`
pub fn totals_line(plan: &Plan) -> String {
    if plan.is_empty() {
        return format!(
            "No changes: {} resources are as wanted.",
            plan.totals().keep
        );
    }
    let t = plan.totals();
    let parts: Vec<String> = [
        (t.create, "to create"),
        (t.update, "to update"),
        (t.replace, "to replace"),
        (t.finish, "to finish"),
        (t.adopt, "to adopt"),
        (t.delete, "to delete"),
        (t.retain, "left alone"),
        (t.keep, "as wanted"),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, what)| format!("{n} {what}"))
    .collect();
    format!("Plan: {}.", parts.join(", "))
}

fn mark(action: &Action) -> String {
    let word = format!("{:<8}", action.word());
    match action {
        Action::Create => format!("{} {word}", "+".green()),
        Action::Update { .. } | Action::Adopt { .. } | Action::Finish => {
            format!("{} {word}", "~".yellow())
        }
        Action::Replace { .. } => format!("{} {word}", "±".red()),
        Action::Delete | Action::Forget => format!("{} {word}", "-".red()),
        Action::Keep | Action::Retain => format!("{} {word}", "=".dimmed()),
    }
}

/// A value on one line, cut when long.
fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    if text.chars().count() <= 100 {
        return text;
    }
    format!("{}…", text.chars().take(99).collect::<String>())
}
