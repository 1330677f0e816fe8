// The one inner loop of every matrix product here: a tile of sums that stays in registers.
#ifndef LSTM_IMPL_NATIVE_PRODUCT_H_
#define LSTM_IMPL_NATIVE_PRODUCT_H_

#include <type_traits>

#include "vector.h"

namespace lstm_impl {

// Rows times Width registers of sums.
template <int Rows, int Width>
struct Tile {
  Vector at[Rows][Width];

  // Every loop over a tile that is being summed must be unrolled, for what is indexed by a variable
  // cannot be a register.
  LSTM_IMPL_INLINE void clear() {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < Width; ++v) at[r][v] = Vector{};
    }
  }

  // Into memory, [row][register], whose rows are `across` floats apart.
  LSTM_IMPL_INLINE void spill(float* to, Index across) const {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < Width; ++v) store(to + r * across + v * kLanes, at[r][v]);
    }
  }

  LSTM_IMPL_INLINE void fill(const float* from, Index across) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < Width; ++v) at[r][v] = load(from + r * across + v * kLanes);
    }
  }
};

// What sums start from: rows that are `across` floats apart, 0 for the same in all; null for zero.
struct Start {
  const float* from;
  Index across;
};

// Sums from which on adding to one of them has finished before it is added to again.
constexpr int kManySums = 8;

// sums += left * panel, of one row of the panel, which is Width registers, `apart` floats apart.
template <int Rows, int Width>
LSTM_IMPL_INLINE void add_outer(Tile<Rows, Width>& sums, const float* left, Index across,
                                const float* panel, Index apart = kLanes) {
  Vector columns[Width];
#pragma GCC unroll 8
  for (int v = 0; v < Width; ++v) {
    columns[v] = load(panel + v * apart);
    if constexpr (Rows > 1) hold(columns[v]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    const float value = left[r * across];
#pragma GCC unroll 8
    for (int v = 0; v < Width; ++v) sums.at[r][v] += value * columns[v];
  }
}

// What is done beside each row of a panel: nothing.
struct Nothing {
  LSTM_IMPL_INLINE void operator()(Index) const {}
};

// Or a line of what will be read next is asked for, into the second cache. Weights that do not fit
// there come from further away at every step, and a panel's first tile would wait for all of it.
struct Fetch {
  static constexpr Index kLine = 64 / sizeof(float);
  static constexpr Index kLines = kPanel / kLine;  // of a panel's row

  const float* from;

  // Of a panel of `depth` rows, the part that a tile as deep asks for: kLines tiles ask for all.
  static Fetch part(const float* panel, Index depth, Index number) {
    return {panel + number * depth * kLine};
  }

  LSTM_IMPL_INLINE void operator()(Index row) const {
    __builtin_prefetch(from + row * kLine, 0, 2);
  }
};

// sums[r] += sum over k < depth of left[r * across + k * along] * panel row k, the panel being
// PanelWidth registers wide, of which the first Width are read.
template <int PanelWidth, int Rows, int Width, class Beside = Nothing>
LSTM_IMPL_INLINE void add_product(Tile<Rows, Width>& sums, const float* left, Index across,
                                  Index along, Index depth, const float* panel,
                                  const Beside& beside = {}) {
  constexpr Index kRow = PanelWidth * kLanes;
  // A sum can be added to once in 4 cycles: with too few of them the additions would wait, so that
  // every other row, or three of four, go to sums of their own.
  constexpr int kChains = Rows * Width >= kManySums ? 1 : Rows * Width >= 4 ? 2 : 4;
  Index k = 0;
  if constexpr (kChains > 1) {
    Tile<Rows, Width> more[kChains - 1];
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains - 1; ++chain) more[chain].clear();
    for (; k + kChains <= depth; k += kChains) {
      add_outer(sums, left + k * along, across, panel + k * kRow);
#pragma GCC unroll 4
      for (int chain = 1; chain < kChains; ++chain) {
        add_outer(more[chain - 1], left + (k + chain) * along, across, panel + (k + chain) * kRow);
      }
    }
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains - 1; ++chain) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < Width; ++v) sums.at[r][v] += more[chain].at[r][v];
      }
    }
  }
  for (; k < depth; ++k) {
    beside(k);
    add_outer(sums, left + k * along, across, panel + k * kRow);
  }
}

// Calls work(std::integral_constant<int, n>) for n from 1 to Most.
template <int Most, class Work>
LSTM_IMPL_INLINE void with_constant(int n, const Work& work) {
  if constexpr (Most > 0) {
    if (n == Most) {
      work(std::integral_constant<int, Most>{});
    } else {
      with_constant<Most - 1>(n, work);
    }
  }
}

// Rows of the tallest tile, which is two registers wide: eight rows are then one tile, for which a
// panel is read once, and not two of four.
constexpr int kTallRows = kRows == 6 ? 8 : kRows;

// Registers of a panel's `width` that a tile of so many rows takes at once.
constexpr int part_of(int rows, int width) { return rows > kRows && width > 2 ? 2 : width; }

// Cuts rows [first, last) into tiles of at most Most that differ by one row at most, and calls
// work(std::integral_constant<int, rows>, first row of the tile) for each.
template <int Most, class Work>
LSTM_IMPL_INLINE void for_each_tile(Index first, Index last, const Work& work) {
  if (first >= last) return;
  const Index rows = last - first;
  const Index tiles = blocks_of(rows, rows <= Most || Most < kRows ? Most : kRows);
  const Index least = rows / tiles, longer = rows % tiles;
  for (Index tile = 0; tile < tiles; ++tile) {
    const Index size = least + (tile < longer ? 1 : 0);
    with_constant<Most>(static_cast<int>(size), [&](auto constant) { work(constant, first); });
    first += size;
  }
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_PRODUCT_H_
