# SPDX-License-Identifier: MIT
"""A bare-metal guest with an NVMe driver of its own; its host looks at the disk afterwards."""

import os
import re

from zvlib import disk, run


def test_a_bare_metal_driver_reads_and_writes_the_disk(zvisor, tmp_path):
    image = tmp_path / "disk"
    disk.make(image, 4 << 20, 11)
    before = image.read_bytes()
    kernel = os.path.join(run.build_folder(), "tests/guest/zpci/zpci-disk")
    with run.Machine(run.zvisor_command(kernel, memory="64M", devices=[f"nvme,file={image}"])) as machine:
        status = machine.wait(120)
        said = machine.console
    assert status == 0
    assert not re.search(r"^not ok", said, re.M), said
    assert re.search(r"^1\.\.13$", said, re.M), said
    assert disk.complaints(said, before, image.read_bytes()) == []
