// Sigmoid and tanh for results that are rounded to bfloat16 afterwards. Their relative error is up
// to 2^-13, which is a sixteenth of the rounding error, and they cost half as much as the functions
// for float. They keep NaN.
#ifndef LSTM_IMPL_NATIVE_BFLOAT16_ACTIVATIONS_H_
#define LSTM_IMPL_NATIVE_BFLOAT16_ACTIVATIONS_H_

#include "activations.h"
#include "numbers.h"
#include "vector.h"

namespace lstm_impl {

// Returns 1 / (1 + e^-x) and its difference to one, which has the same relative error.
LSTM_IMPL_INLINE Sigmoid coarse_sigmoid(Vector x) {
  constexpr float kLog2e = 1.44269504f;
  const auto [r, n] = Instructions::split(clamp(x, -87.0f, 87.0f), -kLog2e);
  // A polynomial for 2^r with |r| <= 1/2. It is exact at zero.
  Vector p = r * 0.05500875f + 0.24221114f;
  p = p * r + 0.69328297f;
  p = p * r + 1.0f;
  p = Instructions::scaled(p, n);
  const Vector value = Instructions::reciprocal(1.0f + p);
  return {value, p * value};
}

// Returns x times a ratio of polynomials in x^2. The ratio is fitted up to 5, where tanh equals one
// within 2^-13.
LSTM_IMPL_INLINE Vector coarse_tanh(Vector x) {
  x = clamp(x, -5.0f, 5.0f);
  const Vector t = x * x;
  const Vector over = (t * 6.70579647e-4f + 0.102418168f) * t + 0.99994806f;
  const Vector under = (t * 0.012820031f + 0.435433019f) * t + 1.0f;
  return x * over * Instructions::reciprocal(under);
}

// The gates of a layer whose numbers have the type Value.
template <class Value>
LSTM_IMPL_INLINE Sigmoid gate_sigmoid(Vector x) {
  if constexpr (kRounds<Value>) return coarse_sigmoid(x);
  const Vector value = sigmoid(x);
  return {value, 1.0f - value};
}

template <class Value>
LSTM_IMPL_INLINE Vector gate_tanh(Vector x) {
  return kRounds<Value> ? coarse_tanh(x) : tanh(x);
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BFLOAT16_ACTIVATIONS_H_
