//! Work on the parts of a list, in two threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Parts that a thread takes at once: few enough that both threads end together. Shorter lists need one thread.
const TAKEN: usize = 256;

/// Maps the parts of a list. Each thread has a state of its own; the function gets it, the index and the part.
pub fn map<T: Sync, S, R: Send>(
    list: &[T],
    state: impl Fn() -> S + Sync,
    function: impl Fn(&mut S, usize, &T) -> R + Sync,
) -> Vec<R> {
    filter_map(list, state, |state, index, part| Some(function(state, index, part)))
}

/// As [`map`], without the parts for which the function has no result.
pub fn filter_map<T: Sync, S, R: Send>(
    list: &[T],
    state: impl Fn() -> S + Sync,
    function: impl Fn(&mut S, usize, &T) -> Option<R> + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut state = state();
        let mut done = Vec::new();
        loop {
            let start = next.fetch_add(TAKEN, Ordering::Relaxed);
            let Some(parts) = list.get(start..).filter(|parts| !parts.is_empty()) else { return done };
            let parts = parts.iter().take(TAKEN).enumerate();
            let results = parts.filter_map(|(index, part)| function(&mut state, start + index, part));
            let results: Vec<R> = results.collect();
            done.push((start, results));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let other = (list.len() > TAKEN).then(|| scope.spawn(work));
        let mut done = work();
        // A thread that panicked hands its panic on.
        match other.map(std::thread::ScopedJoinHandle::join) {
            Some(Ok(more)) => done.extend(more),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => {}
        }
        done
    });
    done.sort_unstable_by_key(|(start, _)| *start);
    let mut all = Vec::with_capacity(done.iter().map(|(_, results)| results.len()).sum());
    done.into_iter().for_each(|(_, mut results)| all.append(&mut results));
    all
}

#[cfg(test)]
mod tests {
    use super::{filter_map, map};

    #[test]
    fn results_have_the_order_of_the_list() {
        for length in [0, 1, 255, 256, 257, 10_000] {
            let list: Vec<usize> = (0..length).collect();
            let results = map(
                &list,
                || 0_usize,
                |count, index, part| {
                    *count += 1;
                    (index, *part * 2)
                },
            );
            assert!(results.iter().enumerate().all(|(at, result)| *result == (at, at * 2)), "{length}");
            assert_eq!(results.len(), length);
        }
    }

    #[test]
    fn parts_without_a_result_are_left_out() {
        let list: Vec<usize> = (0..1000).collect();
        let results = filter_map(&list, || (), |(), index, part| (index % 3 == 0).then_some(*part));
        assert_eq!(results, (0..1000).step_by(3).collect::<Vec<_>>());
    }
}
