// Products of numbers in bfloat16 with sums in float32: a matrix lies as pairs of rows, two numbers
// of a column in 32 bits, as AVX512-BF16 and aarch64's BF16 read them, and AMX tiles would.
//
// Widened makes floats of them on the way to the product, which halves the memory traffic of the
// weights on any CPU. Dots multiplies pairs by vdpbf16ps or bfdot. Which is faster depends on the
// CPU: AMD's start that instruction in each cycle, Intel's (Sapphire Rapids and later) in every
// other one, half the multiplications of two float units. DotsByTiles multiplies by AMX, at 16
// times the speed of those. See cpu_products().
#ifndef LSTM_IMPL_NATIVE_BFLOAT16_PRODUCTS_H_
#define LSTM_IMPL_NATIVE_BFLOAT16_PRODUCTS_H_

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>
#include <type_traits>
#include <utility>

#include "bfloat16.h"
#include "numbers.h"
#include "plan.h"
#include "product.h"
#include "steps_ahead.h"
#include "tiles.h"
#include "vector.h"

namespace lstm_impl {

// Two numbers of bfloat16 in a lane, the lower half first.
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

// What packing notes of the numbers that it rounds: nothing.
struct NothingSeen {};

// Columns (see cell.h) of a kernel [rows, Gates * units] into `pairs` pairs of rows,
// [block][pair][column][lane], of blocks [first_block, last_block). Products::place() orders the
// registers of a block. Rows past the last are zeros. Returns what Products notes of the numbers.
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

// A left operand, whose rows of numbers are `across` numbers apart, and a right one, a panel of
// pairs of rows.
template <class Left>
struct Factors {
  const Left* left;
  Index across;
  const float* panel;
  Index pairs;

  // `count` of the pairs from `first` on. width: registers of a row of the panel.
  Factors part(Index first, Index count, Index width) const {
    return {left + 2 * first, across, panel + first * width * kLanes, count};
  }
};

// The registers of a panel's row that a product reads: `Count` of `Width`, from `First` on. Across:
// floats from a row of sums to the next.
template <int Width, int First = 0, int Count = Width, Index Across = Count * kLanes>
struct PanelPart {
  static constexpr int kWidth = Width, kFirst = First, kCount = Count;
  static constexpr Index kAcross = Across;
  static_assert(First + Count <= Width && Count * kLanes <= Across);
};

// What products of floats have in common with those below, see backward.h.
struct OfFloats {
  static constexpr Index kNumbers = 1;  // in a lane of a panel
  static constexpr int kParts = 1;
  using Seen = NothingSeen;
  static constexpr Index kPairs = 1;

  // Where in a panel that is `width` registers wide a register of a row stands.
  static constexpr Index place(Index row, Index at, Index width) {
    return (row * width + at) * kLanes;
  }

  static Plan plan(const Layer& layer, Index features, const Pool& pool) {
    return recurrence_plan(layer, features, pool);
  }
  static constexpr void (*release)() = nullptr;
};

// Whether factors are split into parts, see part_products.h.
template <class Products>
constexpr bool kSplitsFactors = Products::kParts > 1;

template <class Products>
constexpr bool kRoundsFactors = !std::is_same_v<Products, OfFloats>;

// Sums that stay in registers, of products as Products makes them.
template <class Products>
struct InRegisters {
  // Rows whose sums are kept side by side: 12 kB of sums, in the first cache.
  static constexpr Index kMostRows = 48;

  static Plan plan(const Layer& layer, Index features, const Pool& pool) {
    return recurrence_plan(layer, features, pool);
  }

  static Index steps_ahead(const Layer& layer, const Plan&) { return StepsAhead::usual(layer); }

  static constexpr void (*release)() = nullptr;

  static constexpr Index kNumbers = 2;
  static constexpr int kParts = 1;  // of a number
  using Seen = NothingSeen;

  // What numbers of pairs, and of a row of a left operand, are multiples of.
  static constexpr Index kPairs = 1;

  // Where in a panel that is `width` registers wide a register of a pair stands.
  static constexpr Index place(Index pair, Index at, Index width) {
    return (pair * width + at) * kLanes;
  }

  // Rounds a register of pairs of two rows of a right operand, and stores it.
  static LSTM_IMPL_INLINE void store_pair(float* panel, Index pair, Index at, Index width,
                                          Vector lower, Vector upper, Seen&) {
    store(panel + place(pair, at, width), paired(lower, upper));
  }

  static constexpr Index row_width(Index numbers) { return blocks_of(numbers, kLanes) * kLanes; }

  // sums = start + products, of registers that Part names. Rows of sums are Part::kAcross apart.
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
  // From the row `row` and the float `at` of a panel's row on. Never inlined: GCC 12 would keep the
  // sums of Dots in memory.
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

// The left operand is of floats, that bfloat16 holds.
struct Widened : InRegisters<Widened> {
  using Left = float;

  // Pairs of a panel that all rows meet before the next ones are read, and floats that are made of
  // each of them: 16 kB, in the first cache.
  static constexpr Index kDepthOpened = 32, kOpened = 2;

  static LSTM_IMPL_INLINE void store_left(Left* to, Vector value) { store(to, value); }

  // sums += left * pairs, of `depth` pairs of a panel that is PanelWidth registers wide.
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

  // What many tiles will read of `depth` pairs, of the first Width registers: floats, in the first
  // cache. `scratch` has room for them.
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

// The left operand is of bfloat16.
struct Dots : InRegisters<Dots>, DotInstruction {
  using Left = BFloat16;

  // Nothing is made of a panel, of which 128 kB stay in the second cache while all rows meet them. By
  // 32 pairs, sums were stored and loaded so often that 64 rows with 512 units took 1.06 times as
  // long.
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

// Sums that stay in tiles. A register of pairs is one row of a tile. 16 registers that follow each
// other in memory are a tile of the right operand, so that a tile is read from contiguous memory.
// Two tiles of the left operand's rows share each tile of the right operand; where there is only
// one, it meets all columns.
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

  // The kernel is read once for so many rows, where a thread's steps have all of a batch.
  static Index steps_ahead(const Layer& layer, const Plan& plan) {
    constexpr Index kRowsAhead = 256;
    if (plan.by_rows && plan.groups > 1) return 1;
    return std::min(layer.timesteps, blocks_of(kRowsAhead, layer.batch));
  }

  // Pairs that are summed up before sums are stored and other rows are multiplied. To store sums
  // and to load them again takes as long as several products, so this should be large. With 256
  // pairs, 32 rows of the left operand take two thirds of the first cache, and the panel is
  // streamed past them from the second cache.
  static constexpr Index kDepth = 256;

  static constexpr Index place(Index pair, Index at, Index width) {
    return ((pair / kPairs * width + at) * kPairs + pair % kPairs) * kLanes;
  }

  // Rounds a register of pairs of two rows of a right operand, and stores it.
  static LSTM_IMPL_INLINE void store_pair(float* panel, Index pair, Index at, Index width,
                                          Vector lower, Vector upper, Seen&) {
    store(panel + place(pair, at, width), paired(lower, upper));
  }

  // In an odd number of cache lines, or a tile's rows would share a few sets of the first cache.
  static constexpr Index row_width(Index numbers) {
    return (blocks_of(numbers, tiles::kDepth) | 1) * tiles::kDepth;
  }

  static LSTM_IMPL_INLINE void store_left(Left* to, Vector value) { store(to, value); }

  // The same as InRegisters::multiply(). Pairs and numbers of a row are padded with zeros. Bytes:
  // each pair holds four bytes instead of two bfloat16 numbers, see tiles::dot_bytes(), and each
  // sum is an integer of 32 bits.
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

  // To be called by a thread that has multiplied, before it does anything else: what else uses tiles
  // sets its own shapes, and a processor saves less of a thread that uses none.
  static void release() {
    if (shaped() == RowsOfTiles{}) return;
    shaped() = {};
    tiles::release();
  }

 protected:
  // Tiles 0 to 3 are sums, 4 and 5 of left operands, 6 and 7 of right ones.
  static constexpr int kLeft = 4, kRight = 6;

  // Rows of the first and the second tile of a left operand, as this thread's tiles are shaped.
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

  template <class Part, bool Bytes>
  static void add(float* sums, Start start, Index rows, const Factors<Left>* parts,
                  std::size_t count) {
    constexpr int kCount = Part::kCount;
    for (Index row = 0; row < rows; row += kMostRows) {
      const Index here = std::min(kMostRows, rows - row);
      const auto add = [&](auto tiles_of_rows, auto first, auto columns) {
        constexpr int kTiles = decltype(tiles_of_rows)::value, kFirst = decltype(first)::value;
        add_columns<Part, Bytes, kTiles, kFirst, decltype(columns)::value>(sums, start, row, parts,
                                                                           count);
      };
      if (here <= kRowsOfTile) {
        shape(here, here);
        add(constant<1>{}, constant<0>{}, constant<kCount>{});
      } else {
        shape(kRowsOfTile, here - kRowsOfTile);
        add(constant<2>{}, constant<0>{}, constant<std::min(kCount, 2)>{});
        if constexpr (kCount > 2) add(constant<2>{}, constant<2>{}, constant<kCount - 2>{});
      }
    }
  }

  template <int Value>
  using constant = std::integral_constant<int, Value>;

  // Calls work(constant<k>) for each k below Count, which the names of tiles have to be.
  template <int Count, class Work>
  static LSTM_IMPL_INLINE void each(const Work& work) {
    each(work, std::make_integer_sequence<int, Count>{});
  }
  template <class Work, int... Values>
  static LSTM_IMPL_INLINE void each(const Work& work, std::integer_sequence<int, Values...>) {
    (work(constant<Values>{}), ...);
  }

 private:
  // Of one or two tiles of rows, from `row` on, and `Columns` of the registers that Part names.
  template <class Part, bool Bytes, int TilesOfRows, int First, int Columns>
  static void add_columns(float* sums, Start start, Index row, const Factors<Left>* parts,
                          std::size_t count) {
    constexpr Index kRow = Part::kWidth * kLanes, kTile = kPairs * kLanes, kFloat = sizeof(float);
    constexpr int kSumsOfRows = kLeft / TilesOfRows;  // those that shape() gives as many rows
    static_assert(Columns <= kSumsOfRows);
    const auto each_sum = [](const auto& work) {
      each<TilesOfRows>([&](auto r) { each<Columns>([&](auto c) { work(r, c); }); });
    };
    each_sum([&](auto r, auto c) {
      if (start.from == nullptr) {
        tiles::zero<r * kSumsOfRows + c>();
      } else {
        tiles::load<r * kSumsOfRows + c>(
            start.from + (row + r * kRowsOfTile) * start.across + (First + c) * kLanes,
            start.across * kFloat);
      }
    });
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
            if constexpr (Bytes) {
              tiles::dot_bytes<r * kSumsOfRows + c, kLeft + r, kRight + c % 2>();
            } else {
              tiles::dot<r * kSumsOfRows + c, kLeft + r, kRight + c % 2>();
            }
          });
        });
      }
    }
    each_sum([&](auto r, auto c) {
      tiles::store<r * kSumsOfRows + c>(
          sums + (row + r * kRowsOfTile) * Part::kAcross + (First + c) * kLanes,
          Part::kAcross * kFloat);
    });
  }
};
#endif

// Calls work(products) with the instructions that multiply a layer's numbers; not where those are
// widened.
template <class Work>
void with_instructions([[maybe_unused]] const Layer& layer, [[maybe_unused]] const Work& work) {
#if defined(LSTM_IMPL_TILES)
  if (layer_products(layer) == Bfloat16Products::kTiles) return work(DotsByTiles{});
#endif
#if defined(LSTM_IMPL_DOTS)
  if (layer_products(layer) == Bfloat16Products::kDots) work(Dots{});
#endif
}

// The same, or where they are widened, calls work(Widened{}).
template <class Work>
void with_products(const Layer& layer, const Work& work) {
  if (layer_products(layer) == Bfloat16Products::kWidened) return work(Widened{});
  with_instructions(layer, work);
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BFLOAT16_PRODUCTS_H_
