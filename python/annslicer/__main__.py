"""`python -m annslicer`: the program itself, in place of this process."""

import os
import sys

from ._errors import AnnslicerError
from ._find import program

if __name__ == "__main__":
    try:
        path = program()
    except AnnslicerError as error:
        sys.exit(f"ERROR: {error}")
    os.execv(path, [path, *sys.argv[1:]])
