use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::World;

pub const ACTIONS: &[&str] = &[];

pub fn handle(_world: &mut World, call: &Call) -> Outcome {
    Err(Refusal::unknown_action(call))
}

pub fn route(_call: &mut Call) {}
