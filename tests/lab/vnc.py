#!/usr/bin/env python3
"""vnc.py SOCKET shot FILE.ppm | type TEXT | pointer X Y: a VNC viewer (RFC 6143) that asks for raw pixels only."""
import socket
import struct
import sys
import time


class Viewer:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        assert self.read(12).startswith(b"RFB 003.008")
        self.socket.sendall(b"RFB 003.008\n")
        offered = self.read(self.read(1)[0])
        assert 1 in offered, f"no security type without a password in {offered}"
        self.socket.sendall(b"\1")
        assert self.read(4) == bytes(4), "refused"
        self.socket.sendall(b"\1")
        self.width, self.height = struct.unpack(">HH", self.read(4))
        self.read(16)
        self.read(struct.unpack(">I", self.read(4))[0])
        # 32 bits a pixel, little endian, red at bit 16, green at 8, blue at 0; raw pixels and a size that may change.
        self.socket.sendall(struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        self.socket.sendall(struct.pack(">BxHii", 2, 2, 0, -223))

    def read(self, length):
        data = bytearray()
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            assert part, "the server has hung up"
            data += part
        return bytes(data)

    def shot(self):
        """All of the screen, as rows of RGB."""
        self.socket.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, self.width, self.height))
        rows = [bytearray(self.width * 3) for _ in range(self.height)]
        seen = 0
        while seen < self.width * self.height:
            kind = self.read(1)[0]
            if kind == 3:  # somebody has copied something
                self.read(3)
                self.read(struct.unpack(">I", self.read(4))[0])
                continue
            assert kind == 0, f"message {kind}"
            for _ in range(struct.unpack(">xH", self.read(3))[0]):
                x, y, w, h, encoding = struct.unpack(">HHHHi", self.read(12))
                if encoding == -223:
                    self.width, self.height, seen = w, h, 0
                    rows = [bytearray(w * 3) for _ in range(h)]
                    self.socket.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, w, h))
                    continue
                assert encoding == 0, f"encoding {encoding}"
                pixels = self.read(w * h * 4)
                for row in range(h):
                    line = pixels[row * w * 4:(row + 1) * w * 4]
                    for channel, offset in enumerate((2, 1, 0)):
                        rows[y + row][x * 3 + channel:(x + w) * 3:3] = line[offset::4]
                seen += w * h
        return rows

    def type(self, text):
        for character in text:
            symbol = 0xFF0D if character == "\n" else ord(character)
            for down in (1, 0):
                self.socket.sendall(struct.pack(">BBxxI", 4, down, symbol))
        # The answer to a question that comes after the keys.
        self.shot()

    def pointer(self, x, y):
        self.socket.sendall(struct.pack(">BBHH", 5, 0, x, y))
        self.shot()


viewer = Viewer(sys.argv[1])
if sys.argv[2] == "shot":
    rows = viewer.shot()
    # wayvnc sends a grey picture before it has its first one of the screen.
    deadline = time.monotonic() + 60
    while all(row == rows[0][:3] * viewer.width for row in rows) and time.monotonic() < deadline:
        time.sleep(0.2)
        rows = viewer.shot()
    with open(sys.argv[3], "wb") as file:
        file.write(b"P6 %d %d 255\n" % (viewer.width, viewer.height) + b"".join(rows))
elif sys.argv[2] == "type":
    viewer.type(sys.argv[3].replace("\\n", "\n"))
elif sys.argv[2] == "pointer":
    viewer.pointer(int(sys.argv[3]), int(sys.argv[4]))
