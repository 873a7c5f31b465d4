"""A server that a comparison starts, at a port of this device."""

import json
import subprocess

import binary


class Server:
    """A child process that serves until it is stopped."""

    def __init__(self, name, command):
        self.name, self.port = name, None
        self.child = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    @classmethod
    def potluck(cls, program, *options):
        """`potluck serve` with these options, once it is ready. Every program of this device may ask it."""
        server = cls("potluck", [program, "serve", "--http", "127.0.0.1:0", "--open", "--json", *options])
        line = server.child.stdout.readline()
        if not line:
            raise binary.Failure(f"potluck serve ended with code {server.child.wait()}")
        server.port = int(json.loads(line)["http"].rsplit(":", 1)[1])
        return server

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
