//! What outlives a restart: cases, rooms, cameras, walls, recordings, purposes and the audit log.
