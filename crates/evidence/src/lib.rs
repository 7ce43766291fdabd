//! Journal, hash chain, seals, packages, and their verifier.
