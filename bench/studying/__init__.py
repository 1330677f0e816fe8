"""How often the verdicts are right: this suite's rules, and others, on simulated processes.

Others take: ``asked`` (tables and pictures, as ``bench.verdict_study`` is asked for them) and
``pairs`` (how far recorded pairs spread). Inside, ``noises`` draws how processes differ, ``rules``
is what this suite's rule and those of other tools say of them, and each study (``verdicts``,
``bridges``, ``percentiles``, ``nodes``, ``changes``) makes tables of that.
"""
