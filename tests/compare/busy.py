"""Processes that do nothing but keep processors busy."""

import subprocess
import sys

# Ends by itself if the process that started it is gone, so that none is ever left behind.
SPIN = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


class Busy:
    """`with Busy(2): …` runs two such processes inside the block."""

    def __init__(self, count):
        self.count = count
        self.children = []

    def __enter__(self):
        try:
            for _ in range(self.count):
                self.children.append(subprocess.Popen([sys.executable, "-c", SPIN]))
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_exception):
        self.end()

    def end(self):
        for child in self.children:
            child.kill()
        for child in self.children:
            child.wait()
        self.children.clear()
