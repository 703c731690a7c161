"""`capture`: a Kinesis stream, another store or growing files into a stream, each record exactly once."""
