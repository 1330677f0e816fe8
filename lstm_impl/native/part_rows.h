// Rows of numbers that are split into bfloat16 parts; see float_parts.h.
#ifndef LSTM_IMPL_NATIVE_PART_ROWS_H_
#define LSTM_IMPL_NATIVE_PART_ROWS_H_

#include <algorithm>
#include <cstdint>

#include "float_parts.h"
#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "vector.h"

namespace lstm_impl {

// The rows of a left operand in parts, padded with zeros.
template <class Products>
class PartRows {
 public:
  // numbers: how many numbers a row has.
  PartRows(Index rows, Index numbers)
      : rows_(rows),
        width_(Products::row_width(numbers)),
        parts_(blocks_of(rows * across(), 2)),
        largest_(blocks_of(rows * registers(), 2)) {}

  // Sets all numbers to zero.
  void clear() const {
    std::fill_n(parts(0), rows_ * across(), BFloat16{0});
    std::fill_n(largest_magnitudes(0), rows_ * registers(), std::uint16_t{0});
  }

  // The number of numbers in a part, with padding, and in all parts of a row.
  Index width() const { return width_; }
  Index across() const { return Products::kParts * width_; }

  const BFloat16* row(Index number) const { return parts(number); }

  // Stores a register of a row. Its first number is the number `at` of the row, a multiple of
  // kLanes.
  LSTM_IMPL_INLINE void store(Index row, Index at, Vector value) const {
    LargestMagnitude largest;
    largest.see(value);
    largest_magnitudes(row)[at / kLanes] = largest.upper_half();
    const FloatParts split_value = split(value);
    BFloat16* const to = parts(row) + at;
#pragma GCC unroll 3
    for (int part = 0; part < Products::kParts; ++part) {
      lstm_impl::store(to + part * width_, split_value.part[part]);
    }
  }

  // Returns the largest magnitude in a row, as LargestMagnitude gives it.
  std::uint16_t largest_magnitude(Index row) const {
    const std::uint16_t* const from = largest_magnitudes(row);
    return *std::max_element(from, from + registers());
  }

 private:
  Index registers() const { return width_ / kLanes; }
  BFloat16* parts(Index row) const {
    return reinterpret_cast<BFloat16*>(parts_.get()) + row * across();
  }
  std::uint16_t* largest_magnitudes(Index row) const {
    return reinterpret_cast<std::uint16_t*>(largest_.get()) + row * registers();
  }

  const Index rows_, width_;
  const Floats parts_;    // [row][part][number]
  const Floats largest_;  // [row][register], 16 bits each
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_PART_ROWS_H_
