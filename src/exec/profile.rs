use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// What an operation took, all its runs together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spent {
    /// The operation's name.
    pub name: &'static str,
    /// Runs.
    pub runs: u64,
    /// From the beginning of each to its end, on all threads.
    pub time: Duration,
    /// Additions and multiplications, by the operation's own account.
    pub flops: f64,
}

thread_local! {
    static SPENT: RefCell<Option<BTreeMap<&'static str, Spent>>> = const { RefCell::new(None) };
}

/// Times the operations that `work` runs, on this thread, by an [`super::Eager`]: what took most first.
pub fn profile<R>(work: impl FnOnce() -> R) -> (R, Vec<Spent>) {
    let before = SPENT.replace(Some(BTreeMap::new()));
    let result = work();
    let mut all: Vec<Spent> = SPENT.replace(before).unwrap_or_default().into_values().collect();
    all.sort_by_key(|spent| std::cmp::Reverse(spent.time));
    (result, all)
}

/// Whether somebody asked.
pub(super) fn is_on() -> bool {
    SPENT.with_borrow(Option::is_some)
}

pub(super) fn note(name: &'static str, time: Duration, flops: f64) {
    SPENT.with_borrow_mut(|spent| {
        if let Some(spent) = spent {
            let empty = Spent { name, runs: 0, time: Duration::ZERO, flops: 0.0 };
            let entry = spent.entry(name).or_insert(empty);
            entry.runs += 1;
            entry.time += time;
            entry.flops += flops;
        }
    });
}
