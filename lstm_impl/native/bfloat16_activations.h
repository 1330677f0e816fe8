// Sigmoid and tanh for results that are rounded to bfloat16: relative errors up to 2^-13, a sixteenth
// of what the rounding makes, at half the cost of the functions for float. NaN is kept.
#ifndef LSTM_IMPL_NATIVE_BFLOAT16_ACTIVATIONS_H_
#define LSTM_IMPL_NATIVE_BFLOAT16_ACTIVATIONS_H_

#include "activations.h"
#include "numbers.h"
#include "vector.h"

namespace lstm_impl {

// 1 / (1 + e^-x), and what is missing to one, whose relative error is as small.
LSTM_IMPL_INLINE Sigmoid coarse_sigmoid(Vector x) {
  constexpr float kLog2e = 1.44269504f;
  const auto [r, n] = Instructions::split(clamp(x, -87.0f, 87.0f), -kLog2e);
  // 2^r for |r| <= 1/2, exact at zero.
  Vector p = r * 0.05500875f + 0.24221114f;
  p = p * r + 0.69328297f;
  p = p * r + 1.0f;
  p = Instructions::scaled(p, n);
  const Vector value = Instructions::reciprocal(1.0f + p);
  return {value, p * value};
}

// x times a ratio of polynomials in x^2, fitted up to 5, where tanh is one within 2^-13.
LSTM_IMPL_INLINE Vector coarse_tanh(Vector x) {
  x = clamp(x, -5.0f, 5.0f);
  const Vector t = x * x;
  const Vector over = (t * 6.70579647e-4f + 0.102418168f) * t + 0.99994806f;
  const Vector under = (t * 0.012820031f + 0.435433019f) * t + 1.0f;
  return x * over * Instructions::reciprocal(under);
}

// The gates of a layer whose numbers are of Value.
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
