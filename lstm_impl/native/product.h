// The one inner loop of every matrix product in these kernels: a tile of sums that stays in
// registers.
#ifndef LSTM_IMPL_NATIVE_PRODUCT_H_
#define LSTM_IMPL_NATIVE_PRODUCT_H_

#include <type_traits>

#include "vector.h"

namespace lstm_impl {

// A tile of sums: Rows rows of Width registers.
template <int Rows, int Width>
struct Tile {
  Vector at[Rows][Width];

  // Every loop over a tile that is being summed must be unrolled. An element that is indexed by a
  // variable cannot be in a register.
  LSTM_IMPL_INLINE void clear() {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < Width; ++v) at[r][v] = Vector{};
    }
  }

  // Stores the sums in memory, [row][register], with rows that are `across` floats apart.
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

// What the sums start from: rows that are `across` floats apart. 0 means the same row for all, and
// null means zero.
struct Start {
  const float* from;
  Index across;
};

// With at least this many sums, adding to one of them has finished before the next addition to it
// begins.
constexpr int kManySums = 8;

// Computes sums += left * panel for one row of the panel, which has Width registers. The rows are
// `apart` floats apart.
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

// What is done at each row of a panel in addition to the product: nothing.
struct Nothing {
  LSTM_IMPL_INLINE void operator()(Index) const {}
};

// Or what is done is to prefetch a line that will be read next into the second cache. Weights that
// do not fit into the second cache come from further away at every step, and the first tile of a
// panel would wait for all of them.
struct Fetch {
  static constexpr Index kLine = 64 / sizeof(float);
  // Returns how many lines a row of a panel has that is `width` registers wide.
  static constexpr Index lines(Index width) { return width * kLanes / kLine; }

  const float* from;

  // Returns the part of a panel with `depth` rows that a tile of the same depth prefetches. lines()
  // tiles together prefetch all of it.
  static Fetch part(const float* panel, Index depth, Index number) {
    return {panel + number * depth * kLine};
  }

  LSTM_IMPL_INLINE void operator()(Index row) const {
    __builtin_prefetch(from + row * kLine, 0, 2);
  }
};

// Computes sums[r] += sum over k < depth of left[r * across + k * along] * panel row k. The panel
// is PanelWidth registers wide, and the first Width of them are read.
template <int PanelWidth, int Rows, int Width, class Beside = Nothing>
LSTM_IMPL_INLINE void add_product(Tile<Rows, Width>& sums, const float* left, Index across,
                                  Index along, Index depth, const float* panel,
                                  const Beside& beside = {}) {
  constexpr Index kRow = PanelWidth * kLanes;
  // A sum can be added to only once in 4 cycles. With too few sums, the additions would wait.
  // Therefore every other row, or three of four rows, are added to sums of their own.
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

// Returns how many of a panel's `width` registers a tile with this many rows takes at once. The
// sums of eight rows with four registers each do not fit into the registers of the CPU; those with
// three do.
constexpr int part_of(int rows, int width) { return rows > kRows && width > 3 ? 2 : width; }

// The rows of a left operand, which are `across` floats apart, and a panel of `depth` rows.
struct PanelProduct {
  const float* left;
  Index across, depth;
  const float* panel;
  Fetch fetch{nullptr};  // what is asked for meanwhile
};

// Computes sums = start + products for the first Width registers of a panel that is PanelWidth
// registers wide. Rows of sums are kPanel floats apart. first: one more product, or null. The
// function is never inlined, because GCC 12 would then keep the sums in memory, and would compile
// the function for each type of the numbers around it.
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

// Computes sums [Rows][Width][lane] = start + the sum of products over `blocks` blocks. start: null
// for zero, or registers that are `apart` floats apart. The rows of a block are kPanel floats
// apart. From one block to the next, the left operand moves on by `left_apart` floats, and the
// panel by `panel_apart` floats. The function is never inlined, for the reason given at
// multiply_tile().
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

// Computes sums = products, or sums += products if they are `added`, for kRows columns of a left
// operand [depth][kRows] and the first Width registers of a panel's rows. Rows of sums and of the
// panel are kPanel floats apart. The function is never inlined, for the reason given at
// multiply_tile().
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

// The number of rows of the tallest tile, which is two registers wide. Eight rows are then one
// tile, for which a panel is read once, instead of two tiles of four rows.
constexpr int kTallRows = kRows == 6 ? 8 : kRows;

// Divides the rows [first, last) into tiles of at most Most rows, whose heights differ by at most
// one row. Calls work(std::integral_constant<int, rows>, first row of the tile) for each tile.
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
