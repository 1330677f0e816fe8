// Numbers as they are stored, float or BFloat16, and how they are read into registers and rows of
// floats, and written back.
#ifndef LSTM_IMPL_NATIVE_NUMBERS_H_
#define LSTM_IMPL_NATIVE_NUMBERS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels.h"
#include "vector.h"

namespace lstm_impl {

// Whether numbers change when they are stored.
template <class Value>
constexpr bool kRounds = !std::is_same_v<Value, float>;

LSTM_IMPL_INLINE Vector widened(Halves halves) {
  const Words words = __builtin_convertvector(halves, Words) << 16;
  Vector value;
  std::memcpy(&value, &words, sizeof value);
  return value;
}

// Returns the upper half of each lane, rounded to nearest, ties to even. NaN stays NaN. Some
// instructions replace denormal numbers by zeros.
LSTM_IMPL_INLINE Halves rounded_halves(Vector value) { return Instructions::rounded_halves(value); }

// Rounds two registers to bfloat16 and returns one after the other.
LSTM_IMPL_INLINE Vector side_by_side(Vector first, Vector second) {
  const Halves halves[2] = {rounded_halves(first), rounded_halves(second)};
  Vector both;
  static_assert(sizeof halves == sizeof both);
  std::memcpy(&both, halves, sizeof both);
  return both;
}

// Returns a register of numbers with the values that they have once they are stored and read again.
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

// Loads the first `count` lanes, at most kLanes. The others are zero.
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

// A sigmoid and its difference to one. The gradient of the sigmoid is the product of the two.
struct Sigmoid {
  Vector value, rest;
};

// Returns a sigmoid in the form in which it is kept. Near one, a rounded number has few digits for
// the difference to one. There, the difference itself is kept, as a negative number.
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

// Converts a row of `count` numbers from one type to another, or copies it.
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
