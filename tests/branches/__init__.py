"""Branch coverage of the core: all that runs C is run over a counting build, and what no run takes is explained."""
