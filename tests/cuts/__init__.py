"""Power cuts simulated: a store is traced call by call, and every directory that a cut could leave is opened again."""
