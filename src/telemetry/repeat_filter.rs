//! The rate limit that keeps repeated lines from filling the log. The first is written at once, the
//! rest are counted and summarised once per window. Changes of a state are summarised as soon as
//! the state has settled, so that the last line in the log is true.
//!
//! Pure bookkeeping: the caller passes the time. A key without lines for a whole window is
//! forgotten, so that its next line is written at once. The table is bounded: when it is full, new
//! keys share one entry per callsite, and the code has a fixed number of those. The log thread owns
//! it, so it needs no lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;

/// The number of keys at which the table is full.
const KEYS: usize = 1024;

/// Identifies lines that repeat each other: the callsite and a hash of the subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The callsite of the line; `None` for a state, whose changes several callsites report.
    pub callsite: Option<Identifier>,
    /// A hash of the message, or the state's name, and of the fields that name the subject, such as
    /// the endpoint.
    pub subject: u64,
}

/// How lines of one kind are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Lines that are written in a window before the rest are held back.
    pub burst: u32,
    /// How long a key has to be quiet before its last held-back line is written; `None` means the
    /// end of the window.
    pub settles: Option<Duration>,
}

#[derive(Debug)]
struct Held<T> {
    last: Option<T>,
    count: u64,
    /// Lines that may still be written in this window.
    left: u32,
    /// Its key in [`RepeatFilter::settling`], if it is there.
    settles: Option<(Instant, u64)>,
}

/// Decides which lines are written, and holds back the others. `T` is a line.
#[derive(Debug)]
pub struct RepeatFilter<T> {
    window: Duration,
    held: HashMap<Key, Held<T>>,
    /// When each key's window ends. All windows are equally long, so they are in the order in which
    /// they end.
    ends: VecDeque<(Instant, Key)>,
    /// Held-back states by the time at which they will have settled, with a unique number; each is
    /// here once.
    settling: BTreeMap<(Instant, u64), Key>,
    number: u64,
}

impl<T> RepeatFilter<T> {
    /// Creates an empty table that summarises held-back lines once per `window`.
    pub fn new(window: Duration) -> Self {
        let (held, ends, settling) = (HashMap::new(), VecDeque::new(), BTreeMap::new());
        Self { window, held, ends, settling, number: 0 }
    }

    /// Returns the line if it is to be written now, as the first `rule.burst` lines of a window
    /// are. Otherwise counts it and keeps it in place of the line kept before.
    pub fn admit(&mut self, key: Key, rule: Rule, now: Instant, line: T) -> Option<T> {
        let key = self.bounded(key);
        if let Some(held) = self.held.get_mut(&key) {
            if held.left > 0 {
                held.left -= 1;
                return Some(line);
            }
            held.last = Some(line);
            held.count += 1;
            if let Some(pause) = rule.settles {
                self.number += 1;
                let before = held.settles.replace((now + pause, self.number));
                before.and_then(|before| self.settling.remove(&before));
                self.settling.insert((now + pause, self.number), key);
            }
            return None;
        }
        let left = rule.burst.saturating_sub(1);
        self.held.insert(key.clone(), Held { last: None, count: 0, left, settles: None });
        self.ends.push_back((now + self.window, key));
        Some(line)
    }

    fn bounded(&self, key: Key) -> Key {
        if self.held.len() < KEYS || self.held.contains_key(&key) {
            return key;
        }
        Key { subject: 0, ..key }
    }

    /// Returns when [`Self::due`] next has something to do; `None` if the table is empty.
    pub fn next_due(&self) -> Option<Instant> {
        let settles = self.settling.first_key_value().map(|((at, _), _)| *at);
        self.ends.front().map(|(at, _)| *at).into_iter().chain(settles).min()
    }

    /// Returns the last line of a key whose state has settled or whose window is over at `now`,
    /// with the number of lines held back; `None` if no more are due. When a window is over, keys
    /// with held-back lines begin a new one and the others are forgotten.
    pub fn due(&mut self, now: Instant) -> Option<(T, u64)> {
        while let Some(first) = self.settling.first_entry().filter(|first| first.key().0 <= now) {
            let key = first.remove();
            if let Some(summary) = self.held.get_mut(&key).and_then(Held::take) {
                return Some(summary);
            }
        }
        while self.ends.front().is_some_and(|(at, _)| *at <= now) {
            let (_, key) = self.ends.pop_front()?;
            let held = self.held.get_mut(&key);
            if let Some(settles) = held.as_ref().and_then(|held| held.settles) {
                self.settling.remove(&settles);
            }
            if let Some(summary) = held.and_then(Held::take) {
                self.ends.push_back((now + self.window, key));
                return Some(summary);
            }
            self.held.remove(&key);
        }
        None
    }

    /// Forgets every key and returns the lines that were held back, oldest window first.
    pub fn drain(&mut self) -> Vec<(T, u64)> {
        let Self { held, ends, settling, .. } = self;
        settling.clear();
        let lines = ends.drain(..).filter_map(|(_, key)| held.get_mut(&key)?.take()).collect();
        held.clear();
        lines
    }
}

impl<T> Held<T> {
    fn take(&mut self) -> Option<(T, u64)> {
        self.settles = None;
        self.last.take().map(|line| (line, std::mem::take(&mut self.count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::callsite::Callsite as _;

    const MINUTE: Duration = Duration::from_secs(60);
    const LINE: Rule = Rule { burst: 1, settles: None };
    const BURST: Rule = Rule { burst: 3, settles: None };

    fn place() -> Identifier {
        tracing::callsite! {
            name: "here",
            kind: tracing::metadata::Kind::EVENT,
            fields: message
        }
        .metadata()
        .callsite()
    }

    fn key(subject: u64) -> Key {
        Key { callsite: Some(place()), subject }
    }

    fn all_due(limit: &mut RepeatFilter<&'static str>, now: Instant) -> Vec<(&'static str, u64)> {
        std::iter::from_fn(|| limit.due(now)).collect()
    }

    #[test]
    fn the_first_line_is_written_and_the_rest_are_summed_up() {
        let (mut limit, start) = (RepeatFilter::new(MINUTE), Instant::now());
        assert_eq!(limit.admit(key(1), LINE, start, "first"), Some("first"));
        assert_eq!(limit.admit(key(1), LINE, start, "second"), None);
        assert_eq!(limit.admit(key(1), LINE, start, "third"), None);

        assert_eq!(all_due(&mut limit, start + MINUTE / 2), []);
        assert_eq!(all_due(&mut limit, start + MINUTE), [("third", 2)]);
    }

    #[test]
    fn a_burst_is_written_and_the_last_of_the_rest_tells_how_it_ended() {
        let (mut limit, start) = (RepeatFilter::new(MINUTE), Instant::now());
        let lines = ["down", "up", "down", "up", "down"];
        let written: Vec<_> =
            lines.iter().filter_map(|line| limit.admit(key(1), BURST, start, *line)).collect();
        assert_eq!(written, ["down", "up", "down"]);
        assert_eq!(all_due(&mut limit, start + MINUTE), [("down", 2)]);
        assert_eq!(
            limit.admit(key(1), BURST, start + MINUTE, "up"),
            None,
            "a state that keeps flapping is summarised"
        );
    }

    #[test]
    fn the_last_change_of_a_state_is_written_when_it_has_settled() {
        let (mut limit, start) = (RepeatFilter::new(MINUTE), Instant::now());
        let second = Duration::from_secs(1);
        let state = Rule { burst: 1, settles: Some(5 * second) };
        assert_eq!(limit.admit(key(1), state, start, "down"), Some("down"));
        for (at, line) in [(1, "up"), (4, "down"), (8, "up")] {
            assert_eq!(limit.admit(key(1), state, start + at * second, line), None);
            assert_eq!(all_due(&mut limit, start + (at + 2) * second), []);
        }
        assert_eq!(limit.next_due(), Some(start + 13 * second));
        assert_eq!(all_due(&mut limit, start + 13 * second), [("up", 3)]);
        // It is still held back until its window is over.
        assert_eq!(limit.admit(key(1), state, start + 58 * second, "down"), None);
        assert_eq!(all_due(&mut limit, start + MINUTE), [("down", 1)]);
        assert_eq!(all_due(&mut limit, start + 2 * MINUTE), []);
        assert_eq!((limit.next_due(), limit.settling.len()), (None, 0));
    }

    #[test]
    fn lines_about_different_things_do_not_hold_each_other_back() {
        let (mut limit, now) = (RepeatFilter::new(MINUTE), Instant::now());
        assert!(limit.admit(key(1), LINE, now, "infra0 is down").is_some());
        assert!(limit.admit(key(2), LINE, now, "infra1 is down").is_some());
    }

    #[test]
    fn what_goes_on_for_ever_is_one_line_a_window() {
        let (mut limit, start) = (RepeatFilter::new(MINUTE), Instant::now());
        limit.admit(key(1), LINE, start, "line");
        for minute in 0..3 {
            let now = start + MINUTE * minute;
            assert_eq!(limit.admit(key(1), LINE, now, "line"), None);
            assert_eq!(all_due(&mut limit, now + MINUTE), [("line", 1)]);
        }
    }

    #[test]
    fn a_line_that_was_quiet_for_a_window_is_news_again() {
        let (mut limit, start) = (RepeatFilter::new(MINUTE), Instant::now());
        limit.admit(key(1), LINE, start, "line");
        assert_eq!(all_due(&mut limit, start + MINUTE), []);
        assert_eq!(limit.next_due(), None);
        assert!(limit.admit(key(1), LINE, start + MINUTE, "line").is_some());
    }

    #[test]
    fn a_full_table_grows_by_no_more_than_one_entry_a_place() {
        let (mut limit, now) = (RepeatFilter::new(MINUTE), Instant::now());
        let written =
            (1..=5000).filter(|&n| limit.admit(key(n), LINE, now, "line").is_some()).count();
        assert_eq!(written, KEYS + 1);
        assert_eq!(limit.held.len(), KEYS + 1);
        assert_eq!(all_due(&mut limit, now + MINUTE), [("line", 5000 - KEYS as u64 - 1)]);
    }

    #[test]
    fn draining_gives_back_what_was_held() {
        let (mut limit, now) = (RepeatFilter::new(MINUTE), Instant::now());
        for line in ["a", "b", "c"] {
            limit.admit(key(1), LINE, now, line);
        }
        limit.admit(key(2), LINE, now, "alone");
        assert_eq!(limit.drain(), [("c", 2)]);
        assert_eq!(limit.next_due(), None);
    }
}
