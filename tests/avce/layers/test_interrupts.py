"""Ctrl-C reaches Python during and after a batch of ECOS solves."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

SOURCE = """
import time, torch
from avce.layers import SoftMax
layer = SoftMax(64, "ecos")
layer(torch.randn(8, 64))                     # ECOS in two threads has touched the handler
z = torch.randn(256, 64)
print("ready", flush=True)
try:
    for _ in range(400):
        layer(z)
except KeyboardInterrupt:
    try:
        print("interrupted", flush=True)
        time.sleep(30)                        # and again, with no solver running
    except KeyboardInterrupt:
        print("again", flush=True)
"""


def test_ctrl_c_stops_a_batch_and_python_afterwards():
    process = subprocess.Popen([sys.executable, "-c", SOURCE], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "again\n"
    assert process.returncode == 0
