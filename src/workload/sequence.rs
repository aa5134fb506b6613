//! The calls of `mmap_perf` in their order: the same on the model kernel and, as part of the init process, on Linux.
//! Stands alone, without the standard library.

use super::random::Random;

/// Areas, each mapped or not.
pub const AREAS: usize = 64;
/// The longest area.
const MAX_PAGES: u64 = 16;
/// The most pages that are touched after a call.
const MAX_TOUCHED: u64 = 8;

/// What a step does to its area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// `mmap`, and touches.
    Map,
    /// `munmap`.
    Unmap,
    /// `mremap`, and touches.
    Remap,
}

/// A call, and the touches after it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The call.
    pub what: Do,
    /// Which area.
    pub place: usize,
    /// Its pages before the call; 0 where it is not mapped.
    pub before: u64,
    /// Its pages after the call.
    pub pages: u64,
    /// The first page that is touched.
    pub touched: u64,
    /// How many are, one after another.
    pub touches: u64,
    /// Whether they are written, else read.
    pub writes: bool,
}

/// Pseudo-random calls.
pub struct Sequence {
    random: Random,
    pages: [u64; AREAS],
}

impl Sequence {
    /// From the start: nothing is mapped.
    #[must_use]
    pub fn new(random: Random) -> Self {
        Sequence { random, pages: [0; AREAS] }
    }

    /// The next call.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)] // It has no end, and who asks never matches on one.
    pub fn next(&mut self) -> Step {
        let place = self.random.below(AREAS as u64) as usize;
        let pages = 1 + self.random.below(MAX_PAGES);
        let before = self.pages[place];
        let what = if before == 0 {
            Do::Map
        } else if self.random.below(2) == 0 {
            self.pages[place] = 0;
            return Step { what: Do::Unmap, place, before, pages: 0, touched: 0, touches: 0, writes: false };
        } else {
            Do::Remap
        };
        self.pages[place] = pages;
        let touches = 1 + self.random.below(pages.min(MAX_TOUCHED));
        let touched = self.random.below(pages - touches + 1);
        Step { what, place, before, pages, touched, touches, writes: self.random.below(4) != 0 }
    }
}
