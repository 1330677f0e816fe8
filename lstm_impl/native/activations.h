// Sigmoid and tanh of a register of floats. Both are exact within three units in the last place,
// and keep NaN.
//
// Both compute e^x = 2^n (1 + t). The integer n is the one nearest to x / ln 2, and t = e^r - 1 is
// what the remainder r contributes, with |r| <= ln(2) / 2. tanh needs e^2x - 1, and gets it from t
// without cancellation, also near zero.
#ifndef LSTM_IMPL_NATIVE_ACTIVATIONS_H_
#define LSTM_IMPL_NATIVE_ACTIVATIONS_H_

#include "vector.h"

namespace lstm_impl {

// Limits x to the range from `least` to `most`. NaN stays NaN.
LSTM_IMPL_INLINE Vector clamp(Vector x, float least, float most) {
  return Instructions::clamp(x, least, most);
}

struct Exponential {
  Vector scale;  // 2^n
  Vector tail;   // e^r - 1
};

// Returns the two factors of e^x for x from -87 to 88, where 2^n is a normal number.
LSTM_IMPL_INLINE Exponential exponential(Vector x) {
  // Adding 1.5 * 2^23 rounds to an integer. The lowest bits of the sum then hold this integer.
  constexpr float kRound = 12582912.0f;
  const Vector shifted = x * 1.44269504f + kRound;
  const Vector n = shifted - kRound;
  // ln 2 is split into two parts. The first part has so few bits that its product with n is exact.
  const Vector r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  // A polynomial for (e^r - 1 - r) / r^2, interpolated at Chebyshev's points. Its error is at most
  // a fifth of the roundoff of e^r.
  Vector p = Vector{} + 1.3934545e-3f;
  p = p * r + 8.3637768e-3f;
  p = p * r + 4.1666456e-2f;
  p = p * r + 1.6666573e-1f;
  p = p * r + 0.5f;
  Bits bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;
  Exponential result;
  std::memcpy(&result.scale, &bits, sizeof bits);
  result.tail = (r * r) * p + r;
  return result;
}

LSTM_IMPL_INLINE Vector sigmoid(Vector x) {
  const Exponential e = exponential(clamp(-x, -87.0f, 88.0f));
  return 1.0f / ((1.0f + e.scale) + e.scale * e.tail);
}

// For magnitudes above 10, tanh is 1 in float32.
LSTM_IMPL_INLINE Vector tanh(Vector x) {
  const Exponential e = exponential(clamp(2.0f * x, -20.0f, 20.0f));
  const Vector minus_one = e.scale * e.tail + (e.scale - 1.0f);
  return minus_one / (minus_one + 2.0f);
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_ACTIVATIONS_H_
