"""Check any implementation of an LSTM or a GRU against the float64 reference.

>>> import lstm_impl
>>> result = lstm_impl.check("my_kernels:lstm_forward", layout="torch")  # doctest: +SKIP
>>> print(result)  # doctest: +SKIP
"""

from lstm_impl.checking.answer import CheckResult
from lstm_impl.checking.checker import check
from lstm_impl.checking.layout import TargetError

__all__ = ["CheckResult", "TargetError", "check"]
