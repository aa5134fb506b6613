//! Estimation.
