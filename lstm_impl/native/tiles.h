// The operations of AMX on tiles: eight registers of up to 16 rows with 64 bytes each, and a
// product of pairs of bfloat16 numbers with sums in float32. Everything about AMX that the kernels
// use is in this header.
//
// With LSTM_IMPL_EMULATED_TILES, the operations are plain C++. They round as the instructions do,
// and stop the program where the instructions would fault. So tests can run the kernels for tiles
// on any machine.
#ifndef LSTM_IMPL_NATIVE_TILES_H_
#define LSTM_IMPL_NATIVE_TILES_H_

#include <cstdint>
#include <cstring>

#include "vector.h"

// The instructions are written in assembly, because a library for every CPU with AVX-512 contains
// them too. Assemblers have known them since compilers have had a header for them. A library for one
// CPU (LSTM_IMPL_ONE_CPU) contains them only if that CPU has AMX, because the kernels compile in much
// less time without them.
#if defined(LSTM_IMPL_EMULATED_TILES)
#define LSTM_IMPL_TILES 1
#elif defined(__x86_64__) && defined(__linux__)
#if __has_include(<amxtileintrin.h>) || __has_include(<amxintrin.h>)
#if defined(LSTM_IMPL_ONE_CPU) && !defined(__AMX_BF16__)
#define LSTM_IMPL_CPU_WITHOUT_TILES 1
#elif defined(__AVX512F__)
#define LSTM_IMPL_TILES 1
#endif
#endif
#endif

namespace lstm_impl::tiles {

// Why there are no tiles on a CPU without AMX.
constexpr const char* kNotInCpu = "this CPU has no AMX tiles for bfloat16";

}  // namespace lstm_impl::tiles

#if defined(LSTM_IMPL_TILES)

#if defined(LSTM_IMPL_EMULATED_TILES)
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#else
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#endif

namespace lstm_impl::tiles {

constexpr Index kMostRows = 16, kRowBytes = 64;

// kDepth: the number of numbers in a row of the left operand. kPairs: the number of rows of the
// right operand, which are pairs.
constexpr Index kDepth = 32, kPairs = kDepth / 2;

// The memory that the instruction reads which sets all shapes at once: palette 1.
struct Shapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(Shapes) == 64);

#if defined(LSTM_IMPL_EMULATED_TILES)

struct State {
  bool configured = false;
  Shapes shapes;
  std::uint8_t tile[8][kMostRows][kRowBytes];
};

inline thread_local State state;

// The number of threads whose tiles are configured. Tests use it to see that no thread keeps its
// tiles configured.
inline std::atomic<int> configured_threads{0};

inline void require(bool met, const char* what) {
  if (met) return;
  std::fprintf(stderr, "tiles: %s\n", what);
  std::abort();
}

inline bool cpu_has_tiles() { return true; }
inline const char* refusal() { return nullptr; }

inline void set_shapes(const Shapes& shapes) {
  require(shapes.palette == 1, "there is no such palette");
  for (int k = 0; k < 16; ++k) {
    const bool none = shapes.rows[k] == 0 && shapes.row_bytes[k] == 0;
    require(none || (k < 8 && shapes.rows[k] >= 1 && shapes.rows[k] <= kMostRows &&
                     shapes.row_bytes[k] >= 1 && shapes.row_bytes[k] <= kRowBytes),
            "a shape is out of range");
  }
  if (!state.configured) configured_threads.fetch_add(1);
  state.configured = true;
  state.shapes = shapes;
  std::memset(state.tile, 0, sizeof state.tile);
}

inline void release() {
  if (state.configured) configured_threads.fetch_sub(1);
  state.configured = false;
}

inline void require_tile(int tile) {
  require(state.configured, "they are used before they are configured");
  require(state.shapes.rows[tile] > 0, "one is used that has no shape");
}

template <int Tile>
void zero() {
  require_tile(Tile);
  std::memset(state.tile[Tile], 0, sizeof state.tile[Tile]);
}

template <int Tile, bool Streamed = false>
void load(const void* from, Index apart) {
  zero<Tile>();
  for (Index row = 0; row < state.shapes.rows[Tile]; ++row) {
    std::memcpy(state.tile[Tile][row], static_cast<const char*>(from) + row * apart,
                state.shapes.row_bytes[Tile]);
  }
}

template <int Tile>
void store(void* to, Index apart) {
  require_tile(Tile);
  for (Index row = 0; row < state.shapes.rows[Tile]; ++row) {
    std::memcpy(static_cast<char*>(to) + row * apart, state.tile[Tile][row],
                state.shapes.row_bytes[Tile]);
  }
}

// Denormal numbers are read and written as zero.
inline float flushed(float value) {
  return std::fabs(value) < 1.17549435e-38f ? std::copysign(0.0f, value) : value;
}

// Returns the number `column` of a row.
inline float number(const std::uint8_t* row, Index column) {
  std::uint16_t upper;
  std::memcpy(&upper, row + 2 * column, sizeof upper);
  const std::uint32_t bits = static_cast<std::uint32_t>(upper) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return flushed(value);
}

// The order is that of Intel's manual. The lower numbers of all pairs are summed up with one
// rounding for each product and its addition. The upper numbers are summed up in the same way. Then
// both sums are added to the tile.
template <int Sums, int Left, int Right>
void dot() {
  static_assert(Sums != Left && Sums != Right && Left != Right);
  for (const int tile : {Sums, Left, Right}) require_tile(tile);
  const Shapes& of = state.shapes;
  require(of.rows[Sums] == of.rows[Left] && of.row_bytes[Sums] == of.row_bytes[Right] &&
              of.row_bytes[Left] == of.rows[Right] * 4 && of.row_bytes[Sums] % 4 == 0,
          "the shapes of a product do not fit");
  constexpr Index kColumns = kRowBytes / 4;  // what lies past a shape is zero
  float right[kDepth][kColumns];
  for (Index k = 0; k < kDepth; ++k) {
    for (Index column = 0; column < kColumns; ++column) {
      right[k][column] = number(state.tile[Right][k / 2], 2 * column + k % 2);
    }
  }
  for (Index row = 0; row < of.rows[Sums]; ++row) {
    float sums[2][kColumns] = {}, total[kColumns];
    for (Index k = 0; k < kDepth; ++k) {
      const float left = number(state.tile[Left][row], k);
      float* const to = sums[k % 2];
      for (Index column = 0; column < kColumns; ++column) {
        to[column] = flushed(std::fma(left, right[k][column], to[column]));
      }
    }
    std::memcpy(total, state.tile[Sums][row], sizeof total);
    for (Index column = 0; column < kColumns; ++column) {
      const float sum = flushed(sums[0][column] + sums[1][column]);
      total[column] = flushed(flushed(total[column]) + sum);
    }
    std::memcpy(state.tile[Sums][row], total, sizeof total);
  }
}

// The same product with bytes. A 32-bit sum takes four products at a time. The bytes of the left
// operand are unsigned, and those of the right operand are signed.
template <int Sums, int Left, int Right>
void dot_bytes() {
  static_assert(Sums != Left && Sums != Right && Left != Right);
  for (const int tile : {Sums, Left, Right}) require_tile(tile);
  const Shapes& of = state.shapes;
  require(of.rows[Sums] == of.rows[Left] && of.row_bytes[Sums] == of.row_bytes[Right] &&
              of.row_bytes[Left] == of.rows[Right] * 4 && of.row_bytes[Sums] % 4 == 0,
          "the shapes of a product do not fit");
  for (Index row = 0; row < of.rows[Sums]; ++row) {
    for (Index column = 0; column < of.row_bytes[Sums] / 4; ++column) {
      std::int32_t sum;
      std::memcpy(&sum, state.tile[Sums][row] + 4 * column, sizeof sum);
      for (Index k = 0; k < of.row_bytes[Left]; ++k) {
        const auto right = static_cast<std::int8_t>(state.tile[Right][k / 4][4 * column + k % 4]);
        sum += static_cast<std::int32_t>(state.tile[Left][row][k]) * right;
      }
      std::memcpy(state.tile[Sums][row] + 4 * column, &sum, sizeof sum);
    }
  }
}

inline bool can_multiply_bytes() { return true; }

#else

// Returns whether the CPU has tiles of the shapes above, and multiplies bfloat16 with them.
inline bool cpu_has_tiles() {
  unsigned a, b, c, d;
  constexpr unsigned kBfloat16 = 1u << 22, kTile = 1u << 24;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (~d & (kBfloat16 | kTile)) != 0) return false;
  // The leaf for palette 1 says how many bytes a row has, how many tiles there are, and how many
  // rows a tile has at most.
  return __get_cpuid_count(0x1d, 1, &a, &b, &c, &d) && (b & 0xffff) >= kRowBytes && b >> 16 >= 8 &&
         (c & 0xffff) >= kMostRows;
}

// Returns why this process cannot use tiles, or null if it can. The CPU must have tiles. Linux must
// save them when it switches threads, and must permit this process to use them. Linux gives its
// permission only if every alternate signal stack is large enough to save the tiles, which takes 8
// kB.
inline const char* refusal() {
  if (!cpu_has_tiles()) return kNotInCpu;
  unsigned a, b, c, d;
  constexpr const char* kNotSaved = "the operating system does not save AMX tiles";
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0) return kNotSaved;
  unsigned saved, above;
  asm volatile("xgetbv" : "=a"(saved), "=d"(above) : "c"(0));
  constexpr unsigned kStates = 3u << 17;
  if ((saved & kStates) != kStates) return kNotSaved;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // of arch_prctl(2)
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0) return nullptr;
  if (errno == ENOSPC) {
    return "a thread has an alternate signal stack (sigaltstack) that is too small for AMX tiles";
  }
  return "the operating system does not permit AMX tiles";
}

inline void set_shapes(const Shapes& shapes) { asm volatile("ldtilecfg %0" : : "m"(shapes)); }

inline void release() { asm volatile("tilerelease"); }

template <int Tile>
LSTM_IMPL_INLINE void zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(Tile));
}

// Loads a tile. Rows are `apart` bytes apart. Streamed: each row is read only once, and should not
// push data that will be read again out of the first cache.
template <int Tile, bool Streamed = false>
LSTM_IMPL_INLINE void load(const void* from, Index apart) {
  if constexpr (Streamed) {
    asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(apart), "i"(Tile) : "memory");
  } else {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(apart), "i"(Tile) : "memory");
  }
}

template <int Tile>
LSTM_IMPL_INLINE void store(void* to, Index apart) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(apart), "i"(Tile) : "memory");
}

// Computes Sums += Left * Right.
template <int Sums, int Left, int Right>
LSTM_IMPL_INLINE void dot() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sums), "i"(Left), "i"(Right));
}

template <int Sums, int Left, int Right>
LSTM_IMPL_INLINE void dot_bytes() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sums), "i"(Left), "i"(Right));
}

// Returns whether tiles also multiply bytes. This is a separate feature of the CPU, amx_int8.
inline bool can_multiply_bytes() {
  unsigned a, b, c, d;
  constexpr unsigned kInt8 = 1u << 25;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kInt8) != 0;
}

#endif

}  // namespace lstm_impl::tiles

#endif  // LSTM_IMPL_TILES

#endif  // LSTM_IMPL_NATIVE_TILES_H_
