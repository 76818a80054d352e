"""The re-rankers as their papers write them: float64, plain loops, one query and candidate a time.

A matrix has queries in rows and candidates in columns; video to text gives the transposed one. What
comes out is ranked within each row. `s` are the similarities, `q` those of a bank to the same
candidates. No log is taken, so the exponents have to be small enough for a float.
"""

import math

import numpy as np


def inverted_softmax(s, q, beta):
    """Smith et al. 2017, as equation 4 of QB-Norm has it, with a bank of other queries."""
    out = np.empty(s.shape)
    for t in range(s.shape[0]):
        for v in range(s.shape[1]):
            out[t, v] = math.exp(beta * s[t, v]) / sum(
                math.exp(beta * q[m, v]) for m in range(len(q))
            )
    return out


def qb_norm(s, q, beta, top):
    """Bogolin et al. 2022: the inverted softmax where the first candidate is an activated one."""
    activated = set()
    for row in q:
        bound = sorted(row, reverse=True)[min(top, len(row)) - 1]
        activated |= {v for v, value in enumerate(row) if value >= bound}
    out, normalised = s.copy(), inverted_softmax(s, q, beta)
    for t, row in enumerate(s):
        if activated & {v for v, value in enumerate(row) if value == max(row)}:
            out[t] = normalised[t]
    return out


def nnn(s, q, weight, neighbours):
    """Chowdhury et al. 2024: s less alpha times the mean of the k nearest of the bank."""
    out = np.empty(s.shape)
    for v in range(s.shape[1]):
        near = sorted(q[:, v], reverse=True)[:neighbours]
        out[:, v] = s[:, v] - weight * sum(near) / len(near)
    return out


def dsl(s, scale):
    """Cheng et al. 2021 at test time: s times the softmax over all queries."""
    out = np.empty(s.shape)
    for v in range(s.shape[1]):
        total = sum(math.exp(scale * s[t, v]) for t in range(len(s)))
        for t in range(len(s)):
            out[t, v] = s[t, v] * math.exp(scale * s[t, v]) / total
    return out


def scalings(s, temperature, iterations):
    """Sinkhorn and Knopp's: u of rows and v of columns, to sums of 1/rows and 1/columns."""
    rows, columns = s.shape
    k = np.exp(s / temperature)
    u, v = [1.0] * rows, [1.0] * columns
    for _ in range(iterations):
        v = [1 / columns / sum(k[i, j] * u[i] for i in range(rows)) for j in range(columns)]
        u = [1 / rows / sum(k[i, j] * v[j] for j in range(columns)) for i in range(rows)]
    return np.array(u), np.array(v)


def sinkhorn_plan(s, temperature, iterations):
    """The balanced matrix."""
    u, v = scalings(s, temperature, iterations)
    return u[:, None] * np.exp(s / temperature) * v


def sinkhorn_bank(s, q, temperature, iterations):
    """A new row under the column scalings of a balanced bank."""
    _, v = scalings(q, temperature, iterations)
    return np.exp(s / temperature) * v
