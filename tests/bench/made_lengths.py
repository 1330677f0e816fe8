"""A stream of batches of a few lengths, as a fresh process is asked for it."""

from bench.studies.lengths import LengthsRequest

QUESTION = LengthsRequest(
    batch=2,
    inputs=3,
    hidden=4,
    mode="training",
    lengths=(2, 5, 3),
    batches={"longest": [(5, (0, 1)), (5, (2,))], "batch": [(5, (0, 1)), (3, (2,))]},
    ways=("numpy/own",),
    seconds=1e-3,
    limit=60.0,
    seed=0,
)
