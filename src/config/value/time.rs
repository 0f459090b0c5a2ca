//! Reads lengths of time: refuses those out of bounds, and warns of small bare numbers.

use std::time::Duration;

use super::duration::duration;
use super::raw::{Raw, Reader, Shape};
use crate::config::problem::Problem;
use crate::config::schema::names;

/// Longest time that is accepted: a leap year. A longer one is a mistake, and sums with it could
/// overflow a clock.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

const WANT: &str = "want milliseconds (30000) or a duration (\"30s\")";

impl Reader<'_> {
    /// Reads a length of time; zero only when `zero_allowed`.
    pub(super) fn time(&mut self, raw: &Raw, zero_allowed: bool) -> Option<Duration> {
        let time = match &raw.shape {
            Shape::Integer(number) => u64::try_from(*number).ok().map(Duration::from_millis),
            Shape::Text(text) => duration(text),
            _ => None,
        };
        match time {
            None => self.wrong(raw, WANT),
            Some(time) if time > LONGEST => self.wrong(raw, "want less than a year"),
            Some(Duration::ZERO) if !zero_allowed => self.wrong(raw, "want more than zero"),
            Some(time) => {
                self.doubt_milliseconds(raw, time);
                return Some(time);
            }
        }
        None
    }

    /// Warns of a small bare number, which is milliseconds where seconds were probably meant.
    fn doubt_milliseconds(&mut self, raw: &Raw, time: Duration) {
        let least = if self.name == names::PROXY_REFRESH_INTERVAL { 1000 } else { 100 };
        let is_bare = match &raw.shape {
            Shape::Text(text) => super::scalar::digits(text).is_some(),
            shape => matches!(shape, Shape::Integer(_)),
        };
        if is_bare && (1..least).contains(&time.as_millis()) {
            let number = time.as_millis();
            let message = format!("`{}` is {number} milliseconds", self.name);
            let hint = format!("write \"{number}s\" if seconds are meant, or \"{number}ms\"");
            self.problems.push(Problem::warning(message, raw.location.clone()).hint(hint));
        }
    }
}
