//! What a caller gets instead of an answer.

use crate::Payload;
use std::sync::Arc;

/// Why an event has no answer. Cheap to clone: a broken object tells it to every waiting caller.
#[derive(Clone, Debug)]
pub enum Failure {
    /// A value user code threw, serialised, with the flags the boundary adds.
    Thrown {
        value: Arc<Payload>,
        /// `name: message`, for those who have no V8 to read the value with.
        text: Arc<str>,
        reset: bool,
        remote: bool,
    },
    /// An error this host made.
    Host(Arc<HostError>),
}

/// An error in the platform's words, with the properties callers may look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError {
    /// JS class, and `name`.
    pub class: &'static str,
    pub message: String,
    pub reset: bool,
    pub retryable: bool,
    pub overloaded: bool,
    pub remote: bool,
    /// This host's trouble, which user code can do nothing about: whatever is retried is retried without
    /// counting. JS does not see it.
    pub ours: bool,
    /// `code`, `limit` and `used` of an error that reports a limit.
    pub limit: Option<(&'static str, u64, u64)>,
}

impl HostError {
    pub fn new(class: &'static str, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            reset: false,
            retryable: false,
            overloaded: false,
            remote: false,
            ours: false,
            limit: None,
        }
    }
}

impl Failure {
    pub fn error(message: impl Into<String>) -> Self {
        HostError::new("Error", message).into()
    }

    pub fn type_error(message: impl Into<String>) -> Self {
        HostError::new("TypeError", message).into()
    }

    /// The target went away; a new stub may reach it.
    pub fn disconnected() -> Self {
        HostError {
            retryable: true,
            ..HostError::new("Error", "Network connection lost.")
        }
        .into()
    }

    /// There is too much to do; asking again at once makes it worse.
    pub fn overloaded(message: impl Into<String>) -> Self {
        HostError {
            overloaded: true,
            ..HostError::new("Error", message)
        }
        .into()
    }

    pub fn internal() -> Self {
        Self::ours("internal error")
    }

    /// Trouble of this host's, not of user code.
    pub fn ours(message: impl Into<String>) -> Self {
        HostError {
            ours: true,
            ..HostError::new("Error", message)
        }
        .into()
    }

    /// User code is to blame: retrying it for ever would never end.
    pub fn is_users(&self) -> bool {
        match self {
            Self::Thrown { .. } => true,
            Self::Host(error) => {
                error.reset || !(error.ours || error.retryable || error.overloaded)
            }
        }
    }

    /// The same failure, told as the reset of a Durable Object.
    #[must_use]
    pub fn with_reset(self) -> Self {
        match self {
            Self::Thrown { value, text, .. } => Self::Thrown {
                value,
                text,
                reset: true,
                remote: false,
            },
            Self::Host(error) => HostError {
                reset: true,
                remote: false,
                ..HostError::clone(&error)
            }
            .into(),
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::Host(Arc::new(error))
    }
}
