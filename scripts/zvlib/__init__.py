# SPDX-License-Identifier: MIT
"""What the scripts and the functional tests share: Debian's guest, initrds, disks, running a machine."""
