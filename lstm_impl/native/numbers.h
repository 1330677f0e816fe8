// Numbers as they are stored, float or BFloat16, to and from registers and rows of floats.
#ifndef LSTM_IMPL_NATIVE_NUMBERS_H_
#define LSTM_IMPL_NATIVE_NUMBERS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels.h"
#include "vector.h"

namespace lstm_impl {

// Whether numbers become others when they are stored.
template <class Value>
constexpr bool kRounds = !std::is_same_v<Value, float>;

LSTM_IMPL_INLINE Vector widened(Halves halves) {
  const Words words = __builtin_convertvector(halves, Words) << 16;
  Vector value;
  std::memcpy(&value, &words, sizeof value);
  return value;
}

// Of each lane the upper half, rounded to the nearest, ties to even; NaN stays NaN. Some instructions
// make zeros of denormal numbers.
LSTM_IMPL_INLINE Halves rounded_halves(Vector value) { return Instructions::rounded_halves(value); }

// Two registers rounded to bfloat16, one after the other.
LSTM_IMPL_INLINE Vector side_by_side(Vector first, Vector second) {
  const Halves halves[2] = {rounded_halves(first), rounded_halves(second)};
  Vector both;
  static_assert(sizeof halves == sizeof both);
  std::memcpy(&both, halves, sizeof both);
  return both;
}

// A register of numbers as they will be read when they have been stored.
template <class Value>
LSTM_IMPL_INLINE Vector rounded(Vector value) {
  if constexpr (kRounds<Value>) return widened(rounded_halves(value));
  return value;
}

LSTM_IMPL_INLINE Vector load(const BFloat16* from) {
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  return widened(halves);
}

LSTM_IMPL_INLINE void store(BFloat16* to, Vector value) {
  const Halves halves = rounded_halves(value);
  std::memcpy(to, &halves, sizeof halves);
}

LSTM_IMPL_INLINE Halves load_some(const BFloat16* from, Index count) {
  return Instructions::load_some(from, count);
}

LSTM_IMPL_INLINE void store_some(BFloat16* to, Halves halves, Index count) {
  Instructions::store_some(to, halves, count);
}

// The first `count` lanes, at most kLanes; the others are zero.
LSTM_IMPL_INLINE Vector load_part(const BFloat16* from, Index count) {
  return count >= kLanes ? load(from) : widened(load_some(from, count));
}

LSTM_IMPL_INLINE void store_part(BFloat16* to, Vector value, Index count) {
  if (count >= kLanes) {
    store(to, value);
  } else {
    store_some(to, rounded_halves(value), count);
  }
}

// A sigmoid and what is missing to one, which its gradient is the product of.
struct Sigmoid {
  Vector value, rest;
};

// How a sigmoid is kept. Near one a number that is rounded has few digits of what is missing: there
// that is kept, with a minus before it.
template <class Value>
LSTM_IMPL_INLINE Vector kept_sigmoid(const Sigmoid& gate) {
  if constexpr (kRounds<Value>) return gate.value > 0.5f ? -gate.rest : gate.value;
  return gate.value;
}

template <class Value>
LSTM_IMPL_INLINE Sigmoid read_sigmoid(Vector kept) {
  if constexpr (kRounds<Value>) {
    Bits bits;
    std::memcpy(&bits, &kept, sizeof bits);
    const Bits near_one = bits < 0;  // by the sign: of one itself, nothing is missing
    return {near_one ? 1.0f + kept : kept, near_one ? -kept : 1.0f - kept};
  } else {
    return {kept, 1.0f - kept};
  }
}

// A row of `count` numbers, from one type to another or to the same.
template <class From, class To>
void copy_row(const From* from, Index count, To* to) {
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(To));
  } else {
    for (Index k = 0; k < count; k += kLanes) {
      store_part(to + k, load_part(from + k, count - k), count - k);
    }
  }
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_NUMBERS_H_
