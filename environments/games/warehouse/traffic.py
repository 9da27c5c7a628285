"""Who may drive where, when several robots want to.

Every robot names the cell it wants; cells are the nodes of a graph and wishes its arrows, one from each robot's cell at
most. In each connected part of that graph (rware 2.0.0, which asks networkx):

* one stays where it is: everyone behind it waits;
* a ring of more than two drives round, and everyone else in that part waits; two that want to swap both wait, and so
  does everyone behind them;
* all ends at one free cell: the longest chain towards it drives, and every other robot in that part waits.

Where chains are equally long, networkx takes the one whose cell comes first in the order of the part's cells. That
order is an accident, but it decides who drives, so it is kept: the order in which cells were named (robot by robot,
its own cell before the wanted one), unless the part has less than half of the graph's cells; then it is the order in
which CPython walks through a set of (x, y) tuples that was filled from another such set, which was filled breadth
first. `comes_first_in_a_set` follows that without the sets.
"""

from __future__ import annotations

import numpy as np

from environments.compile import kernel
from environments.intrinsics import scratch_row

U = np.uint64
PRIME_1, PRIME_2, PRIME_5 = U(11400714785074694791), U(14029467366897019727), U(2870177450012600261)
TUPLE_OF_TWO = U(2) ^ PRIME_5 ^ U(3527539)
LINEAR_PROBES = U(9)
SMALLEST_TABLE = U(8)


@kernel
def resolve(position, to_x, to_y, ahead, goes):
    """Say for every robot whether it drives to `(to_x, to_y)`.

    `position [N, 2]`; `ahead[i]`: the robot on the wanted cell, i itself where it stays, N where the cell is free.
    Writes `goes [N]`, 0 for those that stay. O(N^2) unless equal chains meet.
    """
    count = position.shape[0]
    length = scratch_row(position, np.int64)  # robots in the longest chain behind this one
    first = scratch_row(position, np.uint8)
    for i in range(count):
        length[i] = 0
    for i in range(count):
        j = i
        for n in range(1, count):
            if ahead[j] == j or ahead[j] == count:
                break
            j = ahead[j]
            length[j] = max(length[j], n)
    for i in range(count):
        first[i] = 1
        for j in range(count):
            if j == i or ahead[j] == j or to_x[j] != to_x[i] or to_y[j] != to_y[i]:
                continue
            equal = length[j] == length[i]
            if length[j] > length[i] or (equal and not comes_first(position, to_x, to_y, ahead, i, j)):
                first[i] = 0
    for i in range(count):
        goes[i] = reaches(ahead, first, i, count)


@kernel
def reaches(ahead, first, i, count):
    """True where the robot is part of a ring, or of a chain in which each is `first` to its cell, to a free cell."""
    won = first[i] != 0
    j = i
    for n in range(1, count + 1):
        front = ahead[j]
        if front == count:
            return won
        if front == j:
            return False
        j = front
        if j == i:
            return n > 2
        won &= first[j] != 0
    return False


@kernel
def front_of(ahead, i, count):
    """The last robot before a free cell on the way from robot i; `count` where the way ends elsewhere."""
    j = i
    for _ in range(count):
        if ahead[j] == count:
            return j
        if ahead[j] == j:
            return count
        j = ahead[j]
    return count


@kernel
def comes_first(position, to_x, to_y, ahead, i, j):
    """True where networkx prefers robot i to robot j, both wanting one cell with equally many behind them."""
    count = position.shape[0]
    head = front_of(ahead, i, count)
    if head == count:
        return True  # nobody in this part of the graph follows a chain: it does not matter
    member = scratch_row(position, np.uint8)  # is it in this part of the graph? Element `count` is the free cell
    named = scratch_row(position, np.int64)  # when its cell was named
    member[count] = 1
    named[count] = 2 * count
    size = 1
    cells = count
    for k in range(count):
        last = front_of(ahead, k, count)
        member[k] = last < count and to_x[last] == to_x[head] and to_y[last] == to_y[head]
        size += member[k]
        named[k] = 2 * k
    for k in range(count):
        if ahead[k] < count:
            named[ahead[k]] = min(named[ahead[k]], 2 * k + 1)
        else:
            if member[k]:
                named[count] = min(named[count], 2 * k + 1)
            fresh = 1
            for m in range(k):
                if ahead[m] == count and to_x[m] == to_x[k] and to_y[m] == to_y[k]:
                    fresh = 0
            cells += fresh
    if 2 * size >= cells:
        return named[i] < named[j]
    return comes_first_in_a_set(position, to_x[head], to_y[head], ahead, member, named, size, i, j)


@kernel
def comes_first_in_a_set(position, free_x, free_y, ahead, member, named, size, i, j):
    """True where Python, walking through the set of this part's cells, meets robot i's cell before robot j's.

    Nodes are the part's robots and, as number `count`, its free cell `(free_x, free_y)`.
    """
    count = position.shape[0]
    order = scratch_row(position, np.int64)
    slots = scratch_row(position, np.uint64)
    hashes = scratch_row(position, np.uint64)
    for k in range(count):
        hashes[k] = hash_of(position[k, 0], position[k, 1])
    hashes[count] = hash_of(free_x, free_y)
    breadth_first(ahead, member, named, order, slots, size, count)
    for _ in range(2):  # the set of the search, and the set made from it
        fill_set(order, slots, hashes, size)
    for n in range(size):
        if order[n] == i or order[n] == j:
            return order[n] == i
    return True


@kernel
def breadth_first(ahead, member, named, order, seen, size, count):
    """Write the part's nodes to `order` as networkx finds them: from the one named first, ahead before behind."""
    start = count
    for k in range(count):
        seen[k] = U(0)
        if member[k] and named[k] < named[start]:
            start = k
    seen[count] = U(0)
    seen[start] = U(1)
    order[0] = start
    found = 1
    at = 0
    while at < found and found < size:
        node = order[at]
        at += 1
        if node < count and seen[ahead[node]] == U(0):
            seen[ahead[node]] = U(1)
            order[found] = ahead[node]
            found += 1
        for k in range(count):
            if member[k] and ahead[k] == node and seen[k] == U(0):
                seen[k] = U(1)
                order[found] = k
                found += 1


@kernel
def hash_of(x, y):
    """CPython's hash of the tuple (x, y) of two small numbers (3.8 and later, 64 bits)."""
    sum_ = PRIME_5
    sum_ += U(x) * PRIME_2
    sum_ = ((sum_ << U(31)) | (sum_ >> U(33))) * PRIME_1
    sum_ += U(y) * PRIME_2
    sum_ = ((sum_ << U(31)) | (sum_ >> U(33))) * PRIME_1
    return sum_ + TUPLE_OF_TWO


@kernel
def fill_set(order, slots, hashes, size):
    """Add the first `size` nodes of `order` to an empty set; on return `order` is how Python walks through it."""
    mask = SMALLEST_TABLE - U(1)
    for n in range(size):
        node = order[n]
        slots[node] = free_slot(order, slots, n, hashes[node], mask)
        if U(5 * (n + 1)) >= mask * U(3):
            table = SMALLEST_TABLE
            while table <= U(4 * (n + 1)):
                table *= U(2)
            mask = table - U(1)
            sort_by_slot(order, slots, n + 1)
            for m in range(n + 1):
                slots[order[m]] = free_slot(order, slots, m, hashes[order[m]], mask)
    sort_by_slot(order, slots, size)


@kernel
def free_slot(order, slots, filled, hash_, mask):
    """Where a set that holds the first `filled` nodes of `order` puts one more."""
    start = hash_ & mask
    perturb = hash_
    while True:
        last = start + LINEAR_PROBES if start + LINEAR_PROBES <= mask else start
        slot = start
        while slot <= last:
            taken = False
            for m in range(filled):
                taken |= slots[order[m]] == slot
            if not taken:
                return slot
            slot += U(1)
        perturb >>= U(5)
        start = (start * U(5) + U(1) + perturb) & mask


@kernel
def sort_by_slot(order, slots, size):
    """Insertion sort of the first `size` nodes."""
    for n in range(1, size):
        node = order[n]
        m = n
        while m > 0 and slots[order[m - 1]] > slots[node]:
            order[m] = order[m - 1]
            m -= 1
        order[m] = node
