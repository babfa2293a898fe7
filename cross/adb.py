"""Writes packages of apk-tools 3: a tree of values ("ADB"), then the bytes of the files, all of it deflated.

The layout, as apk-tools reads it (apk-package(5), apk-v3(5)): a file header, blocks of eight bytes' alignment, the first
of them the tree. A value is a 32-bit number, of which the upper four bits say what it is and the rest is the number
itself or the place of the value in the block. Objects and arrays are lists of values whose first is their length.
"""

import hashlib
import struct
import zlib

INT, INT_32, INT_64, BLOB_8, BLOB_16, BLOB_32, ARRAY, OBJECT = (n << 28 for n in (1, 2, 3, 8, 9, 10, 13, 14))
BLOCK_TREE, BLOCK_DATA = 0, 2
UNIQUE_ID = 20

# Fields of a package's description, in the order of their numbers from 1.
INFO = (
    "name version hashes description arch license origin maintainer url repo_commit build_time installed_size file_size "
    "provider_priority depends"
).split()
SCRIPTS = "trigger pre-install post-install pre-deinstall post-deinstall pre-upgrade post-upgrade".split()


class Tree:
    """A block of values. Equal values are written once, as apk itself does."""

    def __init__(self):
        self.data = bytearray(8)
        self.known = {}

    def _put(self, content, alignment):
        if content in self.known and self.known[content] % alignment == 0:
            return self.known[content]
        self.data += bytes(-len(self.data) % alignment)
        place = len(self.data)
        self.data += content
        self.known[content] = place
        return place

    def number(self, value):
        if value < 1 << 28:
            return INT | value
        if value < 1 << 32:
            return INT_32 | self._put(struct.pack("<I", value), 4)
        return INT_64 | self._put(struct.pack("<Q", value), 4)

    def text(self, value):
        value = value.encode() if isinstance(value, str) else value
        if not value:
            return 0
        for limit, form, kind, alignment in ((1 << 8, "<B", BLOB_8, 1), (1 << 16, "<H", BLOB_16, 2), (1 << 32, "<I", BLOB_32, 4)):
            if len(value) < limit:
                return kind | self._put(struct.pack(form, len(value)) + value, alignment)
        raise ValueError("a text of 4 GB")

    def fresh(self, value):
        """A text at a place of its own, which may be written over later; gives that place too."""
        self.data += bytes([len(value)]) + value
        return BLOB_8 | (len(self.data) - len(value) - 1), len(self.data) - len(value)

    def _list(self, kind, values):
        values = list(values)
        while values and values[-1] == 0:
            values.pop()
        if not values:
            return 0
        return kind | self._put(struct.pack(f"<{len(values) + 1}I", len(values) + 1, *values), 4)

    def object(self, *values):
        return self._list(OBJECT, values)

    def array(self, values):
        return self._list(ARRAY, values)


def package(info, files, scripts, mtime):
    """`files` by path without a leading slash: bytes and mode. `scripts` by their names. Everything belongs to root."""
    tree = Tree()
    paths, data = directories(tree, files, mtime)
    size = sum(len(content) for content, _ in files.values())
    unique, unique_at = tree.fresh(bytes(UNIQUE_ID))
    fields = {name: tree.text(info[name]) for name in INFO if isinstance(info.get(name), str)}
    fields["hashes"] = unique
    fields["installed_size"] = tree.number(max(size, 1))
    fields["depends"] = tree.array([tree.object(tree.text(name)) for name in sorted(info["depends"])])
    root = tree.object(
        tree.object(*(fields.get(name, 0) for name in INFO)),
        paths,
        tree.object(*(tree.text(scripts.get(name, "")) for name in SCRIPTS)),
    )
    struct.pack_into("<BBHI", tree.data, 0, 0, 0, 0, root)
    digest = hashlib.sha256(tree.data).digest()
    tree.data[unique_at : unique_at + UNIQUE_ID] = digest[:UNIQUE_ID]
    out = b"ADB." + b"pckg" + block(BLOCK_TREE, bytes(tree.data)) + b"".join(data)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    return b"ADBd" + deflate.compress(out) + deflate.flush()


def directories(tree, files, mtime):
    """The array of folders with their files, and a block for each file that is not empty."""
    names = {""}
    for path in files:
        parts = path.split("/")[:-1]
        names.update("/".join(parts[: n + 1]) for n in range(len(parts)))
    folders, data = [], []
    for name in sorted(names):
        inside = sorted(path for path in files if path.rpartition("/")[0] == name)
        if not inside:
            # apk makes such a folder itself where it is needed.
            continue
        entries = []
        for path in inside:
            content, mode = files[path]
            entries.append(
                tree.object(
                    tree.text(path.rpartition("/")[2]),
                    rights(tree, mode),
                    tree.number(len(content)),
                    tree.number(mtime),
                    tree.text(hashlib.sha256(content).digest()),
                )
            )
            if content:
                data.append(block(BLOCK_DATA, struct.pack("<II", len(folders) + 1, len(entries)) + content))
        folders.append(tree.object(tree.text(name), rights(tree, 0o755), tree.array(entries)))
    return tree.array(folders), data


def rights(tree, mode):
    return tree.object(tree.number(mode), tree.text("root"), tree.text("root"))


def block(kind, content):
    raw = 4 + len(content)
    if raw > 0x3FFFFFFF:
        raise ValueError("a block of 1 GB")
    return struct.pack("<I", kind << 30 | raw) + content + bytes(-raw % 8)
