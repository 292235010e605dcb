"""Studies to test with: random, but about as large as those that training finds."""

import numpy as np

from stylizer import studies
from stylizer.studies import Study


def random_study(stylizer, seed: int = 0, rank: int = 4, size: float = 0.05, name: str = "dawn") -> Study:
    """One that changes a picture plainly, of the weights that are used."""
    random = np.random.default_rng(seed)
    numbers = size * random.standard_normal(studies.size(rank))
    vector = stylizer.gallery["kintsugi"].vector
    return Study(name, vector, numbers.astype(np.float16), rank, stylizer.fingerprint)
