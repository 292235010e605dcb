"""How the weights are made: `python -m stylizer.training COMMAND`. None of it is needed for painting or serving."""
