// Products of int8 numbers with sums in 32 bits. A matrix is stored as quads of rows: four numbers
// of a column are in a lane, in the order in which vpdpbusd reads them. This instruction multiplies
// unsigned bytes by signed bytes. Therefore 128 is added to each number of the left operand, and
// the sums start at a value that cancels this.
//
// A number is rounded to a multiple of a 127th of the largest magnitude in its row or, in a kernel,
// in its column.
#ifndef LSTM_IMPL_NATIVE_INT8_PRODUCTS_H_
#define LSTM_IMPL_NATIVE_INT8_PRODUCTS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "bfloat16_products.h"
#include "int8.h"
#include "numbers.h"
#include "panels.h"
#include "product.h"
#include "vector.h"

namespace lstm_impl {

constexpr Index kQuad = 4;
constexpr float kMostInt8 = 127.0f;

// If a scale is at most this, all numbers become zero.
constexpr float kLeastScale = 1e-37f;

// If a kernel has at most this many rows, the products fit into a sum of 32 bits.
constexpr Index kMostRowsOfInt8 = 1 << 17;

LSTM_IMPL_INLINE Bits load(const std::int32_t* from) {
  Bits value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

LSTM_IMPL_INLINE void store(std::int32_t* to, Bits value) { std::memcpy(to, &value, sizeof value); }

LSTM_IMPL_INLINE Bits bits_of(Vector value) {
  Bits bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// Finds the largest magnitude of the numbers that it is given. Magnitudes are compared by their
// bits, so NaN is above all numbers.
struct Magnitudes {
  Bits most{};

  LSTM_IMPL_INLINE void see(Vector value) { see(bits_of(value) & 0x7fffffff); }

  LSTM_IMPL_INLINE Vector of_lanes() const {
    Vector value;
    std::memcpy(&value, &most, sizeof value);
    return value;
  }

  LSTM_IMPL_INLINE float of_all() {
    meet<kLanes / 2>();
    return of_lanes()[0];
  }

 private:
  LSTM_IMPL_INLINE void see(Bits magnitude) { most = magnitude > most ? magnitude : most; }

  template <Index Half>
  LSTM_IMPL_INLINE void meet() {
    if constexpr (Half > 0) {
      Vector upper = of_lanes(), lower = upper;
      exchange<Half>(upper, lower, std::make_integer_sequence<Index, kLanes>{});
      see(bits_of(upper));
      see(bits_of(lower));
      meet<Half / 2>();
    }
  }
};

// The value that the integer 1 stands for, if the largest magnitude of the floats is `most`, and the
// inverse of this value. The inverse is zero where all numbers become zero. If `most` is not finite,
// the value is NaN.
template <class Float>
struct Scale {
  Float value, inverse;

  explicit LSTM_IMPL_INLINE Scale(Float most)
      : value(most / kMostInt8 + most * 0.0f),
        inverse(value > kLeastScale ? 1.0f / value : Float{}) {}
};

// Rounds numbers up to 127 to the nearest integers. As in exponential(), the lowest bits of a sum
// hold the integers.
LSTM_IMPL_INLINE Bits nearest(Vector value) {
  return bits_of(value + 12582912.0f) - 0x4b400000;
}

// For CPUs without an instruction that multiplies quads of bytes.
struct WithoutVnni {
  static constexpr const char* kName = Instructions::kByteProducts;
  static constexpr void (*release)() = nullptr;

  // Adds the products of four unsigned bytes and four signed bytes to sum.
  static LSTM_IMPL_INLINE void add(Bits& sum, Bits left, Bits right) {
    Instructions::add_bytes(sum, left, right);
  }
};

#if defined(LSTM_IMPL_VNNI)
struct Vnni : ByteInstruction {
  static constexpr void (*release)() = nullptr;
};
#endif

#if defined(LSTM_IMPL_TILES)
// Multiplies by AMX, where int8_uses_tiles().
struct BytesByTiles {
  static constexpr const char* kName = "tdpbusd";
  static constexpr void (*release)() = DotsByTiles::release;
};
#endif

// Calls work(bytes) with the way in which this process multiplies bytes.
template <class Work>
void with_bytes(const Work& work) {
#if defined(LSTM_IMPL_TILES)
  if (int8_uses_tiles()) return work(BytesByTiles{});
#endif
#if defined(LSTM_IMPL_VNNI)
  static const bool has_vnni = Vnni::here();
  if (has_vnni) return work(Vnni{});
#endif
  work(WithoutVnni{});
}

// Returns how many bytes a row of a left operand has, padded to whole cache lines. With tiles, the
// number of cache lines is odd; see DotsByTiles::row_width().
inline Index width_of_bytes(Index numbers) {
  constexpr Index kLine = 64;
  const Index lines = blocks_of(numbers, kLine);
  return (int8_uses_tiles() ? lines | 1 : lines) * kLine;
}

// Rows of a left operand: bytes, with rows that are `across` bytes apart, and the scale of each
// row.
struct LeftBytes {
  std::uint8_t* bytes;
  Index across;
  float* scales;

  LeftBytes from(Index row) const { return {bytes + row * across, across, scales + row}; }
};

// Packs `count` floats as the first row of a left operand, and fills the rest of the row with
// zeros. If a number is not finite, the scale becomes NaN.
inline void pack_bytes(const float* from, Index count, LeftBytes to) {
  using Bytes = std::uint8_t __attribute__((vector_size(kLanes)));
  Magnitudes found;
  for (Index k = 0; k < count; k += kLanes) found.see(load_part(from + k, count - k));
  const Scale<float> scale(found.of_all());
  for (Index k = 0; k < to.across; k += kLanes) {
    const Vector value = k < count ? load_part(from + k, count - k) : Vector{};
    const Bytes bytes = __builtin_convertvector(nearest(value * scale.inverse) + 128, Bytes);
    std::memcpy(to.bytes + k, &bytes, sizeof bytes);
  }
  *to.scales = scale.value;
}

template <int Rows, int Width>
using Int8Tile = Bits[Rows][Width];

// Computes sums += left * panel for one quad of rows of the panel.
template <class Bytes, int Rows, int Width>
LSTM_IMPL_INLINE void add_quad(Int8Tile<Rows, Width>& sums, const std::uint8_t* left, Index across,
                               const std::int32_t* panel) {
  Bits columns[Width];
#pragma GCC unroll 4
  for (int v = 0; v < Width; ++v) columns[v] = load(panel + v * kLanes);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    std::int32_t quad;
    std::memcpy(&quad, left + r * across, sizeof quad);
    const Bits everywhere = Bits{} + quad;
#pragma GCC unroll 4
    for (int v = 0; v < Width; ++v) Bytes::add(sums[r][v], everywhere, columns[v]);
  }
}

// The same for `depth` quads of a panel that is PanelWidth registers wide. If there are few rows,
// every other quad goes to sums of its own; see add_product(). fetch: what is prefetched with each
// quad of the panel.
template <class Bytes, int PanelWidth, int Rows, int Width>
LSTM_IMPL_INLINE void add_quads(Int8Tile<Rows, Width>& sums, const std::uint8_t* left, Index across,
                                Index depth, const std::int32_t* panel, const Fetch& fetch) {
  constexpr Index kRow = PanelWidth * kLanes;
  Index k = 0;
  if constexpr (Rows * Width < kManySums) {
    Int8Tile<Rows, Width> more = {};
    for (; k + 2 <= depth; k += 2) {
      add_quad<Bytes, Rows, Width>(sums, left + k * kQuad, across, panel + k * kRow);
      add_quad<Bytes, Rows, Width>(more, left + (k + 1) * kQuad, across, panel + (k + 1) * kRow);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Width; ++v) sums[r][v] += more[r][v];
    }
  }
  for (; k < depth; ++k) {
    fetch(k);
    add_quad<Bytes, Rows, Width>(sums, left + k * kQuad, across, panel + k * kRow);
  }
}

// A kernel in int8, in the caller's memory. It has panels [block][quad][column][lane] of `Width`
// columns (see cell.h). For each column it also has the scale and the start of the sum,
// [block][column][lane].
template <class Word, int Width>
class Int8Kernel {
 public:
  Int8Kernel(Word* memory, Index rows, Index units)
      : rows_(rows),
        units_(units),
        quads_(quads_of(rows)),
        panels_(memory),
        scales_(panels_ + across(units) * quads_),
        starts_(scales_ + across(units)) {}

  static Index size(Index rows, Index units) { return across(units) * (quads_of(rows) + 2); }

  Word* end() const { return starts_ + across(units_); }

  // kernel: the weights as floats, [rows, Gates * units].
  template <class Columns, Index Gates>
  void pack(const float* kernel) const {
    static_assert(Columns::kCount == Width);
    for (Index block = 0; block < blocks_of(units_, kLanes); ++block) {
      for (Index column = 0; column < Width; ++column) {
        const Index gate = Columns::kGates[static_cast<std::size_t>(column)];
        pack_column(kernel + gate * units_, Gates * units_, block, column);
      }
    }
  }

  // Computes sums = start + left * this, for `Count` columns of a block of units from `First` on.
  // Rows of sums are kPanel apart. The first tiles prefetch the panel of the block `next`. Later
  // tiles prefetch a panel that is already in the cache.
  template <class Bytes, int First = 0, int Count = Width>
  void multiply(float* sums, Start start, const LeftBytes& left, Index count, Index block,
                Index next) const {
#if defined(LSTM_IMPL_TILES)
    if constexpr (std::is_same_v<Bytes, BytesByTiles>) {
      multiply_by_tiles<First, Count>(sums, start, left, count, block);
    } else {
      multiply_in_registers<Bytes, First, Count>(sums, start, left, count, block, next);
    }
#else
    multiply_in_registers<Bytes, First, Count>(sums, start, left, count, block, next);
#endif
  }

 private:
  static constexpr Index kRow = Width * kLanes;  // of a panel

  template <class Bytes, int First, int Count>
  void multiply_in_registers(float* sums, Start start, const LeftBytes& left, Index count,
                             Index block, Index next) const {
    Index tile = 0;
    for_each_tile<kTallRows>(0, count, [&](auto constant, Index row) {
      constexpr int kTile = decltype(constant)::value, kPart = part_of(kTile, Count);
      const bool asks = tile < Fetch::lines(Width);
      const auto* asked = reinterpret_cast<const float*>(panel(asks ? next : block));
      const Fetch fetch = Fetch::part(asked, quads_, asks ? tile : 0);
      for (Index at = 0; at < Count * kLanes; at += kPart * kLanes) {
        multiply_tile<Bytes, kTile, kPart>(sums + row * kPanel + at,
                                           {start.from + row * start.across + at, start.across},
                                           left.from(row), block, First * kLanes + at, fetch);
      }
      ++tile;
    });
  }

  static Index across(Index units) { return blocks_of(units, kLanes) * kRow; }
  Word* panel(Index block) const { return panels_ + block * kRow * quads_; }

#if defined(LSTM_IMPL_TILES)
  template <int First, int Count>
  void multiply_by_tiles(float* sums, Start start, const LeftBytes& left, Index count,
                         Index block) const {
    using Part = PanelPart<Width, First, Count>;
    constexpr Index kMost = DotsByTiles::kMostRows;
    alignas(64) float whole[kMost * Part::kAcross];  // of 32 bits
    const Index column = block * kRow + First * kLanes;
    for (Index first = 0; first < count; first += kMost) {
      const Index rows = std::min(kMost, count - first);
      const Factors<BFloat16> product{reinterpret_cast<const BFloat16*>(left.from(first).bytes),
                                      left.across / 2, reinterpret_cast<const float*>(panel(block)),
                                      quads_};
      DotsByTiles::multiply<Part, true>(whole, {nullptr, 0}, rows, {product});
      for (Index r = 0; r < rows; ++r) {
        const float* from = start.from + (first + r) * start.across;
        float* const to = sums + (first + r) * kPanel;
        const float of_row = left.scales[first + r];
#pragma GCC unroll 4
        for (Index at = 0; at < Part::kAcross; at += kLanes) {
          const Bits sum =
              bits_of(load(whole + r * Part::kAcross + at)) + load(starts_ + column + at);
          const Vector scale = load(reinterpret_cast<const float*>(scales_) + column + at) * of_row;
          store(to + at, load(from + at) + __builtin_convertvector(sum, Vector) * scale);
        }
      }
    }
  }
#endif

  static Index quads_of(Index rows) {
#if defined(LSTM_IMPL_TILES)
    constexpr Index kOfTile = DotsByTiles::kPairs;
    if (int8_uses_tiles()) return blocks_of(rows, kQuad * kOfTile) * kOfTile;
#endif
    return blocks_of(rows, kQuad);
  }

  // Returns the place of a register of a quad in a panel.
  static Index place(Index quad, Index column) {
#if defined(LSTM_IMPL_TILES)
    if (int8_uses_tiles()) return DotsByTiles::place(quad, column, Width);
#endif
    return quad * kRow + column * kLanes;
  }

  // Multiplies by `Count` registers from the float `at` of a panel's row on. The function is never
  // inlined, because GCC 12 would then keep the sums in memory.
  template <class Bytes, int Rows, int Count>
  __attribute__((noinline)) void multiply_tile(float* sums, Start start, const LeftBytes& left,
                                               Index block, Index at, const Fetch& fetch) const {
    const Index column = block * kRow + at;
    Int8Tile<Rows, Count> tile;
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Count; ++v) tile[r][v] = load(starts_ + column + v * kLanes);
    }
    add_quads<Bytes, Width, Rows, Count>(tile, left.bytes, left.across, quads_, panel(block) + at, fetch);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Count; ++v) {
        const Vector scale = load(reinterpret_cast<const float*>(scales_) + column + v * kLanes) *
                             left.scales[r];
        store(sums + r * kPanel + v * kLanes,
              load(start.from + r * start.across + v * kLanes) +
                  __builtin_convertvector(tile[r][v], Vector) * scale);
      }
    }
  }

  // Packs a register of columns. kernel: the first row of the columns of this gate. across: the
  // distance from one row to the next.
  void pack_column(const float* kernel, Index across, Index block, Index column) const {
    const Index unit = block * kLanes, count = units_ - unit;
    const auto row = [&](Index k) {
      return k < rows_ ? load_part(kernel + k * across + unit, count) : Vector{};
    };
    Magnitudes found;
    for (Index k = 0; k < rows_; ++k) found.see(row(k));
    const Scale<Vector> scale(found.of_lanes());
    Bits total{};
    for (Index quad = 0; quad < quads_; ++quad) {
      Bits packed{};
      for (int part = 0; part < kQuad; ++part) {
        const Vector scaled = row(quad * kQuad + part) * scale.inverse;
        // NaN becomes zero here, because otherwise the sum would not fit into 32 bits. The scale
        // records the NaN.
        const Bits whole = nearest(scaled == scaled ? scaled : Vector{});
        total += whole;
        packed |= (whole & 255) << 8 * part;
      }
      store(panel(block) + place(quad, column), packed);
    }
    const Index at = block * kRow + column * kLanes;
    store(reinterpret_cast<float*>(scales_) + at, scale.value);
    store(starts_ + at, total * -128);
  }

  const Index rows_, units_, quads_;
  Word* const panels_;
  Word* const scales_;  // of floats
  Word* const starts_;
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_INT8_PRODUCTS_H_
