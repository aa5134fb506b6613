//! Hashes of code: most are those of a cell before, and each different one is written once.

use std::collections::HashMap;

/// Code of a hash that was not there before.
const NEW: u64 = 0;
/// Code of the hash that was expected.
const EXPECTED: u64 = 1;

/// A pair of names that tends to have the same hash.
pub(super) type Context = (u64, u64);

/// The hashes so far. Reader and writer go through the same cells, so both expect the same.
#[derive(Debug, Default)]
pub(super) struct Identities {
    list: Vec<u32>,
    indices: HashMap<u32, usize>,
    by_context: HashMap<Context, u32>,
    last: Option<u32>,
}

impl Identities {
    /// The code of a hash, and the hash itself if it is new.
    pub(super) fn encode(&mut self, context: Context, hash: u32) -> (u64, Option<u32>) {
        let code = if self.expected(context) == Some(hash) {
            EXPECTED
        } else {
            // The last hash has the distance 1.
            self.indices.get(&hash).map_or(NEW, |index| (self.list.len() - index) as u64 + EXPECTED)
        };
        self.note(context, hash, code == NEW);
        (code, (code == NEW).then_some(hash))
    }

    /// The hash of a code; `next` gives a new one. `None` if the code stands for no hash.
    pub(super) fn decode<E>(
        &mut self,
        context: Context,
        code: u64,
        next: impl FnOnce() -> Result<u32, E>,
    ) -> Result<Option<u32>, E> {
        let hash = match code {
            NEW => Some(next()?),
            EXPECTED => self.expected(context),
            distance => usize::try_from(distance - EXPECTED)
                .ok()
                .and_then(|distance| self.list.len().checked_sub(distance))
                .and_then(|index| self.list.get(index).copied()),
        };
        if let Some(hash) = hash {
            self.note(context, hash, code == NEW);
        }
        Ok(hash)
    }

    /// The last hash of the context, else that of the cell before.
    fn expected(&self, context: Context) -> Option<u32> {
        self.by_context.get(&context).copied().or(self.last)
    }

    fn note(&mut self, context: Context, hash: u32, is_new: bool) {
        if is_new {
            self.indices.insert(hash, self.list.len());
            self.list.push(hash);
        }
        self.by_context.insert(context, hash);
        self.last = Some(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_read_back_and_those_of_a_context_are_expected() {
        let cells = [((1, 1), 7), ((2, 1), 7), ((1, 2), 9), ((1, 1), 7), ((2, 1), 9), ((3, 1), 5), ((4, 4), 7)];
        let mut writer = Identities::default();
        let written: Vec<(u64, Option<u32>)> = cells.iter().map(|(at, hash)| writer.encode(*at, *hash)).collect();
        assert_eq!(written.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [0, 1, 0, 1, 2, 0, 4]);
        let mut reader = Identities::default();
        for ((context, hash), (code, new)) in cells.iter().zip(written) {
            assert_eq!(reader.decode(*context, code, || new.ok_or(())), Ok(Some(*hash)));
        }
        for code in [5, u64::MAX] {
            assert_eq!(reader.decode((9, 9), code, || Err(())), Ok(None), "code {code}");
        }
        assert_eq!(Identities::default().decode((1, 1), EXPECTED, || Err(())), Ok(None));
    }
}
