//! Rooms, audience sets and routes: who receives which packet, rewritten how.
