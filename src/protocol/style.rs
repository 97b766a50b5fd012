//! How errors are told: in which shape, and under which status.

use super::format::Format;
use super::ridges;
use crate::domain::fault::{Code, Fault};

/// Whose clients read the errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Those of a wire format.
    Of(Format),
    /// Agents of Ridges' gateway API.
    Ridges,
}

impl Default for Style {
    fn default() -> Self {
        Self::Of(Format::default())
    }
}

impl Style {
    /// The body of an error answer; `status` is its status.
    pub fn error_body(self, fault: &Fault, status: u16, request_id: &str) -> Vec<u8> {
        match self {
            Self::Of(format) => format.error_body(fault, status, request_id),
            Self::Ridges => ridges::error_body(fault),
        }
    }

    /// The status of a code, where it is fixed to another one than elsewhere.
    pub const fn status(self, code: Code) -> Option<u16> {
        match self {
            Self::Of(_) => None,
            Self::Ridges => ridges::status(code),
        }
    }
}
