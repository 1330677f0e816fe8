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
  // Of a row of a panel that is `width` registers wide.
  static constexpr Index lines(Index width) { return width * kLanes / kLine; }

  const float* from;

  // Of a panel of `depth` rows, the part that a tile as deep asks for: lines() tiles ask for all.
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

// Registers of a panel's `width` that a tile of so many rows takes at once: eight rows of four
// registers of sums do not fit the registers, those of three do.
constexpr int part_of(int rows, int width) { return rows > kRows && width > 3 ? 2 : width; }

// Rows of a left operand, `across` floats apart, and a panel of `depth` rows.
struct PanelProduct {
  const float* left;
  Index across, depth;
  const float* panel;
  Fetch fetch{nullptr};  // what is asked for meanwhile
};

// sums = start + products, of a panel that is PanelWidth registers wide the first Width. Rows of sums
// are kPanel floats apart. first: one more product, or null. Never inlined: GCC 12 would keep the
// sums in memory, and compile this for each type of the numbers around it.
template <int Rows, int Width, int PanelWidth>
LSTM_IMPL_ONCE void multiply_tile(float* sums, Start start, const PanelProduct* first,
                                             const PanelProduct& second) {
  constexpr int kPart = part_of(Rows, Width);
  static_assert(Width % kPart == 0);
  for (Index at = 0; at < Width * kLanes; at += kPart * kLanes) {
    Tile<Rows, kPart> tile;
    tile.fill(start.from + at, start.across);
    const auto add = [&](const PanelProduct& product) __attribute__((always_inline)) {
      add_product<PanelWidth>(tile, product.left, product.across, 1, product.depth,
                              product.panel + at, product.fetch);
    };
    if (first != nullptr) add(*first);
    add(second);
    tile.spill(sums + at, kPanel);
  }
}

// sums [Rows][Width][lane] = start + the sum of products over `blocks` blocks. start: null for zero,
// else registers that are `apart` floats apart. A block's rows are kPanel floats apart, its left
// operand is `left_apart` floats after the one before, and its panel `panel_apart` floats. Never
// inlined, as multiply_tile().
template <int Rows, int Width>
LSTM_IMPL_ONCE void multiply_blocks(float* sums, const float* start, Index apart,
                                               const float* left, Index left_apart,
                                               const float* panel, Index panel_apart, Index depth,
                                               Index blocks) {
  constexpr int kPart = Width == 3 ? 3 : part_of(Rows, Width);
  static_assert(Width % kPart == 0);
  for (int part = 0; part < Width; part += kPart) {
    Tile<Rows, kPart> tile;
    tile.clear();
    if (start != nullptr) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kPart; ++v) {
          tile.at[r][v] = load(start + (part + v) * apart + r * kLanes);
        }
      }
    }
    for (Index block = 0; block < blocks; ++block) {
      add_product<Width>(tile, left + block * left_apart, kPanel, 1, depth,
                         panel + block * panel_apart + part * kLanes);
    }
    tile.spill(sums + part * kLanes, Width * kLanes);
  }
}

// sums = products, or += where they are `added`, of kRows columns of a left operand [depth][kRows] and
// the first Width registers of a panel's rows. Rows of sums and of the panel are kPanel floats apart.
// Never inlined, as multiply_tile().
template <int Width>
LSTM_IMPL_ONCE void multiply_columns(float* sums, bool added, const float* left, Index depth,
                                     const float* panel) {
  Tile<kRows, Width> tile;
  if (added) {
    tile.fill(sums, kPanel);
  } else {
    tile.clear();
  }
  add_product<kSums>(tile, left, 1, kRows, depth, panel);
  tile.spill(sums, kPanel);
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
