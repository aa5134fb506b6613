"""A loop of pure Python: objects, operators, a dictionary and method calls. `loop.py TIMES`."""

import sys


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __add__(self, other):
        return Point(self.x + other.x, self.y + other.y)


def walk(steps):
    at, step, seen = Point(0, 0), Point(1, 2), {}
    for number in range(steps):
        at = at + step
        seen[at.x % 97] = seen.get(at.x % 97, 0) + number * 3 // 2
    return at.x + at.y + sum(seen.values())


print(walk(int(sys.argv[1])))
