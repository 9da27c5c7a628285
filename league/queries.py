"""What a population's log is asked, in SQLite's words; `league.store` says what comes back."""

from __future__ import annotations

MATCH_AS_JSON = """
SELECT json_object(
    'id', m.id, 'environment', m.environment, 'digest', m.digest, 'key', m.key, 'outcome', json(m.outcome),
    'length', m.length, 'status', m.status, 'offender', m.offender, 'learner', m.learner, 'replay', m.replay,
    'error', m.error, 'seats', (
        SELECT json_group_array(json_object(
            'team', s.team, 'role', s.role, 'player', s.player, 'agents', json(s.agents)
        )) FROM (SELECT * FROM seats WHERE match = m.number ORDER BY seat) s
    )
) FROM matches m {} ORDER BY m.number
"""
"""Matches as lines of a journal, in order; `{}`: which of `matches m`."""
PAIRS = """
SELECT a.player, b.player, sum(a.outcome > b.outcome), sum(a.outcome = b.outcome), sum(a.outcome < b.outcome)
FROM seats a JOIN seats b ON a.match = b.match AND a.team <> b.team JOIN matches m ON m.number = a.match
WHERE a.player <> b.player AND a.agents IS NULL AND b.agents IS NULL AND {}
GROUP BY a.player, b.player
"""
"""Player, opponent, wins, draws and losses of whole teams; `{}`: which of matches m, seats a and b."""
OUTCOMES = """
SELECT a.player, b.player, a.outcome, b.outcome
FROM matches m JOIN seats a ON a.match = m.number JOIN seats b ON b.match = m.number AND a.team <> b.team
WHERE a.player <> b.player AND a.agents IS NULL AND b.agents IS NULL AND m.learner IS NULL AND m.status <> 'void'
ORDER BY m.number, a.seat
"""
"""Player, opponent and what each got, of every match of two whole teams from which nobody learned."""
EARNED = """
SELECT a.player, b.player, sum(a.outcome), sum(b.outcome), count(*)
FROM seats a JOIN seats b ON a.match = b.match AND a.team <> b.team JOIN matches m ON m.number = a.match
WHERE m.learner IS NULL AND m.status <> 'void' AND a.role = ? AND b.role = ? AND a.player <> b.player
GROUP BY a.player, b.player ORDER BY a.player, b.player
"""
"""Player of the first kind of team, of the second, sums of their outcomes, games; asked with the two kinds."""
RATES = """
SELECT player, sum(points), count(*) FROM (
    SELECT b.player, (a.outcome > b.outcome) + 0.5 * (a.outcome = b.outcome) AS points,
        row_number() OVER (PARTITION BY b.player ORDER BY a.match DESC, b.seat) AS age
    FROM seats a JOIN seats b ON a.match = b.match AND a.team <> b.team JOIN matches m ON m.number = a.match
    WHERE a.player = ? AND m.learner = ? AND b.player <> ? AND m.status = 'normal'
        AND a.agents IS NULL AND b.agents IS NULL
) WHERE age <= ? GROUP BY player ORDER BY player
"""
"""Opponent, points and games that a learner learned from lately; asked with thrice its number, and how many."""
LEARNED = """
SELECT b.player, avg((a.outcome > b.outcome) + 0.5 * (a.outcome = b.outcome))
FROM matches m JOIN seats a ON a.match = m.number JOIN seats b ON b.match = m.number AND a.team <> b.team
WHERE m.learner = ? AND a.player = m.learner AND b.player <> ? AND m.status = 'normal'
    AND a.agents IS NULL AND b.agents IS NULL
GROUP BY m.number, b.player ORDER BY m.number, b.player
"""
"""Opponent and points of each match that a learner learned from, in order; asked with twice its number."""
FORFEITS = """
SELECT s.player, m.status, count(*) FROM matches m JOIN seats s ON s.match = m.number AND s.team = m.offender
GROUP BY s.player, m.status ORDER BY s.player, m.status
"""
"""Player, how it ended, games that it gave away."""
