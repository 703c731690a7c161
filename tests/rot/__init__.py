"""Bit rot, lost and misdirected writes over every kind of file of a store."""
