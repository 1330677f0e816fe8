"""Multiply by the recurrent kernel, for all frameworks whose tensors index and multiply."""

from lstm_impl.call import Tensor, Tensors
from lstm_impl.cell import Recurrence


def make_recurrence(recurrent: Tensors) -> Recurrence:
    """Return the product with the recurrent kernel that a cell's equations call.

    recurrent: the recurrent kernel ``[H, G*H]``, and the second bias ``[G*H]`` if the cell has one.
    """

    def multiply(h: Tensor, gates: range | None = None) -> Tensor:
        weights = recurrent
        if gates is not None:
            columns = slice(gates.start * h.shape[-1], gates.stop * h.shape[-1])
            weights = [each[..., columns] for each in recurrent]
        product = h @ weights[0]
        return product + weights[1] if len(weights) > 1 else product

    return multiply
