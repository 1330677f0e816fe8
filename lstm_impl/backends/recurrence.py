"""Multiply by the recurrent kernel in any framework whose tensors support indexing and ``@``."""

from lstm_impl.call import Tensor, Tensors
from lstm_impl.cell import Recurrence


def make_recurrence(recurrent: Tensors) -> Recurrence:
    """Return a function that multiplies by the recurrent kernel, for the equations of a cell.

    ``recurrent`` holds the recurrent kernel ``[H, G*H]``, and the second bias ``[G*H]`` if the cell
    has one.
    """

    def multiply(h: Tensor, gates: range | None = None) -> Tensor:
        weights = recurrent
        if gates is not None:
            columns = slice(gates.start * h.shape[-1], gates.stop * h.shape[-1])
            weights = [each[..., columns] for each in recurrent]
        product = h @ weights[0]
        return product + weights[1] if len(weights) > 1 else product

    return multiply
