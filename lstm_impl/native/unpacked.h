// Products of a few rows with a kernel in the caller's order, [depth, gates * units]. If each
// weight is read only a few times, putting the kernel into panels first would cost more than
// everything else.
#ifndef LSTM_IMPL_NATIVE_UNPACKED_H_
#define LSTM_IMPL_NATIVE_UNPACKED_H_

#include <algorithm>

#include "kernels.h"
#include "numbers.h"
#include "panels.h"
#include "product.h"
#include "vector.h"

namespace lstm_impl {

// The number of rows of the kernel that are read side by side. Each sum is then read and written
// only once for all of them.
constexpr int kDeep = 4;

// The number of rows of the left operand that share what is read of the kernel. kDeep numbers of
// each row must fit into the registers, and each number fills one register.
constexpr int kRowsUnpacked = kRows == 6 ? 4 : 2;

// The blocks of units [first, last) of a layer.
struct Blocks {
  Index units, first, last;

  // Returns how many lanes of a block are units.
  Index lanes(Index block) const { return std::min(kLanes, units - block * kLanes); }
};

// Computes sums[r][block][sum][lane] += sum over Deep rows of the kernel of left[r * across + k] *
// row k, for the gates that Columns names (see cell.h). Rows of sums are `sums_across` floats
// apart.
template <class Columns, int Gates, int Rows, int Deep, class Value>
LSTM_IMPL_INLINE void add_rows(const float* left, Index across, const Value* kernel,
                               const Blocks& blocks, float* sums, Index sums_across) {
  const Index row = Gates * blocks.units;
  // The factors are held in registers. A compiler cannot know that writing a sum does not change
  // one of them.
  Vector factors[Rows][Deep];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int k = 0; k < Deep; ++k) {
      factors[r][k] = Vector{} + left[r * across + k];
      hold(factors[r][k]);
    }
  }
  const auto add = [&](float* to, const auto& weights) {
    Vector columns[Deep];
#pragma GCC unroll 8
    for (int k = 0; k < Deep; ++k) {
      columns[k] = weights(k);
      if constexpr (Rows > 1) hold(columns[k]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      Vector sum = load(to + r * sums_across);
#pragma GCC unroll 8
      for (int k = 0; k < Deep; ++k) sum += factors[r][k] * columns[k];
      store(to + r * sums_across, sum);
    }
  };
  // All blocks of a layer are full, except perhaps the last one.
  const Index full = std::min(blocks.last, blocks.units / kLanes);
  for (std::size_t n = 0; n < Columns::kCount; ++n) {
    const Value* from = kernel + Columns::kGates[n] * blocks.units;
    float* to = sums + (Columns::kFirst + static_cast<Index>(n)) * kLanes;
    for (Index block = blocks.first; block < full; ++block) {
      add(to + block * kPanel, [&](int k) { return load(from + k * row + block * kLanes); });
    }
    if (full < blocks.last) {
      add(to + full * kPanel,
          [&](int k) { return load_part(from + k * row + full * kLanes, blocks.lanes(full)); });
    }
  }
}

// Computes sums += left * kernel. left is [Rows, depth], and its rows are `across` floats apart.
template <class Columns, int Gates, int Rows, class Value>
void add_unpacked_tile(const float* left, Index across, Index depth, const Value* kernel,
                       const Blocks& blocks, float* sums, Index sums_across) {
  const Index row = Gates * blocks.units;
  Index k = 0;
  for (; k + kDeep <= depth; k += kDeep) {
    add_rows<Columns, Gates, Rows, kDeep>(left + k, across, kernel + k * row, blocks, sums, sums_across);
  }
  for (; k < depth; ++k) {
    add_rows<Columns, Gates, Rows, 1>(left + k, across, kernel + k * row, blocks, sums, sums_across);
  }
}

// The same for any number of rows.
template <class Columns, int Gates, class Value>
void add_unpacked(const float* left, Index across, Index rows, Index depth, const Value* kernel,
                  const Blocks& blocks, float* sums, Index sums_across) {
  for_each_tile<kRowsUnpacked>(0, rows, [&](auto constant, Index row) {
    add_unpacked_tile<Columns, Gates, decltype(constant)::value>(
        left + row * across, across, depth, kernel, blocks, sums + row * sums_across, sums_across);
  });
}

// The same with the transpose of the kernel, [gates * units, `depth_across`], of which the first
// `depth` columns are read. Squares of it are transposed in registers. Each sum adds the same
// products in the same order as above, and therefore has the same bits.
template <class Columns, class Value>
void add_unpacked_transpose(const float* left, Index across, Index rows, Index depth,
                            const Value* kernel, Index depth_across, const Blocks& blocks,
                            float* sums, Index sums_across) {
  const auto add = [&](const Vector(&square)[kLanes], Index k, Index count, float* to) {
    for (Index r = 0; r < rows; ++r) {
      const float* factors = left + r * across + k;
      Vector sum = load(to + r * sums_across);
      if (count >= kLanes) {
#pragma GCC unroll 16
        for (Index n = 0; n < kLanes; ++n) sum += factors[n] * square[n];
      } else {
#pragma GCC unroll 16
        for (Index n = 0; n < kLanes; ++n) {
          if (n < count) sum += factors[n] * square[n];
        }
      }
      store(to + r * sums_across, sum);
    }
  };
  for (Index block = blocks.first; block < blocks.last; ++block) {
    const Index lanes = blocks.lanes(block);
    for (std::size_t column = 0; column < Columns::kCount; ++column) {
      const Index gate = Columns::kGates[column];
      const Index sum = Columns::kFirst + static_cast<Index>(column);
      const Value* from = kernel + (gate * blocks.units + block * kLanes) * depth_across;
      float* to = sums + block * kPanel + sum * kLanes;
      for (Index k = 0; k < depth; k += kLanes) {
        Vector square[kLanes];
        if (lanes == kLanes && k + kLanes <= depth) {
#pragma GCC unroll 16
          for (Index n = 0; n < kLanes; ++n) square[n] = load(from + n * depth_across + k);
        } else {
          for (Index n = 0; n < kLanes; ++n) {
            square[n] = n < lanes ? load_part(from + n * depth_across + k, depth - k) : Vector{};
          }
        }
        transpose<kLanes / 2>(square);
        add(square, k, depth - k, to);
      }
    }
  }
}

// The same for one full block of units and as many rows as a panel's product takes at once, if the
// sums are in the order of the gates. The sums stay in registers, and the parts of the kernel that
// are read are `units` floats apart.
template <int Rows, int Gates>
LSTM_IMPL_INLINE void add_unpacked_block(Tile<Rows, Gates>& sums, const float* left, Index across,
                                         Index depth, const float* kernel, Index units) {
  for (Index k = 0; k < depth; ++k) {
    add_outer(sums, left + k, across, kernel + k * Gates * units, units);
  }
}

// Returns whether dz has so few rows that products with the transpose of a kernel read the kernel
// in the caller's order.
inline bool has_few_rows(const Layer& layer) {
  return layer.units % kLanes == 0 && layer.rows() <= (layer.batch == 1 ? 16 : 8);
}

// Multiplies a row of dz of such a layer, [block][time][batch][sum][lane], by the transpose of
// kLanes rows of a kernel. Columns: which sums belong to which gates. The function is never
// inlined. Inlined into each of many tiles of the backward pass, it took four fifths of the time to
// compile that pass, and no call became faster.
template <class Columns, int Gates, class Value>
LSTM_IMPL_ONCE Vector times_transpose(const float* dz, const Layer& layer, const Value* kernel) {
  const Index units = layer.units, apart = layer.rows() * kPanel;
  Vector sums[kLanes] = {};
  for (std::size_t column = 0; column < Columns::kCount; ++column) {
    const Index sum = Columns::kFirst + static_cast<Index>(column);
    for (Index block = 0; block < units / kLanes; ++block) {
      const Vector factor = load(dz + block * apart + sum * kLanes);
      const Value* from = kernel + Columns::kGates[column] * units + block * kLanes;
#pragma GCC unroll 16
      for (Index row = 0; row < kLanes; ++row) {
        sums[row] += factor * load(from + row * Gates * units);
      }
    }
  }
  transpose<kLanes / 2>(sums);
#pragma GCC unroll 16
  for (Index row = 1; row < kLanes; ++row) sums[0] += sums[row];
  return sums[0];
}

// The same for a layer with any number of rows and units, and for the transpose of `rows` rows of a
// kernel, at most kLanes. This function takes longer.
template <class Columns, int Gates>
LSTM_IMPL_ONCE Vector times_any_transpose(const float* dz, const Layer& layer, const float* kernel,
                                          Index rows) {
  const Index units = layer.units, apart = layer.rows() * kPanel;
  Vector sums[kLanes] = {};
  for (std::size_t column = 0; column < Columns::kCount; ++column) {
    const Index sum = Columns::kFirst + static_cast<Index>(column);
    for (Index block = 0; block < blocks_of(units, kLanes); ++block) {
      const Index count = units - block * kLanes;
      const Vector factor = load_part(dz + block * apart + sum * kLanes, count);
      const float* from = kernel + Columns::kGates[column] * units + block * kLanes;
      for (Index row = 0; row < rows; ++row) {
        sums[row] += factor * load_part(from + row * Gates * units, count);
      }
    }
  }
  transpose<kLanes / 2>(sums);
  for (Index row = 1; row < kLanes; ++row) sums[0] += sums[row];
  return sums[0];
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_UNPACKED_H_
