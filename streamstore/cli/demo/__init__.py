"""`demo`: write from two processes, kill one half-way, lose nothing, read it all back. Every figure measured, every
check real.
"""
