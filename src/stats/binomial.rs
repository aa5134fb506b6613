//! How often a thing of known probability may happen.

/// The least `k` for which more than `k` of `n` independent events of probability `p` have a probability of at most
/// `alpha`: so many may happen before it is called too often.
#[must_use]
pub fn allowed(n: u32, p: f64, alpha: f64) -> u32 {
    // P(X = 0), then P(X = k + 1) from P(X = k) by their ratio.
    let mut exactly = (1.0 - p).powf(f64::from(n));
    let mut at_most = exactly;
    for k in 0..n {
        if 1.0 - at_most <= alpha {
            return k;
        }
        exactly *= f64::from(n - k) / f64::from(k + 1) * p / (1.0 - p);
        at_most += exactly;
    }
    n
}
