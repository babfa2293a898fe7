"""Translations as LuCI reads them: `compiled` makes an .lmo of a .po.

An .lmo has the translated texts, each filled up to four bytes, then an index sorted by key, then the offset of the index;
all numbers are 32 bits, big-endian. An entry of the index is key, plural forms, offset and length of a text. The key is a
hash (Paul Hsieh's SuperFastHash, begun with the length) of the original: `context\\1text`, and `text\\2N` for plural form N.
Key 0 is the rule for plurals. Of escapes in a .po only those of quote and backslash are undone.
"""

import re
import struct

WORD = 0xFFFFFFFF
LINE = re.compile(r'^(?:(msgctxt|msgid_plural|msgid|msgstr)(?:\[(\d+)\])? )?"(.*)"$')


def compiled(text):
    """Empty if nothing is translated."""
    texts, index = b"", []

    def put(key, forms, content):
        nonlocal texts
        index.append((key, forms, len(texts), len(content)))
        texts += content + bytes(-len(content) % 4)

    for message in messages(text):
        original, forms = message.get("msgid", ""), message["forms"]
        if not original:
            rule = re.search(r"Plural-Forms: (.*?)\\n", forms.get(0, ""))
            if rule:
                put(0, 0, rule[1].encode())
            continue
        context = f"{message['msgctxt']}\1" if "msgctxt" in message else ""
        for number, translated in sorted(forms.items()):
            plural = f"\2{number}" if "msgid_plural" in message else ""
            key, same = hashed(f"{context}{original}{plural}".encode()), hashed(translated.encode())
            if translated and key != same:
                put(key, max(forms) + 1, translated.encode())
    if not texts:
        return b""
    index.sort(key=lambda entry: entry[0])
    return texts + b"".join(struct.pack(">4I", *entry) for entry in index) + struct.pack(">I", len(texts))


def messages(text):
    """One by one: `msgctxt`, `msgid`, `msgid_plural` as far as they are there, and `forms`, the translations by number."""
    for block in re.split(r"\n\s*\n", text):
        message, field = {"forms": {}}, None
        for line in block.splitlines():
            match = LINE.match(line)
            if not match:
                if line.startswith("#, ") and "fuzzy" in line:
                    message = None
                    break
                continue
            name, number, piece = match.groups()
            piece = re.sub(r'\\(["\\])', r"\1", piece)
            if name:
                field = int(number or 0) if name == "msgstr" else name
            where = message["forms"] if isinstance(field, int) else message
            where[field] = (where.get(field, "") if not name else "") + piece
        if message and (message["forms"] or "msgid" in message):
            yield message


def hashed(data):
    if not data:
        return 0
    total, whole = len(data), len(data) // 4 * 4
    low = lambda at: data[at] | data[at + 1] << 8
    signed = lambda byte: byte - 256 if byte > 127 else byte
    for at in range(0, whole, 4):
        total = total + low(at) & WORD
        total = total << 16 & WORD ^ (low(at + 2) << 11 ^ total)
        total = total + (total >> 11) & WORD
    rest = len(data) - whole
    if rest == 3:
        total = total + low(whole) & WORD
        total ^= total << 16 & WORD
        total ^= signed(data[whole + 2]) << 18 & WORD
        total = total + (total >> 11) & WORD
    elif rest == 2:
        total = total + low(whole) & WORD
        total ^= total << 11 & WORD
        total = total + (total >> 17) & WORD
    elif rest == 1:
        total = total + signed(data[whole]) & WORD
        total ^= total << 10 & WORD
        total = total + (total >> 1) & WORD
    for left, right in ((3, 5), (4, 17), (25, 6)):
        total ^= total << left & WORD
        total = total + (total >> right) & WORD
    return total
