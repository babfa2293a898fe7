"""Takes comments and blanks that say nothing out of a script of the web pages, as LuCI's own build does: a router keeps what is
left.

    python3 cross/minify.py FILE       prints it

Comments are only taken out where they have lines of their own, line ends stay, and of the language no more is understood than
where a text or a pattern is: those stay as they are.
"""

import re
import sys

# A text, a pattern (which stands behind one of these signs), a run of blanks, or anything else.
TOKEN = re.compile(
    r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|`(?:\\.|[^`\\])*`"
    r"|(?<=[(,=:\[!&|?{};])(?P<gap> *)(?P<pattern>/(?![/*])(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\[])+/[a-z]*)"
    r"|(?P<blanks> +)|[^'\"` ]"
)


def needed(before, after):
    """Whether two signs become something else when nothing is between them."""

    def is_word(sign):
        return sign.isalnum() or sign in "_$"

    return is_word(before) and is_word(after) or before == after and before in "+-"


def squeezed(line):
    out = ""
    for token in TOKEN.finditer(line):
        if token["pattern"]:
            out += token["pattern"]
        elif token["blanks"]:
            if needed(out[-1:], line[token.end() : token.end() + 1]):
                out += " "
        else:
            out += token[0]
    return out


def minified(text):
    lines, inside = [], False
    for line in text.split("\n"):
        line = line.strip()
        if inside or line.startswith("/*"):
            inside = not line.endswith("*/")
        elif line:
            lines.append(squeezed(line))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as script:
        sys.stdout.write(minified(script.read()))
