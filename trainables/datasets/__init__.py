"""Data sets by name or path: found, read, checked, and the test part kept apart.

`find` says where a data set comes from and reads it, `Source.train` and `Source.val` give what a search may see,
`Source.test` what it may not. Images are uint8 `(N, C, H, W)`, the points of `moons` float32 `(N, 2, 1, 1)`, labels
int64 `(N,)`. Nothing of a user's is unpickled (CIFAR-10 is published as pickles, which torchvision reads after checking
their MD5).
"""

from trainables.datasets.find import file_of, find, names
from trainables.datasets.generated import GENERATED, digits, moons
from trainables.datasets.known import KNOWN, SUBSETS, stand_in
from trainables.datasets.parts import file_names_of_val, parts
from trainables.datasets.source import LIMIT, SIDE, DataError, Part, Reading, Source, digest, of_its_own

__all__ = [
    "GENERATED", "KNOWN", "LIMIT", "SIDE", "SUBSETS", "DataError", "Part", "Reading", "Source", "digest", "digits",
    "file_names_of_val", "file_of", "find", "moons", "names", "of_its_own", "parts", "stand_in",
]  # fmt: skip
