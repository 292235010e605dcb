"""How the weights are made: `python -m stylizer.training train | evaluate | cost`. Nothing here serves anybody."""
