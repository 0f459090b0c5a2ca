//! Problems of a setting, at the place where its effective value was written.

use crate::config::fields::Field;
use crate::config::problem::{Problem, Problems};

/// Adds an error.
pub(super) fn refuse<T>(
    problems: &mut Problems,
    field: &Field<T>,
    message: impl Into<String>,
    hint: impl Into<String>,
) {
    problems.push(Problem::error(message, field.location.clone()).hint(hint));
}

/// Returns a warning.
pub(super) fn warning<T>(field: &Field<T>, message: impl Into<String>) -> Problem {
    Problem::warning(message, field.location.clone())
}
