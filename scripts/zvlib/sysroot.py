# SPDX-License-Identifier: MIT
"""Prints the folder with Debian's libraries for another architecture: python -m zvlib.sysroot s390x."""

import sys

from zvlib import debian

if __name__ == "__main__":
    try:
        print(debian.sysroot(sys.argv[1], say=lambda text: print(text, file=sys.stderr)))
    except debian.FetchError as error:
        sys.exit(f"sysroot: {error}")
