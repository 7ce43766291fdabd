//! Journal, hash chain, seals, packages, and their verifier.
//!
//! Owns the evidence format: what a journal line is, how lines are chained, how a head is signed, which files a
//! package (a BagIt bag, RFC 8493) holds, and what a verifier checks. Never captures media, opens a file, reads
//! a clock or draws a random number: the recorder gives it bytes, times and keys, and hands it a
//! [`verify::Package`] to look through.

pub mod bag;
pub mod hash;
pub mod journal;
pub mod seal;
pub mod verify;
