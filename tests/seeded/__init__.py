"""Bugs put in on purpose, each of which a named suite must find: the proof that the suites bite.

A seed is a change of a few words in a source file, applied to a copy. The sources themselves hold nothing of it, so no
build that is used can have one, and no branch of the core is there for its tests.
"""
