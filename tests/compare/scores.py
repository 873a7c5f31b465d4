"""Reads `potluck score --json --top K`, whose lists may be hundreds of megabytes, as it comes."""

import json

import numpy as np


def read(pieces, on_position):
    """Calls `on_position(position, ids, logprobs)` for each position's list, best first; returns
    the rest of the object.
    """
    text = Text(pieces)
    head = text.until(b'"top":[')
    position = 0
    while text.peek() == b"[":
        row = text.until(b"]]").translate(None, b"[]")
        pairs = np.array(row.lstrip(b",").split(b","), dtype=np.float64).reshape(-1, 2)
        on_position(position, pairs[:, 0].astype(np.int64), pairs[:, 1])
        position += 1
        if text.peek() == b",":
            text.skip(1)
    text.skip(1)
    return json.loads(head + b'"top":null' + text.rest())


class Text:
    """A buffer over pieces of JSON without spaces: none of its strings is of interest."""

    def __init__(self, pieces):
        self.pieces, self.buffer = iter(pieces), b""

    def fill(self):
        piece = next(self.pieces, None)
        if piece is None:
            raise ValueError("`potluck score` printed less than one whole object with \"top\"")
        self.buffer += piece.translate(None, b" \t\r\n")

    def peek(self):
        while not self.buffer:
            self.fill()
        return self.buffer[:1]

    def skip(self, count):
        self.buffer = self.buffer[count:]

    def until(self, mark):
        """What lies before the mark; both are taken."""
        searched = 0
        while (at := self.buffer.find(mark, searched)) < 0:
            # The mark may begin in what is here.
            searched = max(0, len(self.buffer) - len(mark))
            self.fill()
        taken, self.buffer = self.buffer[:at], self.buffer[at + len(mark):]
        return taken

    def rest(self):
        return self.buffer + b"".join(self.pieces)
