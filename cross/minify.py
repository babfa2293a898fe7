"""Takes comments and indentation out of a script of the web pages, as LuCI's own build does: a router keeps what is left.

    python3 cross/minify.py FILE       prints it

Comments are only taken out where they have lines of their own, so nothing of the language has to be understood.
"""

import sys


def minified(text):
    lines, inside = [], False
    for line in text.split("\n"):
        line = line.strip()
        if inside or line.startswith("/*"):
            inside = not line.endswith("*/")
        elif line:
            lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as script:
        sys.stdout.write(minified(script.read()))
