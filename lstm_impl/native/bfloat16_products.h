// Products of bfloat16 numbers with sums in float32. A matrix is stored as pairs of rows: two
// numbers of a column in 32 bits. This is the order in which AVX512-BF16, the BF16 instructions of
// aarch64, and AMX tiles read it.
//
// There are three ways to multiply. Widened converts the numbers to floats on the way to the
// product, which halves the memory traffic of the weights on any CPU. Dots multiplies pairs by
// vdpbf16ps or bfdot. Which of the two is faster depends on the CPU: CPUs of AMD start this
// instruction in every cycle, CPUs of Intel (Sapphire Rapids and later) only in every other cycle,
// which is half as many multiplications as their two float units do. DotsByTiles multiplies by AMX,
// which is 16 times as fast. cpu_products() chooses.
#ifndef LSTM_IMPL_NATIVE_BFLOAT16_PRODUCTS_H_
#define LSTM_IMPL_NATIVE_BFLOAT16_PRODUCTS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>
#include <utility>

#include "bfloat16.h"
#include "numbers.h"
#include "panels.h"
#include "plan.h"
#include "product.h"
#include "steps_ahead.h"
#include "tiles.h"
#include "vector.h"

namespace lstm_impl {

// Each lane of the register holds two bfloat16 numbers, the lower half first.
LSTM_IMPL_INLINE Words words_of(Vector value) {
  Words words;
  std::memcpy(&words, &value, sizeof words);
  return words;
}

LSTM_IMPL_INLINE Vector vector_of(Words words) {
  Vector value;
  std::memcpy(&value, &words, sizeof value);
  return value;
}

LSTM_IMPL_INLINE Vector lower_half(Vector pairs) { return vector_of(words_of(pairs) << 16); }

LSTM_IMPL_INLINE Vector upper_half(Vector pairs) {
  return vector_of(words_of(pairs) & 0xffff0000u);
}

LSTM_IMPL_INLINE Vector paired(Vector lower, Vector upper) {
  return vector_of(__builtin_convertvector(rounded_halves(lower), Words) |
                   __builtin_convertvector(rounded_halves(upper), Words) << 16);
}

// The packing of numbers that are only rounded records nothing about them.
struct NothingSeen {};

// Packs columns (see cell.h) of a kernel [rows, Gates * units] into `pairs` pairs of rows,
// [block][pair][column][lane], for the blocks [first_block, last_block). Products::place() decides
// the order of the registers of a block. Rows past the last one are zeros. Returns what Products
// records about the numbers.
template <class Products, class Columns, Index Gates, class Value>
typename Products::Seen pack_pairs(const Value* kernel, Index rows, Index units, Index first_block,
                                   Index last_block, Index pairs, float* panels) {
  constexpr Index kCount = Columns::kCount;
  typename Products::Seen seen;
  for (Index pair = 0; pair < pairs; ++pair) {
    const Value* from = kernel + 2 * pair * Gates * units;
    const Index here = rows - 2 * pair;
    for (Index block = first_block; block < last_block; ++block) {
      float* to = panels + block * pairs * kCount * Products::kParts * kLanes;
      const Index unit = block * kLanes, count = std::min(kLanes, units - unit);
      for (Index column = 0; column < kCount; ++column) {
        const Index gate = Columns::kGates[static_cast<std::size_t>(column)];
        const Value* lower = from + gate * units + unit;
        const Vector upper = here < 2 ? Vector{} : load_part(lower + Gates * units, count);
        Products::store_pair(to, pair, column, kCount,
                             here < 1 ? Vector{} : load_part(lower, count), upper, seen);
      }
    }
  }
  return seen;
}

// Packs the same panels from the transpose of the kernel, [Gates * units, rows].
template <class Products, class Columns, Index Gates, class Value>
typename Products::Seen pack_pairs_of_transpose(const Value* transposed, Index rows, Index units,
                                                Index first_block, Index last_block, Index pairs,
                                                float* panels) {
  constexpr Index kCount = Columns::kCount;
  typename Products::Seen seen;
  for (Index block = first_block; block < last_block; ++block) {
    float* const to = panels + block * pairs * kCount * Products::kParts * kLanes;
    const Index unit = block * kLanes, count = std::min(kLanes, units - unit);
    for (Index column = 0; column < kCount; ++column) {
      const Index gate = Columns::kGates[static_cast<std::size_t>(column)];
      const Value* const from = transposed + (gate * units + unit) * rows;
      for (Index k = 0; k < 2 * pairs; k += kLanes) {
        Vector square[kLanes] = {};
        if (k < rows) read_transposed_rows(from + k, rows, count, rows - k, square);
#pragma GCC unroll 16
        for (Index r = 0; r < kLanes; r += 2) {
          if (const Index pair = (k + r) / 2; pair < pairs) {
            Products::store_pair(to, pair, column, kCount, square[r], square[r + 1], seen);
          }
        }
      }
    }
  }
  return seen;
}

// The two operands of a product. Consecutive rows of the left operand are `across` numbers apart.
// The right operand is a panel of pairs of rows.
template <class Left>
struct Factors {
  const Left* left;
  Index across;
  const float* panel;
  Index pairs;

  // Returns the product of `count` pairs from `first` on. width: the number of registers in a row
  // of the panel.
  Factors part(Index first, Index count, Index width) const {
    return {left + 2 * first, across, panel + first * width * kLanes, count};
  }
};

// The registers of a panel's row that a product reads: `Count` of `Width` registers, from `First`
// on. Across: the number of floats from one row of sums to the next.
template <int Width, int First = 0, int Count = Width, Index Across = Count * kLanes>
struct PanelPart {
  static constexpr int kWidth = Width, kFirst = First, kCount = Count;
  static constexpr Index kAcross = Across;
  static_assert(First + Count <= Width && Count * kLanes <= Across);
};

// The interface that products of floats share with the products below; backward.h uses it.
struct OfFloats {
  static constexpr Index kNumbers = 1;  // in a lane of a panel
  static constexpr int kParts = 1;
  using Seen = NothingSeen;
  static constexpr Index kPairs = 1;

  // Returns the place of a register of a row in a panel that is `width` registers wide.
  static constexpr Index place(Index row, Index at, Index width) {
    return (row * width + at) * kLanes;
  }

  static Plan plan(const Layer& layer, Index features, const Pool& pool) {
    return recurrence_plan(layer, features, pool);
  }
  static constexpr void (*release)() = nullptr;
};

// Whether Products splits factors into parts; see part_products.h.
template <class Products>
constexpr bool kSplitsFactors = Products::kParts > 1;

template <class Products>
constexpr bool kRoundsFactors = !std::is_same_v<Products, OfFloats>;

// Products whose sums stay in registers. Products says how they are computed.
template <class Products>
struct InRegisters {
  // The number of rows whose sums are kept side by side. They take 12 kB, which fit into the first
  // cache.
  static constexpr Index kMostRows = 48;

  static Plan plan(const Layer& layer, Index features, const Pool& pool) {
    return recurrence_plan(layer, features, pool);
  }

  static Index steps_ahead(const Layer& layer, const Plan&) { return StepsAhead::usual(layer); }

  static constexpr void (*release)() = nullptr;

  static constexpr Index kNumbers = 2;
  static constexpr int kParts = 1;  // of a number
  using Seen = NothingSeen;

  // The number of pairs, and the number of numbers in a row of a left operand, are multiples of
  // these.
  static constexpr Index kPairs = 1;

  // Returns the place of a register of a pair in a panel that is `width` registers wide.
  static constexpr Index place(Index pair, Index at, Index width) {
    return (pair * width + at) * kLanes;
  }

  // Rounds two rows of a right operand to a register of pairs, and stores it.
  static LSTM_IMPL_INLINE void store_pair(float* panel, Index pair, Index at, Index width,
                                          Vector lower, Vector upper, Seen&) {
    store(panel + place(pair, at, width), paired(lower, upper));
  }

  static constexpr Index row_width(Index numbers) { return blocks_of(numbers, kLanes) * kLanes; }

  // Computes sums = start + products for the registers that Part names. Rows of sums are
  // Part::kAcross floats apart.
  template <class Part, class Left>
  static void multiply(float* sums, Start start, Index rows,
                       std::initializer_list<Factors<Left>> products) {
    constexpr int kWidth = Part::kWidth, kCount = Part::kCount;
    constexpr Index kFirst = Part::kFirst * kLanes;
    for (const Factors<Left>& product : products) {
      if (rows <= kTallRows) {
        constexpr int kMost = kCount == 3 ? kRows : kTallRows;  // three registers have no halves
        for_each_tile<kMost>(0, rows, [&](auto constant, Index row) {
          constexpr int kTile = decltype(constant)::value, kPart = part_of(kTile, kCount);
          for (Index at = 0; at < kCount * kLanes; at += kPart * kLanes) {
            multiply_tile<false, kWidth, Part::kAcross, kTile, kPart>(sums, start, row, at, product,
                                                                      product.panel + kFirst);
          }
        });
        start = {sums, Part::kAcross};
        continue;
      }
      constexpr Index kDepth = Products::kDepthOpened;
      alignas(64) float scratch[Products::kOpened * kDepth * kWidth * kLanes];
      for (Index from = 0; from < product.pairs; from += kDepth) {
        const Factors<Left> part =
            product.part(from, std::min(kDepth, product.pairs - from), kWidth);
        const float* opened =
            Products::template opened<kWidth, kCount>(part.panel + kFirst, part.pairs, scratch);
        for_each_tile<kRows>(0, rows, [&](auto constant, Index row) {
          constexpr int kTile = decltype(constant)::value;
          multiply_tile<true, kWidth, Part::kAcross, kTile, kCount>(sums, start, row, 0, part,
                                                                    opened);
        });
        start = {sums, Part::kAcross};
      }
    }
  }

 private:
  // Multiplies from the row `row` and from the float `at` of a panel's row on. The function is
  // never inlined, because GCC 12 would then keep the sums of Dots in memory.
  template <bool Opened, int PanelWidth, Index Across, int Rows, int Width, class Left>
  static __attribute__((noinline)) void multiply_tile(float* sums, Start start, Index row, Index at,
                                                      const Factors<Left>& factors,
                                                      const float* panel) {
    const Left* left = factors.left + row * factors.across;
    Tile<Rows, Width> tile;
    fill(tile, start, row, at);
    if constexpr (Opened) {
      Products::template add_opened<PanelWidth>(tile, left, factors.across, factors.pairs, panel);
    } else {
      Products::template add<PanelWidth>(tile, left, factors.across, factors.pairs, panel + at);
    }
    tile.spill(sums + row * Across + at, Across);
  }

  template <int Rows, int Width>
  static LSTM_IMPL_INLINE void fill(Tile<Rows, Width>& tile, const Start& start, Index row,
                                    Index at) {
    if (start.from == nullptr) {
      tile.clear();
    } else {
      tile.fill(start.from + row * start.across + at, start.across);
    }
  }
};

// The left operand consists of floats that bfloat16 represents exactly.
struct Widened : InRegisters<Widened> {
  using Left = float;

  // The number of pairs of a panel that all rows are multiplied with before the next pairs are
  // read, and the number of floats that are made of each pair. They take 16 kB, which fit into the
  // first cache.
  static constexpr Index kDepthOpened = 32, kOpened = 2;

  static LSTM_IMPL_INLINE void store_left(Left* to, Vector value) { store(to, value); }

  // Computes sums += left * pairs for `depth` pairs of a panel that is PanelWidth registers wide.
  template <int PanelWidth, int Rows, int Width>
  static LSTM_IMPL_INLINE void add(Tile<Rows, Width>& sums, const Left* left, Index across,
                                   Index depth, const float* pairs) {
    constexpr Index kRow = PanelWidth * kLanes;
    Tile<Rows, Width> more;  // for additions not to wait for each other, see add_product()
    more.clear();
    for (Index k = 0; k < depth; ++k) {
      if constexpr (Rows * Width >= kManySums) {
        add_half<false>(sums, left + 2 * k, across, pairs + k * kRow);
        add_half<true>(sums, left + 2 * k + 1, across, pairs + k * kRow);
      } else {
        add_half<false>(sums, left + 2 * k, across, pairs + k * kRow);
        add_half<true>(more, left + 2 * k + 1, across, pairs + k * kRow);
      }
    }
    if constexpr (Rows * Width < kManySums) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < Width; ++v) sums.at[r][v] += more.at[r][v];
      }
    }
  }

  // Converts `depth` pairs of the first Width registers to floats, because many tiles will read
  // them. They fit into the first cache. `scratch` must have room for them.
  template <int PanelWidth, int Width>
  static LSTM_IMPL_INLINE const float* opened(const float* pairs, Index depth, float* scratch) {
    constexpr Index kAhead = 12;  // rows of pairs that are asked for ahead, 3 kB
    constexpr Index kRow = PanelWidth * kLanes;
    for (Index k = 0; k < depth; ++k) {
      const float* row = pairs + k * kRow;
#pragma GCC unroll 4
      for (Index at = 0; at < Width * kLanes; at += kLanes) {
        __builtin_prefetch(row + kAhead * kRow + at);
        const Vector value = load(row + at);
        store(scratch + 2 * k * kRow + at, lower_half(value));
        store(scratch + (2 * k + 1) * kRow + at, upper_half(value));
      }
    }
    return scratch;
  }

  template <int PanelWidth, int Rows, int Width>
  static LSTM_IMPL_INLINE void add_opened(Tile<Rows, Width>& sums, const Left* left, Index across,
                                          Index depth, const float* opened) {
    add_product<PanelWidth>(sums, left, across, 1, 2 * depth, opened);
  }

 private:
  template <bool Upper, int Rows, int Width>
  static LSTM_IMPL_INLINE void add_half(Tile<Rows, Width>& sums, const Left* left, Index across,
                                        const float* pairs) {
    Vector columns[Width];
#pragma GCC unroll 8
    for (int v = 0; v < Width; ++v) {
      const Vector both = load(pairs + v * kLanes);
      columns[v] = Upper ? upper_half(both) : lower_half(both);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const float value = left[r * across];
#pragma GCC unroll 8
      for (int v = 0; v < Width; ++v) sums.at[r][v] += value * columns[v];
    }
  }
};

#if defined(LSTM_IMPL_DOTS)

// The left operand consists of bfloat16 numbers.
struct Dots : InRegisters<Dots>, DotInstruction {
  using Left = BFloat16;

  // Dots multiplies pairs without converting the panel. 128 kB of the panel stay in the second
  // cache while all rows are multiplied with them. With 32 pairs at a time, sums were stored and
  // loaded so often that 64 rows with 512 units took 1.06 times as long.
  static constexpr Index kDepthOpened = 512, kOpened = 1;

  static LSTM_IMPL_INLINE void store_left(Left* to, Vector value) { store(to, value); }

  template <int PanelWidth, int Rows, int Width>
  static LSTM_IMPL_INLINE void add(Tile<Rows, Width>& sums, const Left* left, Index across,
                                   Index depth, const float* pairs) {
    constexpr Index kRow = PanelWidth * kLanes;
    Index k = 0;
    if constexpr (Rows * Width < kManySums) {
      Tile<Rows, Width> more;
      more.clear();
      for (; k + 2 <= depth; k += 2) {
        add_pair(sums, left + 2 * k, across, pairs + k * kRow);
        add_pair(more, left + 2 * k + 2, across, pairs + (k + 1) * kRow);
      }
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < Width; ++v) sums.at[r][v] += more.at[r][v];
      }
    }
    for (; k < depth; ++k) add_pair(sums, left + 2 * k, across, pairs + k * kRow);
  }

  template <int PanelWidth, int Width>
  static LSTM_IMPL_INLINE const float* opened(const float* pairs, Index, float*) {
    return pairs;
  }

  template <int PanelWidth, int Rows, int Width>
  static LSTM_IMPL_INLINE void add_opened(Tile<Rows, Width>& sums, const Left* left, Index across,
                                          Index depth, const float* opened) {
    add<PanelWidth>(sums, left, across, depth, opened);
  }

 private:
  template <int Rows, int Width>
  static LSTM_IMPL_INLINE void add_pair(Tile<Rows, Width>& sums, const Left* left, Index across,
                                        const float* pairs) {
    Vector columns[Width];
#pragma GCC unroll 8
    for (int v = 0; v < Width; ++v) columns[v] = load(pairs + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      std::uint32_t pair;
      std::memcpy(&pair, left + r * across, sizeof pair);
      const Vector everywhere = vector_of(Words{} + pair);
#pragma GCC unroll 8
      for (int v = 0; v < Width; ++v) dot(sums.at[r][v], columns[v], everywhere);
    }
  }
};
#endif

#if defined(LSTM_IMPL_TILES)

// Products whose sums stay in tiles. A register of pairs is one row of a tile. 16 registers that
// follow each other in memory form a tile of the right operand, so a tile is read from contiguous
// memory. Two tiles with rows of the left operand share each tile of the right operand. If there is
// only one tile of rows, it is multiplied with all columns.
struct DotsByTiles {
  using Left = BFloat16;

  static constexpr Index kRegister = kLanes * sizeof(float);  // bytes
  static_assert(kRegister <= tiles::kRowBytes);  // less than a tile's row in emulations only
  static constexpr Index kRowsOfTile = tiles::kMostRows, kMostRows = 2 * kRowsOfTile;
  static constexpr Index kPairs = std::min(tiles::kPairs, kPanel / 2);  // a block's of sums at most
  static constexpr Index kNumbers = 2;
  static constexpr int kParts = 1;
  using Seen = NothingSeen;

  static Plan plan(const Layer& layer, Index features, const Pool& pool) {
    return plan_of_tiles(layer, features, pool);
  }

  // If a thread does the steps of a whole batch, it reads the kernel once for this many steps.
  static Index steps_ahead(const Layer& layer, const Plan& plan) {
    constexpr Index kRowsAhead = 256;
    if (plan.by_rows && plan.groups > 1) return 1;
    return std::min(layer.timesteps, blocks_of(kRowsAhead, layer.batch));
  }

  // The number of pairs that are summed up before the sums are stored and other rows are
  // multiplied. Storing sums and loading them again takes as long as several products, so this
  // number should be large. With 256 pairs, 32 rows of the left operand take two thirds of the
  // first cache, and the panel streams past them from the second cache.
  static constexpr Index kDepth = 256;

  static constexpr Index place(Index pair, Index at, Index width) {
    return ((pair / kPairs * width + at) * kPairs + pair % kPairs) * kLanes;
  }

  // Rounds two rows of a right operand to a register of pairs, and stores it.
  static LSTM_IMPL_INLINE void store_pair(float* panel, Index pair, Index at, Index width,
                                          Vector lower, Vector upper, Seen&) {
    store(panel + place(pair, at, width), paired(lower, upper));
  }

  // A row has an odd number of cache lines. With an even number, the rows of a tile would share a
  // few sets of the first cache.
  static constexpr Index row_width(Index numbers) {
    return (blocks_of(numbers, tiles::kDepth) | 1) * tiles::kDepth;
  }

  static LSTM_IMPL_INLINE void store_left(Left* to, Vector value) { store(to, value); }

  // Does the same as InRegisters::multiply(). Pairs, and the numbers of a row, are padded with
  // zeros. Bytes: if true, each pair holds four bytes instead of two bfloat16 numbers (see
  // tiles::dot_bytes()), and each sum is an integer of 32 bits.
  template <class Part, bool Bytes = false>
  static void multiply(float* sums, Start start, Index rows,
                       std::initializer_list<Factors<Left>> products) {
    std::array<Factors<Left>, 2> parts;
    std::size_t count = 0;
    Index room = kDepth;
    for (const Factors<Left>& product : products) {
      for (Index from = 0; from < product.pairs;) {
        const Index here = std::min(room, product.pairs - from);
        parts[count++] = product.part(from, here, Part::kWidth);
        from += here;
        room -= here;
        if (room > 0 && count < parts.size()) continue;
        add<Part, Bytes>(sums, start, rows, parts.data(), count);
        start = {sums, Part::kAcross};
        count = 0;
        room = kDepth;
      }
    }
    if (count > 0) add<Part, Bytes>(sums, start, rows, parts.data(), count);
  }

  // A thread that has multiplied must call this before it does anything else. Other code that uses
  // tiles sets its own shapes, and the system saves less state for a thread that uses none.
  static void release() {
    if (shaped() == RowsOfTiles{}) return;
    shaped() = {};
    tiles::release();
  }

 protected:
  // Tiles 0 to 3 hold sums, tiles 4 and 5 left operands, and tiles 6 and 7 right operands.
  static constexpr int kLeft = 4, kRight = 6;

  // The number of rows in the first and in the second tile of a left operand, as this thread's
  // tiles are configured.
  using RowsOfTiles = std::pair<Index, Index>;
  static RowsOfTiles& shaped() {
    static thread_local RowsOfTiles rows;
    return rows;
  }

  static void shape(Index first, Index second) {
    if (shaped() == RowsOfTiles{first, second}) return;
    shaped() = {first, second};
    tiles::Shapes shapes;
    for (int tile = 0; tile < 8; ++tile) {
      const bool of_second = tile == 2 || tile == 3 || tile == kLeft + 1;
      const Index rows = tile >= kRight ? kPairs : of_second ? second : first;
      shapes.rows[tile] = static_cast<std::uint8_t>(rows);
      const bool left = tile == kLeft || tile == kLeft + 1;
      shapes.row_bytes[tile] = static_cast<std::uint16_t>(left ? 4 * kPairs : kRegister);
    }
    tiles::set_shapes(shapes);
  }

  template <int Value>
  using constant = std::integral_constant<int, Value>;

  // Calls work(constant<k>) for each k below Count. The instructions need the numbers of tiles as
  // constants.
  template <int Count, class Work>
  static LSTM_IMPL_INLINE void each(const Work& work) {
    each(work, std::make_integer_sequence<int, Count>{});
  }
  template <class Work, int... Values>
  static LSTM_IMPL_INLINE void each(const Work& work, std::integer_sequence<int, Values...>) {
    (work(constant<Values>{}), ...);
  }

  // Divides sums of `rows` rows and `Count` columns into blocks that fit the tiles of sums, and
  // calls add(row, tiles_of_rows, first, columns) for each block, after it has configured the
  // tiles. A block is one or two tiles of rows from `row` on, and `columns` columns from `first`
  // on.
  template <int Count, class Add>
  static LSTM_IMPL_INLINE void each_block(Index rows, const Add& add) {
    for (Index row = 0; row < rows; row += kMostRows) {
      const Index here = std::min(kMostRows, rows - row);
      if (here <= kRowsOfTile) {
        shape(here, here);
        add(row, constant<1>{}, constant<0>{}, constant<Count>{});
      } else {
        shape(kRowsOfTile, here - kRowsOfTile);
        add(row, constant<2>{}, constant<0>{}, constant<std::min(Count, 2)>{});
        if constexpr (Count > 2) add(row, constant<2>{}, constant<2>{}, constant<Count - 2>{});
      }
    }
  }

  // The number of tiles of sums that one tile of rows has. shape() gives them its number of rows.
  template <int TilesOfRows>
  static constexpr int kSumsOfRows = kLeft / TilesOfRows;

  // Calls work(r, c) for the tile of sums of each tile of rows r and each column c.
  template <int TilesOfRows, int Columns, class Work>
  static LSTM_IMPL_INLINE void each_sum(const Work& work) {
    static_assert(Columns <= kSumsOfRows<TilesOfRows>);
    each<TilesOfRows>([&](auto r) { each<Columns>([&](auto c) { work(r, c); }); });
  }

  // Loads the sums of a block, or sets them to zero if there is nothing to start from.
  template <int TilesOfRows, int First, int Columns>
  static LSTM_IMPL_INLINE void load_sums(const Start& start, Index row) {
    each_sum<TilesOfRows, Columns>([&](auto r, auto c) {
      constexpr int kTile = r * kSumsOfRows<TilesOfRows> + c;
      if (start.from == nullptr) {
        tiles::zero<kTile>();
      } else {
        tiles::load<kTile>(
            start.from + (row + r * kRowsOfTile) * start.across + (First + c) * kLanes,
            start.across * static_cast<Index>(sizeof(float)));
      }
    });
  }

  // Stores the sums of a block.
  template <class Part, int TilesOfRows, int First, int Columns>
  static LSTM_IMPL_INLINE void store_sums(float* sums, Index row) {
    each_sum<TilesOfRows, Columns>([&](auto r, auto c) {
      constexpr int kTile = r * kSumsOfRows<TilesOfRows> + c;
      tiles::store<kTile>(sums + (row + r * kRowsOfTile) * Part::kAcross + (First + c) * kLanes,
                          Part::kAcross * static_cast<Index>(sizeof(float)));
    });
  }

 private:
  template <class Part, bool Bytes>
  static void add(float* sums, Start start, Index rows, const Factors<Left>* parts,
                  std::size_t count) {
    each_block<Part::kCount>(rows, [&](Index row, auto tiles_of_rows, auto first, auto columns) {
      constexpr int kTiles = decltype(tiles_of_rows)::value, kFirst = decltype(first)::value;
      add_columns<Part, Bytes, kTiles, kFirst, decltype(columns)::value>(sums, start, row, parts,
                                                                         count);
    });
  }

  // Multiplies one or two tiles of rows, from `row` on, by `Columns` of the registers that Part
  // names.
  template <class Part, bool Bytes, int TilesOfRows, int First, int Columns>
  static void add_columns(float* sums, Start start, Index row, const Factors<Left>* parts,
                          std::size_t count) {
    constexpr Index kRow = Part::kWidth * kLanes, kTile = kPairs * kLanes;
    load_sums<TilesOfRows, First, Columns>(start, row);
    for (const Factors<Left>* part = parts; part != parts + count; ++part) {
      const Left* left = part->left + row * part->across;
      const float* right = part->panel + (Part::kFirst + First) * kTile;
      for (Index pair = 0; pair < part->pairs; pair += kPairs) {
        each<TilesOfRows>([&](auto r) {
          tiles::load<kLeft + r>(left + r * kRowsOfTile * part->across + 2 * pair,
                                 part->across * static_cast<Index>(sizeof(Left)));
        });
        each<Columns>([&](auto c) {
          tiles::load<kRight + c % 2, true>(right + pair * kRow + c * kTile, kRegister);
          each<TilesOfRows>([&](auto r) {
            constexpr int kSum = r * kSumsOfRows<TilesOfRows> + c;
            if constexpr (Bytes) {
              tiles::dot_bytes<kSum, kLeft + r, kRight + c % 2>();
            } else {
              tiles::dot<kSum, kLeft + r, kRight + c % 2>();
            }
          });
        });
      }
    }
    store_sums<Part, TilesOfRows, First, Columns>(sums, row);
  }
};
#endif

// Calls work(products) with the instructions that multiply the numbers of a layer. Does nothing if
// these numbers are widened.
template <class Work>
void with_instructions([[maybe_unused]] const Layer& layer, [[maybe_unused]] const Work& work) {
#if defined(LSTM_IMPL_TILES)
  if (layer_products(layer) == Bfloat16Products::kTiles) return work(DotsByTiles{});
#endif
#if defined(LSTM_IMPL_DOTS)
  if (layer_products(layer) == Bfloat16Products::kDots) work(Dots{});
#endif
}

// The same, but calls work(Widened{}) if the numbers are widened.
template <class Work>
void with_products(const Layer& layer, const Work& work) {
  if (layer_products(layer) == Bfloat16Products::kWidened) return work(Widened{});
  with_instructions(layer, work);
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BFLOAT16_PRODUCTS_H_
