//! Providers of organizations: how their keys are kept, where they may be, whose calls go there.

mod stage;
mod sealing;
mod configuring;
mod addresses;
mod reaching;
mod residency;
mod rotation;
mod brought;
