// The gates of one block of units of one row, from its sums, and what is kept of them.
#ifndef LSTM_IMPL_NATIVE_GATES_H_
#define LSTM_IMPL_NATIVE_GATES_H_

#include "activations.h"
#include "bfloat16_activations.h"
#include "numbers.h"
#include "vector.h"

namespace lstm_impl {

// Returns the new cell state of `before`. z: sums [gate][lane], of which o replaces its sum. Products:
// what the sums' factors were rounded to, float or BFloat16. kept: the gates as they are kept, or
// null. valid: false where padding keeps the state.
template <class Products, class Value>
LSTM_IMPL_INLINE Vector finish_gates(float* z, Vector before, bool valid, Value* kept) {
  const Sigmoid i = gate_sigmoid<Products>(load(z)), f = gate_sigmoid<Products>(load(z + kLanes));
  const Vector g = gate_tanh<Products>(load(z + 2 * kLanes));
  const Sigmoid o = gate_sigmoid<Products>(load(z + 3 * kLanes));
  store(z + 3 * kLanes, o.value);
  if (kept != nullptr) {
    store(kept, kept_sigmoid<Value>(i));
    store(kept + kLanes, kept_sigmoid<Value>(f));
    store(kept + 2 * kLanes, g);
    store(kept + 3 * kLanes, kept_sigmoid<Value>(o));
  }
  return valid ? f.value * before + i.value * g : before;
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_GATES_H_
