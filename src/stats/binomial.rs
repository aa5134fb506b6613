//! An upper bound on a binomial count.

/// The critical value of a one-sided binomial test: the least `k` with `P(X > k) <= alpha` for `X ~ Binomial(n, p)`.
/// More than `k` events of probability `p` in `n` independent trials are too many at level `alpha`.
#[must_use]
pub fn allowed(n: u32, p: f64, alpha: f64) -> u32 {
    // P(X = 0) first; then P(X = k + 1) = P(X = k) * (n - k) / (k + 1) * p / (1 - p).
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
