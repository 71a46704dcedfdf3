use super::Handler;

pub(super) const ACTIONS: &[&str] = &[];

pub(super) fn find(_action: &str) -> Option<Handler> {
    None
}
