// Products of numbers in bfloat16 with sums in float32: a matrix lies as pairs of rows, two numbers
// of a column in 32 bits, as AVX512-BF16 reads them, and AMX tiles would.
//
// Widened makes floats of them on the way to the product, which halves the memory traffic of the
// weights on any CPU. Dots multiplies pairs by vdpbf16ps. Which is faster depends on the CPU: AMD's
// start that instruction in each cycle, Intel's (Sapphire Rapids and later) in every other one, half
// the multiplications of two float units. See products_of_this_cpu().
#ifndef LSTM_IMPL_NATIVE_BFLOAT16_PRODUCTS_H_
#define LSTM_IMPL_NATIVE_BFLOAT16_PRODUCTS_H_

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "numbers.h"
#include "product.h"
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

// A kernel [rows, 4 * units] into pairs of rows, [block][pair][gate][lane], of blocks [first_block,
// last_block). Of an odd number the last row is paired with zeros.
template <class Value>
void pack_pairs(const Value* kernel, Index rows, Index units, Index first_block, Index last_block,
                float* pairs) {
  const Index count_of_pairs = blocks_of(rows, 2);
  for (Index pair = 0; pair < count_of_pairs; ++pair) {
    const Value* from = kernel + 2 * pair * kGates * units;
    const bool single = 2 * pair + 1 == rows;
    for (Index block = first_block; block < last_block; ++block) {
      float* to = pairs + (block * count_of_pairs + pair) * kPanel;
      const Index unit = block * kLanes, count = std::min(kLanes, units - unit);
      for (Index gate = 0; gate < kGates; ++gate) {
        const Value* lower = from + gate * units + unit;
        const Vector upper = single ? Vector{} : load_part(lower + kGates * units, count);
        store(to + gate * kLanes, paired(load_part(lower, count), upper));
      }
    }
  }
}

// The left operand is of floats, that bfloat16 holds.
struct Widened {
  using Left = float;

  static LSTM_IMPL_INLINE void store_left(Left* to, Vector value) { store(to, value); }

  // sums += left * pairs, of `depth` pairs.
  template <int Rows, int Width>
  static LSTM_IMPL_INLINE void add(Tile<Rows, Width>& sums, const Left* left, Index across,
                                   Index depth, const float* pairs) {
    Tile<Rows, Width> more;  // for additions not to wait for each other, see add_product()
    more.clear();
    for (Index k = 0; k < depth; ++k) {
      if constexpr (Rows * Width >= kManySums) {
        add_half<false>(sums, left + 2 * k, across, pairs + k * kPanel);
        add_half<true>(sums, left + 2 * k + 1, across, pairs + k * kPanel);
      } else {
        add_half<false>(sums, left + 2 * k, across, pairs + k * kPanel);
        add_half<true>(more, left + 2 * k + 1, across, pairs + k * kPanel);
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

  // What many tiles will read of `depth` pairs: floats, in the first cache. `scratch` has room for
  // them.
  static LSTM_IMPL_INLINE const float* opened(const float* pairs, Index depth, float* scratch) {
    constexpr Index kAhead = 12;  // rows of pairs that are asked for ahead, 3 kB
    for (Index k = 0; k < depth; ++k) {
      const float* row = pairs + k * kPanel;
#pragma GCC unroll 4
      for (Index gate = 0; gate < kGates; ++gate) {
        __builtin_prefetch(row + kAhead * kPanel + gate * kLanes);
        const Vector value = load(row + gate * kLanes);
        store(scratch + 2 * k * kPanel + gate * kLanes, lower_half(value));
        store(scratch + (2 * k + 1) * kPanel + gate * kLanes, upper_half(value));
      }
    }
    return scratch;
  }

  template <int Rows, int Width>
  static LSTM_IMPL_INLINE void add_opened(Tile<Rows, Width>& sums, const Left* left, Index across,
                                          Index depth, const float* opened) {
    add_product<kGates>(sums, left, across, 1, 2 * depth, opened);
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

#if defined(__AVX512F__) && defined(__x86_64__)
#define LSTM_IMPL_DOTS 1

// The left operand is of bfloat16. The instruction is written out, since a library for any CPU with
// AVX-512 has it too and calls it where there is one that knows it. It reads denormal numbers as
// zero.
struct Dots {
  using Left = BFloat16;

  static LSTM_IMPL_INLINE void store_left(Left* to, Vector value) { store(to, value); }

  template <int Rows, int Width>
  static LSTM_IMPL_INLINE void add(Tile<Rows, Width>& sums, const Left* left, Index across,
                                   Index depth, const float* pairs) {
    Index k = 0;
    if constexpr (Rows * Width < kManySums) {
      Tile<Rows, Width> more;
      more.clear();
      for (; k + 2 <= depth; k += 2) {
        add_pair(sums, left + 2 * k, across, pairs + k * kPanel);
        add_pair(more, left + 2 * k + 2, across, pairs + (k + 1) * kPanel);
      }
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < Width; ++v) sums.at[r][v] += more.at[r][v];
      }
    }
    for (; k < depth; ++k) add_pair(sums, left + 2 * k, across, pairs + k * kPanel);
  }

  static LSTM_IMPL_INLINE const float* opened(const float* pairs, Index, float*) { return pairs; }

  template <int Rows, int Width>
  static LSTM_IMPL_INLINE void add_opened(Tile<Rows, Width>& sums, const Left* left, Index across,
                                          Index depth, const float* opened) {
    add(sums, left, across, depth, opened);
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
      const Words everywhere = Words{} + pair;
#pragma GCC unroll 8
      for (int v = 0; v < Width; ++v) {
        asm("vdpbf16ps %2, %1, %0" : "+v"(sums.at[r][v]) : "v"(columns[v]), "v"(everywhere));
      }
    }
  }
};
#endif

enum class Bfloat16Products { kWidened, kDots };

// Which products this CPU is fastest with: dots on AMD's with AVX512-BF16. The environment variable
// LSTM_NATIVE_BFLOAT16, "widened" or "dots", says otherwise, as tests do; dots are computed only
// where the CPU can. Asked once.
inline Bfloat16Products products_of_this_cpu() {
#if defined(LSTM_IMPL_DOTS)
  static const Bfloat16Products chosen = [] {
    if (!__builtin_cpu_supports("avx512bf16")) return Bfloat16Products::kWidened;
    const char* asked = std::getenv("LSTM_NATIVE_BFLOAT16");
    if (asked == nullptr) {
      return __builtin_cpu_is("amd") ? Bfloat16Products::kDots : Bfloat16Products::kWidened;
    }
    return std::strcmp(asked, "dots") == 0 ? Bfloat16Products::kDots : Bfloat16Products::kWidened;
  }();
  return chosen;
#else
  return Bfloat16Products::kWidened;
#endif
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BFLOAT16_PRODUCTS_H_
