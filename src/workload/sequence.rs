//! The sequence of calls of `mmap_perf`. It is the same on the model kernel and, in the init process, on Linux. This
//! file needs no standard library.

use super::random::Random;

/// Number of areas, each mapped or not.
pub(crate) const AREAS: usize = 64;
/// Maximum length of an area in pages.
const MAX_PAGES: u64 = 16;
/// Maximum number of pages touched after a call.
const MAX_TOUCHED: u64 = 8;

/// The call of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// `mmap`, followed by touches.
    Map,
    /// `munmap`.
    Unmap,
    /// `mremap`, followed by touches.
    Remap,
}

/// A call, and the touches after it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The call.
    pub(crate) what: Do,
    /// The index of the area.
    pub(crate) area: usize,
    /// Pages of the area before the call; 0 if it is not mapped.
    pub(crate) before: u64,
    /// Pages of the area after the call.
    pub(crate) pages: u64,
    /// The first page to touch.
    pub(crate) touched: u64,
    /// Number of consecutive pages to touch.
    pub(crate) touches: u64,
    /// Whether touches write; otherwise they read.
    pub(crate) writes: bool,
}

/// A generator of pseudo-random calls.
pub(crate) struct Sequence {
    random: Random,
    pages: [u64; AREAS],
}

impl Sequence {
    /// Starts with no area mapped.
    #[must_use]
    pub(crate) fn new(random: Random) -> Self {
        Sequence { random, pages: [0; AREAS] }
    }

    /// Draws the next call.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)] // The sequence has no end, so an `Option` would serve no caller.
    pub(crate) fn next(&mut self) -> Step {
        let area = self.random.below(AREAS as u64) as usize;
        let pages = 1 + self.random.below(MAX_PAGES);
        let before = self.pages[area];
        let what = if before == 0 {
            Do::Map
        } else if self.random.below(2) == 0 {
            self.pages[area] = 0;
            return Step { what: Do::Unmap, area, before, pages: 0, touched: 0, touches: 0, writes: false };
        } else {
            Do::Remap
        };
        self.pages[area] = pages;
        let touches = 1 + self.random.below(pages.min(MAX_TOUCHED));
        let touched = self.random.below(pages - touches + 1);
        Step { what, area, before, pages, touched, touches, writes: self.random.below(4) != 0 }
    }
}
