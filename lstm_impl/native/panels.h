// Copies matrices into the order in which products read them: panels that are a few registers wide,
// padded with zeros to whole registers.
#ifndef LSTM_IMPL_NATIVE_PANELS_H_
#define LSTM_IMPL_NATIVE_PANELS_H_

#include <algorithm>
#include <utility>

#include "numbers.h"
#include "vector.h"

namespace lstm_impl {

// Transposes a square of kLanes rows in registers. It exchanges the two quarters that are off the
// diagonal, and then does the same in each quarter.
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

// Packs the columns of a kernel [rows, Gates * units] into panels [block][row][column][lane] for
// the blocks [first_block, last_block). Columns: see cell.h.
template <class Columns, Index Gates, class Value>
void pack_columns(const Value* kernel, Index rows, Index units, Index first_block,
                  Index last_block, float* panels) {
  constexpr Index kRow = Columns::kCount * kLanes;
  for (Index k = 0; k < rows; ++k) {
    for (Index block = first_block; block < last_block; ++block) {
      float* to = panels + (block * rows + k) * kRow;
      const Index unit = block * kLanes, count = std::min(kLanes, units - unit);
      for (const Index gate : Columns::kGates) {
        store(to, load_part(kernel + (k * Gates + gate) * units + unit, count));
        to += kLanes;
      }
    }
  }
}

// Reads kLanes rows of a kernel [rows, units] from its transpose [units, rows]. from: the first of
// `count` units, at the first of these rows, of which there are `left`. Other numbers are zero.
template <class Value>
LSTM_IMPL_INLINE void read_transposed_rows(const Value* from, Index rows, Index count, Index left,
                                           Vector (&square)[kLanes]) {
#pragma GCC unroll 16
  for (Index unit = 0; unit < kLanes; ++unit) {
    square[unit] = unit < count ? load_part(from + unit * rows, left) : Vector{};
  }
  transpose<kLanes / 2>(square);
}

// Packs the same panels from the transpose of the kernel, [Gates * units, rows].
template <class Columns, Index Gates, class Value>
void pack_columns_of_transpose(const Value* transposed, Index rows, Index units, Index first_block,
                               Index last_block, float* panels) {
  constexpr Index kRow = Columns::kCount * kLanes;
  for (Index block = first_block; block < last_block; ++block) {
    const Index unit = block * kLanes, count = std::min(kLanes, units - unit);
    float* to = panels + block * rows * kRow;
    for (const Index gate : Columns::kGates) {
      const Value* const from = transposed + (gate * units + unit) * rows;
      for (Index k = 0; k < rows; k += kLanes) {
        Vector square[kLanes];
        read_transposed_rows(from + k, rows, count, rows - k, square);
#pragma GCC unroll 16
        for (Index r = 0; r < kLanes; ++r) {
          if (k + r < rows) store(to + (k + r) * kRow, square[r]);
        }
      }
      to += kLanes;
    }
  }
}

// Returns the number of registers for the columns of `blocks` blocks of units, one after the other,
// rounded up to a multiple of what a product reads at once: an even number for pairs, and whole
// tiles for products by tiles.
template <class Products, class Columns>
constexpr Index padded_registers(Index blocks) {
  constexpr Index kNumbers = Products::kNumbers;
  constexpr Index kMultiple = std::max(kNumbers, kNumbers * Products::kPairs / kLanes);
  return blocks_of(blocks * Columns::kCount, kMultiple) * kMultiple;
}

// Stores the transpose of two registers of kLanes rows in a panel, with each part of the numbers in
// its place. read(row, at): returns the register `at` of a row.
template <class Products, class Read>
void store_split_square(const Read& read, Index first, float* panel, Index first_pair, Index at,
                        Index width, typename Products::Seen& seen) {
  decltype(Products::split(Vector{})) halves[2][kLanes];
  for (Index row = 0; row < kLanes; ++row) {
    for (Index half = 0; half < 2; ++half) {
      const Vector value = read(row, first + half);
      seen.see(value);
      halves[half][row] = Products::split(value);
    }
  }
  for (int part = 0; part < Products::kParts; ++part) {
    Vector square[kLanes];
#pragma GCC unroll 16
    for (Index row = 0; row < kLanes; ++row) {
      square[row] = side_by_side(halves[0][row].part[part], halves[1][row].part[part]);
    }
    transpose<kLanes / 2>(square);
#pragma GCC unroll 16
    for (Index lane = 0; lane < kLanes; ++lane) {
      store(panel + Products::place(first_pair + lane, at, width, part), square[lane]);
    }
  }
}

// Packs the transpose of `width` blocks of rows of a kernel [rows, Gates * units], from the row
// `first_row` on, into one panel [block of units][column][lane][width][lane of the row]. This is
// the right operand for dz times the transpose of the kernel. Columns: see cell.h. For products in
// bfloat16, the panel has pairs of lanes, in 32 bits, of padded_registers(): [block, column][pair
// of lanes][width][lane of the row], in the order of Products::place(), which also orders the parts
// of split factors. Returns what Products records about the numbers.
template <class Products, class Columns, Index Gates, class Value>
typename Products::Seen pack_transposed(const Value* kernel, Index rows, Index units,
                                        Index first_row, Index width, float* panel) {
  typename Products::Seen seen;
  constexpr Index kCount = Columns::kCount;
  constexpr Index kOfSquare = Products::kNumbers;  // registers
  // Squares that are this many registers apart have the same columns. Each such column is read to
  // its end before the next one, so that rows are read in order.
  constexpr Index kPeriod = kCount % kOfSquare == 0 ? kCount : kOfSquare * kCount;
  const Index blocks = blocks_of(units, kLanes);
  const Index registers = padded_registers<Products, Columns>(blocks);
  for (Index phase = 0; phase < kPeriod; phase += kOfSquare) {
    for (Index first = phase; first < registers; first += kPeriod) {
      const Index first_pair = first / kOfSquare * kLanes;
      const auto read = [&](Index row, Index at) {
        const Index block = at / kCount, unit = block * kLanes;
        if (block >= blocks) return Vector{};
        const Index gate = Columns::kGates[static_cast<std::size_t>(at % kCount)];
        return load_part(kernel + (row * Gates + gate) * units + unit,
                         std::min(kLanes, units - unit));
      };
      for (Index v = 0; v < width; ++v) {
        const Index row = first_row + v * kLanes, here = std::min(kLanes, rows - row);
        if constexpr (Products::kParts > 1) {
          const auto read_or_zero = [&](Index r, Index at) {
            return r < here ? read(row + r, at) : Vector{};
          };
          store_split_square<Products>(read_or_zero, first, panel, first_pair, v, width, seen);
        } else {
          Vector square[kLanes];
#pragma GCC unroll 16
          for (Index r = 0; r < kLanes; ++r) {
            square[r] = r < here ? read(row + r, first) : Vector{};
            if constexpr (kOfSquare == 2) {
              square[r] = side_by_side(square[r], r < here ? read(row + r, first + 1) : Vector{});
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
  return seen;
}

// Packs the same panel from the transpose of the kernel, [Gates * units, rows], whose rows have the
// numbers in the order of the panel.
template <class Products, class Columns, Index Gates, class Value>
typename Products::Seen pack_rows_of_transpose(const Value* transposed, Index rows, Index units,
                                               Index first_row, Index width, float* panel) {
  typename Products::Seen seen;
  constexpr Index kCount = Columns::kCount;
  const Index numbers = padded_registers<Products, Columns>(blocks_of(units, kLanes)) * kLanes;
  const auto read = [&](Index number, Index row) {
    const Index at = number / kLanes, unit = at / kCount * kLanes + number % kLanes;
    if (unit >= units) return Vector{};
    const Index gate = Columns::kGates[static_cast<std::size_t>(at % kCount)];
    return load_part(transposed + (gate * units + unit) * rows + row, rows - row);
  };
  for (Index number = 0; number < numbers; number += Products::kNumbers) {
    for (Index v = 0; v < width; ++v) {
      const Index row = first_row + v * kLanes;
      if constexpr (Products::kNumbers == 1) {
        store(panel + Products::place(number, v, width), read(number, row));
      } else {
        Products::store_pair(panel, number / 2, v, width, read(number, row), read(number + 1, row),
                             seen);
      }
    }
  }
  return seen;
}

// Copies a state [batch, units] to [block][batch][lane], or back.
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

// stride: the number of floats from one block to the next.
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
