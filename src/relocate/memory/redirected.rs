//! Words of the running program that lead to copies for a time.

/// A word of the running program that leads to a copy until this guard is dropped. Then it holds its former value
/// again.
pub struct RedirectedWord {
    word: *mut usize,
    original: usize,
}

impl RedirectedWord {
    /// Makes `word` hold `address`.
    ///
    /// # Safety
    /// The word is aligned and mapped as long as the program runs. Nothing else reads or writes it during this call and
    /// during the drop. Whatever reads it in between finds at `address` what it expects.
    #[must_use]
    pub unsafe fn new(word: *mut usize, address: usize) -> Self {
        // SAFETY: `replace` needs a valid word that nothing else uses; the caller guarantees both.
        let original = unsafe { word.replace(address) };
        RedirectedWord { word, original }
    }
}

impl Drop for RedirectedWord {
    fn drop(&mut self) {
        // SAFETY: `write` needs a valid word that nothing else uses; the caller of `new` guarantees both.
        unsafe { self.word.write(self.original) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_its_former_value_again_after_the_guard() {
        let mut word = 7;
        let at = &raw mut word;
        // SAFETY: `new` needs a valid word that nothing else uses: it is a local variable of this test.
        let guards = [8, 9].map(|address| unsafe { RedirectedWord::new(at, address) });
        // SAFETY: `read` needs a valid word, and `word` is one.
        assert_eq!(unsafe { at.read() }, 9);
        let [first, second] = guards;
        drop(second);
        drop(first);
        assert_eq!(word, 7);
    }
}
