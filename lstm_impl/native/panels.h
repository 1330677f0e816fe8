// Matrices in the order in which products read them: panels of a few registers' width, padded with
// zeros to whole registers.
#ifndef LSTM_IMPL_NATIVE_PANELS_H_
#define LSTM_IMPL_NATIVE_PANELS_H_

#include <algorithm>
#include <utility>

#include "numbers.h"
#include "vector.h"

namespace lstm_impl {

// A kernel [rows, 4 * units] into panels [block][row][gate][lane], of blocks [first_block,
// last_block).
template <class Value>
void pack_gates(const Value* kernel, Index rows, Index units, Index first_block, Index last_block,
                float* panels) {
  for (Index k = 0; k < rows; ++k) {
    for (Index block = first_block; block < last_block; ++block) {
      float* to = panels + (block * rows + k) * kPanel;
      const Index unit = block * kLanes, count = std::min(kLanes, units - unit);
      for (Index gate = 0; gate < kGates; ++gate) {
        store(to + gate * kLanes, load_part(kernel + (k * kGates + gate) * units + unit, count));
      }
    }
  }
}

// The transpose of a square of kLanes rows, in registers, by halves: the quarters off the diagonal
// change places, and so on in each quarter.
template <Index Half, Index... Lane>
LSTM_IMPL_INLINE void exchange(Vector& upper, Vector& lower,
                               std::integer_sequence<Index, Lane...>) {
  const Vector a = upper, b = lower;
#if defined(__clang__)
  upper = __builtin_shufflevector(a, b, ((Lane & Half) != 0 ? kLanes + Lane - Half : Lane)...);
  lower = __builtin_shufflevector(a, b, ((Lane & Half) != 0 ? kLanes + Lane : Lane + Half)...);
#else
  upper = __builtin_shuffle(a, b, Bits{((Lane & Half) != 0 ? kLanes + Lane - Half : Lane)...});
  lower = __builtin_shuffle(a, b, Bits{((Lane & Half) != 0 ? kLanes + Lane : Lane + Half)...});
#endif
}

template <Index Half>
LSTM_IMPL_INLINE void transpose(Vector (&rows)[kLanes]) {
  if constexpr (Half > 0) {
#pragma GCC unroll 16
    for (Index r = 0; r < kLanes; ++r) {
      if ((r & Half) == 0) {
        exchange<Half>(rows[r], rows[r + Half], std::make_integer_sequence<Index, kLanes>{});
      }
    }
    transpose<Half / 2>(rows);
  }
}

// The transpose of `width` blocks of rows of a kernel [rows, 4 * units], from the row `first_row`,
// into one panel [block of units][gate][lane][width][lane of the row]: the right operand of dz
// times the kernel's transpose, dz lying as gates do. Products of bfloat16 read pairs of lanes, in
// 32 bits: [block][gate][pair of lanes][width][lane of the row], in the order of Products::place().
template <class Products, class Value>
void pack_transposed(const Value* kernel, Index rows, Index units, Index first_row, Index width,
                     float* panel) {
  constexpr bool kPaired = Products::kNumbers == 2;
  constexpr Index kOfSquare = Products::kNumbers;           // gates
  for (Index gate = 0; gate < kGates; gate += kOfSquare) {  // outside, to read rows in order
    for (Index block = 0; block < blocks_of(units, kLanes); ++block) {
      const Index unit = block * kLanes, count = std::min(kLanes, units - unit);
      const Index first_pair = (block * kGates + gate) / kOfSquare * kLanes;
      for (Index v = 0; v < width; ++v) {
        const Index row = first_row + v * kLanes, here = std::min(kLanes, rows - row);
        const Value* from = kernel + (row * kGates + gate) * units + unit;
        Vector square[kLanes];
#pragma GCC unroll 16
        for (Index r = 0; r < kLanes; ++r) {
          const Value* one = from + r * kGates * units;
          square[r] = r < here ? load_part(one, count) : Vector{};
          if constexpr (kPaired) {
            square[r] = side_by_side(square[r], r < here ? load_part(one + units, count) : Vector{});
          }
        }
        transpose<kLanes / 2>(square);
#pragma GCC unroll 16
        for (Index lane = 0; lane < kLanes; ++lane) {
          store(panel + Products::place(first_pair + lane, v, width), square[lane]);
        }
      }
    }
  }
}

// A state [batch, units] to or from [block][batch][lane].
template <class Value>
void pack_state(const Value* state, Index batch, Index units, float* packed) {
  for (Index block = 0; block < blocks_of(units, kLanes); ++block) {
    const Index unit = block * kLanes;
    for (Index b = 0; b < batch; ++b) {
      store(packed + (block * batch + b) * kLanes,
            load_part(state + b * units + unit, units - unit));
    }
  }
}

// stride: floats from one block to the next.
template <class Value>
void unpack_state(const float* packed, Index stride, Index batch, Index units, Value* state) {
  for (Index block = 0; block < blocks_of(units, kLanes); ++block) {
    const Index unit = block * kLanes;
    for (Index b = 0; b < batch; ++b) {
      store_part(state + b * units + unit, load(packed + block * stride + b * kLanes),
                 units - unit);
    }
  }
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_PANELS_H_
