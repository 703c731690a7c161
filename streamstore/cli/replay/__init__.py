"""`replay`: a stream again, as it was, faster or slower, to wherever it is wanted."""
