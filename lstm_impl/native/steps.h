// What a mask says about the steps of sequences: whether a step is there, and whether the sequence
// starts over before it.
#ifndef LSTM_IMPL_NATIVE_STEPS_H_
#define LSTM_IMPL_NATIVE_STEPS_H_

#include <algorithm>

#include "kernels.h"
#include "numbers.h"
#include "plan.h"
#include "vector.h"

namespace lstm_impl {

// A byte of a mask, in bits. kernels.h says what they mean.
using StepBits = unsigned char;
constexpr StepBits kThere = 1, kFromZeros = 2, kFromInitial = 4;

inline bool is_there(StepBits step) { return (step & kThere) != 0; }
inline bool starts_over(StepBits step) { return (step & (kFromZeros | kFromInitial)) != 0; }

// Returns the state with which a step that starts over begins. initial: the initial state from this
// unit on; `count` lanes of it are units.
template <class Value>
LSTM_IMPL_INLINE Vector starting_state(StepBits step, const Value* initial, Index count) {
  return (step & kFromInitial) != 0 ? load_part(initial, count) : Vector{};
}

// Returns the bits of a sequence and of those after it, at step `s` of the forward pass. Returns
// null without a mask and after the last step.
inline const StepBits* steps_at(const Layer& layer, const StepBits* mask, Index s, Index row) {
  if (mask == nullptr || s >= layer.timesteps) return nullptr;
  return mask + time_of(layer, s) * layer.batch + row;
}

// Returns whether a sequence starts over from zeros before the first step. Then nothing reads its
// initial state.
inline bool forgets_initial(const Layer& layer, const StepBits* mask, Index row) {
  const StepBits* const first = steps_at(layer, mask, 0, row);
  return first != nullptr && (*first & kFromZeros) != 0;
}

inline bool any_forgets_initial(const Layer& layer, const StepBits* mask) {
  for (Index row = 0; row < layer.batch; ++row) {
    if (forgets_initial(layer, mask, row)) return true;
  }
  return false;
}

inline bool any_from_initial(const Layer& layer, const StepBits* mask) {
  return mask != nullptr && std::any_of(mask, mask + layer.timesteps * layer.batch,
                                        [](StepBits step) { return (step & kFromInitial) != 0; });
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_STEPS_H_
