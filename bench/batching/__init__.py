"""Batches of sequences whose lengths differ: how to pad or bucket them, and what that costs.

Others take: ``lengths`` (a user's lengths, from a file or drawn), ``plans`` (which batches a policy
makes of them), ``measured`` (what such a stream costs, asked of fresh processes), ``advice`` (which
policy and backend, from recorded times), and ``asked`` (how that is asked for and told).
"""
