"""`ingest`: lines of a file or of stdin into a stream, each exactly once, whatever interrupts it."""
